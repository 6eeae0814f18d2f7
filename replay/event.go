package replay

import (
	"encoding/json"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// Event is one fact. The types of this file are all there are.
type Event interface {
	// Type is the event's name on disk.
	Type() string
}

// SystemStarted: a process took the store to run things. Whatever ran before
// runs no more.
type SystemStarted struct {
	PID     int    `json:"pid"`
	Version string `json:"version,omitempty"`
}

// WorkflowSubmitted: a run was accepted.
type WorkflowSubmitted struct {
	Number   uint64             `json:"number"`
	ID       string             `json:"id"`
	Name     string             `json:"name"`
	Tags     []string           `json:"tags,omitempty"`
	Source   string             `json:"source,omitempty"` // the workflow's file, for people
	Document eventlog.Hash      `json:"document"`         // protocols.Workflow
	Setup    eventlog.Hash      `json:"setup"`            // Setup
	Context  Value              `json:"context,omitzero"` // Context
	Files    []eventlog.Hash    `json:"-"`                // captured files, named in Context; the record refers to them
	Priority protocols.Priority `json:"priority,omitempty"`
	Deadline time.Time          `json:"deadline,omitzero"`
	Key      string             `json:"key,omitempty"` // idempotency key of the submission

	plan   *Plan    // found by the codec, or by whoever made the event
	values [][]byte // documents and files that the log may not have yet
}

// Context is what a run got from outside, beside its document.
type Context struct {
	Inputs map[string]json.RawMessage `json:"inputs,omitempty"`
	Env    map[string]string          `json:"env,omitempty"` // exactly the variables that the document names
	Files  map[string]eventlog.Hash   `json:"files,omitempty"`
	Dir    string                     `json:"dir,omitempty"`   // the workflow's folder
	Cwd    string                     `json:"cwd,omitempty"`   // where the command was called
	Roots  []string                   `json:"roots,omitempty"` // further folders that may be read
}

// TaskStarted: an attempt has a slot and its worker is about to run.
type TaskStarted struct {
	Task     int    `json:"task"`    // index in the document
	Attempt  int    `json:"attempt"` // from 1, lost attempts included
	Provider string `json:"provider"`
}

// TaskCompleted: an attempt succeeded, and with it the task.
type TaskCompleted struct {
	Task     int                `json:"task"`
	Attempt  int                `json:"attempt"`
	Result   Value              `json:"result"`
	Duration protocols.Duration `json:"duration"`
}

// TaskRetrying: an attempt failed and another will be made at At.
type TaskRetrying struct {
	Task     int                `json:"task"`
	Attempt  int                `json:"attempt"`
	Error    *protocols.Error   `json:"error"`
	Duration protocols.Duration `json:"duration"`
	Delay    protocols.Duration `json:"delay"` // jitter and Retry-After included
	At       time.Time          `json:"at"`
}

// TaskDue: the time of a retry has come.
type TaskDue struct {
	Task int `json:"task"`
}

// TaskFailed: the last attempt failed, and with it the task.
type TaskFailed struct {
	Task     int                `json:"task"`
	Attempt  int                `json:"attempt"`
	Error    *protocols.Error   `json:"error"`
	Duration protocols.Duration `json:"duration,omitempty"`
}

// TaskSkipped: tasks will not be run (any more), and why.
type TaskSkipped struct {
	Tasks  []int  `json:"tasks"`
	Reason string `json:"reason"`
}

// TaskCancelled: a cancelled attempt has reported and holds its slot no more.
type TaskCancelled struct {
	Task     int                `json:"task"`
	Attempt  int                `json:"attempt"`
	Error    *protocols.Error   `json:"error,omitempty"`
	Duration protocols.Duration `json:"duration,omitempty"`
}

// TaskInterrupted: we stopped an attempt because we had to leave; the task
// will be tried again when the run is resumed, with the same key.
type TaskInterrupted struct {
	Task     int                `json:"task"`
	Attempt  int                `json:"attempt"`
	Duration protocols.Duration `json:"duration,omitempty"`
}

// TaskInDoubt: the process died while an attempt ran; nobody knows how far it
// got. Action is what the task's on_crash, or a person, made of it: retry,
// ask (it waits for an answer); a failure or a skip is an event of its own.
type TaskInDoubt struct {
	Task    int               `json:"task"`
	Attempt int               `json:"attempt"`
	Action  protocols.OnCrash `json:"action"`
}

// TaskAnswered: a person said what becomes of an attempt in doubt.
type TaskAnswered struct {
	Task   int               `json:"task"`
	Action protocols.OnCrash `json:"action"` // retry; a failure or a skip is an event of its own
}

// OutputsRequested: all tasks have ended well enough, and the run's outputs
// are being made.
type OutputsRequested struct{}

// CancelRequested: the run is to end. Nothing new starts, what runs is told
// to stop, and the run ends when the last attempt has reported.
type CancelRequested struct {
	Reason CancelReason `json:"reason"`
	By     string       `json:"by,omitempty"`
}

// CancelReason tells why a run is to end early.
type CancelReason string

// The reasons of a cancel.
const (
	CancelledByUser CancelReason = "user"
	RunTimeout      CancelReason = "timeout"
)

// WorkflowInterrupted: nothing new of the run starts until it is resumed.
type WorkflowInterrupted struct {
	By string `json:"by,omitempty"`
}

// WorkflowResumed: a process goes on with the run. Deadline is the new one:
// the time while nobody ran it does not count.
type WorkflowResumed struct {
	Deadline time.Time `json:"deadline,omitzero"`
	Unparked bool      `json:"unparked,omitempty"` // its count of crashes starts again
}

// WorkflowParked: the run crashed the process too often and waits for a
// person to resume it.
type WorkflowParked struct {
	Task    int    `json:"task"`
	Crashes int    `json:"crashes"`
	Reason  string `json:"reason"`
}

// WorkflowEnded: the run is over. Its name on disk tells how: see Status.
type WorkflowEnded struct {
	Status  Status           `json:"status"`
	Outputs Value            `json:"outputs,omitzero"`
	Error   *protocols.Error `json:"error,omitempty"`
	// The rest repeats what a list of runs shows, so that it reads one record
	// of a finished run.
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Tags      []string  `json:"tags,omitempty"`
	Submitted time.Time `json:"submitted"`
	Counts    Counts    `json:"counts"`
}

// The names on disk.
func (*SystemStarted) Type() string       { return "system.started" }
func (*WorkflowSubmitted) Type() string   { return "workflow.submitted" }
func (*TaskStarted) Type() string         { return "task.started" }
func (*TaskCompleted) Type() string       { return "task.completed" }
func (*TaskRetrying) Type() string        { return "task.retrying" }
func (*TaskDue) Type() string             { return "task.due" }
func (*TaskFailed) Type() string          { return "task.failed" }
func (*TaskSkipped) Type() string         { return "task.skipped" }
func (*TaskCancelled) Type() string       { return "task.cancelled" }
func (*TaskInterrupted) Type() string     { return "task.interrupted" }
func (*TaskInDoubt) Type() string         { return "task.in_doubt" }
func (*TaskAnswered) Type() string        { return "task.answered" }
func (*OutputsRequested) Type() string    { return "workflow.outputs_requested" }
func (*CancelRequested) Type() string     { return "workflow.cancel_requested" }
func (*WorkflowInterrupted) Type() string { return "workflow.interrupted" }
func (*WorkflowResumed) Type() string     { return "workflow.resumed" }
func (*WorkflowParked) Type() string      { return "workflow.parked" }
func (e *WorkflowEnded) Type() string     { return "workflow." + string(e.Status) }
