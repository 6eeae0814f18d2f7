package providers

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// This file keeps what a task says of any call, whatever the provider:
// Call.IdleTimeout and Call.OutputSchema. A provider that knows more about its
// streams and its answers sees to both by itself.

// structurer is such a provider; structures tells for which methods.
type structurer interface{ structures(method string) bool }

// kept is a call with its promises kept.
func kept(ctx context.Context, p Provider, call Call, host Host) (json.RawMessage, error) {
	if s, is := p.(structurer); is && s.structures(call.Method) {
		return p.Call(ctx, call, host)
	}
	result, err := listened(ctx, p, call, host)
	if err != nil || len(call.OutputSchema) == 0 {
		return result, err
	}
	if wrong := protocols.CheckOutput(call.OutputSchema, protocols.ResultOf(result)); wrong != nil {
		return nil, wrong
	}
	return result, nil
}

var errIdle = errors.New("no sign of life within the idle timeout")

// listened is a call that is stopped when it shows no sign of life for too
// long.
func listened(ctx context.Context, p Provider, call Call, host Host) (json.RawMessage, error) {
	if call.IdleTimeout <= 0 {
		return p.Call(ctx, call, host)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alarm := time.AfterFunc(call.IdleTimeout, func() { cancel(errIdle) })
	defer alarm.Stop()
	result, err := p.Call(ctx, call, &listener{Host: host, alarm: alarm, idle: call.IdleTimeout})
	if err == nil || context.Cause(ctx) != errIdle {
		return result, err
	}
	silent := protocols.Errorf(protocols.TaskTimeout, "no sign of life for %v", call.IdleTimeout)
	silent.Data = asError(err).Data // what it had printed, perhaps
	return nil, silent
}

// listener is a host that hears signs of life.
type listener struct {
	Host
	alarm *time.Timer
	idle  time.Duration

	mu   sync.Mutex
	asks int // answers that the call waits for: that is no idleness of its own
}

// Progress is one.
func (l *listener) Progress(p Progress) {
	l.waits(0)
	l.Host.Progress(p)
}

// Ask stops the clock.
func (l *listener) Ask(ctx context.Context, q Question) (Answer, error) {
	l.waits(1)
	defer l.waits(-1)
	return l.Host.Ask(ctx, q)
}

// Sample stops the clock, too: the model's provider has its own.
func (l *listener) Sample(ctx context.Context, s Sample) (json.RawMessage, error) {
	l.waits(1)
	defer l.waits(-1)
	return l.Host.Sample(ctx, s)
}

// waits notes that the call begins or ends to wait for its caller.
func (l *listener) waits(by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asks += by; l.asks > 0 {
		l.alarm.Stop()
	} else {
		l.alarm.Reset(l.idle)
	}
}
