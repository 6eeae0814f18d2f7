package server_test

import (
	"slices"
	"testing"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// A retry may be repeated: with the same end it happens once. Whoever follows
// from the beginning hears of both ends.
func TestRetry(t *testing.T) {
	f := start(t, eventlog.OpenMemory(eventlog.Options{}), options(&servertest.Fake{}))
	id := f.finish(servertest.Chain("work", servertest.Work{}, servertest.Work{Fail: "no"}))
	end := f.log.Last()
	for range 2 {
		f.must(server.WorkflowRetry, server.RetryParams{ID: id, End: end, By: "anna"}, nil)
		e := newEar()
		close(e.hear)
		conn := f.connect(e)
		if err := server.FromWire(conn.Call(soon(t), server.LogFollow, server.FollowParams{ID: id}, nil)); err != nil {
			t.Fatal(err)
		}
		var heard []string
		for what := range e.heard {
			if heard = append(heard, what); what == server.LogEnd {
				break
			}
		}
		want := []string{"workflow.submitted", "task.started", "task.completed", "task.started", "task.failed", "workflow.failed",
			"workflow.retried", "task.started", "task.failed", "workflow.failed", server.LogEnd}
		if !slices.Equal(heard, want) {
			t.Fatalf("heard %v", heard)
		}
	}
	var list server.ListResult
	f.must(server.WorkflowList, server.ListParams{Status: []replay.Status{replay.Failed}}, &list)
	if len(list.Runs) != 1 || list.Runs[0].Counts.Failed != 1 {
		t.Errorf("the list is %+v", list.Runs)
	}
	f.must(server.WorkflowRetry, server.RetryParams{ID: id}, nil)
	if err := f.ask(server.WorkflowRetry, server.RetryParams{ID: "nobody"}, nil); code(err) != protocols.WorkflowNotFound {
		t.Errorf("of nobody: %v", err)
	}
}
