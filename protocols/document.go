package protocols

import (
	"encoding/json"
	"sync/atomic"
	"time"
)

// DocumentVersion is the version of the canonical form that Compile writes.
const DocumentVersion = 1

// Workflow is a compiled workflow document: canonical keys only, aliases and
// sugar gone, defaults applied, names turned into indexes. Its JSON form is
// what the log keeps; a run never looks at YAML again. It must not be changed
// once compiled: runs share it.
type Workflow struct {
	Version     int             `json:"version"`
	ID          string          `json:"id,omitempty"`
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	Tags        []string        `json:"tags,omitempty"`
	// Inputs in the order of the file.
	Inputs []Input `json:"inputs,omitempty"`
	// Env holds literal values only; ${env.X} looks here first and then in
	// the environment values recorded with the run.
	Env map[string]string `json:"env,omitempty"`
	// EnvRefs lists the variables that ${env.X} names and Env does not have:
	// exactly these are read from the caller's environment when it submits.
	EnvRefs []string `json:"env_refs,omitempty"`
	// SecretEnv holds the environment variables that are made of secrets, as
	// texts with ${secrets.X}; see Environment.
	SecretEnv map[string]string `json:"secret_env,omitempty"`
	// Secrets says where secrets come from: env:NAME, file:PATH or age:PATH by
	// the name in ${secrets.X}. No value is ever here.
	Secrets map[string]string `json:"secrets,omitempty"`
	// SecretRefs lists the secrets that the workflow uses, sorted: the X of
	// ${secrets.X}, which need not be in Secrets, and inputs.X for inputs that
	// are secret. See SecretSource.
	SecretRefs []string `json:"secret_refs,omitempty"`
	// Timeout bounds the run, zero means none.
	Timeout Duration `json:"timeout,omitempty"`
	// MaxParallel bounds the running tasks of one run, zero means no bound.
	MaxParallel int `json:"max_parallel,omitempty"`
	// ErrorStrategy is what a failed task does to the others.
	ErrorStrategy ErrorStrategy `json:"error_strategy,omitempty"`
	// Budget bounds what the run may cost.
	Budget *Budget `json:"budget,omitempty"`
	// Limits tightens what the configuration allows.
	Limits *Limits `json:"limits,omitempty"`
	// Schedule says when runs start by themselves.
	Schedule *Schedule `json:"schedule,omitempty"`
	// Tasks in the order of the file, then those of on_success, on_failure and
	// finally; indexes into it are used everywhere.
	Tasks []*Task `json:"tasks"`
	// Outputs in the order of the file; they may hold references.
	Outputs []Output `json:"outputs,omitempty"`
	// Files lists the files that tasks name literally, as written in the file.
	// Whoever submits reads them and sends their bytes along.
	Files []string `json:"files,omitempty"`
	// Children lists those of Files that are workflows, run by workflow/run:
	// whoever submits compiles them too.
	Children []string `json:"children,omitempty"`
	// Batch is set only on a document that has not been expanded yet
	// (see Workflow.Expand); no run ever has it.
	Batch *Batch `json:"batch,omitempty"`

	cache atomic.Pointer[templates]
}

// Input is one typed input of a workflow.
type Input struct {
	Name        string            `json:"name"`
	Type        string            `json:"type,omitempty"` // string, integer, number, boolean, array, object; "" is any
	Required    bool              `json:"required,omitempty"`
	Default     json.RawMessage   `json:"default,omitempty"`
	Description string            `json:"description,omitempty"`
	Enum        []json.RawMessage `json:"enum,omitempty"`
	// Secret tells that the value is a reference to a secret (env:NAME,
	// file:PATH, age:PATH), never the secret itself.
	Secret bool `json:"secret,omitempty"`
}

// Output is one value of a run's result.
type Output struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"` // may hold references
}

