package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gleitzeit/protocols"
)

// far is a worker under test, at the other end of a Link that never blocks.
type far struct {
	seat    *Seat
	calls   chan WorkerCall
	cancels chan WorkerCancel
	closed  chan struct{}
}

func (f *far) Call(c WorkerCall) error {
	f.calls <- c
	return nil
}

func (f *far) Cancel(c WorkerCancel) error {
	f.cancels <- c
	return nil
}

func (f *far) Close() { close(f.closed) }

// comes lets a worker join.
func comes(t *testing.T, w *Workers, instance string, slots int, holds ...string) *far {
	t.Helper()
	f := &far{calls: make(chan WorkerCall, 100), cancels: make(chan WorkerCancel, 100), closed: make(chan struct{})}
	seat, err := w.Join(f, Registration{Worker: "w-" + instance, Instance: instance, Slots: slots, Holds: holds,
		Offers: []WorkerOffer{{Provider: "far", Protocol: "echo/v1"}}})
	if err != nil {
		t.Fatal(err)
	}
	f.seat = seat
	return f
}

// pending is a call under way.
type pending struct {
	cancel context.CancelFunc
	result json.RawMessage
	err    error
	done   bool
}

func askFor(s *Set, call Call) *pending {
	a := &pending{}
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() {
		a.result, a.err = s.Call(ctx, "far", call, nil)
		a.done = true
	}()
	return a
}

// workplace is a set whose provider far is remote.
func workplace(t *testing.T) (*Workers, *Set) {
	w := NewWorkers()
	s, err := Open(Config{Providers: map[string]ProviderConfig{"far": {Kind: "remote", Protocols: []string{"echo/v1"}, Grace: "20s"}}}, Options{Workers: w})
	if err != nil {
		t.Fatal(err)
	}
	return w, s
}

// bubble runs a test in which time is fake, and nothing is left at its end.
func bubble(t *testing.T, f func(t *testing.T, w *Workers, s *Set)) {
	synctest.Test(t, func(t *testing.T) {
		w, s := workplace(t)
		f(t, w, s)
		w.Close()
		s.Close()
	})
}

func echoed(key string) Call {
	return Call{Method: "echo/echo", Parameters: json.RawMessage(`{}`), Key: key, Attempt: 1}
}

// lost tells whether the call ended because its worker was lost.
func (a *pending) lost() bool {
	_, is := errors.AsType[*Lost](a.err)
	return a.done && is
}

// TestWorkersShare: calls go to the worker that has the least to do, and wait
// while none has room.
func TestWorkersShare(t *testing.T) {
	bubble(t, func(t *testing.T, w *Workers, s *Set) {
		one, two := comes(t, w, "one", 1), comes(t, w, "two", 3)
		if got := w.Capacities(); !slices.Equal(got, []Capacity{{"far", "echo/v1", 4, 2}}) {
			t.Errorf("%+v", got)
		}
		var all []*pending
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			all = append(all, askFor(s, echoed(key)))
			synctest.Wait()
		}
		if len(one.calls) != 1 || len(two.calls) != 3 {
			t.Fatalf("%d and %d calls", len(one.calls), len(two.calls))
		}
		c := <-one.calls
		if !one.seat.Finish(c.ID, json.RawMessage(`1`), nil) || one.seat.Finish(c.ID, json.RawMessage(`2`), nil) {
			t.Error("an outcome counts once")
		}
		synctest.Wait()
		if len(one.calls) != 1 {
			t.Error("the call that waited has gone nowhere")
		}
		done := slices.IndexFunc(all, func(a *pending) bool { return a.done })
		if done < 0 || string(all[done].result) != "1" || all[done].err != nil {
			t.Errorf("%+v", all[done])
		}
		for _, a := range all {
			a.cancel()
		}
		synctest.Wait()
		if len(one.cancels)+len(two.cancels) != 4 {
			t.Errorf("%d and %d were told", len(one.cancels), len(two.cancels))
		}
	})
}

