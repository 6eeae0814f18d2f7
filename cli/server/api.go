package server

import (
	"encoding/json"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// The methods, by their names on the wire. methods.go says what each does.
const (
	WorkflowSubmit    = "workflow/submit"
	WorkflowResume    = "workflow/resume"
	WorkflowResumeAll = "workflow/resume_all"
	WorkflowInterrupt = "workflow/interrupt"
	WorkflowCancel    = "workflow/cancel"
	WorkflowPause     = "workflow/pause"
	WorkflowUnpause   = "workflow/unpause"
	WorkflowRetry     = "workflow/retry"
	WorkflowRun       = "workflow/run"
	WorkflowWait      = "workflow/wait"
	WorkflowStatus    = "workflow/status"
	WorkflowFind      = "workflow/find"
	WorkflowGet       = "workflow/get"
	TaskGet           = "task/get"
	WorkflowList      = "workflow/list"
	WorkflowHistory   = "workflow/history"
	SecretReferences  = "secret/references"
	SignalSend        = "signal/send"
	ApprovalDecide    = "approval/decide"
	ScheduleAdd       = "schedule/add"
	ScheduleList      = "schedule/list"
	ScheduleGet       = "schedule/get"
	SchedulePause     = "schedule/pause"
	ScheduleUnpause   = "schedule/unpause"
	ScheduleRemove    = "schedule/remove"
	ProviderList      = "provider/list"
	ProviderCheck     = "provider/check"
	ProviderState     = "provider/state"
	ProtocolList      = "protocol/list"
	ProtocolGet       = "protocol/get"
	LogFollow         = "log/follow"
	LogUnfollow       = "log/unfollow"
	SystemHello       = "system/hello"
	SystemStatus      = "system/status"
	SystemHealth      = "system/health"
	SystemConfig      = "system/config"
	SystemVerify      = "system/verify"
	SystemBackup      = "system/backup"
	SystemExport      = "system/export"
	SystemImport      = "system/import"
	SystemGC          = "system/gc"
	SystemCompact     = "system/compact"
	SystemAudit       = "system/audit"
	SystemNote        = "system/note"
	Discover          = "rpc.discover"
)

// The notifications that a subscription brings.
const (
	LogEvent    = "log/event"    // a fact: Event
	LogProgress = "log/progress" // a sign of life, which may be lost: Progress
	LogEnd      = "log/end"      // the run has ended and every event was sent: End
)

// SubmitParams are all that a run needs from outside.
type SubmitParams struct {
	// Workflow is the text of a workflow file, YAML or JSON. The server compiles
	// it and adds its own configuration. Files that it names must be in files.
	Workflow string `json:"workflow,omitempty"`
	// Document is a compiled workflow instead, with its setup. Only commands of
	// the server's user on the same machine can send one.
	Document json.RawMessage            `json:"document,omitempty" from:"here"`
	Setup    replay.Setup               `json:"setup,omitzero" from:"here"`
	Inputs   map[string]json.RawMessage `json:"inputs,omitempty"`
	// Texts are inputs as a person writes them, to be read by their types.
	Texts    map[string]string      `json:"-"`
	Env      map[string]string      `json:"env,omitempty"`             // the variables that the document names
	Files    map[string][]byte      `json:"files,omitempty"`           // the files that it names, base64 on the wire
	Dir      string                 `json:"dir,omitempty" from:"here"` // of a document, like all up to names: the folder of its file
	Cwd      string                 `json:"cwd,omitempty" from:"here"`
	Roots    []string               `json:"roots,omitempty" from:"here"`
	Children map[string]ChildParams `json:"children,omitempty" from:"here"` // workflows that tasks run, by where they were found
	Names    map[string]string      `json:"names,omitempty" from:"here"`    // which of them the document means by its names
	Source   string                 `json:"source,omitempty"`               // the workflow's file, for people
	Priority protocols.Priority     `json:"priority,omitempty"`
	Queue    string                 `json:"queue,omitempty"` // one that the store's holder is configured with; "" is the default one
	// ID is the run's id, "" for one of the store's.
	ID string `json:"id,omitempty"`
	// Key makes a repeated submission give the same run.
	Key string `json:"key,omitempty"`
	// By is who submits it, for the history.
	By string `json:"by,omitempty"`
	// Traceparent is the place in a trace of OpenTelemetry that the run is
	// below, in the form of W3C's header of that name.
	Traceparent string `json:"traceparent,omitempty"`
	// Secrets are those that the run needs, by their references. Whoever holds
	// the store keeps them in memory alone.
	Secrets map[string]string `json:"secrets,omitempty"`
}

// ChildParams are a workflow that tasks run, with what it needs from outside.
type ChildParams struct {
	Document json.RawMessage   `json:"document"`
	Files    map[string][]byte `json:"files,omitempty"`
	Dir      string            `json:"dir,omitempty"`
	Names    map[string]string `json:"names,omitempty"`
}

// RunNowParams submit a run and wait for its end.
type RunNowParams struct {
	SubmitParams
	// Timeout is how many seconds to wait, 60 unless told otherwise, at most
	// 3600. The run goes on after that.
	Timeout float64 `json:"timeout,omitempty"`
}

// WaitParams wait for a run's end.
type WaitParams struct {
	ID      string  `json:"id"`                // the run, as everywhere
	Timeout float64 `json:"timeout,omitempty"` // as in workflow/run
	Values  bool    `json:"values,omitempty"`  // big results and outputs in full, too
}

// TaskParams name a task of a run.
type TaskParams struct {
	ID   string `json:"id"`   // the run
	Task string `json:"task"` // the task's id; of an instance of a foreach with its index
}

// NamesParams name providers; none: all.
type NamesParams struct {
	Names []string `json:"names,omitempty"`
	// Timeout is how many seconds to wait for each, 10 unless told otherwise.
	Timeout float64 `json:"timeout,omitempty"`
}

// ProvidersResult are the providers of this server's configuration, the
// preferred ones first.
type ProvidersResult struct {
	Providers []providers.Info `json:"providers"`
	// Workers are those that are connected and carry out remote providers.
	Workers []providers.WorkerInfo `json:"workers,omitempty"`
}

// ProviderStateParams name providers by how they are configured.
type ProviderStateParams struct {
	// Providers are those of a setup; none: those of this server's configuration.
	Providers fewProviders `json:"providers,omitempty"`
}

// ProviderStatesResult is how providers are, in the order in which they were
// named.
type ProviderStatesResult struct {
	States []replay.ProviderView `json:"states"`
}

// ProviderHealth is what a provider answered when it was asked whether it could
// work now.
type ProviderHealth struct {
	Name      string `json:"name"`
	Protocol  string `json:"protocol"`
	Kind      string `json:"kind"`
	Status    string `json:"status"` // healthy, degraded or unhealthy
	Message   string `json:"message,omitempty"`
	LatencyMS int64  `json:"latency_ms"`
	Details   any    `json:"details,omitempty"`
	// State is what runs have found out about it; none: there is no store.
	State *replay.ProviderView `json:"state,omitempty"`
}

// HealthsResult is how providers are.
type HealthsResult struct {
	Providers []ProviderHealth `json:"providers"`
}

// ProtocolParams name a protocol.
type ProtocolParams struct {
	Protocol string `json:"protocol"` // its name and version: llm/v1
}

// ProtocolsResult are all protocols.
type ProtocolsResult struct {
	Protocols []*protocols.Spec `json:"protocols"`
}

// HealthResult says whether the server does its work.
type HealthResult struct {
	Status  string    `json:"status"` // ok, leaving, or waiting for a store that can't be reached
	Ready   bool      `json:"ready"`  // it takes submissions
	Since   time.Time `json:"since"`
	Version string    `json:"version,omitempty"`
}

// Setting is a key of the configuration.
type Setting struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Origin string `json:"origin"` // where the value came from
}

