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

// SystemAlive: the process that has the store lives, though it has written
// nothing for a while. It lies in a stream of its own.
type SystemAlive struct{}

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
	Key      string             `json:"key,omitempty"`   // idempotency key of the submission
	Inputs   eventlog.Hash      `json:"inputs,omitzero"` // of the inputs: with the document, what a key stands for
	Named    bool               `json:"named,omitempty"` // the id was chosen by whoever submitted
	Parent   *Parent            `json:"parent,omitempty"`
	Queue    string             `json:"queue,omitempty"`    // "" is the default one
	Budget   *protocols.Budget  `json:"budget,omitempty"`   // what the parent's leaves, beside the document's
	Schedule string             `json:"schedule,omitempty"` // the schedule that started it
	By       string             `json:"by,omitempty"`       // who submitted it over the network
	Mocked   string             `json:"mocked,omitempty"`   // what makes up answers for it, "" if all that it does is real
	Trace    string             `json:"trace,omitempty"`    // the place in a trace that it is below, as traceparent has it

	plan   *Plan    // found by the codec, or by whoever made the event
	values [][]byte // documents and files that the log may not have yet
}

// keys are the names under which the run is found again.
func (e *WorkflowSubmitted) keys() (keys []string) {
	if e.Key != "" {
		keys = append(keys, e.Key)
	}
	if e.Named {
		keys = append(keys, IDKey(e.ID))
	}
	return keys
}

// Parent names the task that a child run is the work of.
type Parent struct {
	Run   uint64 `json:"run"`
	Task  int    `json:"task"`
	Depth int    `json:"depth"` // 1 for a child of a run that is no child
}

// Context is what a run got from outside, beside its document.
type Context struct {
	Inputs map[string]json.RawMessage `json:"inputs,omitempty"`
	Env    map[string]string          `json:"env,omitempty"` // exactly the variables that the document names
	Files  map[string]eventlog.Hash   `json:"files,omitempty"`
	Dir    string                     `json:"dir,omitempty"`   // the workflow's folder
	Cwd    string                     `json:"cwd,omitempty"`   // where the command was called
	Roots  []string                   `json:"roots,omitempty"` // further folders that may be read
	// Children are the workflows that tasks of workflow/v1 may run, also those
	// of children, by where they were found; Names says which of them the
	// document means by the names that it has for them.
	Children map[string]Child  `json:"children,omitempty"`
	Names    map[string]string `json:"names,omitempty"`
}

// Child is a workflow that a task may run.
type Child struct {
	Document eventlog.Hash            `json:"document"` // protocols.Workflow
	Files    map[string]eventlog.Hash `json:"files,omitempty"`
	Dir      string                   `json:"dir,omitempty"`
	Names    map[string]string        `json:"names,omitempty"` // of its own children
}

// KeyTaken: a run has an idempotency key that an older run had until it
// expired. The log's own index of keys goes on naming the older run, so this
// lies in a stream of the key's own, whose last record stands.
type KeyTaken struct {
	Key string `json:"key"`
	Run uint64 `json:"run"`
}

// TaskStarted: an attempt has a slot and its worker is about to run.
type TaskStarted struct {
	Task     int    `json:"task"`    // index in the document
	Attempt  int    `json:"attempt"` // from 1, lost attempts included
	Provider string `json:"provider"`
	Mocked   bool   `json:"mocked,omitempty"` // the provider's answers are made up
	// Waited is how long the task was ready before, and For what held it back,
	// if it was.
	Waited protocols.Duration `json:"waited,omitempty"`
	For    string             `json:"for,omitempty"`
}

// TaskCompleted: an attempt succeeded, and with it the task.
type TaskCompleted struct {
	Task     int                `json:"task"`
	Attempt  int                `json:"attempt"`
	Result   Value              `json:"result"`
	Duration protocols.Duration `json:"duration"`
	Cached   bool               `json:"cached,omitempty"` // the result is an earlier one of the same call
	Usage    Usage              `json:"usage,omitzero"`
}

