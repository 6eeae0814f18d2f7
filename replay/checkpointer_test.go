package replay

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// write appends events of a run, one a second.
func write(t *testing.T, log *eventlog.Log, run uint64, events ...Event) {
	t.Helper()
	var b eventlog.Batch
	for i, e := range events {
		f := Fact{At: noon.Add(time.Duration(int(log.Last())+i) * time.Second), Run: run, Event: e}
		if err := Encode(f, &b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := log.Append(&b); err != nil {
		t.Fatal(err)
	}
}

// submission is a run of n independent tasks.
func submission(t *testing.T, run uint64, n int) *WorkflowSubmitted {
	t.Helper()
	w := &protocols.Workflow{Version: protocols.DocumentVersion, Name: "w"}
	for i := range n {
		id := fmt.Sprintf("t%d", i)
		w.Tasks = append(w.Tasks, &protocols.Task{ID: id, Name: id, Protocol: "echo/v1", Method: "echo/echo",
			Parameters: json.RawMessage("{}"), Literal: true})
	}
	s := &Setup{Providers: []ProviderSlots{{Name: "echo", Protocol: "echo/v1", Slots: 1}}}
	setup, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	document := w.Encode()
	plan, err := NewPlan(eventlog.Sum(document), w, eventlog.Sum(setup), s)
	if err != nil {
		t.Fatal(err)
	}
	e := &WorkflowSubmitted{Number: run, ID: fmt.Sprintf("w-%d", run), Name: "w", Document: plan.Document, Setup: plan.SetupHash}
	e.Bring(plan, document, setup)
	return e
}

// load makes the state from the log and recounts its indexes.
func load(t *testing.T, log *eventlog.Log) *State {
	t.Helper()
	s, err := Load(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckIndexes(); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRunEndsDuringSave: a run ends after Save has looked which runs changed,
// and before it comes to that run. Loading must not meet the run's old
// checkpoint, as the records between are not read any more.
func TestRunEndsDuringSave(t *testing.T) {
	log := eventlog.OpenMemory(eventlog.Options{})
	defer log.Close()
	write(t, log, 0, &SystemStarted{PID: 1})
	write(t, log, 1, submission(t, 1, 1))
	c, err := NewCheckpointer(log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Save(); err != nil {
		t.Fatal(err)
	}
	write(t, log, 1, &TaskStarted{Task: 0, Attempt: 1, Provider: "echo"})
	last := log.Last()
	found, err := c.scan(last)
	if err != nil {
		t.Fatal(err)
	}
	write(t, log, 1, &TaskCompleted{Task: 0, Attempt: 1}, &WorkflowEnded{Status: Completed})
	if _, err := c.write(last, found); err != nil {
		t.Fatal(err)
	}
	s := load(t, log)
	if n := s.Runs(); n != 0 {
		t.Errorf("%d runs live", n)
	}
	if _, _, found := s.NextStart(time.Now(), func(string) bool { return true }, nil); found {
		t.Error("a task of a run that has ended queues")
	}
}

// TestKeyTakenAgain: the process dies between two batches of checkpoints, so
// that a run comes from its checkpoint before the end of an older one with the
// same key is read. The key is the younger one's.
func TestKeyTakenAgain(t *testing.T) {
	log := eventlog.OpenMemory(eventlog.Options{})
	defer log.Close()
	for run := range uint64(2) {
		e := submission(t, run+1, 1)
		e.Key = "again"
		write(t, log, run+1, e)
		if run == 0 {
			write(t, log, 1, &TaskStarted{Task: 0, Attempt: 1}, &TaskCompleted{Task: 0, Attempt: 1}, &WorkflowEnded{Status: Completed})
		}
	}
	r, err := LoadRun(log, NewCodec(log.Value), 2)
	if err != nil {
		t.Fatal(err)
	}
	data, err := encodeRun(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.SaveCheckpoints([]eventlog.Checkpoint{{Stream: Stream(2), At: r.Seq, Data: data}}, nil); err != nil {
		t.Fatal(err)
	}
	system, err := marshal(savedSystem{NextRun: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.SaveCheckpoints([]eventlog.Checkpoint{{Stream: SystemStream, Data: system}}, nil); err != nil {
		t.Fatal(err)
	}
	if r := load(t, log).ByKey("again"); r == nil || r.Number != 2 {
		t.Errorf("the key leads to %v", r)
	}
}

// TestUselessCheckpoints: a checkpoint that can't be read is as good as none.
func TestUselessCheckpoints(t *testing.T) {
	for _, stream := range []string{SystemStream, Stream(1), Stream(2)} {
		t.Run(stream, func(t *testing.T) {
			log := eventlog.OpenMemory(eventlog.Options{})
			defer log.Close()
			write(t, log, 0, &SystemStarted{PID: 1})
			for run := range uint64(2) {
				write(t, log, run+1, submission(t, run+1, 2), &TaskStarted{Task: 1, Attempt: 1})
			}
			c, err := NewCheckpointer(log)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Save(); err != nil {
				t.Fatal(err)
			}
			useless := []eventlog.Checkpoint{{Stream: stream, At: log.Last(), Data: []byte(`{"tasks": 7`)}}
			if err := log.SaveCheckpoints(useless, nil); err != nil {
				t.Fatal(err)
			}
			write(t, log, 1, &TaskCompleted{Task: 1, Attempt: 1})
			if s := load(t, log); s.Runs() != 2 || s.Running != 1 {
				t.Errorf("%d runs, %d attempts run", s.Runs(), s.Running)
			}
			if c, err = NewCheckpointer(log); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Save(); err != nil {
				t.Fatal(err)
			}
			load(t, log)
		})
	}
}
