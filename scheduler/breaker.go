package scheduler

import (
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file decides about providers: when one that fails is left alone, and
// what a call takes of its rates.

// helpless tells whether the failure is that of the provider or the way to it,
// so that its breaker counts it.
func helpless(c protocols.Class) bool {
	return c == protocols.ClassServer || c == protocols.ClassNetwork || c == protocols.ClassTimeout
}

// elsewhere tells whether another provider may do better after the failure.
func elsewhere(c protocols.Class) bool {
	switch c {
	case protocols.ClassServer, protocols.ClassNetwork, protocols.ClassTimeout, protocols.ClassRateLimit,
		protocols.ClassAuth, protocols.ClassNotFound:
		return true
	}
	return false
}

// judged says what an outcome means for the provider: for its breaker, and for
// the tokens that were reserved.
func judged(s *replay.State, p Policy, r *replay.Run, now time.Time, c Finish) (out []replay.Fact) {
	g := s.OnProvider(r, c.Task)
	if e := breaker(g, r, now, c); e != nil && !p.sharesPermits(g) {
		out = append(out, replay.Fact{At: now, Event: e})
	}
	if e := g.Take(now, 0, c.Usage.Tokens-r.Reserve(c.Task)); e != nil {
		out = append(out, replay.Fact{At: now, Event: e})
	}
	return out
}

// breaker says how an outcome changes the breaker, nil: not at all. What is
// nobody's fault (a cancel, an earlier result, a parameter that couldn't be
// filled in) says nothing about the provider, and that it wants us to slow
// down is no failure.
func breaker(g *replay.Group, r *replay.Run, now time.Time, c Finish) *replay.BreakerChanged {
	policy := g.Provider.Breaker
	if policy == nil || !c.Called || c.Interrupted || c.Cached || c.Lost != "" {
		return nil
	}
	failed := false
	if c.Error != nil {
		class := c.Error.Code.Class()
		if class == protocols.ClassCancelled || class == protocols.ClassRateLimit {
			return nil
		}
		failed = helpless(class)
	}
	e := g.Breaks()
	e.Run = r.ID()
	switch {
	case e.State == replay.BreakerClosed && failed:
		if e.Failures++; e.Failures >= policy.Failures {
			opens(e, policy, now, c.Error)
		}
	case e.State == replay.BreakerClosed && e.Failures > 0:
		e.Failures = 0
	case e.State != replay.BreakerHalfOpen || !g.Probe(&r.Tasks[c.Task]):
		return nil // a call from before it opened
	case failed:
		opens(e, policy, now, c.Error)
	default:
		if e.Successes++; e.Successes >= policy.Successes {
			*e = replay.BreakerChanged{Provider: e.Provider, Name: e.Name, Until: now, Run: e.Run}
		}
	}
	return e
}

// decideHear notes how a breaker stands that all partitions share, if that is
// news. Two clocks have said until when it is open.
func decideHear(s *replay.State, now time.Time, c Hear) []replay.Fact {
	e, h := c.Breaker, s.HealthOf(c.Breaker.Provider)
	if e.State == h.Breaker && (e.State != replay.BreakerOpen || e.Until.Sub(h.Until).Abs() < time.Second) {
		return nil
	}
	if e.State == replay.BreakerClosed {
		e.Until = now
	}
	if e.State == replay.BreakerHalfOpen && h.Breaker == replay.BreakerOpen {
		e.Since, e.Until, e.Error = h.Since, h.Until, h.Error
	}
	return []replay.Fact{{At: now, Event: &e}}
}

// opens leaves the provider alone from now on.
func opens(e *replay.BreakerChanged, policy *replay.Breaker, now time.Time, why *protocols.Error) {
	e.State, e.Failures, e.Successes = replay.BreakerOpen, 0, 0
	e.Since, e.Until = now, now.Add(time.Duration(policy.Open))
	e.Error = &protocols.Error{Code: why.Code, Message: shorten(why.Message, maxMessage)}
}

// starts are the facts with which a task starts on a provider.
func starts(s *replay.State, p Policy, now time.Time, next replay.Start) (out []replay.Fact) {
	r, g := s.Run(next.Run), next.Provider
	if g.Tried(now) {
		e := g.Breaks()
		e.State, e.Run = replay.BreakerHalfOpen, r.ID()
		out = append(out, replay.Fact{At: now, Event: e})
	}
	t := &r.Tasks[next.Task]
	e := &replay.TaskStarted{Task: next.Task, Attempt: t.Attempts + 1, Provider: g.Provider.Name, Mocked: g.Provider.Mock != ""}
	if waited := now.Sub(t.ReadyAt); waited > 0 {
		e.Waited, e.For = protocols.Duration(waited), s.HeldBack(r, next.Task, g)
	}
	out = append(out, replay.Fact{At: now, Run: next.Run, Event: e})
	if e := g.Take(now, 1, r.Reserve(next.Task)); e != nil {
		out = append(out, replay.Fact{At: now, Event: e})
	}
	return out
}

// scale lets a pool grow or shrink that should.
func scale(s *replay.State, now time.Time) []replay.Fact {
	e, _ := s.Scale(now)
	if e == nil {
		return nil
	}
	return []replay.Fact{{At: now, Event: e}}
}
