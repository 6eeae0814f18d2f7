package replay

import (
	"encoding/json"
	"time"

	"gleitzeit/eventlog"
)

// This file says what whoever clears a log away has to know.

// CachePrefix begins the names of the streams of results that stand for calls.
const CachePrefix = "cache/"

// CacheExpired tells whether the result of such a stream's last record stands
// for no call any more.
func CacheExpired(head eventlog.Record, now time.Time) bool {
	var e CacheStored
	return head.Type == e.Type() && json.Unmarshal(head.Data, &e) == nil && !now.Before(e.Until)
}

// ParentOf returns the number of the run that started a run, 0 if none did or
// there is no such run.
func ParentOf(log *eventlog.Log, run uint64) (uint64, error) {
	h, err := submittedIn(log, Stream(run))
	if err != nil || h == nil || h.Submitted.Parent == nil {
		return 0, err
	}
	return h.Submitted.Parent.Run, nil
}
