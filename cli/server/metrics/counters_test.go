package metrics

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// put appends an event of a run, which happened so long after noon.
func put(t testing.TB, log *eventlog.Log, run uint64, after time.Duration, e replay.Event) {
	t.Helper()
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	stream := replay.SystemStream
	if run != 0 {
		stream = replay.Stream(run)
	}
	var b eventlog.Batch
	b.Add(eventlog.Record{Time: noon.Add(after), Stream: stream, Type: e.Type(), Data: data})
	if _, err := log.Append(&b); err != nil {
		t.Fatal(err)
	}
}

// story is a log in which everything happens that is counted.
func story(t testing.TB) *eventlog.Log {
	log := eventlog.OpenMemory(eventlog.Options{})
	t.Cleanup(func() { log.Close() })
	put(t, log, 0, 0, &replay.SystemStarted{PID: 1})
	put(t, log, 1, 0, &replay.WorkflowSubmitted{Number: 1, ID: "a-1"})
	put(t, log, 1, 0, &replay.TaskStarted{Task: 0, Attempt: 1, Provider: "llm", Waited: protocols.Duration(2 * time.Second)})
	put(t, log, 2, 0, &replay.WorkflowSubmitted{Number: 2, ID: "b-2", Schedule: "nightly"})
	put(t, log, 2, 0, &replay.TaskStarted{Task: 0, Attempt: 1, Provider: "python"})
	put(t, log, 1, 0, &replay.TaskRetrying{Task: 0, Attempt: 1, Error: protocols.Errorf(protocols.RateLimitExceeded, "no"),
		Duration: protocols.Duration(time.Second), Usage: replay.Usage{Tokens: 5}})
	put(t, log, 1, 0, &replay.TaskStarted{Task: 0, Attempt: 2, Provider: "llm"})
	put(t, log, 1, 0, &replay.TaskCompleted{Task: 0, Attempt: 2, Duration: protocols.Duration(3 * time.Second),
		Result: replay.NewValue([]byte(`{"model":"tiny","response":"hi"}`)), Usage: replay.Usage{Tokens: 100, MicroUSD: 250_000}})
	put(t, log, 1, 0, &replay.TaskStarted{Task: 1, Attempt: 1, Provider: replay.Ourselves})
	put(t, log, 1, 0, &replay.TaskWaiting{Task: 1, Attempt: 1, Wait: replay.Wait{Kind: replay.WaitSignal}})
	put(t, log, 3, 0, &replay.WorkflowSubmitted{Number: 3, ID: "c-3", Parent: &replay.Parent{Run: 1, Task: 2}})
	put(t, log, 3, 0, &replay.TaskStarted{Task: 0, Attempt: 1, Provider: "fake", Mocked: true})
	put(t, log, 3, 0, &replay.TaskCompleted{Task: 0, Attempt: 1, Result: replay.NewValue([]byte(`{"model":"tiny"}`)), Usage: replay.Usage{Tokens: 7}})
	put(t, log, 3, 0, &replay.TaskStarted{Task: 1, Attempt: 1, Provider: "fake"})
	put(t, log, 3, 0, &replay.TaskCompleted{Task: 1, Attempt: 1, Cached: true})
	put(t, log, 3, time.Minute, &replay.WorkflowEnded{Status: replay.Completed, ID: "c-3", Submitted: noon})
	put(t, log, 0, 0, &replay.SystemStarted{PID: 2})
	put(t, log, 2, 0, &replay.TaskInDoubt{Task: 0, Attempt: 1, Action: "fail"})
	put(t, log, 2, 0, &replay.TaskFailed{Task: 0, Attempt: 1, Error: protocols.Errorf(protocols.TaskExecutionFailed, "in doubt")})
	put(t, log, 2, 0, &replay.TaskSkipped{Tasks: []int{1, 2}, Reason: "it failed"})
	put(t, log, 2, 2*time.Hour, &replay.WorkflowEnded{Status: replay.Failed, ID: "b-2", Submitted: noon})
	put(t, log, 1, 0, &replay.TaskCompleted{Task: 1, Attempt: 1})
	put(t, log, 1, 0, &replay.TaskStarted{Task: 2, Attempt: 1, Provider: "llm"})
	put(t, log, 1, 0, &replay.TaskInterrupted{Task: 2, Attempt: 1})
	put(t, log, 1, 0, &replay.TaskStarted{Task: 2, Attempt: 2, Provider: "llm"})
	put(t, log, 1, 0, &replay.TaskCancelled{Task: 2, Attempt: 2, Usage: replay.Usage{Tokens: 1}})
	put(t, log, 1, 3*time.Second, &replay.WorkflowEnded{Status: replay.Cancelled, ID: "a-1", Submitted: noon})
	return log
}

