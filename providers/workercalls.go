package providers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// This file holds the calls that workers carry out: who has which, and what
// becomes of one whose worker is gone.

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

// sorted returns the calls in an order that doesn't change.
func (w *Workers) sorted() []*remoteCall {
	return slices.SortedFunc(maps.Values(w.calls), func(a, b *remoteCall) int { return strings.Compare(a.id, b.id) })
}
