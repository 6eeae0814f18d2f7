package providers

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// This file knows the workers that are connected, and with workercalls.go and
// seat.go which of them has which
// call of a remote provider.
//
//	                 a seat has room             Finish
//	call ─► waits ──────────────────► at a worker ─────► its outcome
//	                                    │     ▲
//	                       Leave: the   ▼     │ Join: the same process is back,
//	                 connection is lost away ─┘ and holds the call still
//	                                    │
//	                                    └─► *Lost: not back within the grace, or
//	                                        back without it
//
// A call that an earlier process of ours gave to a worker (Call.Rejoin) begins
// as one that is away. A worker that comes tells the idempotency keys that it
// holds: work under way, and results. A call under such a key goes to that
// worker and to no other, which goes on with it or says the result again.
//
// What connects a worker isn't known here: it is a Link, and says what comes
// from the worker to the Seat that Join gives.

// Link is the way to a worker. Its methods are called one after the other; they
// may block for as long as it takes to send something. After an error nothing
// more is sent.
type Link interface {
	// Call gives the worker something to carry out. The worker answers with
	// Seat.Finish.
	Call(WorkerCall) error
	// Cancel tells the worker that nobody waits for a call any more. What it
	// may still come to, the worker says by Seat.Finish, too.
	Cancel(WorkerCancel) error
	// Close ends the connection. It may be called twice, and while another
	// method runs.
	Close()
}

// WorkerCall is a call as a worker gets it.
type WorkerCall struct {
	ID       string `json:"id"`       // of this call, to report with
	Key      string `json:"key"`      // the idempotency key: another call with the same is the same work
	Provider string `json:"provider"` // as the workflow knows it
	Method   string `json:"method"`
	// Parameters are complete: references and secrets are put in.
	Parameters json.RawMessage `json:"parameters,omitempty"`
	// Bindings are values behind placeholders in parameters that are source code.
	Bindings map[string]json.RawMessage `json:"bindings,omitempty"`
	Env      map[string]string          `json:"env,omitempty"`
	// OutputSchema is what the result must fit; it is checked where it comes home.
	OutputSchema json.RawMessage `json:"output_schema,omitempty"`
	Run          string          `json:"run"`
	Task         string          `json:"task"`
	Attempt      int             `json:"attempt"`
	// Deadline is when nobody waits any more, and Timeout the same as seconds
	// from now, for clocks that differ; none: no bound.
	Deadline    time.Time `json:"deadline,omitzero"`
	Timeout     float64   `json:"timeout,omitempty"`
	IdleTimeout float64   `json:"idle_timeout,omitempty"` // seconds without a sign of life; 0: no bound
	// Rejoin tells that the worker has the call already, or else must not begin
	// it: there are no parameters.
	Rejoin bool `json:"rejoin,omitempty"`
}

// WorkerCancel names a call that nobody waits for any more.
type WorkerCancel struct {
	ID  string `json:"id"`
	Key string `json:"key"`
}

// WorkerOffer is a protocol that a worker speaks.
type WorkerOffer struct {
	// Provider is the name of the remote provider that it carries out; "" for
	// all that are configured and speak the protocol.
	Provider string `json:"provider,omitempty"`
	Protocol string `json:"protocol"`
	// Methods are those that it has; none: all of a built-in protocol. For any
	// other protocol they say what may be asked, with the schemas of parameters
	// and results.
	Methods     []*protocols.Method `json:"methods,omitempty"`
	Definitions json.RawMessage     `json:"$defs,omitempty"` // that the schemas refer to
}

// Name is the protocol, after the provider and a colon if there is one.
func (o WorkerOffer) Name() string {
	if o.Provider != "" {
		return o.Provider + ":" + o.Protocol
	}
	return o.Protocol
}

// Registration is what a worker says of itself.
type Registration struct {
	Worker   string        `json:"worker"`   // its name, for people
	Instance string        `json:"instance"` // drawn once by the worker's process, and the same whenever it connects again
	Slots    int           `json:"slots"`    // calls at once
	Offers   []WorkerOffer `json:"offers"`
	// Holds are the keys of the calls that it has: under way, or with a result
	// that it keeps.
	Holds []string `json:"holds,omitempty"`
}

// WorkerInfo is a connected worker as others are shown it.
type WorkerInfo struct {
	Worker string    `json:"worker"`
	Serves []string  `json:"serves"` // protocols, after the provider and a colon if it serves that alone
	Slots  int       `json:"slots"`
	Busy   int       `json:"busy"` // calls that it has
	Since  time.Time `json:"since"`
}