// TestWorkerReturns: a worker that lost its connection hands in what it has,
// once; what it hasn't any more is lost at once, and all is when it stays away.
func TestWorkerReturns(t *testing.T) {
	bubble(t, func(t *testing.T, w *Workers, s *Set) {
		f := comes(t, w, "one", 3)
		kept, dropped := askFor(s, echoed("kept")), askFor(s, echoed("dropped"))
		synctest.Wait()
		f.seat.Leave()
		if got := w.Capacities(); !slices.Equal(got, []Capacity{{"far", "echo/v1", 2, 0}}) {
			t.Errorf("while it is away: %+v", got)
		}
		time.Sleep(19 * time.Second)
		back := comes(t, w, "one", 3, "kept", "unknown")
		synctest.Wait()
		if !dropped.lost() || kept.done {
			t.Errorf("%+v %+v", dropped, kept)
		}
		c := <-back.calls
		if c.Key != "kept" || f.seat.Finish(c.ID, json.RawMessage(`0`), nil) {
			t.Errorf("%+v", c)
		}
		if !back.seat.Finish(c.ID, json.RawMessage(`"late"`), nil) {
			t.Error("nobody waited for it")
		}
		gone := askFor(s, echoed("gone"))
		synctest.Wait()
		back.seat.Leave()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if string(kept.result) != `"late"` || !gone.lost() || gone.err.(*Lost).Worker != "w-one" {
			t.Errorf("%+v %+v", kept, gone)
		}
		if left := w.Capacities(); len(left) != 0 {
			t.Errorf("%+v", left)
		}
	})
}

// TestWorkerRejoins: a call that an earlier process gave away is waited for,
// whether the worker comes before or after it, and begun by nobody.
func TestWorkerRejoins(t *testing.T) {
	bubble(t, func(t *testing.T, w *Workers, s *Set) {
		again := func(key string) *pending {
			c := echoed(key)
			c.Rejoin, c.Parameters = true, nil
			return askFor(s, c)
		}
		early, never := again("early"), again("never")
		synctest.Wait()
		f := comes(t, w, "one", 9, "early", "later")
		later := again("later")
		synctest.Wait()
		if len(f.calls) != 2 || early.done || later.done {
			t.Fatalf("%d calls: %+v %+v", len(f.calls), early, later)
		}
		for range 2 {
			if c := <-f.calls; !c.Rejoin || !f.seat.Finish(c.ID, json.RawMessage(`1`), nil) {
				t.Errorf("%+v", c)
			}
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if early.err != nil || later.err != nil || !never.lost() {
			t.Errorf("%+v %+v %+v", early, later, never)
		}
	})
}

// TestWorkerSuperseded: when another worker has a call by now, the first is told
// to stop, and what it says isn't taken.
func TestWorkerSuperseded(t *testing.T) {
	bubble(t, func(t *testing.T, w *Workers, s *Set) {
		second := comes(t, w, "two", 1)
		a := askFor(s, echoed("k"))
		synctest.Wait()
		first := comes(t, w, "one", 1, "k")
		synctest.Wait()
		c := <-second.calls
		if stop := <-first.cancels; stop.Key != "k" || first.seat.Finish(c.ID, json.RawMessage(`"stale"`), nil) {
			t.Errorf("%+v", stop)
		}
		second.seat.Finish(c.ID, json.RawMessage(`"right"`), nil)
		synctest.Wait()
		if string(a.result) != `"right"` {
			t.Errorf("%+v", a)
		}
	})
}

// TestWorkerSilent: one that gives no sign of life is taken for lost.
func TestWorkerSilent(t *testing.T) {
	bubble(t, func(t *testing.T, w *Workers, s *Set) {
		f := comes(t, w, "one", 1)
		for range 5 {
			time.Sleep(silence - time.Second)
			f.seat.Touch()
		}
		if len(w.List()) != 1 {
			t.Fatal("it said that it lives")
		}
		time.Sleep(silence)
		<-f.closed
		if len(w.List()) != 0 {
			t.Errorf("%+v", w.List())
		}
	})
}

// TestWorkerSchemas: what a worker says of its methods holds for calls and
// results; a protocol of ours has the methods that it has.
func TestWorkerSchemas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWorkers()
		defer w.Close()
		s, err := Open(Config{Providers: map[string]ProviderConfig{"far": {Kind: "remote", Protocols: []string{"images/v1"}}}}, Options{Workers: w})
		if err != nil {
			t.Fatal(err)
		}
		f := &far{calls: make(chan WorkerCall, 100), cancels: make(chan WorkerCancel, 100), closed: make(chan struct{})}
		f.seat, err = w.Join(f, Registration{Worker: "w", Instance: "i", Slots: 1, Offers: []WorkerOffer{{Protocol: "images/v1", Methods: []*protocols.Method{
			{Name: "images/resize", Parameters: json.RawMessage(`{"type":"object","properties":{"width":{"type":"integer"}},"required":["width"]}`),
				Result: json.RawMessage(`{"type":"string"}`)}}}}})
		if err != nil {
			t.Fatal(err)
		}
		resize := Call{Method: "images/resize", Parameters: json.RawMessage(`{"width":5}`)}
		good := askFor(s, resize)
		synctest.Wait()
		f.seat.Finish((<-f.calls).ID, json.RawMessage(`5`), nil)
		wrong := askFor(s, Call{Method: "images/resize", Parameters: json.RawMessage(`{"width":"5x"}`)})
		unknown := askFor(s, Call{Method: "images/rotate", Parameters: json.RawMessage(`{}`)})
		synctest.Wait()
		wantError(t, good.err, protocols.TaskResultInvalid)
		wantError(t, wrong.err, protocols.TaskParameterError)
		wantError(t, unknown.err, protocols.MethodNotSupported)
	})
}