// SettingsResult is the server's configuration without its secrets.
type SettingsResult struct {
	Settings []Setting `json:"settings"`
}

// RunParams name a run. Everywhere, ID may be the full id, the run's number,
// the beginning of an id that no other has, or "@last" for the newest run.
type RunParams struct {
	ID string `json:"id"`
}

// RunResult names a run in full.
type RunResult struct {
	ID string `json:"id"`
}

// SubmitResult names the run that a submission made, or found.
type SubmitResult struct {
	ID string `json:"id"`
	// Before tells that the key had the run already.
	Before bool `json:"before,omitempty"`
}

// RunsResult names runs in full.
type RunsResult struct {
	IDs []string `json:"ids"`
}

// ResumeParams take a run on.
type ResumeParams struct {
	ID string `json:"id"`
	// Explicit tells that a person asked for it: it takes the run out of the park.
	Explicit bool `json:"explicit,omitempty"`
	// Answers says what becomes of attempts in doubt, by task id: retry, fail
	// or skip.
	Answers map[string]protocols.OnCrash `json:"answers,omitempty"`
	// Secrets are those that the run needs, as in SubmitParams.
	Secrets map[string]string `json:"secrets,omitempty"`
	By      string            `json:"by,omitempty"`
}

// ResumeAllParams take all runs on.
type ResumeAllParams struct {
	// Secrets are those that the runs need, as in SubmitParams. A run uses only
	// what it names itself.
	Secrets map[string]string `json:"secrets,omitempty"`
	By      string            `json:"by,omitempty"`
}