// text is what a keeper writes, caught up.
func text(t testing.TB, k *Keeper) string {
	t.Helper()
	if err := k.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Write(&out, k.Families()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func keeper(log *eventlog.Log) *Keeper { return NewKeeper(log, slog.New(slog.DiscardHandler)) }

func TestCounters(t *testing.T) {
	all := text(t, keeper(story(t)))
	var got []string
	for line := range strings.Lines(all) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") && !strings.Contains(line, "_bucket") && !strings.Contains(line, "log_events") {
			got = append(got, strings.TrimPrefix(line, "gleitzeit_"))
		}
	}
	want := strings.Split(strings.TrimSpace(`
runs_submitted_total{origin="outside"} 1
runs_submitted_total{origin="schedule"} 1
runs_submitted_total{origin="task"} 1
runs_ended_total{status="cancelled"} 1
runs_ended_total{status="completed"} 1
runs_ended_total{status="failed"} 1
run_duration_seconds_sum{status="cancelled"} 3
run_duration_seconds_count{status="cancelled"} 1
run_duration_seconds_sum{status="completed"} 60
run_duration_seconds_count{status="completed"} 1
run_duration_seconds_sum{status="failed"} 7200
run_duration_seconds_count{status="failed"} 1
tasks_ended_total{outcome="cancelled"} 1
tasks_ended_total{outcome="completed"} 4
tasks_ended_total{outcome="failed"} 1
tasks_ended_total{outcome="skipped"} 2
attempts_ended_total{provider="fake",outcome="cached",class=""} 1
attempts_ended_total{provider="fake",outcome="completed",class=""} 1
attempts_ended_total{provider="llm",outcome="cancelled",class=""} 1
attempts_ended_total{provider="llm",outcome="completed",class=""} 1
attempts_ended_total{provider="llm",outcome="failed",class="rate_limit"} 1
attempts_ended_total{provider="llm",outcome="interrupted",class=""} 1
attempts_ended_total{provider="python",outcome="in_doubt",class=""} 1
attempt_duration_seconds_sum{provider="fake"} 0
attempt_duration_seconds_count{provider="fake"} 1
attempt_duration_seconds_sum{provider="llm"} 4
attempt_duration_seconds_count{provider="llm"} 4
task_wait_seconds_sum{provider="fake"} 0
task_wait_seconds_count{provider="fake"} 2
task_wait_seconds_sum{provider="llm"} 2
task_wait_seconds_count{provider="llm"} 4
task_wait_seconds_sum{provider="python"} 0
task_wait_seconds_count{provider="python"} 1
tokens_total{provider="llm",model="tiny"} 100
tokens_total{provider="llm",model="unknown"} 6
cost_usd_total{provider="llm",model="tiny"} 0.25
cost_usd_total{provider="llm",model="unknown"} 0
`), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(all, `gleitzeit_log_events_total{type="task.started"} 8`+"\n") {
		t.Error("the records by type are wrong")
	}
}

// A restart after any record gives the same figures, also when what was counted
// before is gone from the log.
func TestRestartAnywhere(t *testing.T) {
	want := text(t, keeper(story(t)))
	log := story(t)
	for cut := eventlog.Seq(1); cut <= log.Last(); cut++ {
		first := keeper(log)
		first.counters = newCounters()
		for rec, err := range log.Read(1) {
			if err != nil || rec.Seq > cut {
				break
			}
			if err := first.counters.count(rec, log.Value); err != nil {
				t.Fatal(err)
			}
			first.at = rec.Seq
		}
		if err := first.Save(); err != nil {
			t.Fatal(err)
		}
		if got := text(t, keeper(log)); got != want {
			t.Fatalf("restarted after record %d:\n%s", cut, cmp.Diff(want, got))
		}
	}
}

func TestPastIsNotReadAgain(t *testing.T) {
	log := story(t)
	first := keeper(log)
	before := text(t, first)
	if err := first.Save(); err != nil {
		t.Fatal(err)
	}
	for run := range uint64(3) {
		if err := log.Delete(replay.Stream(run + 1)); err != nil {
			t.Fatal(err)
		}
	}
	after := text(t, keeper(log))
	line := fmt.Sprintf("gleitzeit_log_events_total{type=%q} 3\n", eventlog.StreamDeleted)
	if want := strings.Replace(after, line, "", 1); want != before {
		t.Error(cmp.Diff(before, after))
	}
}

// A checkpoint that can't be used is none.
func TestForeignCheckpoint(t *testing.T) {
	log := story(t)
	want := text(t, keeper(log))
	for _, data := range []string{`{`, `{"format":2}`, `{"format":1,"families":{"gleitzeit_runs_ended_total":[{"value":3}]}}`,
		`{"format":1,"families":{"gleitzeit_task_wait_seconds":[{"labels":["a"],"value":3,"counts":[1]}]}}`} {
		if err := log.SaveCheckpoints([]eventlog.Checkpoint{{Stream: Stream, At: 5, Data: []byte(data)}}, nil); err != nil {
			t.Fatal(err)
		}
		if got := text(t, keeper(log)); got != want {
			t.Errorf("%s: %s", data, cmp.Diff(want, got))
		}
	}
}

// What nobody asks for is counted and saved in time, and at the end.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := story(t)
		at := func() eventlog.Seq {
			cp, _, err := log.Checkpoint(Stream)
			if err != nil {
				t.Fatal(err)
			}
			return cp.At
		}
		quit, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			keeper(log).Keep(quit)
		}()
		for range 2 {
			time.Sleep(saveEvery + time.Second)
			synctest.Wait()
			if at() != log.Last() {
				t.Fatalf("saved up to %d of %d", at(), log.Last())
			}
			put(t, log, 0, 0, &replay.SystemStarted{PID: 3})
		}
		close(quit)
		<-done
		if at() != log.Last() {
			t.Errorf("at the end saved up to %d of %d", at(), log.Last())
		}
	})
}

