package providers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// This file knows the workers that are connected, and which of them has which
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

// Seat is a connected worker. What the worker says comes to its methods, from
// any goroutine.
type Seat struct {
	of       *Workers
	link     Link
	said     Registration
	specs    map[string]*protocols.Registry // of protocols that aren't built in
	since    time.Time
	alarm    *time.Timer // rings when the worker was silent for too long
	slots    int
	size     int                    // of what it said, in bytes
	busy     map[string]*remoteCall // by id; of some nobody waits for the outcome
	holds    map[string]bool        // keys
	given    int                    // calls, ever
	outbox   []func() error         // to be sent, in this order
	wake     chan struct{}          // that there is something in it
	gone     chan struct{}          // closed when the seat is nobody's any more
	departed bool
}

// remoteCall is a call of a remote provider that has no outcome yet.
type remoteCall struct {
	job
	id      string
	until   time.Time     // its deadline; zero: none
	seat    *Seat         // that has it; nil: nobody, or one that is away
	away    string        // the instance that had it, and is away
	worker  string        // its name
	timer   *time.Timer   // rings when it is lost
	outcome chan answered // gets one
	over    bool          // nobody waits any more
}

// job is a call with what belongs to it.
type job struct {
	provider, protocol string
	grace              time.Duration
	Call
	host Host
}

// errGone says that a worker has left.
var errGone = protocols.Errorf(protocols.ConnectionLost, "the worker is gone")

// answered is how a call ended.
type answered struct {
	result json.RawMessage
	err    error
	by     *protocols.Registry // that the result must fit; nil: none
}

// checked is the outcome, or that the result doesn't fit what the worker has
// said of the method. A worker's schemas may take long: mu is not held, and
// whoever waits for the call may give up.
func (a answered) checked(method string) (json.RawMessage, error) {
	if a.err == nil && a.by != nil {
		if wrong := a.by.CheckResult(method, a.result); wrong != nil {
			return nil, wrong
		}
	}
	return a.result, a.err
}

// call has a worker carry out a call, and returns what that comes to.
func (w *Workers) call(ctx context.Context, j job) (json.RawMessage, error) {
	c := &remoteCall{job: j, outcome: make(chan answered, 1)}
	c.until, _ = ctx.Deadline()
	w.enter(c)
	select {
	case a := <-c.outcome:
		return a.checked(c.Method)
	case <-ctx.Done():
		w.forsake(c)
		return nil, endedError(ctx)
	}
}

// enter takes a new call in.
func (w *Workers) enter(c *remoteCall) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made++
	c.id = fmt.Sprintf("%s.%d", cmp.Or(c.Key, fmt.Sprintf("call%d", w.made)), c.Attempt)
	if w.calls[c.id] != nil { // of somebody who uses a key twice
		c.id = fmt.Sprintf("%s.%d", c.id, w.made)
	}
	w.calls[c.id] = c
	holder := w.holder(c)
	switch {
	case holder != nil:
		holder.give(c)
	case c.Rejoin:
		c.worker = "of " + c.provider
		w.miss(c)
	default:
		w.waiting = append(w.waiting, c)
		w.dispatch()
	}
	w.change()
}

// holder returns the worker that has the call's key. The caller holds mu, as
// everywhere below unless it is said.
func (w *Workers) holder(c *remoteCall) *Seat {
	for _, s := range w.seats {
		if c.Key != "" && s.holds[c.Key] && s.serves(c) {
			return s
		}
	}
	return nil
}

// miss gives a call up unless a worker comes with it in time.
func (w *Workers) miss(c *remoteCall) {
	c.timer = time.AfterFunc(c.grace, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if c.seat == nil {
			w.settle(c, answered{err: &Lost{Worker: c.worker}})
		}
	})
}

// settle ends a call.
func (w *Workers) settle(c *remoteCall, a answered) {
	if c.over {
		return
	}
	w.drop(c)
	c.outcome <- a
	w.change()
}

// drop takes a call out of the books of those that are waited for.
func (w *Workers) drop(c *remoteCall) {
	c.over = true
	delete(w.calls, c.id)
	w.waiting = slices.DeleteFunc(w.waiting, func(o *remoteCall) bool { return o == c })
	if c.timer != nil {
		c.timer.Stop()
	}
}

