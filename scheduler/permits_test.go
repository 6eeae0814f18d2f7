package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// This file tests what a scheduler does with permits. The engine that gives
// them out is made up; the real one is tested in eventlog, and both together
// with many processes in .ci/soak.

// booth gives out permits to several schedulers, first come first served.
type booth struct {
	mu      sync.Mutex
	slots   int
	held    map[*eventlog.Permit]time.Time
	line    []*counter
	breaker eventlog.PermitBreakerState
	away    bool // nobody reaches it
	given   []eventlog.PermitOutcome
}

// counter is one scheduler's end of it.
type counter struct{ *booth }

var errAway = errors.New("it is away")

func (c *counter) Take(_ context.Context, w eventlog.PermitWish) (a eventlog.PermitAnswer, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return a, errAway
	}
	for p, until := range c.held {
		if time.Now().After(until) {
			delete(c.held, p)
		}
	}
	if !slices.Contains(c.line, c) {
		c.line = append(c.line, c)
	}
	a.Breaker = c.breaker
	switch {
	case c.breaker.State == "open" && time.Now().Before(c.breaker.Until):
		a.Why, a.After = "breaker", time.Until(c.breaker.Until)
	case len(c.held) >= c.slots || c.line[0] != c:
		a.Why = "slots"
	default:
		c.line = c.line[1:]
		a.Permit = &eventlog.Permit{PermitWish: w, Until: time.Now().Add(eventlog.PermitTime)}
		c.held[a.Permit] = a.Permit.Until
	}
	return a, nil
}

func (c *counter) Keep(ctx context.Context, p *eventlog.Permit) (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return time.Time{}, errAway
	}
	if _, held := c.held[p]; !held {
		return time.Time{}, eventlog.ErrPermitGone
	}
	c.held[p] = time.Now().Add(eventlog.PermitTime)
	return c.held[p], nil
}

func (c *counter) Give(_ context.Context, p *eventlog.Permit, o eventlog.PermitOutcome) (eventlog.PermitBreakerState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return eventlog.PermitBreakerState{}, errAway
	}
	delete(c.held, p)
	c.given = append(c.given, o)
	return c.breaker, nil
}

func (c *counter) Leave(context.Context, eventlog.PermitWish) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line = slices.DeleteFunc(c.line, func(o *counter) bool { return o == c })
	return nil
}

func (c *counter) Freed(ctx context.Context, _ func(string)) { <-ctx.Done() }

func newBooth(slots int) *booth { return &booth{slots: slots, held: map[*eventlog.Permit]time.Time{}} }

// sharedSetup has a provider whose bounds are shared, with a breaker.
var sharedSetup = replay.Setup{Providers: []replay.ProviderSlots{{Name: "echo", Protocol: "echo/v1", Slots: 5, ID: "echo-1", Cluster: true,
	Breaker: &replay.Breaker{Failures: 3, Open: protocols.Duration(time.Minute), Successes: 1}}}}

// list is a workflow of n tasks that don't wait for each other.
func list(n int, keys string) string {
	text := "name: list\ntasks:\n"
	for i := range n {
		text += fmt.Sprintf("  - {id: t%d, method: echo/echo%s}\n", i, keys)
	}
	return text
}

// TestPermitsShared: two schedulers never have more calls together than there
// are permits, both get on, and in the end nothing is held.
func TestPermitsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		busy, most := 0, 0
		call := func(ctx context.Context, c providers.Call) (json.RawMessage, error) {
			mu.Lock()
			busy++
			most = max(most, busy)
			mu.Unlock()
			time.Sleep(20 * time.Second) // longer than a permit lasts that isn't kept
			mu.Lock()
			defer mu.Unlock()
			busy--
			return json.RawMessage("1"), nil
		}
		b := newBooth(2)
		w, ctx := compile(t, list(10, "")), context.Background()
		var logs [2]*eventlog.Log
		var ids [2]string
		for i := range logs {
			log, s := open(t, Options{Permits: &counter{b}}, call)
			logs[i], ids[i] = log, submit(t, s, Submission{Workflow: w, Setup: sharedSetup})
		}
		began := time.Now()
		ends := [2]time.Time{}
		for i, log := range logs {
			waitEnd(t, ctx, log, ids[i])
			ends[i] = time.Now()
		}
		if most != 2 {
			t.Errorf("%d calls at once, want 2", most)
		}
		if took := time.Since(began); took > 210*time.Second || ends[0].Sub(began) < 150*time.Second {
			t.Errorf("20 calls of 20s, two at a time, took %s; the first run %s", took, ends[0].Sub(began))
		}
		time.Sleep(time.Second)
		if len(b.held) != 0 || len(b.given) < 20 {
			t.Errorf("%d are held and %d were given back", len(b.held), len(b.given))
		}
	})
}

