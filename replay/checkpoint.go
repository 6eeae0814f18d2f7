package replay

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// A checkpoint of a run's stream is savedRun as JSON; that of the system
// stream is savedSystem, whose At says up to where the runs' checkpoints
// together cover the log. Both are derived and may be lost: then more of the
// log is read.

type savedSystem struct {
	NextRun uint64       `json:"next_run"`
	Time    time.Time    `json:"time"`
	Life    eventlog.Seq `json:"life"`
	Lives   []life       `json:"lives,omitempty"`
}

type savedRun struct {
	Submitted   *WorkflowSubmitted `json:"submitted"`
	At          time.Time          `json:"at"`
	Last        time.Time          `json:"last"`
	Deadline    time.Time          `json:"deadline,omitzero"`
	Held        bool               `json:"held,omitempty"`
	HeldAt      eventlog.Seq       `json:"held_at,omitempty"`
	Released    time.Time          `json:"released,omitzero"`
	Doubt       bool               `json:"doubt,omitempty"`
	Cancel      CancelReason       `json:"cancel,omitempty"`
	CancelBy    string             `json:"cancel_by,omitempty"`
	Parked      *WorkflowParked    `json:"parked,omitempty"`
	Interrupted bool               `json:"interrupted,omitempty"`
	Paused      bool               `json:"paused,omitempty"`
	PausedAt    time.Time          `json:"paused_at,omitzero"`
	PausedWith  string             `json:"paused_with,omitempty"`
	Signals     []Signal           `json:"signals,omitempty"`
	CancelHook  protocols.Hook     `json:"cancel_hook,omitempty"`
	Hook        protocols.Hook     `json:"hook,omitempty"`
	Undecided   map[int]Question   `json:"undecided,omitempty"`
	Outputs     bool               `json:"outputs,omitempty"`
	FailedTask  int                `json:"failed_task"`
	Spent       Usage              `json:"spent,omitzero"`
	Granted     Usage              `json:"granted,omitzero"`
	Overspent   string             `json:"overspent,omitempty"`
	Calls       time.Time          `json:"calls,omitzero"`
	Retries     int                `json:"retries,omitempty"`
	Tasks       []savedTask        `json:"tasks"`
}

type savedTask struct {
	Status    TaskStatus       `json:"s"`
	Attempts  int              `json:"a,omitempty"`
	Lost      int              `json:"l,omitempty"`
	Uncounted int              `json:"u,omitempty"`
	First     time.Time        `json:"f,omitzero"`
	Started   time.Time        `json:"b,omitzero"`
	Ended     time.Time        `json:"e,omitzero"`
	Due       time.Time        `json:"d,omitzero"`
	Duration  time.Duration    `json:"t,omitempty"`
	Result    Value            `json:"r,omitzero"`
	Error     *protocols.Error `json:"x,omitempty"`
	Reason    string           `json:"w,omitempty"`
	Wait      *Wait            `json:"v,omitempty"`
	Each      *savedEach       `json:"i,omitempty"`
	Agent     *savedAgent      `json:"h,omitempty"`
	Step      *Step            `json:"j,omitempty"`
	Of        int              `json:"o,omitempty"`
	Asked     Question         `json:"q,omitempty"`
	Iteration int              `json:"n,omitempty"`
	Earlier   int              `json:"p,omitempty"`
	ReadyAt   time.Time        `json:"y,omitzero"`
	Provider  int              `json:"g,omitempty"`
	Tried     uint64           `json:"k,omitempty"`
	Spent     Usage            `json:"c,omitzero"`
	Calls     time.Time        `json:"z,omitzero"`
	Talk      *Talk            `json:"m,omitempty"`
}

type savedEach struct {
	First  int     `json:"f"`
	Count  int     `json:"c"`
	Size   int     `json:"s"`
	Items  []Value `json:"i"`
	Failed int     `json:"x"`
	Next   int     `json:"n"`
	Round  int     `json:"r,omitempty"`
}

