package metrics

import (
	"encoding/json"
	"fmt"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file counts records. What a record adds depends on it and those before it
// alone.

// Counters are what the records of a log come to, up to one of them. The zero
// value is not one: see newCounters.
type Counters struct {
	events, submitted, ended, tasks, attempts, tokens, cost *Family
	runTime, attemptTime, waitTime                          *Family

	// open are the attempts that providers carry out now, by run and task: who
	// ends one doesn't say whose it was.
	open map[uint64]map[int]attempt
	// seen are the names of providers and models that have labels.
	seen map[string]bool
}

// attempt is one that has begun.
type attempt struct {
	Provider string `json:"provider"`
	Mocked   bool   `json:"mocked,omitempty"`
}

// maxNames is how many providers and models have labels of their own.
const maxNames = 200

// The bounds of the histograms, in seconds.
var (
	shortTimes = []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800}
	longTimes  = []float64{0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 3600, 21_600, 86_400, 604_800}
)

func newCounters() *Counters {
	return &Counters{
		events:    &Family{Name: "gleitzeit_log_events_total", Kind: Counter, Help: "Records of the log by type.", Labels: []string{"type"}},
		submitted: &Family{Name: "gleitzeit_runs_submitted_total", Kind: Counter, Help: "Runs accepted: from outside, of a schedule, of another run's task.", Labels: []string{"origin"}},
		ended:     &Family{Name: "gleitzeit_runs_ended_total", Kind: Counter, Help: "Ends of runs; one that is retried ends again.", Labels: []string{"status"}},
		tasks:     &Family{Name: "gleitzeit_tasks_ended_total", Kind: Counter, Help: "Ends of tasks.", Labels: []string{"outcome"}},
		attempts:  &Family{Name: "gleitzeit_attempts_ended_total", Kind: Counter, Help: "Ends of attempts on providers; class is that of the error.", Labels: []string{"provider", "outcome", "class"}},
		tokens:    &Family{Name: "gleitzeit_tokens_total", Kind: Counter, Help: "Tokens that attempts used.", Labels: []string{"provider", "model"}},
		cost:      &Family{Name: "gleitzeit_cost_usd_total", Kind: Counter, Help: "What attempts cost, in US dollars.", Labels: []string{"provider", "model"}, Per: 1e6},
		runTime:   &Family{Name: "gleitzeit_run_duration_seconds", Kind: Histogram, Help: "Time from submission to end.", Labels: []string{"status"}, Bounds: longTimes},
		attemptTime: &Family{Name: "gleitzeit_attempt_duration_seconds", Kind: Histogram, Help: "Time that attempts took on providers.",
			Labels: []string{"provider"}, Bounds: shortTimes},
		waitTime: &Family{Name: "gleitzeit_task_wait_seconds", Kind: Histogram, Help: "Time that ready tasks waited for a slot of a provider.",
			Labels: []string{"provider"}, Bounds: shortTimes},
		open: map[uint64]map[int]attempt{}, seen: map[string]bool{},
	}
}

// families are all of them, in the order of writing.
func (c *Counters) families() []*Family {
	return []*Family{c.submitted, c.ended, c.runTime, c.tasks, c.attempts, c.attemptTime, c.waitTime, c.tokens, c.cost, c.events}
}

// count adds one record. value loads what a record names by hash.
func (c *Counters) count(rec eventlog.Record, value func(eventlog.Hash) ([]byte, error)) error {
	number, ofRun := replay.RunOf(rec.Stream)
	event, err := read(rec)
	if err != nil {
		return err
	}
	c.events.Add(1, label(rec.Type))
	if rec.Type == eventlog.StreamDeleted {
		delete(c.open, number)
	}
	if !ofRun || event == nil {
		return nil
	}
	switch e := event.(type) {
	case *replay.WorkflowSubmitted:
		c.submitted.Add(1, origin(e))
	case *replay.WorkflowEnded:
		c.ended.Add(1, string(e.Status))
		c.runTime.Observe(max(0, rec.Time.Sub(e.Submitted)).Seconds(), string(e.Status))
		delete(c.open, number)
	default:
		c.task(number, event, value)
	}
	return nil
}

// read returns the event of a record that counts for more than its type, else
// nil.
func read(rec eventlog.Record) (replay.Event, error) {
	var e replay.Event
	switch rec.Type {
	case "workflow.submitted":
		e = new(replay.WorkflowSubmitted)
	case "workflow.completed", "workflow.failed", "workflow.cancelled", "workflow.timed_out":
		e = new(replay.WorkflowEnded)
	case "task.started":
		e = new(replay.TaskStarted)
	case "task.completed":
		e = new(replay.TaskCompleted)
	case "task.iterated":
		e = new(replay.TaskIterated)
	case "task.retrying":
		e = new(replay.TaskRetrying)
	case "task.failed":
		e = new(replay.TaskFailed)
	case "task.cancelled":
		e = new(replay.TaskCancelled)
	case "task.interrupted":
		e = new(replay.TaskInterrupted)
	case "task.in_doubt":
		e = new(replay.TaskInDoubt)
	case "task.skipped":
		e = new(replay.TaskSkipped)
	case "task.waiting":
		e = new(replay.TaskWaiting)
	default:
		return nil, nil
	}
	if err := json.Unmarshal(rec.Data, e); err != nil {
		return nil, fmt.Errorf("count record %d (%s): %w", rec.Seq, rec.Type, err)
	}
	return e, nil
}

func origin(e *replay.WorkflowSubmitted) string {
	switch {
	case e.Parent != nil:
		return "task"
	case e.Schedule != "":
		return "schedule"
	}
	return "outside"
}

