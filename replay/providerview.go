package replay

import (
	"time"

	"gleitzeit/protocols"
)

// This file shows providers to people.

// ProviderView is how a provider is at a moment, as far as runs have found out.
type ProviderView struct {
	InUse   int `json:"in_use"`            // calls that it has
	Slots   int `json:"slots"`             // that it may have at once
	Waiting int `json:"waiting"`           // tasks that it would be the first choice for
	Workers int `json:"workers,omitempty"` // of a remote one: that are connected
	// Breaker is closed, open (until a moment) or half_open; "" for none.
	Breaker  string           `json:"breaker,omitempty"`
	Until    time.Time        `json:"until,omitzero"`
	Failures int              `json:"failures,omitempty"` // in a row, that haven't opened it yet
	Error    *protocols.Error `json:"error,omitempty"`    // that opened it
	// CallsLeft and TokensLeft are what its rates allow at once; none: no bound.
	CallsLeft  *int64 `json:"calls_left,omitempty"`
	TokensLeft *int64 `json:"tokens_left,omitempty"`
}

// Provider shows the provider that p describes. What a state doesn't know of it,
// nobody has used.
func (s *State) Provider(p *ProviderSlots, now time.Time) ProviderView {
	g := s.groups[p.ID]
	if g == nil {
		g = &Group{Provider: p, Health: &Health{}, workers: &s.workers}
		if h := s.health[p.ID]; h != nil {
			g.Health = h
		}
	}
	return s.show(g, now)
}

func (s *State) show(g *Group, now time.Time) ProviderView {
	h, p := g.Health, g.Provider
	v := ProviderView{InUse: g.Running, Slots: g.Slots(), Waiting: s.queuedFor(g)}
	if p.Remote {
		_, v.Workers = s.workers.of(p)
	}
	if p.Breaker != nil {
		v.Breaker, v.Failures = "closed", h.Failures
		if h.Breaker != BreakerClosed {
			v.Breaker, v.Until, v.Error = string(h.Breaker), h.Until, h.Error
		}
	}
	v.CallsLeft, v.TokensLeft = p.Rate.left(h.Calls, now), p.TokenRate.left(h.Tokens, now)
	return v
}

// EachProvider calls f for every provider that live runs may use, in no order.
// Those of several configurations may have the same name.
func (s *State) EachProvider(now time.Time, f func(p *ProviderSlots, v ProviderView)) {
	for _, g := range s.groups {
		f(g.Provider, s.show(g, now))
	}
}

// left is how many may begin at once of a bucket that will be full at a moment;
// less than 0 when more was taken than there was.
func (r *Rate) left(full, now time.Time) *int64 {
	if r == nil {
		return nil
	}
	n := max(r.Burst, 1)
	if full.After(now) {
		taken, per := full.Sub(now), r.interval()
		n -= int64((taken + per - 1) / per)
	}
	return &n
}
