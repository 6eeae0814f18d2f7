package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// permitsOf are the permits of a store with nobody else in it, given out as to
// the partitions of those numbers.
func permitsOf(t *testing.T, partitions int) (all []*Permits) {
	t.Helper()
	l, err := Open(t.TempDir(), Options{Engine: Redis, RedisURL: redisURL(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	one := l.Permits()
	for n := range partitions {
		p := *one
		p.who, p.lasts, p.line = fmt.Sprint("p", n), time.Hour, time.Hour // however slow the machine is
		all = append(all, &p)
	}
	return all
}

// denied asks and wants to hear no.
func denied(t *testing.T, p *Permits, w PermitWish, why string) PermitAnswer {
	t.Helper()
	a, err := p.Take(soon(t), w)
	if err != nil || a.Permit != nil || a.Why != why {
		t.Fatalf("asked %s: %+v, %v, want it denied for %s", p.who, a, err, why)
	}
	return a
}

func granted(t *testing.T, p *Permits, w PermitWish) *Permit {
	t.Helper()
	a, err := p.Take(soon(t), w)
	if err != nil || a.Permit == nil {
		t.Fatalf("asked %s: %+v, %v, want a permit", p.who, a, err)
	}
	return a.Permit
}

func give(t *testing.T, p *Permits, one *Permit, o PermitOutcome) PermitBreakerState {
	t.Helper()
	b, err := p.Give(soon(t), one, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPermitsAreFew lets nobody have more than there are, and serves in the
// order of asking.
func TestPermitsAreFew(t *testing.T) {
	all := permitsOf(t, 4)
	w := PermitWish{Key: "far", Slots: 2}
	first := granted(t, all[0], w)
	granted(t, all[1], w)
	denied(t, all[2], w, "slots")
	denied(t, all[3], w, "slots")
	denied(t, all[0], w, "slots")
	give(t, all[0], first, PermitOutcome{})
	give(t, all[0], first, PermitOutcome{}) // twice frees no other one
	denied(t, all[3], w, "slots")           // it is the third's turn
	denied(t, all[0], w, "slots")
	granted(t, all[2], w)
	denied(t, all[3], w, "slots")
}

// TestPermitsOfModels: who waits for a model that has no room keeps nobody from
// another.
func TestPermitsOfModels(t *testing.T) {
	all := permitsOf(t, 3)
	big, small := PermitWish{Key: "far", Slots: 3, Model: "the big one", ModelSlots: 1}, PermitWish{Key: "far", Slots: 3}
	one := granted(t, all[0], big)
	denied(t, all[1], big, "model")
	granted(t, all[2], small)
	granted(t, all[0], small)
	denied(t, all[0], small, "slots")
	give(t, all[0], one, PermitOutcome{})
	denied(t, all[0], small, "slots")
	granted(t, all[1], big)
}

// TestPermitsOfTheGone: a place in the line is lost by whoever doesn't ask any
// more, and can be given up.
func TestPermitsOfTheGone(t *testing.T) {
	all := permitsOf(t, 4)
	w := PermitWish{Key: "far", Slots: 1}
	one := granted(t, all[0], w)
	denied(t, all[1], w, "slots")
	denied(t, all[2], w, "slots")
	give(t, all[0], one, PermitOutcome{})
	denied(t, all[2], w, "slots")
	if err := all[1].Leave(soon(t), w); err != nil {
		t.Fatal(err)
	}
	one = granted(t, all[2], w)
	denied(t, all[3], w, "slots")
	denied(t, all[1], w, "slots")
	give(t, all[2], one, PermitOutcome{})
	denied(t, all[1], w, "slots")
	all[1].line = time.Microsecond
	granted(t, all[1], w)
}

// TestPermitsRunOut: who doesn't keep a permit loses it, and learns so.
func TestPermitsRunOut(t *testing.T) {
	all := permitsOf(t, 2)
	w := PermitWish{Key: "far", Slots: 1}
	one := granted(t, all[0], w)
	until, err := all[0].Keep(soon(t), one)
	if err != nil || until.Before(one.Until) {
		t.Fatalf("kept until %s, not %s: %v", until, one.Until, err)
	}
	denied(t, all[1], w, "slots")
	all[0].lasts = time.Microsecond
	if _, err := all[0].Keep(soon(t), one); err != nil {
		t.Fatal(err)
	}
	other := granted(t, all[1], w)
	if _, err := all[0].Keep(soon(t), one); !errors.Is(err, ErrPermitGone) {
		t.Fatalf("a permit that has run out: %v", err)
	}
	give(t, all[0], one, PermitOutcome{Called: true, Error: []byte("{}")})
	denied(t, all[0], w, "slots")
	if _, err := all[1].Keep(soon(t), other); err != nil {
		t.Errorf("the other one's: %v", err)
	}
}

// TestPermitsAreFenced: a writer that another one has followed gets none.
func TestPermitsAreFenced(t *testing.T) {
	p := permitsOf(t, 1)[0]
	w := PermitWish{Key: "far", Slots: 2}
	granted(t, p, w)
	next := *p
	next.epoch++
	granted(t, &next, w)
	if _, err := p.Take(soon(t), w); !errors.Is(err, ErrPermitGone) {
		t.Fatalf("the one before: %v", err)
	}
}

// TestPermitRate: permits are given as fast as the rate has it, by Redis's clock.
func TestPermitRate(t *testing.T) {
	all := permitsOf(t, 2)
	w := PermitWish{Key: "far", Slots: 100, Calls: &PermitRate{Interval: time.Hour, Ahead: 2 * time.Hour}}
	for range 3 { // a burst
		granted(t, all[0], w)
	}
	if a := denied(t, all[1], w, "rate"); a.After < 50*time.Minute || a.After > time.Hour {
		t.Errorf("ask again after %s", a.After)
	}
	w = PermitWish{Key: "words", Slots: 100, Tokens: &PermitRate{Interval: time.Minute, Ahead: 10 * time.Minute}}
	one := granted(t, all[0], w)
	granted(t, all[0], w)
	give(t, all[0], one, PermitOutcome{Called: true, Tokens: 30})
	if a := denied(t, all[1], w, "tokens"); a.After < 15*time.Minute || a.After > 20*time.Minute {
		t.Errorf("ask again after %s", a.After)
	}
}

// TestPermitBreaker: failures of all together open it, one call at a time tries,
// and successes close it.
func TestPermitBreaker(t *testing.T) {
	all := permitsOf(t, 3)
	w := PermitWish{Key: "far", Slots: 9, Breaker: &PermitBreaker{Failures: 3, Successes: 2, Open: time.Hour}}
	bad, good := PermitOutcome{Called: true, Error: []byte(`{"code":1}`)}, PermitOutcome{Called: true}
	fail := func(n int) (b PermitBreakerState) {
		for i := range n {
			p := all[i%len(all)]
			b = give(t, p, granted(t, p, w), bad)
		}
		return b
	}
	if b := fail(2); b.State != "" || b.Failures != 2 {
		t.Fatalf("after two failures: %+v", b)
	}
	give(t, all[0], granted(t, all[0], w), PermitOutcome{}) // says nothing
	if b := give(t, all[0], granted(t, all[0], w), good); b.Failures != 0 {
		t.Fatalf("after a success: %+v", b)
	}
	early := granted(t, all[2], w)
	b := fail(3)
	if b.State != "open" || b.Opened != 1 || string(b.Error) != `{"code":1}` || !b.Until.After(b.Since) {
		t.Fatalf("after three failures: %+v", b)
	}
	if a := denied(t, all[1], w, "breaker"); a.After <= 0 || a.After > time.Hour || a.Breaker.State != "open" {
		t.Fatalf("while it is open: %+v", a)
	}
	lapse(t, all[0], w)
	denied(t, all[0], w, "breaker") // the other one has asked before
	if err := all[1].Leave(soon(t), w); err != nil {
		t.Fatal(err)
	}
	trial := granted(t, all[0], w)
	denied(t, all[1], w, "breaker")
	if b := give(t, all[2], early, good); b.State != "half_open" || b.Successes != 0 {
		t.Fatalf("a call from before it opened: %+v", b)
	}
	if b := give(t, all[0], trial, bad); b.State != "open" || b.Opened != 2 {
		t.Fatalf("after a trial that failed: %+v", b)
	}
	if err := all[1].Leave(soon(t), w); err != nil {
		t.Fatal(err)
	}
	lapse(t, all[0], w)
	if b := give(t, all[0], granted(t, all[0], w), good); b.State != "half_open" || b.Successes != 1 {
		t.Fatalf("after a trial that went well: %+v", b)
	}
	if b := give(t, all[1], granted(t, all[1], w), good); b.State != "" || b.Opened != 2 {
		t.Fatalf("after two: %+v", b)
	}
	granted(t, all[0], w)
	granted(t, all[1], w)
}

// afterwards asks until there is a permit.
func afterwards(t *testing.T, p *Permits, w PermitWish) *Permit {
	t.Helper()
	for ctx := soon(t); ; time.Sleep(5 * time.Millisecond) {
		a, err := p.Take(ctx, w)
		if err != nil {
			t.Fatal(err)
		}
		if a.Permit != nil {
			return a.Permit
		}
	}
}

// lapse lets the time pass for which the breaker is open.
func lapse(t *testing.T, p *Permits, w PermitWish) {
	t.Helper()
	if err := p.client.HSet(soon(t), p.prefix+"state:"+w.Key, "until", 1).Err(); err != nil {
		t.Fatal(err)
	}
}

// TestPermitsTogether lets sixteen ask at once, again and again: there are never
// more at work than there may be, all get their turn, and hear of it.
func TestPermitsTogether(t *testing.T) {
	const each = 20
	all, w := permitsOf(t, 16), PermitWish{Key: "far", Slots: 2}
	var mu sync.Mutex
	busy, most := 0, 0
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	var working, hearing sync.WaitGroup
	heard := make(chan struct{}, 1)
	hearing.Go(func() {
		all[0].Freed(ctx, func(key string) {
			if key == "far" {
				select {
				case heard <- struct{}{}:
				default:
				}
			}
		})
	})
	for _, p := range all {
		working.Go(func() {
			for range each {
				one := afterwards(t, p, w)
				mu.Lock()
				busy++
				most = max(most, busy)
				mu.Unlock()
				time.Sleep(time.Millisecond)
				mu.Lock()
				busy--
				mu.Unlock()
				if _, err := p.Give(ctx, one, PermitOutcome{Called: true}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	working.Wait()
	if most != 2 {
		t.Errorf("%d at once, want 2", most)
	}
	select {
	case <-heard:
	case <-ctx.Done():
		t.Error("nobody heard that something was free")
	}
	cancel()
	hearing.Wait()
}

// TestNoPermits: only a Redis is shared.
func TestNoPermits(t *testing.T) {
	l := OpenMemory(Options{})
	defer l.Close()
	if l.Permits() != nil {
		t.Error("a log in memory shares with nobody")
	}
}
