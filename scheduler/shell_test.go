package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// This file tests the shell around the core, one promise at a time, mostly
// with promises that were once broken.

// open starts a scheduler on a log in memory, with one function as provider.
func open(t *testing.T, o Options, call func(context.Context, providers.Call) (json.RawMessage, error)) (*eventlog.Log, *Scheduler) {
	t.Helper()
	log := eventlog.OpenMemory(eventlog.Options{})
	if o.Open == nil {
		o.Open = provide(call)
	}
	s, err := New(log, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		log.Close()
	})
	return log, s
}

// TestDeletedMeanwhile: what deletes runs leaves a record, after which the loop
// goes on.
func TestDeletedMeanwhile(t *testing.T) {
	log, s := open(t, Options{}, answer)
	for range 3 {
		id := submit(t, s, Submission{Workflow: compile(t, "name: one\ntasks: [{id: a, method: echo/echo}]\n")})
		number := waitEnd(t, soon(t), log, id)
		if err := s.Tidy(soon(t), func(state *replay.State) error {
			if state.Run(number) != nil {
				return errors.New("it lives")
			}
			return log.Delete(replay.Stream(number))
		}); err != nil {
			t.Fatal(err)
		}
	}
	again, err := replay.Load(log)
	if err != nil {
		t.Fatal(err)
	}
	if again.NextRun != 4 {
		t.Errorf("the next run is %d", again.NextRun)
	}
}