type savedAgent struct {
	Round int   `json:"r,omitempty"`
	Turn  int   `json:"t,omitempty"`
	Base  int   `json:"b,omitempty"`
	Steps []int `json:"s,omitempty"`
	Batch int   `json:"l,omitempty"`
	Next  int   `json:"n,omitempty"`
}

// encodeRun writes a live run for its stream's checkpoint.
func encodeRun(r *Run) ([]byte, error) { return marshal(saveRun(r)) }

func saveRun(r *Run) *savedRun {
	s := &savedRun{
		Submitted: r.Submitted, At: r.At, Last: r.Last, Deadline: r.Deadline,
		Held: r.Held, HeldAt: r.heldAt, Released: r.released, Doubt: r.Doubt, Cancel: r.Cancel, CancelBy: r.CancelBy,
		Parked: r.Parked, Interrupted: r.Interrupted, Paused: r.Paused, PausedAt: r.PausedAt, PausedWith: r.PausedWith, Signals: r.Signals,
		CancelHook: r.cancelHook, Hook: r.Hook, Undecided: r.undecided, Outputs: r.Outputs, FailedTask: r.FailedTask,
		Spent: r.Spent, Granted: r.Granted, Overspent: r.Overspent, Calls: r.calls,
		Retries: r.Retries, Tasks: make([]savedTask, len(r.Tasks)),
	}
	for i, t := range r.Tasks {
		s.Tasks[i] = saveTask(&t)
	}
	return s
}

func saveTask(t *Task) savedTask {
	s := savedTask{Status: t.Status, Attempts: t.Attempts, Lost: t.Lost, Uncounted: t.Uncounted, First: t.First, Started: t.Started,
		Ended: t.Ended, Due: t.Due, Duration: t.Duration, Result: t.Result, Error: t.Error, Reason: t.Reason, Wait: t.Wait,
		Of: t.Of, Step: t.Step, Asked: t.Asked, Iteration: t.Iteration, Earlier: t.Earlier,
		ReadyAt: t.ReadyAt, Provider: t.Provider, Tried: t.Tried, Spent: t.Spent, Calls: t.calls, Talk: t.Talk}
	if e := t.Each; e != nil {
		s.Each = &savedEach{e.First, e.Count, e.Size, e.Items, e.Failed, e.next, e.Round}
	}
	if a := t.Agent; a != nil {
		s.Agent = &savedAgent{a.Round, a.Turn, a.Base, slices.Clone(a.Steps), a.Batch, a.next}
	}
	return s
}

func (s *savedTask) restore() Task {
	t := Task{Status: s.Status, Attempts: s.Attempts, Lost: s.Lost, Uncounted: s.Uncounted, First: s.First, Started: s.Started,
		Ended: s.Ended, Due: s.Due, Duration: s.Duration, Result: s.Result, Error: s.Error, Reason: s.Reason, Wait: s.Wait,
		Of: s.Of, Step: s.Step, Asked: s.Asked, Iteration: s.Iteration, Earlier: s.Earlier,
		ReadyAt: s.ReadyAt, Provider: s.Provider, Tried: s.Tried, Spent: s.Spent, calls: s.Calls, Talk: s.Talk}
	if e := s.Each; e != nil {
		t.Each = &Each{First: e.First, Count: e.Count, Size: e.Size, Items: e.Items, Failed: e.Failed, Round: e.Round, next: e.Next}
	}
	if a := s.Agent; a != nil {
		t.Agent = &Agent{Round: a.Round, Turn: a.Turn, Base: a.Base, Steps: slices.Clone(a.Steps), Batch: a.Batch, next: a.Next}
	}
	return t
}