// Task is one step.
type Task struct {
	// ID is the key of references and events: the id, or else the name.
	ID          string          `json:"id"`
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	Tags        []string        `json:"tags,omitempty"`
	Protocol    string          `json:"protocol"` // e.g. "llm/v1"
	Method      string          `json:"method"`   // canonical, e.g. "llm/chat"
	// Provider is the provider's name, "" for any that speaks the protocol.
	Provider string `json:"provider,omitempty"`
	// Fallbacks are the providers that stand in for Provider when it isn't
	// fit, in the order of preference.
	Fallbacks []string `json:"fallbacks,omitempty"`
	// Parameters is a JSON object with defaults applied, references unresolved.
	Parameters json.RawMessage `json:"parameters"`
	// Literal tells that Parameters holds no reference, and so passed the
	// method's schema when the document was compiled.
	Literal bool `json:"literal,omitempty"`
	// Dependencies are the indexes of the tasks that must have ended first,
	// sorted: the declared ones and those that a reference implies.
	Dependencies []int `json:"dependencies,omitempty"`
	// References are the indexes of the tasks whose values Parameters and
	// Cache.Key use, sorted. They are in Dependencies too, but for those that
	// have always ended when a hook begins: a hook task doesn't wait for the
	// tasks of the list "tasks", nor one of finally for those of the others.
	References []int             `json:"references,omitempty"`
	Env        map[string]string `json:"env,omitempty"`
	SecretEnv  map[string]string `json:"secret_env,omitempty"` // as Workflow.SecretEnv
	Priority   Priority          `json:"priority,omitempty"`
	Timeout    Duration          `json:"timeout,omitempty"` // of one attempt, zero means none
	// IdleTimeout bounds how long an attempt may show no sign of life, zero
	// means no bound.
	IdleTimeout Duration `json:"idle_timeout,omitempty"`
	// OutputSchema is the JSON Schema of the result, of what ${task.result}
	// means; a model's answer is JSON that fits it. {} is any JSON, nil none.
	OutputSchema    json.RawMessage `json:"output_schema,omitempty"`
	Retry           *Retry          `json:"retry,omitempty"` // nil: one attempt
	ContinueOnError bool            `json:"continue_on_error,omitempty"`
	OnCrash         OnCrash         `json:"on_crash,omitempty"`
	// If decides whether the task runs, once its dependencies have ended.
	// nil means success().
	If *Expression `json:"if,omitempty"`
	// Foreach makes one instance of the task per item.
	Foreach *Foreach `json:"foreach,omitempty"`
	// Repeat runs the task again until its condition holds.
	Repeat *Repeat `json:"repeat,omitempty"`
	// Hook says at which end of the run the task runs; "" for an ordinary one.
	Hook Hook `json:"hook,omitempty"`
	// Cache lets an earlier result of the same call stand for this one.
	Cache *Cache `json:"cache,omitempty"`
	// Budget bounds what the task may cost.
	Budget *Budget `json:"budget,omitempty"`
	// Limits tightens what the configuration and the workflow allow.
	Limits *Limits `json:"limits,omitempty"`
	// Agent is what a task with AgentMethod has, and no other.
	Agent *Agent `json:"agent,omitempty"`
}

// Expression is a condition of the small expression language.
type Expression struct {
	// Text is without ${ and }. See Evaluate.
	Text string `json:"text"`
	// Status tells that it calls success(), failure(), always() or
	// cancelled(): then it is asked also when a dependency has failed.
	Status bool `json:"status,omitempty"`
	// References are the indexes of the tasks that it looks at, sorted; in
	// until, without the task itself.
	References []int `json:"references,omitempty"`
}

// Foreach makes one instance of a task per item (language.md, "Keys").
type Foreach struct {
	// Items is a list or a map, which may hold references, or a string that
	// is one whole ${…}. See Workflow.Items.
	Items json.RawMessage `json:"items"`
	// References are the indexes of the tasks that Items and Key look at,
	// sorted.
	References []int `json:"references,omitempty"`
	// As is the name under which parameters see the item; "item" unless said
	// otherwise.
	As string `json:"as"`
	// Key names each item; a text with references to the item, or "": then
	// the index names it, or its key in a map.
	Key string `json:"key,omitempty"`
	// MaxParallel bounds the running instances, zero means no bound.
	MaxParallel int `json:"max_parallel,omitempty"`
	// FailFast starts no further instance once one has failed, and fails the
	// task. Else failed items are null in the result.
	FailFast bool `json:"fail_fast"`
	// Collect is what of each instance's result goes into the task's: a path
	// such as "text", "" for all of it.
	Collect string `json:"collect,omitempty"`
}

