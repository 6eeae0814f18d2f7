package replay

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// RunView is a run as people and programs are shown it. Its JSON form is part
// of the interface.
type RunView struct {
	ID          string           `json:"id"`
	Number      uint64           `json:"number"`
	Name        string           `json:"name"`
	Status      Status           `json:"status"`
	WaitsFor    string           `json:"waits_for,omitempty"` // timer, signal, approval, answer, secret, process, retry, run, breaker, limit, budget, worker: the kind of Reason
	Reason      string           `json:"reason,omitempty"`    // what it waits for, or why it was parked or cancelled
	Source      string           `json:"source,omitempty"`
	Description string           `json:"description,omitempty"`
	Tags        []string         `json:"tags,omitempty"`
	Metadata    json.RawMessage  `json:"metadata,omitempty"`
	Submitted   time.Time        `json:"submitted"`
	Ended       time.Time        `json:"ended,omitzero"`
	DurationMS  int64            `json:"duration_ms"`
	Counts      Counts           `json:"counts"`
	Error       *protocols.Error `json:"error,omitempty"`
	Tokens      int64            `json:"tokens,omitempty"`   // used by its calls, and by those of child runs
	CostUSD     float64          `json:"cost_usd,omitempty"` // as far as prices are known
	Queue       string           `json:"queue,omitempty"`
	Mocked      string           `json:"mocked,omitempty"` // what makes up answers for it; "": all is real
	Outputs     json.RawMessage  `json:"outputs,omitempty"`
	Tasks       []TaskView       `json:"tasks,omitempty"`
}

// TaskView is a task of a RunView.
type TaskView struct {
	ID           string           `json:"id"`
	Name         string           `json:"name,omitempty"` // when it isn't the id
	Method       string           `json:"method"`
	Status       TaskStatus       `json:"status"`
	WaitsFor     string           `json:"waits_for,omitempty"` // timer, signal, approval, answer, secret, retry, run, breaker, limit, slot, worker: what for, if it waits
	Reason       string           `json:"reason,omitempty"`
	Hook         protocols.Hook   `json:"hook,omitempty"`  // the end of the run at which it runs
	Of           string           `json:"of,omitempty"`    // of an instance of a foreach, or a step of an agent: the task that it is one of
	Turn         int              `json:"turn,omitempty"`  // of an agent: the last that has begun
	Tool         string           `json:"tool,omitempty"`  // of an agent's step: the tool that it calls
	Items        int              `json:"items,omitempty"` // of a foreach: how many instances follow the document's tasks
	Attempts     int              `json:"attempts"`
	Dependencies []string         `json:"dependencies,omitempty"`
	Started      time.Time        `json:"started,omitzero"`
	Ended        time.Time        `json:"ended,omitzero"`
	Due          time.Time        `json:"due,omitzero"` // of the next attempt
	DurationMS   int64            `json:"duration_ms"`
	Error        *protocols.Error `json:"error,omitempty"`
	Result       json.RawMessage  `json:"result,omitempty"`
	ChildRun     string           `json:"child_run,omitempty"`
	ResultSize   int              `json:"result_size,omitempty"` // in bytes, also when Result is left out
	Preview      string           `json:"preview,omitempty"`     // when Result is left out for its size
	Partial      *PartialView     `json:"partial,omitempty"`     // what an attempt had said that came to no result
	Question     *QuestionView    `json:"question,omitempty"`    // what its attempt asks a person now
}

// QuestionView is a question of a TaskView.
type QuestionView struct {
	ID      string          `json:"id"`
	Message string          `json:"message"`
	From    string          `json:"from,omitempty"`
	Fields  []string        `json:"fields,omitempty"` // of the answer, those that are required first
	Schema  json.RawMessage `json:"schema,omitempty"` // of the answer; big ones are left out with the big results
	More    int             `json:"more,omitempty"`   // questions that wait behind it
}

// History is all that happened to one run, folded.
type History struct {
	Facts   []Fact // of the run
	trouble []Fact // of its providers, meanwhile
	texts   []Fact // what its attempts have said
	run     *Run
	end     *Fact // its last, if that ended it
}