// restoreRun puts a run from its checkpoint into the state.
func (s *State) restoreRun(c *Codec, cp eventlog.Checkpoint) error {
	number, ok := RunOf(cp.Stream)
	if !ok {
		return fmt.Errorf("checkpoint of %q: not a run", cp.Stream)
	}
	var v savedRun
	if err := json.Unmarshal(cp.Data, &v); err != nil {
		return fmt.Errorf("checkpoint of %s: %w", cp.Stream, err)
	}
	plan, err := c.Plan(v.Submitted.Document, v.Submitted.Setup)
	if err != nil {
		return fmt.Errorf("checkpoint of %s: %w", cp.Stream, err)
	}
	if len(v.Tasks) < len(plan.Workflow.Tasks) {
		return fmt.Errorf("checkpoint of %s: %d tasks, its document has %d", cp.Stream, len(v.Tasks), len(plan.Workflow.Tasks))
	}
	r := v.run(number, s.use(plan))
	r.Seq = cp.At
	s.adopt(r)
	return nil
}

// run makes the run of what was saved; it shares nothing with that.
func (v *savedRun) run(number uint64, plan *Plan) *Run {
	r := &Run{
		Number: number, Plan: plan, Submitted: v.Submitted, At: v.At, Last: v.Last,
		Deadline: v.Deadline, Held: v.Held, heldAt: v.HeldAt, released: v.Released, Doubt: v.Doubt, Cancel: v.Cancel,
		CancelBy: v.CancelBy, Parked: v.Parked, Interrupted: v.Interrupted, Paused: v.Paused, PausedAt: v.PausedAt, PausedWith: v.PausedWith,
		Signals: slices.Clone(v.Signals), cancelHook: v.CancelHook, Hook: v.Hook, undecided: maps.Clone(v.Undecided),
		Outputs: v.Outputs, FailedTask: v.FailedTask, Retries: v.Retries, Spent: v.Spent, Granted: v.Granted,
		Overspent: v.Overspent, calls: v.Calls, Tasks: make([]Task, len(v.Tasks)),
	}
	for i, t := range v.Tasks {
		r.Tasks[i] = t.restore()
	}
	return r
}

// adopt counts a restored run and enters it into every index.
func (s *State) adopt(r *Run) {
	s.runs[r.Number] = r
	s.NextRun = max(s.NextRun, r.Number+1)
	s.claim(r)
	for i := range r.Tasks {
		s.adoptTask(r, i)
	}
	for i := range r.Plan.Workflow.Tasks {
		if t := r.Tasks[i].Status; t.Ended() && !r.Good(i) {
			r.doom(i)
		}
	}
	s.index(r)
	s.note(r)
	s.line(r)
	s.alertOf(r)
}

// restoreSystem puts what concerns the whole store into the state.
func (s *State) restoreSystem(cp eventlog.Checkpoint) error {
	var v savedSystem
	if err := json.Unmarshal(cp.Data, &v); err != nil {
		return fmt.Errorf("checkpoint of the system: %w", err)
	}
	s.Seq, s.Time, s.NextRun, s.Life, s.lives = cp.At, v.Time, v.NextRun, v.Life, v.Lives
	return nil
}

// adoptTask counts a restored task and what holds it.
func (s *State) adoptTask(r *Run, i int) {
	t := &r.Tasks[i]
	r.count(i, 1)
	r.Asking += t.Talk.open()
	r.went = r.went || t.Attempts > 0
	if t.Status == TaskRunning && !r.Doubt {
		s.grab(r, i)
	}
	if t.Step != nil {
		if a := r.Tasks[t.Of-1].Agent; a != nil { // else of an earlier iteration
			a.adoptStep(i, t.Status)
		}
		return
	}
	if t.Of > 0 {
		if e := r.Tasks[t.Of-1].Each; !t.Status.Ended() {
			e.left++
			if i-e.First < e.next {
				e.live++
			}
		}
		return
	}
	for _, d := range r.Task(i).Dependencies {
		if !r.Tasks[d].Status.Ended() {
			t.waiting++
		}
	}
}