// forsake is told that nobody waits for a call any more. mu is not held.
func (w *Workers) forsake(c *remoteCall) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.over {
		return
	}
	w.drop(c)
	if c.seat != nil && !w.left {
		s, cancel := c.seat, WorkerCancel{ID: c.id, Key: c.Key}
		s.push(func() error { return s.link.Cancel(cancel) })
	}
	w.change()
}

// dispatch gives waiting calls to workers with room.
func (w *Workers) dispatch() {
	for _, c := range slices.Clone(w.waiting) {
		s, able := w.pick(c)
		switch {
		case s != nil:
			w.waiting = slices.DeleteFunc(w.waiting, func(o *remoteCall) bool { return o == c })
			s.give(c)
		case able == lacksMethod:
			w.settle(c, answered{err: protocols.Errorf(protocols.MethodNotSupported, "no worker of %q has the method %s", c.provider, c.Method)})
		}
	}
}

// ability is what the workers there are can do for a call.
type ability int

const (
	nobodyServes ability = iota
	lacksMethod
	serves
)

// pick returns the worker that has the least to do of those with room.
func (w *Workers) pick(c *remoteCall) (best *Seat, able ability) {
	for _, s := range w.seats {
		how := s.can(c)
		able = max(able, how)
		if how == serves && len(s.busy) < s.slots && (best == nil || s.before(best)) {
			best = s
		}
	}
	return best, able
}

// before tells whether the worker has less to do than the other.
func (s *Seat) before(o *Seat) bool {
	a, b := len(s.busy)*o.slots, len(o.busy)*s.slots
	if a != b {
		return a < b
	}
	return s.given < o.given
}

// can tells what the worker can do for a call.
func (s *Seat) can(c *remoteCall) (able ability) {
	for _, o := range s.said.Offers {
		if o.Protocol != c.protocol || o.Provider != "" && o.Provider != c.provider {
			continue
		}
		able = max(able, lacksMethod)
		if len(o.Methods) == 0 || slices.ContainsFunc(o.Methods, func(m *protocols.Method) bool { return hasMethod(m.Name, c.Method) }) {
			return serves
		}
	}
	return able
}

func (s *Seat) serves(c *remoteCall) bool { return s.can(c) == serves }

// hasMethod tells whether the name, which may end in "*", stands for the method.
func hasMethod(name, method string) bool {
	prefix, open := strings.CutSuffix(name, "*")
	return name == method || open && strings.HasPrefix(method, prefix)
}

// give gives a call to the worker.
func (s *Seat) give(c *remoteCall) {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.seat, c.away, c.worker = s, "", s.said.Worker
	s.busy[c.id] = c
	s.given++
	s.push(func() error { return s.deliver(c) })
}

// deliver sends a call to the worker, unless its parameters don't fit what the
// worker has said of the method. mu is not held.
func (s *Seat) deliver(c *remoteCall) error {
	if registry := s.specs[c.protocol]; registry != nil && !c.Rejoin {
		if wrong := s.misfit(registry, c); wrong != nil {
			s.Finish(c.id, nil, wrong)
			return nil
		}
	}
	return s.link.Call(c.wire())
}

// misfit tells what is wrong with a call's parameters. With some schemas that
// takes for ever, which must hold up nobody but the worker that has said them.
func (s *Seat) misfit(registry *protocols.Registry, c *remoteCall) error {
	found := make(chan *protocols.Error, 1)
	go func() { found <- registry.CheckParameters(c.Method, c.Parameters) }()
	select {
	case wrong := <-found:
		if wrong != nil {
			return wrong
		}
	case <-s.gone: // and the call is another's matter
		return errGone
	}
	return nil
}

// wire is the call as the worker gets it.
func (c *remoteCall) wire() WorkerCall {
	call := WorkerCall{ID: c.id, Key: cmp.Or(c.Key, c.id), Provider: c.provider, Method: c.Method, Parameters: c.Parameters, Bindings: c.Bindings,
		Env: c.Env, OutputSchema: c.OutputSchema, Run: c.Run, Task: c.Task, Attempt: c.Attempt,
		IdleTimeout: c.IdleTimeout.Seconds(), Rejoin: c.Rejoin}
	if !c.until.IsZero() {
		call.Deadline, call.Timeout = c.until.UTC(), time.Until(c.until).Seconds()
	}
	return call
}

