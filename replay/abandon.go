package replay

import "gleitzeit/eventlog"

// Abandon makes a run that was loaded alone (LoadRun, LoadHistory) one that
// nobody holds. The log can't tell: what the last process held it still seems
// to hold when that process is gone and no other has started. It must not be
// used on a run of a State that goes on.
func (r *Run) Abandon() {
	if r.Held {
		r.Held, r.Doubt = false, r.Running > 0
	}
}

// Ends tells whether the record is a run's last fact, so that EndedView can
// read it.
func Ends(rec eventlog.Record) bool {
	return IsEnd(rec.Type) && rec.Type != eventlog.StreamDeleted
}
