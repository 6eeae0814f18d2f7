package scheduler

import (
	"errors"
	"testing"

	"gleitzeit/eventlog"
	"gleitzeit/replay"
)

// TestRemoveAfterRestart: a log that ends with a deletion is one that deletions
// and submissions go on with, in a new process too.
func TestRemoveAfterRestart(t *testing.T) {
	log, s := open(t, Options{}, answer)
	remove := func(s *Scheduler) {
		t.Helper()
		id := submit(t, s, Submission{Workflow: compile(t, oneTask)})
		number := waitEnd(t, soon(t), log, id)
		if err := s.Tidy(soon(t), func(*replay.State) error { return log.Delete(replay.Stream(number)) }); err != nil {
			t.Fatal(err)
		}
		if last, _, err := log.Head(replay.Stream(number)); err != nil || last.Type != eventlog.StreamDeleted {
			t.Errorf("run %d is still there (%v)", number, err)
		}
	}
	remove(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := New(log, Options{Open: provide(answer)})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	remove(again)
}

// TestRemoveForeign: nothing is deleted in a log that somebody else writes to,
// and whoever asked is told.
func TestRemoveForeign(t *testing.T) {
	log, s := open(t, Options{}, answer)
	id := submit(t, s, Submission{Workflow: compile(t, oneTask)})
	number := waitEnd(t, soon(t), log, id)
	var b eventlog.Batch
	b.Add(eventlog.Record{Stream: "foreign", Type: "x", Time: epoch})
	if _, err := log.Append(&b); err != nil {
		t.Fatal(err)
	}
	if err := s.Tidy(soon(t), func(*replay.State) error { return log.Delete(replay.Stream(number)) }); !errors.Is(err, errForeign) {
		t.Error(err)
	}
	if last, found, _ := log.Head(replay.Stream(number)); !found || last.Type == eventlog.StreamDeleted {
		t.Error("it is gone")
	}
}