// task counts what happened to a task of a run.
func (c *Counters) task(run uint64, event replay.Event, value func(eventlog.Hash) ([]byte, error)) {
	switch e := event.(type) {
	case *replay.TaskStarted:
		c.begin(run, e)
	case *replay.TaskCompleted:
		c.tasks.Add(1, "completed")
		outcome := "completed"
		if e.Cached {
			outcome = "cached"
		}
		c.end(run, e.Task, ending{outcome: outcome, took: e.Duration, usage: e.Usage, result: e.Result}, value)
	case *replay.TaskIterated:
		c.end(run, e.Task, ending{outcome: "completed", took: e.Duration, usage: e.Usage, result: e.Result}, value)
	case *replay.TaskRetrying:
		c.end(run, e.Task, ending{outcome: "failed", err: e.Error, took: e.Duration, usage: e.Usage}, value)
	case *replay.TaskFailed:
		c.tasks.Add(1, "failed")
		c.end(run, e.Task, ending{outcome: "failed", err: e.Error, took: e.Duration, usage: e.Usage}, value)
	case *replay.TaskCancelled:
		c.tasks.Add(1, "cancelled")
		c.end(run, e.Task, ending{outcome: "cancelled", took: e.Duration, usage: e.Usage}, value)
	case *replay.TaskInterrupted:
		c.end(run, e.Task, ending{outcome: "interrupted", took: e.Duration}, value)
	case *replay.TaskInDoubt:
		c.end(run, e.Task, ending{outcome: "in_doubt"}, value)
	case *replay.TaskSkipped:
		c.tasks.Add(float64(len(e.Tasks)), "skipped")
	case *replay.TaskWaiting:
		c.close(run, e.Task) // it has no slot, and will get another attempt if it needs one
	}
}

// begin notes an attempt. Those that need no provider, which start waits, don't
// count.
func (c *Counters) begin(run uint64, e *replay.TaskStarted) {
	if e.Provider == replay.Ourselves {
		return
	}
	provider := c.name(e.Provider)
	c.waitTime.Observe(time.Duration(e.Waited).Seconds(), provider)
	if c.open[run] == nil {
		c.open[run] = map[int]attempt{}
	}
	c.open[run][e.Task] = attempt{provider, e.Mocked}
}

// close returns the open attempt of a task, which is none any more.
func (c *Counters) close(run uint64, task int) (a attempt, found bool) {
	a, found = c.open[run][task]
	delete(c.open[run], task)
	if len(c.open[run]) == 0 {
		delete(c.open, run)
	}
	return a, found
}

// ending is how an attempt ended.
type ending struct {
	outcome string
	err     *protocols.Error
	took    protocols.Duration
	usage   replay.Usage
	result  replay.Value
}

// end counts the end of a task's attempt, if it had one on a provider.
func (c *Counters) end(run uint64, task int, e ending, value func(eventlog.Hash) ([]byte, error)) {
	a, found := c.close(run, task)
	if !found {
		return
	}
	class := ""
	if e.err != nil {
		class = string(e.err.Code.Class())
	}
	c.attempts.Add(1, a.Provider, e.outcome, class)
	if e.outcome != "in_doubt" && e.outcome != "cached" {
		c.attemptTime.Observe(time.Duration(e.took).Seconds(), a.Provider)
	}
	if a.Mocked || e.usage == (replay.Usage{}) {
		return
	}
	model := c.name(modelOf(e.result, value))
	c.tokens.Add(float64(max(0, e.usage.Tokens)), a.Provider, model)
	c.cost.Add(float64(max(0, e.usage.MicroUSD)), a.Provider, model)
}

// modelOf is the model that a result says it is of, "" if it doesn't.
func modelOf(result replay.Value, value func(eventlog.Hash) ([]byte, error)) string {
	raw, err := result.Load(value)
	if err != nil {
		return "" // its run has been deleted meanwhile
	}
	var says struct {
		Model string `json:"model"`
	}
	if json.Unmarshal(raw, &says) != nil {
		return ""
	}
	return says.Model
}

// name is the label of a provider or model, Other if there are too many.
func (c *Counters) name(name string) string {
	name = label(name)
	if !c.seen[name] {
		if len(c.seen) >= maxNames {
			return Other
		}
		c.seen[name] = true
	}
	return name
}

// format is the layout of saved. Counters of another one are made anew of the
// records that there are.
const format = 1

// saved are counters in a checkpoint.
type saved struct {
	Format   int                        `json:"format"`
	Families map[string][]*series       `json:"families"`
	Open     map[uint64]map[int]attempt `json:"open,omitempty"`
	Seen     map[string]bool            `json:"seen,omitempty"`
}

func (c *Counters) save() ([]byte, error) {
	s := saved{Format: format, Families: map[string][]*series{}, Open: c.open, Seen: c.seen}
	for _, f := range c.families() {
		for _, one := range f.series {
			s.Families[f.Name] = append(s.Families[f.Name], one)
		}
	}
	return json.Marshal(s)
}

// restore returns what save saved, or nil if that is of no use.
func restore(data []byte) *Counters {
	var s saved
	if json.Unmarshal(data, &s) != nil || s.Format != format {
		return nil
	}
	c := newCounters()
	for _, f := range c.families() {
		for _, one := range s.Families[f.Name] {
			if len(one.Labels) != len(f.Labels) || f.Kind == Histogram && len(one.Counts) != len(f.Bounds)+1 {
				return nil
			}
			*f.at(one.Labels) = *one
		}
	}
	for run, open := range s.Open {
		c.open[run] = open
	}
	for name := range s.Seen {
		c.seen[name] = true
	}
	return c
}