// CacheStored: a result may stand for later calls that are the same. It lies in
// a stream of its own, named by the call's hash.
type CacheStored struct {
	Call   eventlog.Hash `json:"call"`
	Result Value         `json:"result"`
	Until  time.Time     `json:"until"`
	Run    string        `json:"run"` // whose result it was
}

// TaskRetrying: an attempt failed and another will be made at At.
type TaskRetrying struct {
	Task     int                `json:"task"`
	Attempt  int                `json:"attempt"`
	Error    *protocols.Error   `json:"error"`
	Duration protocols.Duration `json:"duration"`
	Delay    protocols.Duration `json:"delay"` // jitter and Retry-After included
	At       time.Time          `json:"at"`
	Usage    Usage              `json:"usage,omitzero"`
	Avoid    bool               `json:"avoid,omitempty"` // another provider is to be preferred, if one is fit
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
	Usage    Usage              `json:"usage,omitzero"`
}

// TaskSkipped: tasks will not be run (any more), and why.
type TaskSkipped struct {
	Tasks  []int  `json:"tasks"`
	Reason string `json:"reason"`
}

// SkippedInDoubt is the reason of a task that was skipped because nobody knows
// how far its attempt got: a retry of the run doesn't try it again unasked.
const SkippedInDoubt = "its attempt was in doubt after a crash"

// TaskCancelled: a cancelled attempt has reported and holds its slot no more.
type TaskCancelled struct {
	Task     int                `json:"task"`
	Attempt  int                `json:"attempt"`
	Error    *protocols.Error   `json:"error,omitempty"`
	Duration protocols.Duration `json:"duration,omitempty"`
	Usage    Usage              `json:"usage,omitzero"`
}

// TaskInterrupted: we stopped an attempt because we had to leave, or because of
// what Why says; the task will be tried again when the run is resumed, or goes on,
// with the same key.
type TaskInterrupted struct {
	Task     int                `json:"task"`
	Attempt  int                `json:"attempt"`
	Duration protocols.Duration `json:"duration,omitempty"`
	Why      string             `json:"why,omitempty"`
}

// TaskInDoubt: the process died while an attempt ran, or the worker that had it
// was lost; nobody knows how far it got. Action is what the task's on_crash, or a person, made of it: retry,
// ask (it waits for an answer); a failure or a skip is an event of its own.
type TaskInDoubt struct {
	Task    int               `json:"task"`
	Attempt int               `json:"attempt"`
	Action  protocols.OnCrash `json:"action"`
	Worker  string            `json:"worker,omitempty"` // that was lost, by name; "": the process died
}

// TaskAnswered: a person said what becomes of an attempt in doubt.
type TaskAnswered struct {
	Task   int               `json:"task"`
	Action protocols.OnCrash `json:"action"` // retry; a failure or a skip is an event of its own
	By     string            `json:"by,omitempty"`
}

// TaskWaiting: an attempt has given its slot back and waits for something that
// comes from outside or with time.
type TaskWaiting struct {
	Task    int  `json:"task"`
	Attempt int  `json:"attempt"`
	Wait    Wait `json:"wait"`
}

// Wait is what a task waits for that has started.
type Wait struct {
	Kind WaitKind `json:"kind"`
	// Until is when a timer fires, or when waiting for a signal or an approval
	// is given up; zero means never.
	Until time.Time `json:"until,omitzero"`
	// Signal is the name of the signal.
	Signal string `json:"signal,omitempty"`
	// Message is what an approver is shown.
	Message string `json:"message,omitempty"`
	// Default is what becomes of an approval that nobody gave in time:
	// approve, reject, or "" for a timeout.
	Default string `json:"default,omitempty"`
	// Secrets are the references of secrets that nobody had at hand, such as
	// env:TOKEN.
	Secrets []string `json:"secrets,omitempty"`
	// Child is the number of a child run, and ChildID its id.
	Child   uint64 `json:"child,omitempty"`
	ChildID string `json:"child_id,omitempty"`

	ended *WorkflowEnded // how the child ended
}

// WaitKind says what a task waits for.
type WaitKind string

