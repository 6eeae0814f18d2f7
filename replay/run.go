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
	TaskDoubtful // an attempt is in doubt and somebody has to say what becomes of it
	TaskIsCompleted
	TaskIsFailed
	TaskIsSkipped
	TaskIsCancelled
)

var taskStatusNames = [...]string{"pending", "ready", "running", "retrying", "in_doubt",
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
	Outputs     bool // outputs have been requested
	FailedTask  int  // the first task whose failure is the run's, or -1
	Tasks       []Task

	Open    int // tasks that have not ended
	Running int // attempts that have not reported

	doomed map[int]int   // pending tasks that can't run any more, and the task to blame
	lanes  map[int]*lane // by provider, with max_parallel alone
	// unsettled tells that the run is in State.unsettled.
	unsettled bool
}

// lane holds the ready tasks of a run with max_parallel that use the same
// provider. At most one of them queues for it, the others are held back.
type lane struct {
	ready   *btree.BTreeG[Ready]
	queues  Ready
	offered bool // queues is a task that queues
}

// lane returns the lane of a task.
func (r *Run) lane(task int) *lane {
	if r.lanes == nil {
		r.lanes = map[int]*lane{}
	}
	provider := r.Plan.provider[task]
	l := r.lanes[provider]
	if l == nil {
		l = &lane{ready: btree.NewG(btreeDegree, Ready.Before)}
		r.lanes[provider] = l
	}
	return l
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

	waiting int // dependencies that have not ended
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