// Repeat runs a task again until a condition on its result holds.
type Repeat struct {
	// Until sees the task's own latest result as result, and under the task's
	// id and name.
	Until         Expression `json:"until"`
	MaxIterations int        `json:"max_iterations"`
	Interval      Duration   `json:"interval,omitempty"`
}

// Hook says at which end of a run a task runs.
type Hook string

// The hooks, in the order in which they run: one of the first two, then the
// third.
const (
	OnSuccess Hook = "on_success"
	OnFailure Hook = "on_failure"
	Finally   Hook = "finally"
)

// Cache lets an earlier result of the same call stand for a new one.
type Cache struct {
	TTL Duration `json:"ttl"`           // how long a result stands; 24 h unless said otherwise
	Key string   `json:"key,omitempty"` // a text with references, instead of the parameters
}

// Budget bounds what a run or a task may cost.
type Budget struct {
	Tokens   int64   `json:"tokens,omitempty"` // zero: no bound
	USD      float64 `json:"usd,omitempty"`    // zero: no bound
	OnExceed string  `json:"on_exceed"`        // fail or pause
}

// Limits bounds the calls of a run or task.
type Limits struct {
	PerProvider int   `json:"per_provider,omitempty"` // calls at once on one provider, zero: no bound
	Rate        *Rate `json:"rate,omitempty"`         // nil: no bound
}

// Rate is a number of calls in a time, such as 10/s.
type Rate struct {
	Calls int      `json:"calls"`
	Per   Duration `json:"per"`
}

// Schedule says when runs start by themselves.
type Schedule struct {
	Cron     string `json:"cron"`               // five fields, or @daily and the like
	Timezone string `json:"timezone,omitempty"` // an IANA name; "" is that of the machine where it is added
	// Overlap is what a time does that comes while a run of the schedule
	// lives: skip, queue or allow.
	Overlap string `json:"overlap"`
	// CatchUp starts one run for all the times that passed while no server ran.
	CatchUp bool `json:"catch_up,omitempty"`
}

// Retry says how often and when a failed attempt is tried again
// (language.md, "Rulings"; original.md 1.5).
type Retry struct {
	MaxAttempts int      `json:"max_attempts"` // counts the first try
	Backoff     Backoff  `json:"backoff"`
	BaseDelay   Duration `json:"base_delay"`
	MaxDelay    Duration `json:"max_delay"`
	Jitter      bool     `json:"jitter"`
	Deadline    Duration `json:"deadline,omitempty"` // how long after the first attempt another may start; 0: for ever
	On          []Class  `json:"on,omitempty"`       // empty: every class but the hopeless ones (Class.Hopeless)
}

// Batch is the original's "one task per file" form before expansion.
type Batch struct {
	Directory string          `json:"directory"`
	Pattern   string          `json:"pattern"`
	Protocol  string          `json:"protocol"`
	Template  json.RawMessage `json:"template"`
}

// Duration is a time.Duration whose JSON form is Go's text form, "1m30s".
type Duration time.Duration

// Backoff is the shape of the delays between attempts.
type Backoff string

// The backoffs.
const (
	Exponential Backoff = "exponential"
	Linear      Backoff = "linear"
	Fixed       Backoff = "fixed"
)

// OnCrash says what becomes of an attempt that had started and not ended when
// the process died. The zero value means CrashRetry.
type OnCrash string

// The choices of on_crash.
const (
	CrashRetry OnCrash = "retry"
	CrashFail  OnCrash = "fail"
	CrashSkip  OnCrash = "skip"
	CrashAsk   OnCrash = "ask"
)

// ErrorStrategy says what a failed task does to the rest of its run.
// The zero value means Stop.
type ErrorStrategy string

// The error strategies.
const (
	Stop     ErrorStrategy = "stop"     // nothing new starts, what runs is let finish
	Continue ErrorStrategy = "continue" // independent branches go on
)

// Priority orders ready tasks across all runs: a higher one goes first.
// Its JSON form is its name; the zero value is Normal.
type Priority int8

// The priorities.
const (
	Low    Priority = -1
	Normal Priority = 0
	High   Priority = 1
	Urgent Priority = 2
)