// ReferencesParams ask which secrets a run needs, or, without ID, all live ones
// do.
type ReferencesParams struct {
	ID string `json:"id,omitempty"`
}

// ReferencesResult says where the secrets are that runs need: env:NAME,
// file:PATH and age:PATH. What they are nobody but a client can know.
type ReferencesResult struct {
	References []string `json:"references"`
}

// InterruptParams let nothing new of a run start.
type InterruptParams struct {
	ID    string `json:"id"`
	Force bool   `json:"force,omitempty"` // stop what runs, too; it will be tried again
	By    string `json:"by,omitempty"`
}

// CancelParams end a run early.
type CancelParams struct {
	ID string `json:"id"`
	By string `json:"by,omitempty"`
}

// PauseParams let a run rest, or go on again.
type PauseParams struct {
	ID string `json:"id"`
	By string `json:"by,omitempty"`
}

// UnpauseParams let a paused run go on.
type UnpauseParams struct {
	ID string `json:"id"`
	By string `json:"by,omitempty"`
	Grant
}

// Grant is what a person adds to the budgets of a run and of its tasks.
type Grant struct {
	Tokens int64   `json:"tokens,omitempty"`
	USD    float64 `json:"usd,omitempty"`
}

func (g Grant) usage() replay.Usage {
	return replay.Usage{Tokens: g.Tokens, MicroUSD: replay.MicroUSD(g.USD)}
}

// RetryParams let a run go on that has ended.
type RetryParams struct {
	ID string `json:"id"`
	// Tasks are tried again, by id or name, and failed tasks that aren't named
	// not; From with all that depends on them, completed or not.
	Tasks []string `json:"tasks,omitempty"`
	From  []string `json:"from,omitempty"`
	// End is the place in the log of the end that is taken back; 0: the last.
	// Once that is done the call does nothing, so that it may be repeated.
	End eventlog.Seq `json:"end,omitempty"`
	By  string       `json:"by,omitempty"`
	Grant
	// Secrets are those that the run needs, as in SubmitParams.
	Secrets map[string]string `json:"secrets,omitempty"`
}

// SignalParams send a run a signal.
type SignalParams struct {
	ID   string          `json:"id"`
	Name string          `json:"name"`
	Data json.RawMessage `json:"data,omitempty"` // any JSON; none: null
	By   string          `json:"by,omitempty"`
	// Key makes it safe to send the same again: it counts once. The client
	// draws one if it is empty.
	Key string `json:"key,omitempty"`
}

