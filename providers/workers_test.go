package providers

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
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
