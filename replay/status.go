package replay

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
	TaskWaits        // for a time, a signal or an approval
	TaskDoubtful     // an attempt is in doubt and somebody has to say what becomes of it
	TaskEvaluates    // something about it is being found out
	TaskExpandedInto // a foreach whose instances run
	TaskIsCompleted
	TaskIsFailed
	TaskIsSkipped
	TaskIsCancelled
)

var taskStatusNames = [...]string{"pending", "ready", "running", "retrying", "waiting", "in_doubt",
	"evaluating", "expanded", "completed", "failed", "skipped", "cancelled"}

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