// LoadHistory reads a run's facts. It returns nil when there is no such run.
func LoadHistory(log *eventlog.Log, run uint64) (*History, error) {
	facts, err := Facts(log, run)
	if err != nil || len(facts) == 0 {
		return nil, err
	}
	h := &History{Facts: facts}
	s := NewState()
	head, found, err := log.Head(SystemStream)
	if err != nil {
		return nil, err
	}
	for _, f := range facts {
		if h.end != nil { // it went on
			s.Apply(*h.end)
			h.end = nil
		}
		if _, ok := f.Event.(*WorkflowEnded); ok {
			h.end = &f // not applied: the run is wanted as it was then
		} else {
			s.Apply(f)
		}
	}
	h.run = s.Run(run)
	if h.end == nil && found {
		s.Life = head.Seq
		s.orphan(h.run)
	}
	last := facts[len(facts)-1].Seq
	if h.end == nil {
		last = log.Last()
	}
	if h.texts, err = texts(log, run); err != nil {
		return nil, err
	}
	h.trouble, err = trouble(log, h.run, facts[0].Seq, last)
	return h, err
}

// Run returns the run as it is, or as it was when it ended. It must not be
// changed.
func (h *History) Run() *Run { return h.run }

// Ended tells whether the run is over.
func (h *History) Ended() bool { return h.end != nil }

// End returns how the run ended and where the log says so, if it has.
func (h *History) End() (*WorkflowEnded, eventlog.Seq) {
	if h.end == nil {
		return nil, 0
	}
	return h.end.Event.(*WorkflowEnded), h.end.Seq
}

// RetriedAfter tells whether the run has gone on after the end at that place.
func (h *History) RetriedAfter(end eventlog.Seq) bool {
	return slices.ContainsFunc(h.Facts, func(f Fact) bool {
		_, retried := f.Event.(*WorkflowRetried)
		return retried && f.Seq > end
	})
}

// View returns the run for people. get loads big values; nil leaves them out.
func (h *History) View(get func(eventlog.Hash) ([]byte, error)) (*RunView, error) {
	v := viewRun(h.run)
	if end, _ := h.End(); end != nil {
		v.Status, v.Error, v.Ended, v.Reason = end.Status, end.Error, h.end.At, ""
		v.WaitsFor = ""
		v.DurationMS = h.end.At.Sub(h.run.At).Milliseconds()
		var err error
		if v.Outputs, _, err = show(end.Outputs, get); err != nil {
			return nil, err
		}
	}
	for i := range h.run.Tasks {
		t, err := viewTask(h.run, i, get)
		if err == nil && len(h.texts) > 0 {
			t.Partial, err = h.partial(i, get)
		}
		if err != nil {
			return nil, err
		}
		v.Tasks = append(v.Tasks, t)
	}
	return v, nil
}

// Summary returns a live run for people, without its tasks.
func (r *Run) Summary() *RunView { return viewRun(r) }

// Summary is Run.Summary for a run of the state, which knows what it waits for.
func (s *State) Summary(r *Run, now time.Time, b Bounds) *RunView {
	v := viewRun(r)
	v.Status, v.WaitsFor, v.Reason = s.Stand(r, now, b)
	return v
}

// Explain adds to a view of the run what only the state knows: for what its
// ready tasks wait.
func (s *State) Explain(r *Run, now time.Time, b Bounds, v *RunView) {
	v.Status, v.WaitsFor, v.Reason = s.Stand(r, now, b)
	for i := range min(len(v.Tasks), len(r.Tasks)) {
		if r.Tasks[i].Status == TaskReady && r.Active() {
			v.Tasks[i].WaitsFor, v.Tasks[i].Reason = s.Blocked(r, i, now, b)
		}
	}
}

func viewRun(r *Run) *RunView {
	w := r.Plan.Workflow
	v := &RunView{ID: r.ID(), Number: r.Number, Name: w.Name, Source: r.Submitted.Source, Description: w.Description,
		Tags: w.Tags, Metadata: w.Metadata, Submitted: r.At, Counts: r.Counts(), DurationMS: r.Last.Sub(r.At).Milliseconds(),
		Tokens: r.Spent.Tokens, CostUSD: r.Spent.USD(), Queue: r.Submitted.Queue, Mocked: r.Submitted.Mocked}
	v.Status, v.WaitsFor, v.Reason = r.Stand()
	return v
}

