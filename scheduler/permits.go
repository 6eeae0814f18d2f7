package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file gets the permits that calls of providers need whose bounds all
// partitions share.
//
//	a task could start ──► ask, until ──► at hand (Policy.Permits) ──► TaskStarted
//	                         │                       │                   takes it
//	                         └── denied: what the    └── nobody     kept while the call
//	                             breaker says is         can use    runs, given back
//	                             told to the core        it: given  after it
//	                                                     back
//
// A permit that can't be kept, as the engine is away or we were, runs out: then
// the call is stopped before anybody else can have it.

// Permits are given out by what the partitions share: eventlog.Permits.
type Permits interface {
	Take(context.Context, eventlog.PermitWish) (eventlog.PermitAnswer, error)
	Keep(context.Context, *eventlog.Permit) (until time.Time, err error)
	Give(context.Context, *eventlog.Permit, eventlog.PermitOutcome) (eventlog.PermitBreakerState, error)
	Leave(context.Context, eventlog.PermitWish) error
	Freed(ctx context.Context, told func(key string))
}

// errPermitLost is why a call is stopped whose permit may be another's soon.
var errPermitLost = errors.New("its permit ran out: the store's engine could not be reached")

const (
	// permitMargin is how long before a permit runs out its call is stopped.
	permitMargin = eventlog.PermitTime / 5
	// permitPause is how long to wait before asking again, unless told.
	permitPause = 250 * time.Millisecond
	// permitPatience bounds one question to the engine.
	permitPatience = 2 * time.Second
)

// permits are the loop's end of it: the fields below mu are of others too.
type permits struct {
	from   Permits
	idle   map[replay.PermitKey][]*permit // as many as Policy.Permits says
	taken  map[attempt]*permit            // by attempts whose workers start after the append
	asking map[replay.PermitKey]context.CancelFunc
	hears  bool

	mu    sync.Mutex
	pokes map[string]map[*asker]bool // who asks, by provider

	hearing sync.Mutex                             // held until the core is told: it must not be told in another order
	told    map[string]eventlog.PermitBreakerState // last
}

// permit is one that we hold.
type permit struct {
	*eventlog.Permit
	s     *Scheduler
	name  string        // the provider's
	done  chan struct{} // closed when it is given back or lost
	once  sync.Once
	mu    sync.Mutex
	until time.Time
	lost  func() // stops the call; nil: there is none yet
}

// sharesPermits tells whether calls of the provider need permits.
func (p Policy) sharesPermits(g *replay.Group) bool { return p.Permits != nil && g.Provider.Cluster }

// sharePermits prepares for permits, if anybody gives them out.
func (s *Scheduler) sharePermits(log *eventlog.Log) {
	from := s.opts.Permits
	if shared := log.Permits(); from == nil && shared != nil {
		from = shared
	}
	if from == nil {
		return
	}
	s.policy.Permits = replay.Permits{}
	s.permits = &permits{from: from, idle: map[replay.PermitKey][]*permit{}, taken: map[attempt]*permit{},
		asking: map[replay.PermitKey]context.CancelFunc{}, pokes: map[string]map[*asker]bool{}, told: map[string]eventlog.PermitBreakerState{}}
}

// takePermit notes which permit an attempt has taken that starts.
func (s *Scheduler) takePermit(f replay.Fact) {
	if s.permits == nil {
		return
	}
	key, task, took := took(s.state, f)
	if idle := s.permits.idle[key]; took && len(idle) > 0 {
		s.permits.taken[attempt{f.Run, task}] = idle[0]
		s.hold(key, idle[1:])
	}
}

// took tells which permit a fact has used up that was just applied.
func took(s *replay.State, f replay.Fact) (key replay.PermitKey, task int, took bool) {
	if e, starts := f.Event.(*replay.TaskStarted); starts {
		key, took = s.PermitOf(s.Run(f.Run), e.Task)
		return key, e.Task, took
	}
	return key, 0, false
}

// hold says which permits of a kind are at hand.
func (s *Scheduler) hold(key replay.PermitKey, idle []*permit) {
	if s.permits.idle[key] = idle; len(idle) == 0 {
		delete(s.permits.idle, key)
	}
	s.policy.Permits[key] = len(idle)
}

// permitOf hands an attempt's permit to its worker; nil: it needs none.
func (s *Scheduler) permitOf(a attempt) *permit {
	if s.permits == nil {
		return nil
	}
	p := s.permits.taken[a]
	delete(s.permits.taken, a)
	return p
}