// push has something sent.
func (s *Seat) push(send func() error) {
	s.outbox = append(s.outbox, send)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pump sends what there is to send until the seat is nobody's. mu is not held.
func (s *Seat) pump() {
	for {
		select {
		case <-s.wake:
		case <-s.gone:
			return
		}
		s.of.mu.Lock()
		sends := s.outbox
		s.outbox = nil
		s.of.mu.Unlock()
		for _, send := range sends {
			if send() != nil {
				s.Leave()
				return
			}
		}
	}
}

// Join gives a worker a seat. One that the same process of it had before is
// taken from it. Whether it may serve what it offers is for whoever calls to say.
// The error is INVALID_PARAMS, or that there are too many.
func (w *Workers) Join(link Link, r Registration) (*Seat, error) {
	s, err := newSeat(w, link, r)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left {
		return nil, protocols.Errorf(protocols.SystemShutdown, "this process is about to leave")
	}
	if old := w.seats[r.Instance]; old != nil {
		old.leave()
	}
	if err := w.room(s); err != nil {
		return nil, err
	}
	w.seats[r.Instance] = s
	s.alarm = time.AfterFunc(silence, s.Leave)
	w.working.Go(s.pump)
	w.welcome(s)
	w.dispatch()
	w.change()
	return s, nil
}

// room tells, by nil, that there is room for one more.
func (w *Workers) room(s *Seat) error {
	said, offered := s.size, map[[2]string]bool{}
	for _, o := range s.said.Offers {
		offered[[2]string{o.Protocol, o.Provider}] = true
	}
	for _, there := range w.seats {
		said += there.size
		for _, o := range there.said.Offers {
			offered[[2]string{o.Protocol, o.Provider}] = true
		}
	}
	size := 0
	for names := range offered {
		size += len(names[0]) + len(names[1]) + offerWeight
	}
	switch {
	case len(w.seats) >= maxWorkers:
		return protocols.Errorf(protocols.ResourceExhausted, "more than %d workers", maxWorkers)
	case said > maxSaid:
		return protocols.Errorf(protocols.ResourceExhausted, "what all workers say of themselves has more than %d MiB", maxSaid>>20)
	case size > maxOffered:
		return protocols.Errorf(protocols.ResourceExhausted, "the workers offer too many different providers and protocols")
	}
	return nil
}

// newSeat reads what a worker says of itself.
func newSeat(w *Workers, link Link, r Registration) (*Seat, error) {
	s := &Seat{of: w, link: link, said: r, slots: r.Slots, since: time.Now().UTC(), busy: map[string]*remoteCall{}, holds: map[string]bool{},
		specs: map[string]*protocols.Registry{}, wake: make(chan struct{}, 1), gone: make(chan struct{})}
	refuse := func(format string, args ...any) (*Seat, error) {
		return nil, protocols.Errorf(protocols.InvalidParams, format, args...)
	}
	switch {
	case r.Worker == "" || len(r.Worker) > maxWorkerName:
		return refuse("worker: a name of 1 to %d bytes", maxWorkerName)
	case r.Instance == "" || len(r.Instance) > maxInstance:
		return refuse("instance: a text of 1 to %d bytes that no other process uses", maxInstance)
	case r.Slots < 1 || r.Slots > maxWorkerSlots:
		return refuse("slots: %d: must be from 1 to %d", r.Slots, maxWorkerSlots)
	case len(r.Offers) == 0 || len(r.Offers) > maxOffers:
		return refuse("offers: %d: must be from 1 to %d", len(r.Offers), maxOffers)
	case len(r.Holds) > maxHolds:
		return refuse("holds: more than %d", maxHolds)
	}
	for _, o := range r.Offers {
		raw, _ := json.Marshal(o) // which came as JSON
		s.size += len(raw)
	}
	if s.size > maxSchemas {
		return refuse("offers: more than %d KiB of methods and schemas", maxSchemas>>10)
	}
	for i, o := range r.Offers {
		if err := s.offers(o); err != nil {
			return refuse("offers[%d]: %v", i, err)
		}
		if slices.ContainsFunc(r.Offers[:i], func(p WorkerOffer) bool { return p.Protocol == o.Protocol && p.Provider == o.Provider }) {
			return refuse("offers[%d]: %s is offered already", i, o.Protocol)
		}
	}
	for _, key := range r.Holds {
		s.holds[key] = true
		s.size += len(key)
	}
	return s, nil
}

// offers reads one of a worker's offers.
func (s *Seat) offers(o WorkerOffer) error {
	if len(o.Protocol) > maxWorkerName || !protocols.IsProtocol(o.Protocol) {
		return fmt.Errorf("protocol: %.200q must be of the form name/v1, of at most %d bytes", o.Protocol, maxWorkerName)
	}
	if o.Provider != "" && (!configName.MatchString(o.Provider) || len(o.Provider) > maxWorkerName) {
		return fmt.Errorf("provider: %q has letters, digits, '_', '-' and '.' only", o.Provider)
	}
	registry := protocols.NewRegistry()
	if _, builtIn := registry.Get(o.Protocol); builtIn {
		return nil
	}
	if len(o.Methods) == 0 {
		return fmt.Errorf("methods: missing: nobody knows those of %s", o.Protocol)
	}
	if slices.Contains(o.Methods, nil) {
		return fmt.Errorf("methods: null is no method")
	}
	if err := registry.Register(&protocols.Spec{Protocol: o.Protocol, Methods: o.Methods, Definitions: o.Definitions}); err != nil {
		return err
	}
	s.specs[o.Protocol] = registry
	return nil
}

// welcome gives a worker that has come the calls that it holds. What the same
// process had, and doesn't hold any more, is lost.
func (w *Workers) welcome(s *Seat) {
	for _, c := range w.sorted() {
		switch {
		case c.seat != nil:
			if c.seat != s && c.Key != "" && s.holds[c.Key] { // another worker has it by now
				s.push(func() error { return s.link.Cancel(WorkerCancel{Key: c.Key}) })
			}
		case c.Key != "" && s.holds[c.Key] && s.serves(c):
			w.waiting = slices.DeleteFunc(w.waiting, func(o *remoteCall) bool { return o == c })
			s.give(c)
		case c.away == s.said.Instance:
			w.settle(c, answered{err: &Lost{Worker: c.worker}})
		}
	}
}

// sorted returns the calls in an order that doesn't change.
func (w *Workers) sorted() []*remoteCall {
	return slices.SortedFunc(maps.Values(w.calls), func(a, b *remoteCall) int { return strings.Compare(a.id, b.id) })
}

// Touch notes a sign of life of the worker.
func (s *Seat) Touch() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if !s.departed {
		s.alarm.Reset(silence)
	}
}

