package replay

import (
	"fmt"
	"strconv"

	"gleitzeit/eventlog"
)

// This file tells followers of the whole log of what is no longer in it.

// Removed is what a follower of all runs hears in place of events that were
// removed: of a run, or of many whose marks were folded. It is no event of a
// run's, and State never sees it.
type Removed struct {
	Number uint64 `json:"number,omitempty"` // of the run; 0: of several
	Events uint64 `json:"events"`           // that are gone, all of them before
}

// Type is its name on disk.
func (*Removed) Type() string { return eventlog.StreamDeleted }

// Removal puts the mark of a deletion into words, if it is one of runs. The run is
// called by its number, for nothing else of it is left.
func Removal(rec eventlog.Record) (e Entry, found bool, err error) {
	number, ofRun := RunOf(rec.Stream)
	if rec.Type != eventlog.StreamDeleted || !ofRun && rec.Stream != eventlog.Folded {
		return e, false, nil
	}
	d, err := eventlog.ParseDeletion(rec)
	if err != nil {
		return e, false, err
	}
	e = Entry{Seq: rec.Seq, Time: rec.Time, Type: rec.Type, Event: &Removed{number, d.Records}}
	if !ofRun {
		e.Text = fmt.Sprintf("%d events before this were removed, of runs and else", d.Records)
		return e, true, nil
	}
	e.Run = strconv.FormatUint(number, 10)
	e.Text = fmt.Sprintf("run %d was removed with its %d events", number, d.Records)
	return e, true, nil
}
