package replay

import (
	"slices"
	"strings"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// This file holds how providers are: what the log knows of their breakers and
// rates, whichever run found it out. Each of its events says all there is to
// say, and lies in a stream of its provider, so that a start reads the last of
// each and no more.

// BreakerState is where the breaker of a provider stands.
//
//	closed ── failures in a row ──► open ── time, and a task that wants ──► half open
//	   ▲                              ▲────────── a failure ────────────────────┤
//	   └──────────────── successes in a row ────────────────────────────────────┘
type BreakerState string

// The states of a breaker. The zero value is closed.
const (
	BreakerClosed   BreakerState = ""
	BreakerOpen     BreakerState = "open"
	BreakerHalfOpen BreakerState = "half_open"
)

// Health is how a provider is.
type Health struct {
	Breaker   BreakerState
	Failures  int              // in a row, while closed
	Successes int              // in a row, while half open
	Since     time.Time        // when it opened
	Until     time.Time        // until when it is left alone; once it is closed, when it closed
	Error     *protocols.Error // that opened it
	Calls     time.Time        // the bucket of Rate: when it will be full
	Tokens    time.Time        // that of TokenRate
	Size      int              // of its pool; 0: the least
	Scaled    time.Time        // when that changed

	breakerSeq, rateSeq, poolSeq eventlog.Seq
}

// BreakerChanged: a provider's calls went well or badly, so that its breaker
// counts otherwise or lets other calls through.
type BreakerChanged struct {
	Provider  string           `json:"provider"` // its key
	Name      string           `json:"name"`
	State     BreakerState     `json:"state,omitempty"`
	Failures  int              `json:"failures,omitempty"`
	Successes int              `json:"successes,omitempty"`
	Since     time.Time        `json:"since,omitzero"`
	Until     time.Time        `json:"until,omitzero"`
	Error     *protocols.Error `json:"error,omitempty"`
	Run       string           `json:"run,omitempty"` // whose attempt it was
}

// RateTaken: a call took what a provider's rates allow, or gave some back.
type RateTaken struct {
	Provider string    `json:"provider"` // its key
	Calls    time.Time `json:"calls,omitzero"`
	Tokens   time.Time `json:"tokens,omitzero"`
}

// Type is the event's name on disk.
func (e *BreakerChanged) Type() string {
	switch e.State {
	case BreakerOpen:
		return "breaker.opened"
	case BreakerHalfOpen:
		return "breaker.half_opened"
	}
	return "breaker.closed"
}

// Type is the event's name on disk.
func (*RateTaken) Type() string { return "provider.rate_taken" }

// The streams of a provider are named by its key, between these.
const (
	providerPrefix = "provider/"
	breakerStream  = "/breaker"
	rateStream     = "/rate"
)

// stream is where an event of no run lies.
func stream(e Event) string {
	switch e := e.(type) {
	case *BreakerChanged:
		return providerPrefix + e.Provider + breakerStream
	case *RateTaken:
		return providerPrefix + e.Provider + rateStream
	case *WorkersChanged:
		return workersStream
	case *PoolScaled:
		return providerPrefix + e.Provider + poolStream
	case *CacheStored:
		return CacheStream(e.Call)
	case *KeyTaken:
		return keyStream(e.Key)
	case *SystemAlive:
		return aliveStream
	case *Acted:
		return auditStream
	}
	return SystemStream
}

// breaks applies a change of a breaker.
func (s *State) breaks(f Fact, e *BreakerChanged) {
	h := s.healthOf(e.Provider)
	if f.Seq <= h.breakerSeq {
		return
	}
	reopened := !e.Since.Equal(h.Since)
	h.breakerSeq, h.Breaker, h.Failures, h.Successes = f.Seq, e.State, e.Failures, e.Successes
	h.Since, h.Until, h.Error = e.Since, e.Until, e.Error
	if g := s.groups[e.Provider]; g != nil && reopened {
		g.probing = 0 // what runs began before
	}
}

// rates applies what was taken of a provider's rates.
func (s *State) rates(f Fact, e *RateTaken) {
	if h := s.healthOf(e.Provider); f.Seq > h.rateSeq {
		h.rateSeq, h.Calls, h.Tokens = f.Seq, e.Calls, e.Tokens
	}
}

// healthOf returns how the provider of that key is.
func (s *State) healthOf(key string) *Health {
	h := s.health[key]
	if h == nil {
		h = &Health{}
		s.health[key] = h
	}
	return h
}

// Probe tells whether a running attempt tries the provider: it began after the
// breaker opened, and that isn't closed.
func (g *Group) Probe(t *Task) bool {
	return g.Health.Breaker != BreakerClosed && t.Started.After(g.Health.Since)
}

// Tried tells whether the breaker waits for one call to try the provider.
func (g *Group) Tried(now time.Time) bool {
	return g.Provider.Breaker != nil && g.Health.Breaker == BreakerOpen && !now.Before(g.Health.Until)
}

// Breaks is the provider's breaker as an event, to be changed.
func (g *Group) Breaks() *BreakerChanged {
	h := g.Health
	return &BreakerChanged{Provider: g.key, Name: g.Provider.Name, State: h.Breaker, Failures: h.Failures,
		Successes: h.Successes, Since: h.Since, Until: h.Until, Error: h.Error}
}

// Take is what a call takes of the provider's rates: nil if it has none.
// Tokens may be less than 0: some are given back.
func (g *Group) Take(now time.Time, calls, tokens int64) *RateTaken {
	p := g.Provider
	e := &RateTaken{Provider: g.key, Calls: g.Health.Calls, Tokens: g.Health.Tokens}
	if p.Rate != nil && calls != 0 {
		e.Calls = p.Rate.take(e.Calls, now, calls)
	}
	if p.TokenRate != nil && tokens != 0 {
		e.Tokens = p.TokenRate.take(e.Tokens, now, tokens)
	}
	if e.Calls.Equal(g.Health.Calls) && e.Tokens.Equal(g.Health.Tokens) {
		return nil
	}
	return e
}

// restoreHealth reads how the providers are: the last record of each stream. It
// may be newer than the state, whose place in the log stays.
func (s *State) restoreHealth(log *eventlog.Log, codec *Codec) error {
	defer func(seq eventlog.Seq, at time.Time) { s.Seq, s.Time = seq, at }(s.Seq, s.Time)
	for name, err := range log.Streams(providerPrefix, false, "") {
		if err != nil {
			return err
		}
		rec, found, err := log.Head(name)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		f, found, err := codec.Decode(rec)
		if err != nil {
			return err
		}
		if found {
			s.Apply(f)
		}
	}
	return nil
}

// isProvider tells whether a stream is that of a provider.
func isProvider(stream string) bool { return strings.HasPrefix(stream, providerPrefix) }

// trouble returns what happened to the breakers of the providers that a run
// may use, from one record to another.
func trouble(log *eventlog.Log, r *Run, from, to eventlog.Seq) (facts []Fact, err error) {
	codec := NewCodec(log.Value)
	for i := range r.Plan.Setup.Providers {
		p := &r.Plan.Setup.Providers[i]
		if p.Breaker == nil || !r.Plan.uses(i) {
			continue
		}
		for rec, err := range log.ReadStream(providerPrefix+p.key(r.Plan.SetupHash)+breakerStream, from) {
			if err != nil {
				return nil, err
			}
			if rec.Seq > to {
				break
			}
			f, found, err := codec.Decode(rec)
			if err != nil {
				return nil, err
			}
			if found {
				facts = append(facts, f)
			}
		}
	}
	return facts, nil
}

// uses tells whether a task of the plan may run on the provider.
func (p *Plan) uses(provider int) bool {
	for i := range p.paths {
		if slices.Contains(p.paths[i].choices, provider) {
			return true
		}
	}
	return false
}
