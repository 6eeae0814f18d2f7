package providers

import (
	"context"
	"encoding/json"
	"errors"
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
	result, err := p.Call(ctx, call, &listener{host, alarm, call.IdleTimeout})
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
}

// Progress is one.
func (l *listener) Progress(p Progress) {
	l.alarm.Reset(l.idle)
	l.Host.Progress(p)
}
