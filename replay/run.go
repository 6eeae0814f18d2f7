package replay

import (
	"time"

	"github.com/google/btree"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// Status is where a run stands (language.md, "End of a run").
type Status string

// The statuses of a run. The last four are for ever.
const (
	Pending   Status = "pending"
	Running   Status = "running"
	Waiting   Status = "waiting"
	Paused    Status = "paused"
	Parked    Status = "parked"
	Completed Status = "completed"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
	TimedOut  Status = "timed_out"
)

// Ended tells whether the status is for ever.
func (s Status) Ended() bool {
	return s == Completed || s == Failed || s == Cancelled || s == TimedOut
}

// TaskStatus is where a task stands.
type TaskStatus uint8

// The statuses of a task. The last four are for ever.
const (
	TaskPending TaskStatus = iota
	TaskReady
	TaskRunning
	TaskWaitsToRetry
	TaskWaits    // for a time, a signal or an approval
	TaskDoubtful // an attempt is in doubt and somebody has to say what becomes of it
	TaskIsCompleted
	TaskIsFailed
	TaskIsSkipped
	TaskIsCancelled
)

var taskStatusNames = [...]string{"pending", "ready", "running", "retrying", "waiting", "in_doubt",
	"completed", "failed", "skipped", "cancelled"}

// String returns the name that people and the wire see.
func (t TaskStatus) String() string { return taskStatusNames[t] }

// MarshalText writes the name.
func (t TaskStatus) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the name; an unknown one reads as pending.
func (t *TaskStatus) UnmarshalText(b []byte) error {
	for i, n := range taskStatusNames {
		if n == string(b) {
			*t = TaskStatus(i)
		}
	}
	return nil
}

// Ended tells whether the status is for ever.
func (t TaskStatus) Ended() bool { return t >= TaskIsCompleted }

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
	Doubt       bool // its running attempts are those of a dead process
	Cancel      CancelReason
	CancelBy    string
	Parked      *WorkflowParked
	Interrupted bool
	Paused      bool
	PausedAt    time.Time
	Signals     []Signal // received and not taken yet, oldest first
	Outputs     bool     // outputs have been requested
	FailedTask  int      // the first task whose failure is the run's, or -1
	Tasks       []Task

	Open    int // tasks that have not ended
	Running int // attempts that have not reported

	doomed map[int]int // pending tasks that can't run any more, and the task to blame
	// With max_parallel: the ready tasks that queue, never more than may run, and
	// those that are held back.
	front, backlog *btree.BTreeG[Ready]
	unsettled      bool
}

// Task is where one task of a run stands.
type Task struct {
	Status    TaskStatus
	Attempts  int       // started, lost ones included
	Lost      int       // lost to a crash since the run was last taken out of the park
	Uncounted int       // attempts that don't count toward max_attempts: lost or interrupted ones
	Started   time.Time // of the last attempt
	Ended     time.Time
	Due       time.Time // of the retry
	Duration  time.Duration
	Result    Value
	Error     *protocols.Error
	Reason    string // why it was skipped
	Wait      *Wait  // what it waits for

	waiting int // dependencies that have not ended
}

// Signal is a signal that nobody has taken yet.
type Signal struct {
	Name string `json:"name"`
	Data Value  `json:"data,omitzero"`
}

// Active tells whether tasks may start: somebody runs it, and nobody has
// paused it.
func (r *Run) Active() bool { return r.Held && !r.Paused }

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
			r.Signals = append(r.Signals[:i:i], r.Signals[i+1:]...)
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

// ID returns the run's readable id.
func (r *Run) ID() string { return r.Submitted.ID }

// Stopping tells whether nothing new may start: the run is being cancelled,
// or a failure stops it.
func (r *Run) Stopping() bool {
	return r.Cancel != "" || r.FailedTask >= 0 && r.Plan.Workflow.ErrorStrategy != protocols.Continue
}

// Unstarted tells whether there are open tasks that don't run.
func (r *Run) Unstarted() bool { return r.Open > r.Running }

// Doomed returns the pending tasks that can't run any more because of a task
// they depend on, each with the task to blame.
func (r *Run) Doomed() map[int]int { return r.doomed }

// Group returns the attempt group of a task: its number changes only after a
// known outcome, and so does the idempotency key made of it.
func (t *Task) Group() int { return t.Attempts - t.Uncounted }

// needsDecision tells whether something follows from what has happened.
func (r *Run) needsDecision() bool {
	if r.Doubt {
		return false
	}
	switch {
	case r.Open == 0:
		return !r.Outputs || r.Cancel != ""
	case r.Stopping():
		return r.Unstarted()
	}
	return len(r.doomed) > 0
}

// good tells whether an ended task lets its dependents run.
func (r *Run) good(task int) bool {
	t := r.Tasks[task].Status
	return t == TaskIsCompleted || t == TaskIsFailed && r.Plan.Task(task).ContinueOnError
}

// doom notes which tasks a badly ended one leaves without hope.
func (r *Run) doom(task int) {
	for _, d := range r.Plan.dependents[task] {
		if r.Tasks[d].Status == TaskPending {
			if r.doomed == nil {
				r.doomed = map[int]int{}
			}
			if _, known := r.doomed[int(d)]; !known {
				r.doomed[int(d)] = task
			}
		}
	}
}

// Counts says how many tasks stand where.
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
	c := Counts{Total: len(r.Tasks)}
	for i := range r.Tasks {
		switch r.Tasks[i].Status {
		case TaskIsCompleted:
			c.Completed++
		case TaskIsFailed:
			c.Failed++
		case TaskIsSkipped:
			c.Skipped++
		case TaskIsCancelled:
			c.Cancelled++
		case TaskRunning:
			c.Running++
		default:
			c.Waiting++
		}
	}
	return c
}