// EndedView returns an ended run for lists, from its last record alone.
func EndedView(rec eventlog.Record) (*RunView, error) {
	var e WorkflowEnded
	if err := json.Unmarshal(rec.Data, &e); err != nil {
		return nil, fmt.Errorf("record %d (%s): %w", rec.Seq, rec.Type, err)
	}
	number, _ := RunOf(rec.Stream)
	return &RunView{ID: e.ID, Number: number, Name: e.Name, Status: e.Status, Tags: e.Tags, Submitted: e.Submitted,
		Ended: rec.Time, DurationMS: rec.Time.Sub(e.Submitted).Milliseconds(), Counts: e.Counts, Error: e.Error,
		Tokens: e.Usage.Tokens, CostUSD: e.Usage.USD(), Mocked: e.Mocked}, nil
}

// Stand says where a live run stands, and what it waits for if it waits: the
// kind (see RunView.WaitsFor) and the same in words.
func (r *Run) Stand() (status Status, kind, reason string) {
	goOn := "; to go on: gleitzeit resume " + r.ID()
	switch {
	case r.Parked != nil:
		return Parked, "", r.Parked.Reason + "; to try again: gleitzeit resume " + r.ID()
	case r.Paused && r.Running == 0:
		return Paused, r.pausedFor(), r.pause()
	case r.Cancel != "" && r.Stopping() && !r.Doubt && r.Running == 0 && len(r.Children()) > 0:
		return Waiting, "run", "it is being cancelled, and waits for a child run to end"
	case r.Cancel != "" && r.Stopping() && !r.Doubt && (r.Held || r.Running > 0):
		return Running, "", "it is being cancelled"
	case r.Paused:
		return Paused, r.pausedFor(), r.pause()
	case r.Interrupted && (r.Running == 0 || r.Doubt):
		return Waiting, "process", "it was interrupted" + goOn
	case r.Running > 0 && !r.Doubt && (r.Held || r.Interrupted) && r.asking() >= 0:
		return Running, "approval", r.askedFor(r.asking())
	case r.Running > 0 && !r.Doubt && (r.Held || r.Interrupted), r.Outputs && r.Held:
		return Running, "", ""
	}
	status, kind, reason = r.waiting()
	if !r.Held && (status != Waiting || kind == "timer" || kind == "retry") {
		return Waiting, "process", "the process that ran it is gone" + goOn
	}
	return status, kind, reason
}

// pausedFor is the kind of why the run is paused.
func (r *Run) pausedFor() string {
	if r.Overspent != "" {
		return "budget"
	}
	return ""
}

// pause says why a paused run rests, and what lets it go on.
func (r *Run) pause() string {
	switch {
	case r.Overspent != "":
		return r.Overspent + "; to go on: gleitzeit workflow unpause " + r.ID() + " --tokens N or --usd N"
	case r.PausedWith != "":
		return fmt.Sprintf("it was paused with the run %s; to go on: gleitzeit workflow unpause %[1]s", r.PausedWith)
	}
	return "it was paused; to go on: gleitzeit workflow unpause " + r.ID()
}

// waiting names what a run without a running attempt waits for: the nearest
// moment first, then what a person has to do.
func (r *Run) waiting() (status Status, kind, reason string) {
	best := -1
	for i := range r.Tasks {
		switch r.Tasks[i].Status {
		case TaskReady, TaskRunning:
			if r.Open == len(r.Tasks) {
				return Pending, "", ""
			}
			return Running, "", ""
		case TaskWaitsToRetry, TaskWaits, TaskDoubtful:
			if best < 0 || r.sooner(i, best) {
				best = i
			}
		}
	}
	if best < 0 {
		return Running, "", ""
	}
	kind, reason = r.waitOf(best)
	return Waiting, kind, reason
}