// seekPermits gives back what nobody can use and asks for what is wanted, at
// the end of a turn.
func (s *Scheduler) seekPermits(now time.Time) {
	p := s.permits
	if p == nil || !s.started {
		return
	}
	for key, idle := range p.idle {
		for _, one := range idle {
			s.working.Go(func() { one.give(eventlog.PermitOutcome{}) })
		}
		s.hold(key, nil)
	}
	var wanted map[replay.PermitKey]*replay.ProviderSlots
	if !s.policy.Closed && s.state.Running < s.policy.Slots {
		wanted = s.state.Wanted(now, s.policy.room(s.state))
	}
	for key, stop := range p.asking {
		if wanted[key] == nil {
			stop()
			delete(p.asking, key)
		}
	}
	for key, provider := range wanted {
		if p.asking[key] == nil {
			s.seekPermit(key, provider)
		}
	}
}

// seekPermit asks for a permit, off the loop.
func (s *Scheduler) seekPermit(key replay.PermitKey, provider *replay.ProviderSlots) {
	ctx, stop := context.WithCancel(s.ctx)
	s.permits.asking[key] = stop
	if !s.permits.hears {
		s.permits.hears = true
		s.working.Go(func() { s.permits.from.Freed(s.ctx, s.permits.poke) })
	}
	a := &asker{s: s, key: key, wish: wish(key, provider), name: provider.Name, poked: make(chan struct{}, 1)}
	s.working.Go(func() { a.ask(ctx) })
}

// wish is what to ask for.
func wish(key replay.PermitKey, p *replay.ProviderSlots) eventlog.PermitWish {
	w := eventlog.PermitWish{Key: key.Provider, Slots: p.Slots, Model: key.Model, ModelSlots: p.ModelSlots[key.Model]}
	w.Calls, w.Tokens = permitRate(p.Rate), permitRate(p.TokenRate)
	if b := p.Breaker; b != nil {
		w.Breaker = &eventlog.PermitBreaker{Failures: b.Failures, Successes: b.Successes, Open: time.Duration(b.Open)}
	}
	return w
}

func permitRate(r *replay.Rate) *eventlog.PermitRate {
	if r == nil {
		return nil
	}
	each, ahead := r.Pace()
	return &eventlog.PermitRate{Interval: each, Ahead: ahead}
}

// asker asks for one permit until it has it, or nobody wants it any more.
type asker struct {
	s     *Scheduler
	key   replay.PermitKey
	name  string // the provider's, for people
	wish  eventlog.PermitWish
	poked chan struct{} // there may be one
}

func (a *asker) ask(ctx context.Context) {
	from := a.s.permits.from
	a.s.permits.listen(a, true)
	defer a.s.permits.listen(a, false)
	for failing := false; ; {
		said, err := from.Take(ctx, a.wish)
		switch {
		case err != nil && ctx.Err() == nil && !failing:
			a.s.opts.Logger.Warn("ask for a permit of "+a.name, "error", err)
			failing = true
		case err == nil:
			failing = false
			a.s.hear(a.key.Provider, a.name, said.Breaker)
		}
		if said.Permit != nil {
			a.got(ctx, said.Permit)
			return
		}
		if !a.pause(ctx, pauseAfter(said, err)) {
			ctx, cancel := context.WithTimeout(context.Background(), permitPatience)
			defer cancel()
			_ = from.Leave(ctx, a.wish) // else the place is lost after a while
			return
		}
	}
}

// got brings a permit home. Who asked for it may have lost interest: then it is
// given back at the end of the turn.
func (a *asker) got(ctx context.Context, one *eventlog.Permit) {
	p := &permit{Permit: one, s: a.s, name: a.name, done: make(chan struct{}), until: one.Until}
	a.s.working.Go(p.keep)
	err := a.s.send(context.Background(), request{before: func() {
		if stop := a.s.permits.asking[a.key]; stop != nil && ctx.Err() == nil { // it is we who ask
			stop()
			delete(a.s.permits.asking, a.key)
		}
		a.s.hold(a.key, append(a.s.permits.idle[a.key], p))
	}})
	if err != nil {
		p.give(eventlog.PermitOutcome{})
	}
}

// pauseAfter is when to ask again: not everybody at once.
func pauseAfter(said eventlog.PermitAnswer, err error) time.Duration {
	pause := permitPause
	switch {
	case err != nil:
		pause = 4 * permitPause
	case said.After > 0:
		pause = min(said.After, 4*permitPause) // less than a place in the line is kept
	}
	return pause + time.Duration(rand.Float64()*float64(pause)/4)
}