// The kinds of waiting.
const (
	WaitTimer    WaitKind = "timer"
	WaitSignal   WaitKind = "signal"
	WaitApproval WaitKind = "approval"
	WaitChild    WaitKind = "child"
	// WaitSecret is not the task's own: its attempt could not begin, and
	// doesn't count.
	WaitSecret WaitKind = "secret"
)

// SecretOffered: somebody has offered the secrets that tasks waited for. The
// tasks will be started again.
type SecretOffered struct {
	Tasks []int `json:"tasks"`
}

// SignalReceived: somebody sent the run a signal. A task that waits for it
// takes it at once; else it is kept for the first that will.
type SignalReceived struct {
	Name string `json:"name"`
	Data Value  `json:"data,omitzero"`
	By   string `json:"by,omitempty"`
	Key  string `json:"key,omitempty"` // see SentKey
}

// ApprovalDecided: a person decided what a task asked for. The task's end is
// an event of its own.
type ApprovalDecided struct {
	Task     int    `json:"task"`
	Approved bool   `json:"approved"`
	Comment  string `json:"comment,omitempty"`
	By       string `json:"by,omitempty"`
	Key      string `json:"key,omitempty"` // see SentKey
}

// WorkflowPaused: a person wants nothing new of the run to start.
type WorkflowPaused struct {
	By string `json:"by,omitempty"`
	// With is the id of the run that was paused, when this is a child run of it.
	With string `json:"with,omitempty"`
	// Budget says which budget is used up, when that was why.
	Budget string `json:"budget,omitempty"`
}

// WorkflowUnpaused: the run goes on. Deadline is the new one: the time of the
// pause does not count.
type WorkflowUnpaused struct {
	By       string    `json:"by,omitempty"`
	Deadline time.Time `json:"deadline,omitzero"`
	Granted  Usage     `json:"granted,omitzero"` // beyond the budgets
}

// EvaluationRequested: something that has to be found out before it goes on
// is being found out, by a worker that loads the values (design.md, rule 7).
// What is found is an event of its own, so that it is never looked at again.
type EvaluationRequested struct {
	What  Question `json:"what"`
	Tasks []int    `json:"tasks,omitempty"` // none for the run's outputs
}

// Question is what an evaluation finds out.
type Question string

// The questions.
const (
	AskOutputs   Question = "outputs" // the run's result
	AskCondition Question = "if"      // whether a task runs
	AskItems     Question = "items"   // what a foreach goes over
	AskCollect   Question = "collect" // a foreach's result
	AskUntil     Question = "until"   // whether a repeat is done
	AskAgent     Question = "agent"   // what an agent does next

	// AskChild is not asked but decided: a child run has ended.
	AskChild Question = "child"

	// noMoreItems is not asked but decided: a failed item stops the others.
	noMoreItems Question = "no_more_items"
)

// ConditionMet: a task's condition holds, it may run. (One that doesn't hold
// skips its task.)
type ConditionMet struct {
	Task int `json:"task"`
}

// TaskExpanded: a foreach has its items, and one instance of the task for
// each. The instances are tasks of the run after all others; they count up
// from First.
type TaskExpanded struct {
	Task  int     `json:"task"`
	First int     `json:"first"`
	Count int     `json:"count"`
	Size  int     `json:"size"`             // items in a chunk
	Items []Value `json:"chunks,omitempty"` // lists of Item, Size in each
}

// Item is one item of a foreach, in a chunk of TaskExpanded.
type Item struct {
	Value json.RawMessage `json:"value"`
	Key   string          `json:"key,omitempty"`
}

// AgentStepped: an agent begins steps, tasks of the run after all others.
type AgentStepped struct {
	Task  int    `json:"task"`
	First int    `json:"first"` // the place of the first; the others follow
	Steps []Step `json:"steps"`
}

// TaskIterated: an attempt of a task with repeat succeeded; whether that was
// the last iteration is asked next.
type TaskIterated struct {
	Task      int                `json:"task"`
	Attempt   int                `json:"attempt"`
	Iteration int                `json:"iteration"` // from 1
	Result    Value              `json:"result"`
	Duration  protocols.Duration `json:"duration"`
	Usage     Usage              `json:"usage,omitzero"`
}

