package protocols

import (
	"encoding/json"
	"time"
)

// Scope is everything that a reference may mean while one task's parameters
// (or a run's outputs) are filled in.
type Scope struct {
	Workflow *Workflow
	// Tasks holds the ended tasks by their index in Workflow.Tasks.
	Tasks  map[int]TaskValue
	Inputs map[string]json.RawMessage
	// Env is what was recorded of the caller's environment; Workflow.Env and
	// the task's own env come before it.
	Env map[string]string
	Run RunValue
}

// TaskValue is what a reference may see of an ended task.
type TaskValue struct {
	Status   string          // completed, failed, skipped, cancelled
	Result   json.RawMessage // the payload; null when there is none
	Error    *Error
	Attempts int
	Duration time.Duration
}

// RunValue is what ${run.…} sees.
type RunValue struct {
	ID      string
	Name    string
	Attempt int // of the task whose parameters are filled in
}