// ApprovalParams decide what a task asked for.
type ApprovalParams struct {
	ID string `json:"id"`
	// Task is the id of the task, that of an instance of a foreach with its
	// index; "" is the only one that asks.
	Task     string `json:"task,omitempty"`
	Approved bool   `json:"approved"`
	Comment  string `json:"comment,omitempty"`
	By       string `json:"by,omitempty"`
	Key      string `json:"key,omitempty"` // as in SignalParams
	// Question is the id of a running task's question, "" for the oldest of
	// the task. Data answers it, with Fields as they are typed: texts, read by
	// the types of the question's schema, which the answer must fit.
	Question string            `json:"question,omitempty"`
	Data     json.RawMessage   `json:"data,omitempty"`
	Fields   map[string]string `json:"fields,omitempty"`
}

// ScheduleAddParams add a schedule.
type ScheduleAddParams struct {
	Name string `json:"name,omitempty"` // "" is made of the workflow's name
	// Schedule says when; without cron it is the document's. Without a time
	// zone it is UTC.
	Schedule protocols.Schedule `json:"schedule,omitzero"`
	// Run is what each run is submitted with. Its id and key don't matter.
	Run SubmitParams `json:"run"`
	By  string       `json:"by,omitempty"`
	// Key makes a repeated call give the same schedule. The client draws one if
	// it is empty.
	Key string `json:"key,omitempty"`
}

// ScheduleParams name a schedule.
type ScheduleParams struct {
	Name string `json:"name"`
	By   string `json:"by,omitempty"`
}

// ScheduleGetParams ask for a schedule.
type ScheduleGetParams struct {
	Name     string `json:"name"`
	Upcoming int    `json:"upcoming,omitempty"` // how many of its coming times, too
	History  int    `json:"history,omitempty"`  // how much of what happened, too: the last so many
}

// ScheduleView is a schedule as people and programs are shown it.
type ScheduleView struct {
	Name     string                `json:"name"`
	Workflow string                `json:"workflow"`
	Source   string                `json:"source,omitempty"`
	Cron     string                `json:"cron"`
	Timezone string                `json:"timezone"`
	Overlap  string                `json:"overlap"`
	CatchUp  bool                  `json:"catch_up"`
	Added    time.Time             `json:"added"`
	By       string                `json:"by,omitempty"`
	Paused   bool                  `json:"paused,omitempty"`
	Next     time.Time             `json:"next,omitzero"`   // none while it is paused
	Queued   time.Time             `json:"queued,omitzero"` // a time whose run waits for the end of the last one
	Last     *replay.ScheduleFired `json:"last,omitempty"`  // what came of the last time
	Run      *ScheduledRun         `json:"run,omitempty"`   // the last one that it started
	Upcoming []time.Time           `json:"upcoming,omitempty"`
	History  []replay.Entry        `json:"history,omitempty"`
}

// ScheduledRun is a run that a schedule started.
type ScheduledRun struct {
	ID     string        `json:"id"`
	At     time.Time     `json:"at"`               // the time that the schedule named
	Status replay.Status `json:"status,omitempty"` // none once the run was deleted
}

// ScheduleListResult are all schedules.
type ScheduleListResult struct {
	Schedules []ScheduleView `json:"schedules"`
	// Server tells whether they fire now: whoever holds the store is a server.
	Server bool `json:"server"`
}

// GetParams ask for a run.
type GetParams struct {
	ID     string `json:"id"`
	Values bool   `json:"values,omitempty"` // big results and outputs in full, too
}

// ListParams choose runs; the newest come first.
type ListParams struct {
	Status []replay.Status `json:"status,omitempty"` // any of them; none: all
	Name   string          `json:"name,omitempty"`   // the workflow's name
	Tag    string          `json:"tag,omitempty"`
	Since  time.Time       `json:"since,omitzero"`   // submitted then or later
	Until  time.Time       `json:"until,omitzero"`   // submitted before then
	Limit  int             `json:"limit,omitempty"`  // 0 is 50, at most 1,000
	Before uint64          `json:"before,omitempty"` // runs with a smaller number only; 0: all
	// Cursor is that of the page before, of a store that is divided into
	// partitions, where Before means nothing.
	Cursor string `json:"cursor,omitempty"`
}

