package providers

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"gleitzeit/protocols"
)

// This file holds the seats of workers: what a worker says comes in here, and
// what it is told goes out.

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