// TestWorkerEndless: a worker whose schemas take for ever to check holds up
// nobody else. It is a process of its own that tries it, for the checks have no end.
func TestWorkerEndless(t *testing.T) {
	const inside = "GLEITZEIT_TEST_ENDLESS"
	if os.Getenv(inside) != "" {
		if endless(t); !t.Failed() {
			os.Exit(0) // with checks that go on
		}
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestWorkerEndless$")
	c.Env = append(os.Environ(), inside+"=1")
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v, %v\n%s", err, ctx.Err(), out)
	}
}

func endless(t *testing.T) {
	const steps = 60 // each doubles what there is to check
	defs := map[string]any{"a0": map[string]any{"not": map[string]any{"type": "string"}}}
	for i := range steps {
		below := map[string]string{"$ref": fmt.Sprintf("#/$defs/a%d", i)}
		defs[fmt.Sprintf("a%d", i+1)] = map[string]any{"allOf": []any{below, below}}
	}
	definitions, err := json.Marshal(defs)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWorkers()
	s, err := Open(Config{Providers: map[string]ProviderConfig{"far": {Kind: "remote", Protocols: []string{"echo/v1", "slow/v1"}}}}, Options{Workers: w})
	if err != nil {
		t.Fatal(err)
	}
	slow := &far{calls: make(chan WorkerCall, 2), cancels: make(chan WorkerCancel, 2), closed: make(chan struct{})}
	long := json.RawMessage(fmt.Sprintf(`{"$ref":"#/$defs/a%d"}`, steps))
	if slow.seat, err = w.Join(slow, Registration{Worker: "slow", Instance: "slow", Slots: 9, Offers: []WorkerOffer{{Protocol: "slow/v1", Definitions: definitions,
		Methods: []*protocols.Method{{Name: "slow/in", Parameters: long}, {Name: "slow/out", Result: long}}}}}); err != nil {
		t.Fatal(err)
	}
	well := comes(t, w, "well", 1)
	ask := func(method string) {
		_, err := s.Call(context.Background(), "far", Call{Method: method, Parameters: json.RawMessage(`{}`)}, nil)
		if method != "echo/echo" || err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	go ask("slow/out")
	slow.seat.Finish((<-slow.calls).ID, json.RawMessage(`{}`), nil)
	go ask("slow/in")
	for !slices.ContainsFunc(w.List(), func(i WorkerInfo) bool { return i.Worker == "slow" && i.Busy == 1 }) {
		time.Sleep(time.Millisecond)
	}
	go func() { well.seat.Finish((<-well.calls).ID, json.RawMessage(`1`), nil) }()
	ask("echo/echo")
	w.Close()
	s.Close()
}

// TestWorkersSayTooMuch: what workers say of themselves is bounded, for one and
// for all of them together.
func TestWorkersSayTooMuch(t *testing.T) {
	w := NewWorkers()
	defer w.Close()
	long, code := strings.Repeat("x", maxSchemas), func(r Registration) protocols.Code {
		f := &far{closed: make(chan struct{})}
		_, err := w.Join(f, r)
		if e, is := errors.AsType[*protocols.Error](err); is {
			return e.Code
		}
		return 0
	}
	r := Registration{Worker: "w", Instance: "i", Slots: 1, Offers: []WorkerOffer{{Protocol: "images/v1", Methods: []*protocols.Method{{Name: "images/x", Description: long}}}}}
	if got := code(r); got != protocols.InvalidParams {
		t.Errorf("schemas: %v", got)
	}
	r.Offers = []WorkerOffer{{Protocol: "echo/v1"}, {Protocol: "echo/v1"}}
	if got := code(r); got != protocols.InvalidParams {
		t.Errorf("the same twice: %v", got)
	}
	r.Offers, r.Holds = r.Offers[:1], []string{long}
	for i := range maxSaid / maxSchemas {
		r.Instance = fmt.Sprint(i)
		if got, last := code(r), i == maxSaid/maxSchemas-1; last != (got == protocols.ResourceExhausted) {
			t.Errorf("worker %d: %v", i, got)
		}
	}
}

// TestWorkerRefused: what can't be is refused when the worker comes.
func TestWorkerRefused(t *testing.T) {
	w := NewWorkers()
	good := Registration{Worker: "w", Instance: "i", Slots: 1, Offers: []WorkerOffer{{Protocol: "echo/v1"}}}
	for name, change := range map[string]func(r *Registration){
		"no name":     func(r *Registration) { r.Worker = "" },
		"no instance": func(r *Registration) { r.Instance = "" },
		"no slots":    func(r *Registration) { r.Slots = 0 },
		"no offers":   func(r *Registration) { r.Offers = nil },
		"no protocol": func(r *Registration) { r.Offers = []WorkerOffer{{Protocol: "echo"}} },
		"no methods":  func(r *Registration) { r.Offers = []WorkerOffer{{Protocol: "images/v1"}} },
		"null": func(r *Registration) {
			r.Offers = []WorkerOffer{{Protocol: "images/v1", Methods: []*protocols.Method{nil}}}
		},
		"foreign": func(r *Registration) {
			r.Offers = []WorkerOffer{{Protocol: "images/v1", Methods: []*protocols.Method{{Name: "llm/chat"}}}}
		},
		"bad schema": func(r *Registration) {
			r.Offers = []WorkerOffer{{Protocol: "images/v1", Methods: []*protocols.Method{{Name: "images/x", Parameters: json.RawMessage(`{"type":5}`)}}}}
		},
		"bad name": func(r *Registration) { r.Offers = []WorkerOffer{{Provider: "a b", Protocol: "echo/v1"}} },
	} {
		r := good
		change(&r)
		_, err := w.Join(&far{}, r)
		if e, is := errors.AsType[*protocols.Error](err); !is || e.Code != protocols.InvalidParams {
			t.Errorf("%s: %v", name, err)
		}
	}
}