// TestPermitLost: a call whose permit can't be kept is stopped before anybody
// else can have it, and tried again, under the same key, once there is one.
func TestPermitLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stopped := newBooth(1), make(chan time.Time, 1)
		var keys []string
		log, s := open(t, Options{Permits: &counter{b}}, func(ctx context.Context, c providers.Call) (json.RawMessage, error) {
			if keys = append(keys, c.Key); len(keys) > 1 {
				return json.RawMessage("1"), nil
			}
			time.Sleep(time.Minute) // the permit is kept
			b.mu.Lock()
			b.away = true
			b.mu.Unlock()
			<-ctx.Done()
			stopped <- time.Now()
			return nil, ctx.Err()
		})
		id := submit(t, s, Submission{Workflow: compile(t, list(1, "")), Setup: sharedSetup})
		at := <-stopped
		b.mu.Lock()
		for _, until := range b.held {
			if !until.After(at) {
				t.Errorf("the call was stopped at %s, but the permit ran out at %s", at, until)
			}
		}
		b.away = false
		b.mu.Unlock()
		number := waitEnd(t, context.Background(), log, id)
		h, err := replay.LoadHistory(log, number)
		if err != nil {
			t.Fatal(err)
		}
		if how, _ := h.End(); how.Status != replay.Completed || len(keys) != 2 || keys[0] != keys[1] {
			t.Errorf("%s after calls with the keys %q", how.Status, keys)
		}
		if text := saidOf(h); !strings.Contains(text, "stopped, and tried again: its permit ran out") {
			t.Errorf("the history says\n%s", text)
		}
	})
}

func saidOf(h *replay.History) string {
	var lines []string
	for _, e := range h.Timeline() {
		lines = append(lines, e.Text)
	}
	return strings.Join(lines, "\n")
}

// TestPermitTooLate: an attempt that was paused between its permit and its call
// doesn't call.
func TestPermitTooLate(t *testing.T) {
	p := &permit{Permit: &eventlog.Permit{}, done: make(chan struct{}), until: time.Now().Add(permitMargin + time.Hour)}
	if !p.covers() {
		t.Error("a fresh permit doesn't do")
	}
	stopped := 0
	p.stops(func() { stopped++ })
	p.until = time.Now().Add(permitMargin - time.Second)
	if p.covers() {
		t.Error("one that runs out does")
	}
	p.until = time.Now().Add(time.Hour)
	p.lose()
	if p.covers() || stopped != 1 {
		t.Errorf("one that is lost does; the call was stopped %d times", stopped)
	}
}

// TestPermitUnwanted: a permit that nobody can use any more is given back, and
// so is the place in the line.
func TestPermitUnwanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBooth(1)
		first, release := make(chan struct{}), make(chan struct{})
		call := func(ctx context.Context, c providers.Call) (json.RawMessage, error) {
			close(first)
			<-release
			return json.RawMessage("1"), nil
		}
		_, s := open(t, Options{Permits: &counter{b}}, call)
		submit(t, s, Submission{Workflow: compile(t, list(1, "")), Setup: sharedSetup})
		<-first
		other, o := open(t, Options{Permits: &counter{b}}, answer)
		id := submit(t, o, Submission{Workflow: compile(t, list(1, "")), Setup: sharedSetup})
		time.Sleep(time.Minute)
		if n := lined(b); n != 1 {
			t.Fatalf("%d are in the line, want 1", n)
		}
		number, _ := replay.NumberOf(id)
		if err := o.Cancel(soon(t), number, ""); err != nil {
			t.Fatal(err)
		}
		waitEnd(t, context.Background(), other, id)
		time.Sleep(time.Second)
		if n := lined(b); n != 0 {
			t.Errorf("%d are in the line after the run was cancelled", n)
		}
		close(release)
	})
}

func lined(b *booth) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.line)
}

// TestPermitBreaker: a breaker that others opened is one of ours, too: what waits
// says so, and goes on when it is over.
func TestPermitBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBooth(5)
		why, _ := json.Marshal(protocols.Errorf(protocols.ProviderNotAvailable, "it is down"))
		b.breaker = eventlog.PermitBreakerState{State: "open", Opened: 7, Since: time.Now(), Until: time.Now().Add(time.Minute), Error: why}
		fails := true
		log, s := open(t, Options{Permits: &counter{b}}, func(context.Context, providers.Call) (json.RawMessage, error) {
			if fails {
				fails = false
				b.mu.Lock()
				defer b.mu.Unlock()
				b.breaker = eventlog.PermitBreakerState{Opened: 7} // by the time it is given back
				return nil, protocols.Errorf(protocols.ProviderNotAvailable, "once more")
			}
			return json.RawMessage("1"), nil
		})
		began := time.Now()
		id := submit(t, s, Submission{Workflow: compile(t, list(1, ", retry: {max_attempts: 2}")), Setup: sharedSetup})
		time.Sleep(30 * time.Second)
		number, _ := replay.NumberOf(id)
		var status replay.Status
		var reason string
		if err := s.Query(soon(t), func(state *replay.State) {
			status, _, reason = state.Stand(state.Run(number), time.Now(), s.Bounds())
		}); err != nil {
			t.Fatal(err)
		}
		if status != replay.Waiting || !strings.Contains(reason, "the breaker of echo, open until") || !strings.Contains(reason, "it is down") {
			t.Errorf("it is %s: %s", status, reason)
		}
		waitEnd(t, context.Background(), log, id)
		if took := time.Since(began); took < time.Minute || took > 2*time.Minute {
			t.Errorf("it took %s", took)
		}
		time.Sleep(time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.given) < 2 || !b.given[0].Called || b.given[0].Error == nil || !b.given[1].Called || b.given[1].Error != nil {
			t.Errorf("given back with %+v", b.given)
		}
	})
}