// pause waits, but no longer than until there may be a permit. It tells whether
// one is still wanted.
func (a *asker) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-a.poked:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func (p *permits) listen(a *asker, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.pokes[a.key.Provider]
	if all == nil {
		all = map[*asker]bool{}
		p.pokes[a.key.Provider] = all
	}
	if all[a] = on; !on {
		delete(all, a)
	}
	maps.DeleteFunc(p.pokes, func(_ string, all map[*asker]bool) bool { return len(all) == 0 })
}

// poke lets those ask again at once who want a permit of the provider.
func (p *permits) poke(provider string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for a := range p.pokes[provider] {
		select {
		case a.poked <- struct{}{}:
		default:
		}
	}
}

// hear tells the core how the shared breaker stands, if it wasn't told yet.
func (s *Scheduler) hear(provider, name string, b eventlog.PermitBreakerState) {
	p := s.permits
	p.hearing.Lock()
	defer p.hearing.Unlock()
	before, known := p.told[provider]
	p.told[provider] = b
	if known && before.State == b.State && before.Opened == b.Opened {
		return
	}
	c := Hear{Breaker: replay.BreakerChanged{Provider: provider, Name: name, State: replay.BreakerState(b.State)}}
	if b.State != "" {
		c.Breaker.Since, c.Breaker.Until, c.Breaker.Successes = b.Since.UTC(), b.Until.UTC(), b.Successes
		var why protocols.Error
		if json.Unmarshal(b.Error, &why) == nil {
			c.Breaker.Error = &why
		}
	}
	_ = s.send(context.Background(), request{command: c}) // or there is no loop any more
}

// keep lets the permit last until it is given back.
func (p *permit) keep() {
	tick := time.NewTicker(eventlog.PermitTime / 8)
	defer tick.Stop()
	deadline := time.AfterFunc(time.Until(p.until)-permitMargin, p.lose)
	defer deadline.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-p.s.ctx.Done(): // its call is stopped, too
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(p.s.ctx, permitPatience)
		until, err := p.s.permits.from.Keep(ctx, p.Permit)
		cancel()
		switch {
		case errors.Is(err, eventlog.ErrPermitGone):
			p.lose()
		case err == nil && deadline.Stop(): // else it is lost, whatever the engine says
			p.mu.Lock()
			p.until = until
			p.mu.Unlock()
			deadline.Reset(time.Until(until) - permitMargin)
		}
	}
}

// lose stops the call.
func (p *permit) lose() {
	p.once.Do(func() { close(p.done) })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = time.Time{}
	if p.lost != nil {
		p.lost()
	}
}

// stops says what stops the call.
func (p *permit) stops(lost func()) {
	if p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lost = lost
	}
}

// covers tells whether the call may begin: it asks the clock, for after a pause
// of the whole process nobody else may have done so yet.
func (p *permit) covers() bool {
	if p == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	left := min(time.Until(p.until), p.until.Round(0).Sub(time.Now().Round(0))) // a machine that slept knows by the latter
	return left > permitMargin
}

// give gives the permit back. If the engine can't be reached it runs out.
func (p *permit) give(o eventlog.PermitOutcome) {
	p.once.Do(func() { close(p.done) })
	ctx, cancel := context.WithTimeout(context.Background(), permitPatience)
	defer cancel()
	b, err := p.s.permits.from.Give(ctx, p.Permit, o)
	if err == nil && p.Breaker != nil && o.Called {
		p.s.hear(p.Key, p.name, b)
	}
}

// end gives the permit back after a call, or what was to be one.
func (p *permit) end(ctx context.Context, came cameTo, err error) {
	if p == nil {
		return
	}
	o := eventlog.PermitOutcome{Called: came.called && !errors.Is(ctx.Err(), context.Canceled)}
	switch {
	case err == nil:
		o.Tokens = usageOf(came.result).Tokens
	case came.called:
		failure := failed(ctx, err)
		o.Tokens = usageOf(failure.Data).Tokens
		class := failure.Code.Class()
		if class == protocols.ClassCancelled || class == protocols.ClassRateLimit {
			o.Called = false // it says nothing about the provider
		} else if helpless(class) {
			message := shorten(p.s.vault.scrubber().text(failure.Message), maxMessage)
			o.Error, _ = json.Marshal(&protocols.Error{Code: failure.Code, Message: message})
		}
	}
	p.give(o)
}