// ListResult is a page of a list. A page may hold fewer runs than its limit,
// even none, and yet not be the last one: what one call looks at is bounded.
type ListResult struct {
	Runs []*replay.RunView `json:"runs"`
	// Next is the Before of the next page; 0: this is the last one.
	Next uint64 `json:"next,omitempty"`
	// Cursor is that of the next page, of a divided store; "": this is the last one.
	Cursor string `json:"cursor,omitempty"`
}

// HistoryResult is all that happened to a run, oldest first.
type HistoryResult struct {
	ID      string         `json:"id"`
	Entries []replay.Entry `json:"entries"`
}

// FollowParams subscribe to events.
type FollowParams struct {
	ID   string       `json:"id,omitempty"`   // the run; none: all runs
	From eventlog.Seq `json:"from,omitempty"` // the first place of interest; 0: the beginning
	// Cursor is that of the last event, for all runs of a store that is divided
	// into partitions; "" is the beginning.
	Cursor   string `json:"cursor,omitempty"`
	Progress bool   `json:"progress,omitempty"` // signs of life, too
}

// FollowResult is a subscription; its notifications come after it.
type FollowResult struct {
	Subscription uint64 `json:"subscription"`
	ID           string `json:"id,omitempty"` // the run's id in full
}

// UnfollowParams end a subscription; an unknown one is fine.
type UnfollowParams struct {
	Subscription uint64 `json:"subscription"`
}

// Event is the body of log/event.
type Event struct {
	Subscription uint64       `json:"subscription"`
	Entry        replay.Entry `json:"entry"`
	// Cursor is where a subscription to all runs of a divided store can go on.
	Cursor string `json:"cursor,omitempty"`
}

// Progress is the body of log/progress.
type Progress struct {
	Subscription uint64 `json:"subscription"`
	scheduler.Progress
}

// End is the body of log/end.
type End struct {
	Subscription uint64 `json:"subscription"`
	// Error says why nothing more can come, though the run has not ended.
	Error *protocols.Error `json:"error,omitempty"`
}

// HelloParams are the first that a client says.
type HelloParams struct {
	// Token proves, where the transport doesn't, who the client is.
	Token string `json:"token,omitempty"`
}

// HelloResult says who serves the store.
type HelloResult struct {
	API     int    `json:"api"` // APIVersion of the server
	Store   string `json:"store"`
	ID      string `json:"id"`
	PID     int    `json:"pid"`
	Version string `json:"version,omitempty"`
	// Server tells whether that process stays and lets schedules fire.
	Server bool `json:"server,omitempty"`
}

// APIVersion is the version of all that this file describes. It moves when a
// client of the old one would misunderstand a server of the new one.
const APIVersion = 1

// StatusResult is how the store and whoever holds it are.
type StatusResult struct {
	Store   string `json:"store"` // its folder, "" in memory
	ID      string `json:"id"`
	Format  int    `json:"format"`
	Engine  string `json:"engine"`  // what keeps it
	Promise string `json:"promise"` // what an acknowledged event lives through, in plain words
	// Durability says the same in a word: always, everysec, no, snapshots, none
	// or unknown.
	Durability eventlog.Durability `json:"durability"`
	Last       eventlog.Seq        `json:"last"`
	Records    uint64              `json:"records"`
	Values     uint64              `json:"values"`
	ValueBytes uint64              `json:"value_bytes"`
	DiskBytes  int64               `json:"disk_bytes"`
	// ReadOnly says why the store can't be written; it isn't there if it can.
	ReadOnly string `json:"read_only,omitempty"`

	PID     int       `json:"pid"` // of the process that holds the store
	Since   time.Time `json:"since"`
	Version string    `json:"version,omitempty"`

	// Server tells whether that process stays and lets schedules fire.
	Server bool `json:"server,omitempty"`
	// Scheduler tells whether that process runs things, or only looks.
	Scheduler bool                  `json:"scheduler"`
	Leaving   bool                  `json:"leaving,omitempty"` // it starts nothing new and is about to give the store up
	Slots     int                   `json:"slots"`
	Running   int                   `json:"running"` // attempts
	Ready     int                   `json:"ready"`   // tasks that wait for a slot
	Runs      map[replay.Status]int `json:"runs"`    // live runs by status

	// Partitions are those of a store that is divided, Nodes how many servers
	// share them, and Cursor where the log ends, for a subscription to all runs.
	Partitions []PartitionStatus `json:"partitions,omitempty"`
	Nodes      int               `json:"nodes,omitempty"`
	Cursor     string            `json:"cursor,omitempty"`
}