// serves tells whether the worker has a part in a provider.
func (w WorkerInfo) serves(provider string, protocols []string) bool {
	return slices.ContainsFunc(protocols, func(p string) bool {
		return slices.Contains(w.Serves, p) || slices.Contains(w.Serves, provider+":"+p)
	})
}

// Capacity is how many calls at once workers take: of one provider, or of all
// of a protocol.
type Capacity struct {
	Provider string // "": all of the protocol
	Protocol string
	Slots    int
	Workers  int
}

// Bounds of what a worker may say.
const (
	maxWorkers     = 10_000
	maxWorkerSlots = 10_000
	maxOffers      = 64
	maxWorkerName  = 100 // and of a protocol's
	maxInstance    = 300
	maxHolds       = 100_000
	maxSchemas     = 1 << 20 // bytes of one worker's offers, as JSON
)

// Bounds of what all of them together may say. What they offer is one event for
// the scheduler, which a record of the log has to hold: see Capacities.
const (
	maxSaid     = 64 << 20 // bytes of registrations
	maxOffered  = 48 << 10 // bytes of different offers
	offerWeight = 80       // bytes of one without its names
)

// heartbeat is how often a worker gives a sign of life, and silence after which
// time without one it is taken for lost.
const (
	Heartbeat = 10 * time.Second
	silence   = 3 * Heartbeat
)

// Workers are the workers that are connected to this process. Make it with
// NewWorkers.
type Workers struct {
	changing sync.Mutex
	changed  chan struct{} // closed by change, which makes another one

	mu      sync.Mutex
	seats   map[string]*Seat       // by instance
	calls   map[string]*remoteCall // that have no outcome yet, by id
	waiting []*remoteCall          // those that nobody has had, oldest first
	made    int                    // calls, ever
	left    bool                   // see Leave
	working sync.WaitGroup         // those who send
}

// NewWorkers returns one that nobody is connected to.
func NewWorkers() *Workers {
	return &Workers{changed: make(chan struct{}), seats: map[string]*Seat{}, calls: map[string]*remoteCall{}}
}

// Leave is told that this process is about to leave: calls that it gives up are
// not cancelled at the workers, which the next process asks for them.
func (w *Workers) Leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = true
}

// Close sends all workers away.
func (w *Workers) Close() {
	w.mu.Lock()
	w.left = true
	for _, s := range w.seats {
		s.leave()
	}
	w.mu.Unlock()
	w.working.Wait()
}

// List returns the connected workers by name.
func (w *Workers) List() []WorkerInfo {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := []WorkerInfo{}
	for _, s := range w.seats {
		info := WorkerInfo{Worker: s.said.Worker, Slots: s.slots, Busy: len(s.busy), Since: s.since}
		for _, o := range s.said.Offers {
			info.Serves = append(info.Serves, o.Name())
		}
		all = append(all, info)
	}
	slices.SortFunc(all, func(a, b WorkerInfo) int {
		return cmp.Or(strings.Compare(a.Worker, b.Worker), a.Since.Compare(b.Since))
	})
	return all
}

// Changed returns a channel that is closed when Capacities may be others than
// from now on.
func (w *Workers) Changed() <-chan struct{} {
	w.changing.Lock()
	defer w.changing.Unlock()
	return w.changed
}

func (w *Workers) change() {
	w.changing.Lock()
	defer w.changing.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// Capacities says how many calls there may be at once. A call that no worker
// has just now counts by itself: it takes nobody's place.
func (w *Workers) Capacities() []Capacity {
	w.mu.Lock()
	defer w.mu.Unlock()
	sums := map[[2]string]*Capacity{}
	of := func(provider, protocol string) *Capacity {
		key := [2]string{protocol, provider}
		if sums[key] == nil {
			sums[key] = &Capacity{Provider: provider, Protocol: protocol}
		}
		return sums[key]
	}
	for _, s := range w.seats {
		for _, o := range s.said.Offers {
			c := of(o.Provider, o.Protocol)
			c.Slots, c.Workers = c.Slots+s.slots, c.Workers+1
		}
	}
	for _, c := range w.calls {
		if c.seat == nil {
			of(c.provider, c.protocol).Slots++
		}
	}
	all := []Capacity{}
	for _, c := range sums {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b Capacity) int {
		return cmp.Or(strings.Compare(a.Protocol, b.Protocol), strings.Compare(a.Provider, b.Provider))
	})
	return all
}
