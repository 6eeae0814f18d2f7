package scheduler

import (
	"encoding/json"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// Command is a wish: something that may become events.
type Command interface{ command() }

// Start takes the store for this process; it comes before all others.
type Start struct {
	PID     int
	Version string
}

// Submit asks for a new run. A key that a run has already gives that run.
type Submit struct {
	Plan     *replay.Plan
	Values   [][]byte // the document, the setup and the files, for the log
	Context  replay.Value
	Files    []eventlog.Hash
	Source   string
	Priority protocols.Priority
	Key      string
	ID       string         // chosen by the submitter; "" for one of ours
	Inputs   eventlog.Hash  // of the inputs, which the key stands for with the document
	Parent   *replay.Parent // of a child run
	Schedule string         // that starts it, "" for none
	By       string         // who submits it, "" if nobody asked
	Trace    string         // the place in a trace that it is below, "" for none

	// What the log knows of runs that State doesn't hold any more.
	Earlier *replay.KeyHolder // who was last submitted under Key
	IDTaken bool              // ID is that of a run
	Queue   string
	Budget  *protocols.Budget // what the parent's leaves
}

// Resume takes a run on: the first time in this process, or again after it was
// interrupted or parked.
type Resume struct {
	Run uint64
	// Explicit tells that a person asked for it: it takes the run out of the park.
	Explicit bool
	// Answers says what becomes of attempts in doubt, by task.
	Answers map[int]protocols.OnCrash
	By      string
}

// Interrupt lets nothing new of a run start until it is resumed.
type Interrupt struct {
	Run uint64
	By  string
}

// Cancel ends a run early.
type Cancel struct {
	Run uint64
	By  string
}

// Finish is the outcome of an attempt.
type Finish struct {
	Run         uint64
	Task        int
	Attempt     int
	Result      replay.Value
	Error       *protocols.Error
	Interrupted bool          // we stopped it because we had to leave, or because of
	Why         string        // this
	Lost        string        // the worker that had it, which was lost; "": none was
	Called      bool          // the provider was asked
	Usage       replay.Usage  // what that has cost
	Cached      bool          // the result is an earlier one
	Call        eventlog.Hash // under which the result is to be kept, zero: it isn't
	Duration    protocols.Duration
	Jitter      float64 // in [0,1), drawn by the worker
	// Text is what the attempt had said last, when it came to no result.
	Text *replay.TextStreamed
}

// Await is what a started task of wait/v1 turned out to wait for.
type Await struct {
	Run     uint64
	Task    int
	Attempt int
	Wait    replay.Wait
	// For is how long it waits at most, when Wait.Until doesn't say it.
	For time.Duration
}

// Spawn is what a started task of workflow/v1 turned out to run.
type Spawn struct {
	Run     uint64
	Task    int
	Attempt int
	Child   Submit
}

// Signal sends a run a signal.
type Signal struct {
	Run  uint64
	Name string
	Data replay.Value
	By   string
	Key  string // under which the log finds it again, "" for none
}

// Approve decides what a task of a run asked for.
type Approve struct {
	Run      uint64
	Task     int // -1: the one task that asks
	Approved bool
	Comment  string
	By       string
	Key      string // as of a Signal
	// Of the question of a running attempt: which, "" is the oldest, and what
	// is answered. Data and Fields are what a person gave, Content what was
	// made of that.
	Question string
	Data     json.RawMessage
	Fields   map[string]string
	Content  replay.Value
}

// Pause lets nothing new of a run start until a person unpauses it.
type Pause struct {
	Run uint64
	By  string
}

// Unpause takes that back.
type Unpause struct {
	Run     uint64
	By      string
	Granted replay.Usage // beyond the run's budgets
}

// Serve begins to carry out what Policy allows, with no wish about any run.
type Serve struct{}

// Note writes down what somebody did beside the runs.
type Note struct {
	Method string // that did it
	By     string
	Text   string // what it was, for people
}

// maxNote is how many bytes of a note are kept.
const maxNote = 1 << 10

// AddSchedule asks for runs that begin by themselves.
type AddSchedule struct {
	Name     string
	Schedule protocols.Schedule
	Each     Submit // what each run is submitted with
	Key      string // the same key, sent again, gives the same schedule
	By       string
}

// PauseSchedule lets no time of a schedule count until it is unpaused.
type PauseSchedule struct{ Name, By string }

// UnpauseSchedule takes that back.
type UnpauseSchedule struct{ Name, By string }

// RemoveSchedule ends a schedule. Its runs go on.
type RemoveSchedule struct{ Name, By string }

// Hear is what the partitions together have found out about a provider: how the
// breaker that they share stands.
type Hear struct{ Breaker replay.BreakerChanged }

// Retry lets a run go on that has ended. Tasks are tried again though others
// that failed are not, From with all that comes after them; both are places in
// the document.
type Retry struct {
	Run   *replay.Run // as it was when it ended
	How   replay.Status
	Tasks []int
	From  []int
	By    string
	// Granted is what it may cost beyond its budgets.
	Granted replay.Usage
}

// Answer is what an evaluation found out.
type Answer struct {
	Run  uint64
	What replay.Question
	Task int
	// Attempt is the last one when it was asked, or of an agent the place of its
	// last step: what an earlier one came to says nothing of this one.
	Attempt int
	// Retries is how often the run had gone on when it was asked.
	Retries int
	Yes     bool                  // of a condition
	Value   replay.Value          // the outputs, or what a foreach collected
	Items   []replay.Value        // chunks of a foreach's items
	Count   int                   // how many items there are
	Size    int                   // items in a chunk
	Calls   []protocols.AgentCall // what an agent's last turn asks for
	Error   *protocols.Error
}

func (Start) command()     {}
func (Submit) command()    {}
func (Resume) command()    {}
func (Interrupt) command() {}
func (Cancel) command()    {}
func (Finish) command()    {}
func (Retry) command()     {}
func (Answer) command()    {}
func (Await) command()     {}
func (Spawn) command()     {}
func (Signal) command()    {}
func (Approve) command()   {}
func (Pause) command()     {}
func (Unpause) command()   {}
func (Hear) command()      {}

func (Serve) command()           {}
func (Note) command()            {}
func (AddSchedule) command()     {}
func (PauseSchedule) command()   {}
func (UnpauseSchedule) command() {}
func (RemoveSchedule) command()  {}