// However many providers and models there are, there are only so many lines.
func TestBounded(t *testing.T) {
	log := eventlog.OpenMemory(eventlog.Options{})
	t.Cleanup(func() { log.Close() })
	some := func(i int) {
		put(t, log, 1, 0, &replay.TaskStarted{Task: 0, Attempt: 1, Provider: fmt.Sprint("p", i)})
		put(t, log, 1, 0, &replay.TaskCompleted{Task: 0, Attempt: 1, Usage: replay.Usage{Tokens: 1},
			Result: replay.NewValue(fmt.Appendf(nil, `{"model":"m%d\n\"\\%s"}`, i, strings.Repeat("é", maxLabel)))})
	}
	for i := range 2 * maxNames {
		some(i)
	}
	k := keeper(log)
	text(t, k)
	if err := k.Save(); err != nil {
		t.Fatal(err)
	}
	for i := range maxNames {
		some(2*maxNames + i)
	}
	k = keeper(log) // a restart doesn't make room
	families, err := new(expfmt.TextParser).TextToMetricFamilies(strings.NewReader(text(t, k)))
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, m := range families["gleitzeit_tokens_total"].Metric {
		total += m.Counter.GetValue()
	}
	if lines := len(families["gleitzeit_tokens_total"].Metric); lines > maxNames/2+1 || total != 3*maxNames {
		t.Errorf("%d lines of %g tokens", lines, total)
	}
	f := &Family{Name: "x", Kind: Counter, Labels: []string{"a"}}
	for i := range 2 * maxSeries {
		f.Add(1, fmt.Sprint(i))
	}
	if len(f.series) != maxSeries+1 || f.series[Other].Value != maxSeries {
		t.Errorf("%d series, %v of others", len(f.series), f.series[Other])
	}
}

// Who has to stop in the middle goes on there.
func TestCatchUpStops(t *testing.T) {
	k := keeper(story(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.CatchUp(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if got := text(t, k); got != text(t, keeper(story(t))) {
		t.Error(got)
	}
}