// soon bounds a wait.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// submit submits what must be accepted.
func submit(t *testing.T, s *Scheduler, sub Submission) string {
	t.Helper()
	if sub.Setup.Providers == nil {
		sub.Setup = echoSetup
	}
	id, err := s.Submit(soon(t), sub)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// view waits for the run's end and returns what became of it.
func view(t *testing.T, log *eventlog.Log, id string) *replay.RunView {
	t.Helper()
	h, err := replay.LoadHistory(log, waitEnd(t, soon(t), log, id))
	if err != nil {
		t.Fatal(err)
	}
	v, err := h.View(log.Value)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const oneTask = "name: one\ntasks:\n- {id: a, method: echo/echo}\n"

// TestBigFailures: whatever error a provider comes with, it is a failed task
// and no more; what a script printed is shortened, not lost.
func TestBigFailures(t *testing.T) {
	long := strings.Repeat("line\n", 1<<18)
	for name, err := range map[string]error{
		"long message":    protocols.Errorf(protocols.TaskExecutionFailed, "begin %s end", long),
		"nothing to read": protocols.Errorf(protocols.TaskExecutionFailed, "begin %s end", strings.Repeat("\x00\xff", 1<<20)),
		"long data":       protocols.Errorf(protocols.TaskExecutionFailed, "begin end").With(map[string]any{"stdout": long + "the last words", "exit": 1}),
		"wide data":       protocols.Errorf(protocols.TaskExecutionFailed, "begin end").With(make([]int, 1<<20)),
		"broken data":     &protocols.Error{Code: protocols.TaskExecutionFailed, Message: "begin end", Data: json.RawMessage(`{"x":`)},
	} {
		t.Run(name, func(t *testing.T) {
			log, s := open(t, Options{}, func(context.Context, providers.Call) (json.RawMessage, error) { return nil, err })
			v := view(t, log, submit(t, s, Submission{Workflow: compile(t, oneTask)}))
			e := v.Tasks[0].Error
			if v.Status != replay.Failed || !strings.HasPrefix(e.Message, "begin") || !strings.HasSuffix(e.Message, "end") {
				t.Errorf("%s: %.200q", v.Status, e.Message)
			}
			if name == "long data" && !strings.Contains(string(e.Data), "the last words") {
				t.Errorf("data: %.200s", e.Data)
			}
		})
	}
}

// TestErrorThatIsNil: an error that is there but nil is a failure.
func TestErrorThatIsNil(t *testing.T) {
	log, s := open(t, Options{}, func(context.Context, providers.Call) (json.RawMessage, error) {
		return nil, (*protocols.Error)(nil)
	})
	if v := view(t, log, submit(t, s, Submission{Workflow: compile(t, oneTask)})); v.Status != replay.Failed {
		t.Error(v.Status)
	}
}

// TestGoexit: a provider that ends its goroutine fails the task.
func TestGoexit(t *testing.T) {
	log, s := open(t, Options{}, func(context.Context, providers.Call) (json.RawMessage, error) {
		runtime.Goexit()
		return nil, nil
	})
	if v := view(t, log, submit(t, s, Submission{Workflow: compile(t, oneTask)})); v.Status != replay.Failed {
		t.Error(v.Status)
	}
}

// TestTooBigToSubmit: what no record can hold is refused, and nothing breaks.
func TestTooBigToSubmit(t *testing.T) {
	log, s := open(t, Options{}, answer)
	for name, change := range map[string]func(*Submission){
		"key":    func(sub *Submission) { sub.Key = strings.Repeat("k", eventlog.MaxName+1) },
		"source": func(sub *Submission) { sub.Source = strings.Repeat("s", eventlog.MaxData) },
		"tags":   func(sub *Submission) { sub.Workflow.Tags = []string{strings.Repeat("t", eventlog.MaxData)} },
	} {
		sub := Submission{Workflow: compile(t, oneTask), Setup: echoSetup}
		change(&sub)
		if _, err := s.Submit(soon(t), sub); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	files := map[string][]byte{}
	for i := range 5000 {
		files[fmt.Sprintf("in/%d.txt", i)] = fmt.Append(nil, i)
	}
	id := submit(t, s, Submission{Workflow: compile(t, oneTask), Files: files})
	if err := s.Cancel(soon(t), 999, strings.Repeat("anna", eventlog.MaxData)); err == nil {
		t.Error("a run that isn't there was cancelled")
	}
	if v := view(t, log, id); v.Status != replay.Completed {
		t.Error(v.Status)
	}
}

// TestManyTasksSkipped: the skipped tasks of a big run fit into the log.
func TestManyTasksSkipped(t *testing.T) {
	log, s := open(t, Options{}, func(ctx context.Context, _ providers.Call) (json.RawMessage, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	id := submit(t, s, Submission{Workflow: compile(t, fanYAML(20_000))})
	if err := s.Cancel(soon(t), 1, strings.Repeat("anna", eventlog.MaxData)); err != nil {
		t.Fatal(err)
	}
	if v := view(t, log, id); v.Status != replay.Cancelled || v.Counts.Skipped != 20_000 {
		t.Errorf("%s: %+v", v.Status, v.Counts)
	}
}

// TestSameKey: a key stands for one run, also when it has ended, and for
// nothing else.
func TestSameKey(t *testing.T) {
	log, s := open(t, Options{}, answer)
	sub := Submission{Workflow: compile(t, oneTask), Setup: echoSetup, Key: "k", Inputs: map[string]json.RawMessage{"n": json.RawMessage("1")}}
	late, err := s.submit(sub) // somebody has looked for the key, found nothing, and comes late
	if err != nil {
		t.Fatal(err)
	}
	id := submit(t, s, sub)
	view(t, log, id)
	if again := submit(t, s, sub); again != id {
		t.Errorf("%s is %s now", id, again)
	}
	if again, err := s.request(soon(t), request{command: *late}); err != nil || again.Accepted != (Accepted{id, true}) {
		t.Errorf("%s is %+v now (%v)", id, again, err)
	}
	sub.Dir, sub.Cwd, sub.Env = "/elsewhere", "/there", map[string]string{"X": "1"}
	if again := submit(t, s, sub); again != id {
		t.Errorf("from another folder %s is %s", id, again)
	}
	sub.Inputs["n"] = json.RawMessage("2")
	if other, err := s.Submit(soon(t), sub); err == nil {
		t.Errorf("with other inputs it is %s", other)
	}
}

// TestContextOfACallEnds: when a call has returned its context is done, so
// that the scheduler doesn't keep it.
func TestContextOfACallEnds(t *testing.T) {
	var last atomic.Value
	log, s := open(t, Options{}, func(ctx context.Context, _ providers.Call) (json.RawMessage, error) {
		last.Store(ctx)
		return json.RawMessage("1"), nil
	})
	view(t, log, submit(t, s, Submission{Workflow: compile(t, oneTask)}))
	select {
	case <-last.Load().(context.Context).Done():
	case <-soon(t).Done():
		t.Error("it isn't done")
	}
}

// TestDeafProvider: a provider that ignores its context is given up after the
// grace, and the slot is free then; on Close as well.
func TestDeafProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		log := eventlog.OpenMemory(eventlog.Options{})
		s, err := New(log, Options{Policy: Policy{Slots: 1}, Grace: 10 * time.Second,
			Open: provide(func(ctx context.Context, c providers.Call) (json.RawMessage, error) {
				if c.Task == "deaf" {
					<-release
				}
				return json.RawMessage("1"), nil
			})})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		deaf := submit(t, s, Submission{Workflow: compile(t, "name: d\ntasks:\n- {id: deaf, method: echo/echo, timeout: 5}\n")})
		next := submit(t, s, Submission{Workflow: compile(t, oneTask)})
		if v := view(t, log, next); v.Status != replay.Completed || time.Since(began) != 15*time.Second {
			t.Errorf("%s after %s", v.Status, time.Since(began))
		}
		if v := view(t, log, deaf); v.Tasks[0].Error.Code != protocols.TaskTimeout {
			t.Error(v.Tasks[0].Error)
		}
		submit(t, s, Submission{Workflow: compile(t, "name: d\ntasks:\n- {id: deaf, method: echo/echo}\n")})
		synctest.Wait()
		began = time.Now()
		if err := s.Close(); err != nil || time.Since(began) != 10*time.Second {
			t.Errorf("Close: %v after %s", err, time.Since(began))
		}
		close(release)
		log.Close()
	})
}

// TestFatal: when the log has been written to by somebody else, Fatal is told,
// and Close still returns.
func TestFatal(t *testing.T) {
	told := make(chan error, 1)
	hangs := make(chan struct{})
	log, s := open(t, Options{Fatal: func(err error) {
		told <- err
		runtime.Goexit()
	}}, func(ctx context.Context, _ providers.Call) (json.RawMessage, error) {
		close(hangs)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	submit(t, s, Submission{Workflow: compile(t, oneTask)})
	<-hangs
	var b eventlog.Batch
	b.Add(eventlog.Record{Stream: "foreign", Type: "x", Time: epoch})
	if _, err := log.Append(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Submit(soon(t), Submission{Workflow: compile(t, oneTask), Setup: echoSetup}); !errors.Is(err, ErrClosed) {
		t.Errorf("Submit: %v", err)
	}
	if err := <-told; !strings.Contains(err.Error(), "somebody else") {
		t.Error(err)
	}
}

// TestCheckpointsThatFail: when checkpoints can't be written the scheduler
// doesn't try again at every turn.
func TestCheckpointsThatFail(t *testing.T) {
	var warnings atomic.Int64
	counted := slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
		warnings.Add(1)
		return len(p), nil
	}), nil))
	log, s := open(t, Options{CheckpointEvery: 1, Logger: counted}, answer)
	s.saver = failingSaver(t)
	for range 100 {
		view(t, log, submit(t, s, Submission{Workflow: compile(t, oneTask)}))
	}
	if n := warnings.Load(); n > 10 {
		t.Errorf("%d passes failed", n)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// failingSaver is a checkpointer of a log that is closed.
func failingSaver(t *testing.T) *replay.Checkpointer {
	t.Helper()
	log := eventlog.OpenMemory(eventlog.Options{})
	var b eventlog.Batch
	for range 20 {
		b.Add(eventlog.Record{Stream: "x", Type: "x", Time: epoch})
	}
	if _, err := log.Append(&b); err != nil {
		t.Fatal(err)
	}
	c, err := replay.NewCheckpointer(log)
	if err != nil {
		t.Fatal(err)
	}
	log.Close()
	return c
}

// TestClockSetBack: when the clock goes back, the time of events doesn't.
func TestClockSetBack(t *testing.T) {
	log := eventlog.OpenMemory(eventlog.Options{})
	defer log.Close()
	future := time.Now().Add(time.Hour).UTC()
	var b eventlog.Batch
	if err := replay.Encode(replay.Fact{At: future, Event: &replay.SystemStarted{PID: 1}}, &b); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(&b); err != nil {
		t.Fatal(err)
	}
	s, err := New(log, Options{Open: provide(answer)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	waitEnd(t, soon(t), log, submit(t, s, Submission{Workflow: compile(t, oneTask)}))
	for _, r := range allRecords(t, log) {
		if r.Time.Before(future) {
			t.Errorf("%s at %s", r.Type, r.Time)
		}
	}
}

// TestInterruptWithForce stops what runs; it is tried again when the run is
// resumed, with the same key.
func TestInterruptWithForce(t *testing.T) {
	keys := make(chan string, 2)
	log, s := open(t, Options{}, func(ctx context.Context, c providers.Call) (json.RawMessage, error) {
		keys <- c.Key
		if c.Attempt == 1 {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return json.RawMessage("1"), nil
	})
	id := submit(t, s, Submission{Workflow: compile(t, oneTask)})
	first := <-keys
	if err := s.Interrupt(soon(t), 1, "anna", true); err != nil {
		t.Fatal(err)
	}
	for rec := range log.Follow(soon(t), 1) {
		if rec.Type == (*replay.TaskInterrupted)(nil).Type() {
			break
		}
	}
	if err := s.Resume(soon(t), Resume{Run: 1}); err != nil {
		t.Fatal(err)
	}
	if v := view(t, log, id); v.Status != replay.Completed || v.Tasks[0].Attempts != 2 {
		t.Errorf("%s after %d attempts", v.Status, v.Tasks[0].Attempts)
	}
	if again := <-keys; again != first {
		t.Errorf("the key was %s, is %s", first, again)
	}
}

// TestDrainWaitsForOutputs: a run whose outputs are being made ends before
// Drain has returned.
func TestDrainWaitsForOutputs(t *testing.T) {
	log, s := open(t, Options{}, answer)
	for range 200 {
		id := submit(t, s, Submission{Workflow: compile(t, oneTask+"outputs: {a: '${a}'}\n")})
		number, _ := replay.NumberOf(id)
		for rec := range log.FollowStream(soon(t), replay.Stream(number), 1) {
			if rec.Type == (*replay.EvaluationRequested)(nil).Type() {
				break
			}
		}
		if err := s.Drain(soon(t)); err != nil {
			t.Fatal(err)
		}
		h, err := replay.LoadHistory(log, number)
		if err != nil || !h.Ended() {
			t.Fatalf("run %s has not ended (%v)", id, err)
		}
		s.Query(soon(t), func(*replay.State) { s.policy.Closed = false })
	}
}