// Finish is told what a call came to. It returns false when nobody waits for
// that, or the call is another's by now: then nothing happens. Of an error only
// a *protocols.Error keeps its code; a *Lost puts the call in doubt.
func (s *Seat) Finish(id string, result json.RawMessage, failure error) (taken bool) {
	w := s.of
	w.mu.Lock()
	defer w.mu.Unlock()
	c := s.busy[id]
	if c == nil {
		return false
	}
	delete(s.busy, id)
	delete(s.holds, c.Key)
	taken = !c.over
	if _, lost := errors.AsType[*Lost](failure); lost {
		w.settle(c, answered{err: &Lost{Worker: s.said.Worker}})
		w.dispatch()
		return taken
	}
	if failure != nil {
		failure, result = asError(failure), nil
	}
	w.settle(c, answered{result, failure, s.specs[c.protocol]})
	w.dispatch()
	return taken
}

// Progress shows how a call goes on. Of one that the worker doesn't have it does
// nothing.
func (s *Seat) Progress(id string, p Progress) {
	if c := s.has(id); c != nil {
		c.host.Progress(p)
	}
}

// File returns a file that a call's run was submitted with, or false.
func (s *Seat) File(id, name string) ([]byte, bool, error) {
	if c := s.has(id); c != nil && c.Call.File != nil {
		return c.Call.File(name)
	}
	return nil, false, nil
}

// has returns the call if the worker has it and somebody waits for it. mu is
// not held.
func (s *Seat) has(id string) *remoteCall {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if c := s.busy[id]; c != nil && !c.over {
		return c
	}
	return nil
}

// Drain gives the worker no more calls: it is about to leave.
func (s *Seat) Drain() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.slots = 0
	s.of.change()
}

// Leave is told that the connection to the worker is down. The calls that it
// has are waited for, for a while. Leaving twice is fine.
func (s *Seat) Leave() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.leave()
}

func (s *Seat) leave() {
	if s.departed {
		return
	}
	s.departed = true
	s.alarm.Stop()
	close(s.gone)
	w := s.of
	w.working.Go(s.link.Close)
	if w.seats[s.said.Instance] == s {
		delete(w.seats, s.said.Instance)
	}
	for _, c := range s.busy {
		if !c.over {
			c.seat, c.away = nil, s.said.Instance
			w.miss(c)
		}
	}
	clear(s.busy)
	w.change()
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