// sooner tells whether a task waits for an earlier moment than another; one
// without a moment comes last.
func (r *Run) sooner(a, b int) bool {
	x, y := r.Tasks[a].Due, r.Tasks[b].Due
	return !x.IsZero() && (y.IsZero() || x.Before(y))
}

// waitOf says what one task waits for.
func (r *Run) waitOf(task int) (kind, reason string) {
	t, id := &r.Tasks[task], r.TaskID(task)
	switch {
	case t.Status == TaskWaitsToRetry:
		return "retry", fmt.Sprintf("the retry of %q at %s", id, t.Due.Format(time.RFC3339))
	case t.Status == TaskDoubtful:
		return "answer", fmt.Sprintf("an answer about %q, whose attempt is in doubt: gleitzeit resume %s --retry, --fail or --skip %q",
			id, r.ID(), id)
	case t.Wait.Kind == WaitChild:
		return "run", t.Wait.describe()
	case t.Wait.Kind == WaitSecret:
		return "secret", r.missingSecrets()
	case t.Wait.Kind == WaitSignal:
		return "signal", fmt.Sprintf("%s: gleitzeit signal %s %q --data JSON", t.Wait.describe(), r.ID(), t.Wait.Signal)
	case t.Wait.Kind == WaitApproval:
		return "approval", fmt.Sprintf("%s for %q: gleitzeit approve %s %q", t.Wait.describe(), id, r.ID(), id)
	}
	return "timer", t.Wait.describe() + fmt.Sprintf(" (%q)", id)
}

func viewTask(r *Run, i int, get func(eventlog.Hash) ([]byte, error)) (TaskView, error) {
	t, d := &r.Tasks[i], r.Task(i)
	v := TaskView{ID: r.TaskID(i), Method: d.Method, Status: t.Status, Reason: t.Reason, Attempts: t.Attempts, Started: t.Started,
		Ended: t.Ended, Due: t.Due, DurationMS: t.Duration.Milliseconds(), Error: t.Error, ResultSize: t.Result.Size()}
	if d.Name != d.ID && t.Of == 0 {
		v.Name = d.Name
	}
	v.Hook = d.Hook
	if t.Of > 0 {
		v.Of = r.TaskID(t.Of - 1)
	}
	if t.Agent != nil {
		v.Turn = t.Agent.Turn
	}
	if t.Step != nil {
		v.Tool = t.Step.Tool
	}
	if t.Each != nil {
		v.Items = t.Each.Count
	}
	if t.Status == TaskRunning && r.Doubt {
		v.Status = TaskDoubtful
	}
	for _, n := range d.Dependencies {
		v.Dependencies = append(v.Dependencies, r.Plan.Task(n).ID)
	}
	var err error
	if t.Wait != nil {
		v.ChildRun = t.Wait.ChildID
	}
	switch t.Status {
	case TaskWaits:
		v.WaitsFor, _ = r.waitOf(i)
		v.Reason = t.Wait.describe()
	case TaskWaitsToRetry, TaskDoubtful:
		v.WaitsFor, _ = r.waitOf(i)
	}
	if err := v.asks(r, i, get); err != nil {
		return v, err
	}
	v.Result, v.Preview, err = show(t.Result, get)
	return v, err
}

// asks shows what the task asks a person.
func (v *TaskView) asks(r *Run, i int, get func(eventlog.Hash) ([]byte, error)) (err error) {
	open := r.Asks(i)
	if len(open) == 0 {
		return nil
	}
	a := open[0]
	v.Question = &QuestionView{ID: a.ID, Message: a.Message, From: a.From, Fields: a.Fields, More: len(open) - 1}
	v.Question.Schema, _, err = show(a.Schema, get)
	if v.WaitsFor == "" {
		v.WaitsFor, v.Reason = "approval", a.describe()
	}
	return err
}

// show returns a value's JSON text, or its beginning when big ones are left
// out.
func show(v Value, get func(eventlog.Hash) ([]byte, error)) (json.RawMessage, string, error) {
	if v.Big != nil && get == nil {
		return nil, v.Big.Preview, nil
	}
	raw, err := v.Load(get)
	return raw, "", err
}
