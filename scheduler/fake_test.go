package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/providers"
)

// provide opens providers that are one function.
func provide(call func(context.Context, providers.Call) (json.RawMessage, error)) func([]byte) (Providers, error) {
	return func([]byte) (Providers, error) { return provided(call), nil }
}

type provided func(context.Context, providers.Call) (json.RawMessage, error)

func (f provided) Call(ctx context.Context, _ string, c providers.Call, host providers.Host) (json.RawMessage, error) {
	return f(context.WithValue(ctx, hostKey{}, host), c)
}

// hostKey finds the host of a call in its context.
type hostKey struct{}

func hostOf(ctx context.Context) providers.Host { return ctx.Value(hostKey{}).(providers.Host) }

func (f provided) Close() error { return nil }

// answer is a provider that says yes at once.
func answer(context.Context, providers.Call) (json.RawMessage, error) {
	return json.RawMessage("true"), nil
}

// unruly is a provider that does what providers shouldn't do, too.
type unruly struct {
	mu      sync.Mutex
	rng     *rand.Rand
	tick    time.Duration // what latencies are made of
	release chan struct{} // closed by the test: ends the calls that don't obey
	calm    bool          // fails at times, but answers
}

func (u *unruly) roll(n int) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.rng.IntN(n)
}

func (u *unruly) call(ctx context.Context, c providers.Call) (json.RawMessage, error) {
	n := u.roll(100)
	if u.calm {
		n = n * 65 / 100
	}
	if c.Method == "echo/ask" {
		u.ask(ctx, c)
	}
	switch {
	case n < 10:
		return json.RawMessage(`{"ok":true,"n":2,"told":` + string(c.Parameters) + `}`), u.pass(ctx)
	case n < 35:
		return json.RawMessage(`{"ok":true}`), u.pass(ctx)
	case n < 50:
		return json.RawMessage(`{"ok":false,"n":4,"items":[1,2,"three"]}`), u.pass(ctx)
	case n < 65:
		if err := u.pass(ctx); err != nil {
			return nil, err
		}
		return nil, protocols.Errorf(protocols.TaskExecutionFailed, "it broke: %s", c.Parameters).With(c.Env)
	case n < 70:
		panic("no manners")
	case n < 78:
		<-ctx.Done()
		return nil, ctx.Err()
	case n < 82:
		<-u.release // deaf
		return json.RawMessage("1"), nil
	case n < 86:
		<-ctx.Done()
		return json.RawMessage("1"), nil // done all the same
	case n < 90:
		return json.RawMessage("not JSON"), nil
	case n < 92:
		runtime.Goexit()
	case n < 95:
		return nil, protocols.Errorf(protocols.RateLimitExceeded, "%s", strings.Repeat("\x00loud", 1<<16))
	case n < 97:
		var none *protocols.Error
		return nil, none
	}
	return nil, errors.New("plain \xff error")
}

// ask asks a person, and doesn't always have the patience for an answer.
func (u *unruly) ask(ctx context.Context, c providers.Call) {
	for range 1 + u.roll(2) {
		patience, cancel := context.WithCancel(ctx)
		if u.calm || u.roll(3) == 0 {
			timer := time.AfterFunc(time.Duration(u.roll(40))*u.tick, cancel)
			defer timer.Stop()
		}
		form := json.RawMessage(`{"type":"object","properties":{"said":{"type":"string","default":"yes"},"told":{"default":` + string(c.Parameters) + `}}}`)
		hostOf(ctx).Ask(patience, providers.Question{Message: string(c.Parameters), Schema: form})
		cancel()
	}
}

// pass lets some time pass.
func (u *unruly) pass(ctx context.Context) error {
	t := time.NewTimer(time.Duration(u.roll(20)) * u.tick)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
