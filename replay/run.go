package replay

import (
	"fmt"
	"slices"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// Run is one execution of a workflow.
type Run struct {
	Number    uint64
	Plan      *Plan
	Submitted *WorkflowSubmitted
	At        time.Time // when it was submitted
	Seq       eventlog.Seq
	Last      time.Time // of its last fact
	Deadline  time.Time // zero: none

	// Held tells that a process has taken it on itself to run it: tasks start
	// only then.
	Held        bool
	heldAt      eventlog.Seq
	released    time.Time // when it was let go of, by an event of its own
	Doubt       bool      // its running attempts are those of a dead process
	Cancel      CancelReason
	CancelBy    string
	cancelHook  protocols.Hook // what ran when the cancel was requested
	Parked      *WorkflowParked
	Interrupted bool
	Paused      bool
	PausedAt    time.Time
	PausedWith  string         // the id of its parent, when that was paused
	Signals     []Signal       // received and not taken yet, oldest first
	Hook        protocols.Hook // the hook whose tasks run now, "" for the ordinary ones
	Outputs     bool           // outputs have been requested
	Spent       Usage          // by its attempts and its children
	Granted     Usage          // by a person, beyond its budgets
	Overspent   string         // which budget is used up, when it is paused for that
	Retries     int            // how often it has gone on after an end
	FailedTask  int            // the first task whose failure is the run's, or -1

	// Tasks are the document's, and after them the instances of its foreaches.
	Tasks []Task

	Open    int // tasks that have not ended, of the hooks that have begun
	Running int // attempts that have not reported
	Asking  int // tasks with an open question to a person
	Idle    int // open tasks that neither run nor have instances that do, and that a failure stops

	doomed    map[int]int       // pending tasks that can't run any more, and the task to blame
	undecided map[int]Question  // tasks about which something is to be asked or decided
	lanes     map[laneKey]*lane // of a run with bounds of its own
	using     map[useKey]int    // its attempts, if it has such bounds
	reserved  int64             // tokens that its attempts may use
	calls     time.Time         // the bucket of its rate: when it will be full
	freed     time.Time         // when an attempt last ended that kept others from beginning, by such bounds
	went      bool              // something of it has started
	inLine    bool              // it is among the pending of its queue
	// unsettled tells that the run is in State.unsettled.
	unsettled bool
}

// Task is where one task of a run stands.
type Task struct {
	Status    TaskStatus
	Attempts  int       // started, lost ones included
	Lost      int       // lost to a crash since the run was last taken out of the park
	Uncounted int       // attempts that don't count toward max_attempts: lost or interrupted ones
	Iteration int       // of a repeat, from 1; 0 before the first has ended
	Earlier   int       // counted attempts of earlier iterations
	First     time.Time // start of the first attempt, of this iteration and since the run was last retried
	Started   time.Time // of the last attempt
	Ended     time.Time
	Due       time.Time // of the retry, or of what it waits for
	Duration  time.Duration
	Result    Value
	Error     *protocols.Error
	Reason    string    // why it was skipped
	Wait      *Wait     // what it waits for
	Each      *Each     // the instances, once a foreach has its items
	Agent     *Agent    // the steps, once an agent has some
	Step      *Step     // of a step: what it does
	Of        int       // of an instance or a step: the task it is one of, plus 1
	Asked     Question  // what is being found out about it
	ReadyAt   time.Time // since when it waits to start
	Provider  int       // where the last attempt runs: its place in the setup plus 1, 0 is ourselves
	Tried     uint64    // of the providers that would do, those that failed it, as bits
	Spent     Usage     // by its attempts, those of its instances included
	Talk      *Talk     // what it asked a person; nil: nothing

	waiting  int       // dependencies that have not ended
	reserved int64     // tokens that its attempts may use
	calls    time.Time // the bucket of its rate: when it will be full
}

// Each is where the instances of a foreach stand.
type Each struct {
	First  int     // place of the first instance in Run.Tasks
	Count  int     // how many there are
	Size   int     // items in a chunk
	Items  []Value // the chunks
	Failed int     // the first instance that failed, or -1
	Round  int     // how often the run had been retried when it got its items

	next int // the first that has not been let go, for max_parallel
	left int // instances that have not ended
	live int // of those, the ones that have been let go

	running int // instances that run, or of which something is being found out
}

// failing tells whether a failed instance stops the others.
func (r *Run) failing(parent int) bool {
	e := r.Tasks[parent].Each
	return e != nil && e.Failed >= 0 && r.Task(parent).Foreach.FailFast
}

// Signal is a signal that nobody has taken yet.
type Signal struct {
	Name string `json:"name"`
	Data Value  `json:"data,omitzero"`
}

// ID returns the run's readable id.
func (r *Run) ID() string { return r.Submitted.ID }

// Def returns the place in the document of a task: its own, or that of the
// foreach whose instance or the agent whose step it is.
func (r *Run) Def(task int) int {
	for r.Tasks[task].Of > 0 {
		task = r.Tasks[task].Of - 1
	}
	return task
}

// Task returns what the document says of a task, or of an agent's step.
func (r *Run) Task(task int) *protocols.Task { return r.Plan.Task(r.Form(task)) }

// TaskID returns a task's id; that of an instance ends with its index, that of
// a step with what it is.
func (r *Run) TaskID(task int) string {
	t := &r.Tasks[task]
	if t.Step != nil {
		return r.TaskID(t.Of-1) + "." + t.Step.describe()
	}
	id := r.Task(task).ID
	if t.Of > 0 {
		return fmt.Sprintf("%s[%d]", id, r.Item(task))
	}
	return id
}

// Item returns which item an instance, or a step of one, is for, or -1.
func (r *Run) Item(task int) int {
	if r.Tasks[task].Step != nil {
		task = r.Tasks[task].Of - 1
	}
	if of := r.Tasks[task].Of; of > 0 {
		return task - r.Tasks[of-1].Each.First
	}
	return -1
}

// Active tells whether tasks may start: somebody runs it, and nobody has
// paused it.
func (r *Run) Active() bool { return r.Held && !r.Paused }

// Stopping tells whether nothing new may start of what runs now: it is being
// cancelled, or a failure stops it. Hooks that begin later run all the same.
func (r *Run) Stopping() bool {
	if r.Cancel != "" && r.cancelHook == r.Hook {
		return true
	}
	return r.Hook == "" && r.FailedTask >= 0 && r.Plan.Workflow.ErrorStrategy != protocols.Continue
}

// Spared tells whether a task is asked its condition even when the run stops:
// its condition calls a status function.
func (r *Run) Spared(task int) bool {
	c := r.Plan.Task(r.Def(task)).If
	return c != nil && c.Status
}

// Doomed returns the pending tasks that can't run any more because of a task
// they depend on, each with the task to blame.
func (r *Run) Doomed() map[int]int { return r.doomed }

// Undecided returns the tasks about which something is to be asked or
// decided.
func (r *Run) Undecided() map[int]Question { return r.undecided }

// Group returns the attempt group of a task: its number changes only after a
// known outcome, and so does the idempotency key made of it.
func (t *Task) Group() int { return t.Attempts - t.Uncounted }

// Made returns how many attempts count toward max_attempts.
func (t *Task) Made() int { return t.Attempts - t.Uncounted - t.Earlier }

// Failing tells whether the task is an instance whose foreach starts no more.
func (r *Run) Failing(task int) bool {
	t := &r.Tasks[task]
	return t.Of > 0 && t.Step == nil && r.failing(t.Of-1)
}

// Left returns how many instances have not ended.
func (e *Each) Left() int { return e.left }

// Pending returns the first signal of that name which nobody has taken.
func (r *Run) Pending(name string) (Signal, bool) {
	for _, s := range r.Signals {
		if s.Name == name {
			return s, true
		}
	}
	return Signal{}, false
}

// took takes the first signal of that name out.
func (r *Run) took(name string) {
	for i, s := range r.Signals {
		if s.Name == name {
			r.Signals = slices.Delete(slices.Clone(r.Signals), i, i+1)
			return
		}
	}
}

// Waiter returns the task that waits for the signal, or -1.
func (r *Run) Waiter(signal string) int {
	for i := range r.Tasks {
		if t := &r.Tasks[i]; t.Status == TaskWaits && t.Wait.Kind == WaitSignal && t.Wait.Signal == signal {
			return i
		}
	}
	return -1
}

// Children returns the numbers of the child runs that the run waits for.
func (r *Run) Children() (runs []uint64) {
	for i := range r.Tasks {
		if t := &r.Tasks[i]; t.Status == TaskWaits && t.Wait.Kind == WaitChild {
			runs = append(runs, t.Wait.Child)
		}
	}
	return runs
}

// ChildEnd returns how the child run ended that the task waits for.
func (t *Task) ChildEnd() *WorkflowEnded {
	if t.Wait == nil {
		return nil
	}
	return t.Wait.ended
}

// HookTasks returns the tasks of a hook that have not ended.
func (r *Run) HookTasks(h protocols.Hook) (tasks []int) {
	for i, t := range r.Plan.Workflow.Tasks {
		if t.Hook == h && !r.Tasks[i].Status.Ended() {
			tasks = append(tasks, i)
		}
	}
	return tasks
}

// IdleTasks returns the open tasks that a stop ends.
func (r *Run) IdleTasks() (tasks []int) {
	for i := range r.Tasks {
		t := &r.Tasks[i]
		if !t.Status.Ended() && t.Status != TaskRunning && !t.busy() && !r.Spared(i) && r.begun(r.Task(i).Hook) {
			tasks = append(tasks, i)
		}
	}
	return tasks
}

// Skipped tells whether an instance of the foreach was skipped.
func (r *Run) Skipped(parent int) bool {
	e := r.Tasks[parent].Each
	return slices.ContainsFunc(r.Tasks[e.First:e.First+e.Count], func(t Task) bool { return t.Status == TaskIsSkipped })
}

// begun tells whether the tasks of the hook take part by now.
func (r *Run) begun(h protocols.Hook) bool {
	return h == "" || h == r.Hook || r.Hook == protocols.Finally
}

// EndHook returns which hook suits how the ordinary tasks ended: none for a
// cancelled run.
func (r *Run) EndHook() protocols.Hook {
	switch {
	case r.Cancel == CancelledByUser:
		return ""
	case r.Cancel == RunTimeout || r.FailedTask >= 0 && r.Task(r.FailedTask).Hook == "":
		return protocols.OnFailure
	}
	return protocols.OnSuccess
}

// needsDecision tells whether something follows from what has happened.
func (r *Run) needsDecision() bool {
	switch {
	case r.Doubt:
		for _, q := range r.undecided {
			if q == AskChild {
				return true
			}
		}
		return false
	case r.Open == 0:
		return !r.Outputs || r.Cancel != ""
	case r.Stopping() && r.Idle > 0:
		return true
	}
	return len(r.doomed) > 0 || len(r.undecided) > 0
}

// Good tells whether an ended task lets its dependents run.
func (r *Run) Good(task int) bool {
	t := r.Tasks[task].Status
	return t == TaskIsCompleted || t == TaskIsFailed && r.Task(task).ContinueOnError
}

// doom notes which tasks a badly ended one leaves without hope.
func (r *Run) doom(task int) {
	for _, d := range r.Plan.dependents[task] {
		if r.Tasks[d].Status != TaskPending || r.Spared(int(d)) {
			continue
		}
		if r.doomed == nil {
			r.doomed = map[int]int{}
		}
		if _, known := r.doomed[int(d)]; !known {
			r.doomed[int(d)] = task
		}
	}
}

// ask notes that something is to be asked or decided about a task.
func (r *Run) ask(task int, q Question) {
	if r.undecided == nil {
		r.undecided = map[int]Question{}
	}
	r.undecided[task] = q
}

// set changes a task's status and keeps the counts.
func (r *Run) set(task int, status TaskStatus) {
	r.count(task, -1)
	r.Tasks[task].Status = status
	r.count(task, 1)
}

// count adds a task to the counts, or takes it out.
func (r *Run) count(task, by int) {
	t := &r.Tasks[task]
	if t.Status.Ended() || !r.begun(r.Task(task).Hook) {
		return
	}
	r.Open += by
	if t.Of > 0 && t.Step == nil && (t.Status == TaskRunning || t.busy()) {
		r.Tasks[t.Of-1].Each.running += by
	}
	switch {
	case t.Status == TaskRunning:
		r.Running += by
	case !t.busy() && !r.Spared(task):
		r.Idle += by
	}
}

// busy tells whether work of the task that had started goes on.
func (t *Task) busy() bool {
	return t.Status == TaskExpandedInto || t.Status == TaskWaits && t.Wait.Kind == WaitChild || t.Status == TaskEvaluates && (t.Asked == AskCollect || t.Asked == AskUntil || t.Asked == AskAgent)
}

// Counts says how many tasks stand where. Instances don't count.
type Counts struct {
	Total     int `json:"total"`
	Completed int `json:"completed,omitempty"`
	Failed    int `json:"failed,omitempty"`
	Skipped   int `json:"skipped,omitempty"`
	Cancelled int `json:"cancelled,omitempty"`
	Running   int `json:"running,omitempty"`
	Waiting   int `json:"waiting,omitempty"` // pending, ready, retrying or in doubt
}

// Counts counts the run's tasks.
func (r *Run) Counts() Counts {
	c := Counts{Total: len(r.Plan.Workflow.Tasks)}
	for i := range c.Total {
		switch r.Tasks[i].Status {
		case TaskIsCompleted:
			c.Completed++
		case TaskIsFailed:
			c.Failed++
		case TaskIsSkipped:
			c.Skipped++
		case TaskIsCancelled:
			c.Cancelled++
		case TaskRunning, TaskExpandedInto:
			c.Running++
		default:
			c.Waiting++
		}
	}
	return c
}