// PartitionStatus is how one part of a store is.
type PartitionStatus struct {
	Partition int          `json:"partition"`
	Node      string       `json:"node,omitempty"` // of its owner, "" if nobody says that he lives
	Host      string       `json:"host,omitempty"`
	PID       int          `json:"pid,omitempty"`
	Epoch     uint64       `json:"epoch"` // how often it changed hands
	Last      eventlog.Seq `json:"last"`
	Running   int          `json:"running"` // attempts
}

// VerifyResult is what the check of the whole store found; see
// eventlog.Report.
type VerifyResult struct {
	Last        eventlog.Seq `json:"last"`
	Streams     uint64       `json:"streams"`
	Records     uint64       `json:"records"`
	Deleted     uint64       `json:"deleted"`
	Values      uint64       `json:"values"`
	ValueBytes  uint64       `json:"value_bytes"`
	Keys        uint64       `json:"keys"`
	Checkpoints uint64       `json:"checkpoints"`
	Problems    []string     `json:"problems"` // none: the store is sound
}

// FileParams name a file on the server's machine.
type FileParams struct {
	Path string `json:"path"` // absolute
	By   string `json:"by,omitempty"`
}

// ImportParams name an archive on the server's machine.
type ImportParams struct {
	Path string `json:"path"` // absolute
	By   string `json:"by,omitempty"`
	// Key makes a repeated call bring nothing in again. The client draws one if
	// it is empty.
	Key string `json:"key,omitempty"`
}

// ExportParams say which runs go into which file.
type ExportParams struct {
	IDs  []string `json:"ids,omitempty"` // none: all runs
	Path string   `json:"path"`          // absolute
	By   string   `json:"by,omitempty"`
}

// ExportResult is what went into the file.
type ExportResult struct {
	Runs int `json:"runs"` // with those that they started
	eventlog.ArchiveInfo
}

// ImportResult is what came out of a file.
type ImportResult struct {
	Runs []replay.Moved `json:"runs"`
}

// GCParams say what is kept of the runs that have ended. What isn't given bounds
// nothing.
type GCParams struct {
	OlderThan protocols.Duration `json:"older_than,omitempty"` // those that ended longer ago go
	Keep      int                `json:"keep,omitempty"`       // so many stay
	Bytes     int64              `json:"bytes,omitempty"`      // so much may the store take
	Dry       bool               `json:"dry,omitempty"`        // only count
	By        string             `json:"by,omitempty"`
}

// GCResult is what went, and what the store takes on disk.
type GCResult struct {
	Runs   int   `json:"runs"`
	Before int64 `json:"before"` // bytes
	After  int64 `json:"after"`
}

// ActorParams say who wishes something.
type ActorParams struct {
	By string `json:"by,omitempty"`
}

// AuditParams bound what is looked at.
type AuditParams struct {
	Limit int `json:"limit,omitempty"` // the last so many: 0 is 100, at most 10,000
}

// AuditResult is what was done to the store beside its runs, oldest first. What
// was done to a run is in its own history, and to a schedule in that one's.
type AuditResult struct {
	Entries []replay.Entry `json:"entries"`
}

// NoteParams say what somebody did.
type NoteParams struct {
	Method string `json:"method"` // as token/create
	Text   string `json:"text"`   // for people
	By     string `json:"by,omitempty"`
}

// CompactResult is what the store takes on disk.
type CompactResult struct {
	Before int64 `json:"before"` // bytes
	After  int64 `json:"after"`
}
