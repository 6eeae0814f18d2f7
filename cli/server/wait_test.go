package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// waiting submits a run of a signal, and an approval for each of two items.
func (f *fixture) waiting() string {
	w, problems := protocols.NewRegistry().Compile(parse(f.t, `{"name": "w", "tasks": [
		{"name": "Go on", "id": "go", "method": "wait/signal", "parameters": {"name": "go"}},
		{"name": "ask", "method": "wait/approval", "foreach": ["a", "b"]}]}`))
	if problems.Err() != nil {
		f.t.Fatal(problems)
	}
	return f.submit(server.SubmitParams{Document: w.Encode()})
}

func parse(t testing.TB, text string) *protocols.Document {
	d, problems := protocols.Parse("w.json", []byte(text))
	if problems.Err() != nil {
		t.Fatal(problems)
	}
	return d
}

// until asks for the run until it is as wanted.
func (f *fixture) until(id string, wanted func(*replay.RunView) bool) {
	f.t.Helper()
	for ctx := soon(f.t); ctx.Err() == nil; time.Sleep(time.Millisecond) {
		var v replay.RunView
		if f.must(server.WorkflowGet, server.GetParams{ID: id}, &v); wanted(&v) {
			return
		}
	}
	f.t.Fatal("it never was")
}

// typesOf lists what happened.
func typesOf(h *replay.History) (types []string) {
	for _, f := range h.Facts {
		types = append(types, f.Event.Type())
	}
	return types
}

// Signals, decisions and pauses reach a run, with the run's scheduler or with
// one made for them, and refuse what can't be meant.
func TestWaits(t *testing.T) {
	log := eventlog.OpenMemory(eventlog.Options{})
	f := start(t, log, options(&servertest.Fake{}))
	id := f.waiting()
	f.until(id, func(v *replay.RunView) bool {
		waits := 0
		for _, task := range v.Tasks {
			if task.Status == replay.TaskWaits {
				waits++
			}
		}
		return waits == 3
	})
	var r server.RunResult
	f.must(server.WorkflowPause, server.PauseParams{ID: "@last", By: "anna"}, &r)
	if r.ID != id {
		t.Errorf("paused %q", r.ID)
	}
	f.until(id, func(v *replay.RunView) bool { return v.Status == replay.Paused })
	f.must(server.WorkflowUnpause, server.PauseParams{ID: id}, nil)
	sent := server.SignalParams{ID: id, Name: "go", Data: json.RawMessage(`{"a":1}`), Key: "one"}
	f.must(server.SignalSend, sent, nil)
	f.must(server.SignalSend, sent, nil) // it counts once
	for name, p := range map[string]server.ApprovalParams{
		"nobody": {ID: id, Task: "nobody"}, "beyond": {ID: id, Task: "ask[2]"}, "before": {ID: id, Task: "ask[-1]"}, "no list": {ID: id, Task: "go[0]"},
	} {
		if err := f.ask(server.ApprovalDecide, p, nil); code(err) != protocols.TaskNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.ask(server.ApprovalDecide, server.ApprovalParams{ID: id}, nil); code(err) != protocols.InvalidParams {
		t.Errorf("one of two, unnamed: %v", err)
	}
	if err := f.ask(server.ApprovalDecide, server.ApprovalParams{ID: id, Task: "Go on"}, nil); code(err) != protocols.WorkflowInvalidState {
		t.Errorf("a task that asks nothing: %v", err)
	}
	f.must(server.ApprovalDecide, server.ApprovalParams{ID: id, Task: "ask[1]", Approved: true}, nil)
	last := server.ApprovalParams{ID: id, Approved: true, By: "anna", Key: "two"}
	f.must(server.ApprovalDecide, last, nil)
	f.until(id, func(v *replay.RunView) bool { return v.Status == replay.Completed })
	f.must(server.ApprovalDecide, last, nil) // though the run has ended
	f.must(server.SignalSend, sent, nil)
	if h, err := replay.LoadHistory(log, 1); err != nil || strings.Count(fmt.Sprint(typesOf(h)), "signal.received") != 1 {
		t.Errorf("%v %v", typesOf(h), err)
	}
	if err := f.ask(server.SignalSend, server.SignalParams{ID: id, Name: "go", Key: "sent:one"}, nil); code(err) != protocols.InvalidParams {
		t.Errorf("a key of ours: %v", err)
	}
	for method, p := range map[string]any{
		server.WorkflowPause: server.PauseParams{ID: id}, server.WorkflowUnpause: server.PauseParams{ID: id},
		server.SignalSend: server.SignalParams{ID: id, Name: "go"}, server.ApprovalDecide: server.ApprovalParams{ID: id, Task: "ask[1]"},
	} {
		if err := f.ask(method, p, nil); code(err) != protocols.WorkflowInvalidState {
			t.Errorf("%s of an ended run: %v", method, err)
		}
	}
	if err := f.ask(server.SignalSend, server.SignalParams{ID: id}, nil); code(err) != protocols.InvalidParams {
		t.Errorf("a signal without a name: %v", err)
	}
}

// What waits for a slot of all says so: with its task, and in the list.
func TestWaitsForSlot(t *testing.T) {
	fake := &servertest.Fake{Released: make(chan struct{})}
	o := options(fake)
	o.Scheduler.Policy.Slots = 1
	f := start(t, eventlog.OpenMemory(eventlog.Options{}), o)
	first := f.submit(servertest.Chain("first", servertest.Work{Hold: true}))
	second := f.submit(servertest.Chain("second", servertest.Work{}))
	f.until(second, func(v *replay.RunView) bool {
		return v.Status == replay.Pending && v.Tasks[0].WaitsFor == "slot" && v.Tasks[0].Reason == "a slot (all 1 are in use)"
	})
	var l server.ListResult
	if f.must(server.WorkflowList, server.ListParams{}, &l); len(l.Runs) != 2 || l.Runs[0].Reason != `"t1" waits for a slot (all 1 are in use)` {
		t.Errorf("listed: %+v", l.Runs[0])
	}
	close(fake.Released)
	for _, id := range []string{first, second} {
		f.until(id, func(v *replay.RunView) bool { return v.Status == replay.Completed && v.Tasks[0].Reason == "" })
	}
}