// TaskRepeating: the task runs again, at At.
type TaskRepeating struct {
	Task      int       `json:"task"`
	Iteration int       `json:"iteration"` // the one to come
	At        time.Time `json:"at"`
}

// HooksStarted: the tasks before have all ended, and those of a hook begin.
type HooksStarted struct {
	Hook protocols.Hook `json:"hook"`
}

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

// WorkflowImported: the run came here from another store, by an archive. Nobody
// holds it, and what ran in it is in doubt.
type WorkflowImported struct {
	From  string    `json:"from"`            // its id there
	Store string    `json:"store,omitempty"` // the name of that store
	Last  time.Time `json:"last"`            // when it was last heard of there
}

// WorkflowResumed: a process goes on with the run. Deadline is the new one:
// the time while nobody ran it does not count.
type WorkflowResumed struct {
	Deadline time.Time `json:"deadline,omitzero"`
	Unparked bool      `json:"unparked,omitempty"` // its count of crashes starts again
	By       string    `json:"by,omitempty"`
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
	Usage     Usage     `json:"usage,omitzero"`
	Mocked    string    `json:"mocked,omitempty"`
}

// WorkflowRetried: a run that had ended goes on: some of its tasks are tried
// again, the others stay as they ended. A process has taken it on itself.
type WorkflowRetried struct {
	By string `json:"by,omitempty"`
	// Tasks are those that are tried again, hooks included, but no more than
	// MaxNamed of them; Count says how many there are. Of a foreach those
	// instances are that didn't complete, of one in Anew all, and its items are
	// looked for again.
	Tasks    []int     `json:"tasks,omitempty"`
	Anew     []int     `json:"anew,omitempty"`
	Count    int       `json:"count"`
	Deadline time.Time `json:"deadline,omitzero"`
	Granted  Usage     `json:"granted,omitzero"` // beyond its budgets
	// Run is the run as it goes on: savedRun. State has no more of it.
	Run Value `json:"run"`

	saved *savedRun // what Run says, and its plan: found by the codec, or by whoever made the event
	plan  *Plan
}

// Submitted is the run's first event, as it goes on.
func (e *WorkflowRetried) Submitted() *WorkflowSubmitted { return e.saved.Submitted }

// MaxNamed is how many tasks one event names.
const MaxNamed = 4 << 10

// The names on disk.
func (*SystemStarted) Type() string       { return "system.started" }
func (*SystemAlive) Type() string         { return "system.alive" }
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
func (*CacheStored) Type() string         { return "cache.stored" }
func (*KeyTaken) Type() string            { return "key.taken" }
func (*Acted) Type() string               { return "system.acted" }
func (*TaskWaiting) Type() string         { return "task.waiting" }
func (*SecretOffered) Type() string       { return "secret.offered" }
func (*SignalReceived) Type() string      { return "signal.received" }
func (*ApprovalDecided) Type() string     { return "approval.decided" }
func (*WorkflowPaused) Type() string      { return "workflow.paused" }
func (*WorkflowUnpaused) Type() string    { return "workflow.unpaused" }
func (*EvaluationRequested) Type() string { return "evaluation.requested" }
func (*ConditionMet) Type() string        { return "task.condition_met" }
func (*TaskExpanded) Type() string        { return "task.expanded" }
func (*AgentStepped) Type() string        { return "agent.stepped" }
func (*TaskIterated) Type() string        { return "task.iterated" }
func (*TaskRepeating) Type() string       { return "task.repeating" }
func (*HooksStarted) Type() string        { return "workflow.hooks_started" }
func (*CancelRequested) Type() string     { return "workflow.cancel_requested" }
func (*WorkflowInterrupted) Type() string { return "workflow.interrupted" }
func (*WorkflowImported) Type() string    { return "workflow.imported" }
func (*WorkflowResumed) Type() string     { return "workflow.resumed" }
func (*WorkflowParked) Type() string      { return "workflow.parked" }
func (*WorkflowRetried) Type() string     { return "workflow.retried" }
func (e *WorkflowEnded) Type() string     { return "workflow." + string(e.Status) }
