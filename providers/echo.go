package providers

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"gleitzeit/protocols"
)

// echo speaks echo/v1: it says what it was told to say, waits, or fails as
// ordered. It needs nothing and keeps nothing, so workflows can be tried and
// engines measured without a model, a script or a network.
//
//	echo/echo       any object              the same object, byte for byte
//	echo/ping       message                 {response}: the message, else "pong"
//	echo/delay      seconds (1), anything   the same object and delayed_for_seconds
//	echo/timestamp                          {timestamp, unix_timestamp}
//	echo/ask        message, schema, from   {action, content}: what a person answered
//	echo/fail       message, class, code,   an error; after `times` failed attempts
//	                retry_after, times      the same object and attempt
type echo struct{}

func newEcho(string, ProviderConfig, func(string) string) (Provider, error) {
	return echo{}, nil
}

// Call answers echo/echo without looking at the parameters.
func (echo) Call(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	switch call.Method {
	case "echo/echo":
		if len(call.Parameters) == 0 {
			return json.RawMessage("{}"), nil
		}
		return call.Parameters, nil
	case "echo/ping":
		return echoPing(call)
	case "echo/delay":
		return echoDelay(ctx, call)
	case "echo/ask":
		return echoAsk(ctx, call, host)
	case "echo/timestamp":
		return echoTimestamp(time.Now())
	case "echo/fail", "echo/error":
		return echoFail(call)
	}
	return nil, protocols.Errorf(protocols.MethodNotSupported, "echo/v1 has no method %s", call.Method)
}

// Check is always content.
func (echo) Check(context.Context) Health { return Health{Status: "healthy"} }

// Close has nothing to stop.
func (echo) Close() error { return nil }

func echoPing(call Call) (json.RawMessage, error) {
	var p struct {
		Message string `json:"message"`
	}
	if err := readParameters(call, &p); err != nil {
		return nil, err
	}
	if p.Message == "" {
		p.Message = "pong"
	}
	return encode(map[string]string{"response": p.Message})
}

// echoDelay waits until the time is over or ctx has ended.
func echoDelay(ctx context.Context, call Call) (json.RawMessage, error) {
	p := struct {
		Seconds float64 `json:"seconds"`
	}{Seconds: 1}
	if err := readParameters(call, &p); err != nil {
		return nil, err
	}
	if p.Seconds < 0 {
		return nil, protocols.Errorf(protocols.TaskParameterError, "echo/delay can't wait for %g seconds", p.Seconds)
	}
	timer := time.NewTimer(seconds(p.Seconds))
	defer timer.Stop()
	select {
	case <-timer.C:
		return echoWith(call, "delayed_for_seconds", p.Seconds)
	case <-ctx.Done():
		return nil, endedError(ctx)
	}
}

// echoAsk asks a person.
func echoAsk(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	var p struct {
		Message string          `json:"message"`
		Schema  json.RawMessage `json:"schema"`
		From    string          `json:"from"`
	}
	if err := readParameters(call, &p); err != nil {
		return nil, err
	}
	answer, err := host.Ask(ctx, Question{Message: p.Message, Schema: p.Schema, From: p.From})
	if err != nil {
		if ctx.Err() != nil {
			return nil, endedError(ctx)
		}
		return nil, err
	}
	return encode(answer)
}

func echoTimestamp(now time.Time) (json.RawMessage, error) {
	return encode(map[string]any{
		"timestamp":      now.UTC().Format(time.RFC3339Nano),
		"unix_timestamp": float64(now.UnixMicro()) / 1e6,
	})
}

// classCodes has the code that stands for each class of failure that a task can
// name.
var classCodes = map[protocols.Class]protocols.Code{
	protocols.ClassTimeout:    protocols.ProviderTimeout,
	protocols.ClassRateLimit:  protocols.RateLimitExceeded,
	protocols.ClassServer:     protocols.ProviderUnhealthy,
	protocols.ClassNetwork:    protocols.ConnectionLost,
	protocols.ClassSchema:     protocols.TaskResultInvalid,
	protocols.ClassExecution:  protocols.TaskExecutionFailed,
	protocols.ClassValidation: protocols.TaskValidationFailed,
	protocols.ClassParameters: protocols.TaskParameterError,
	protocols.ClassAuth:       protocols.AuthenticationFailed,
	protocols.ClassNotFound:   protocols.ProviderNotFound,
	protocols.ClassCancelled:  protocols.TaskCancelled,
}

// echoFail fails with the code, else the class's code, else
// TASK_EXECUTION_FAILED. With times it fails the first attempts only.
func echoFail(call Call) (json.RawMessage, error) {
	p := struct {
		Message    string          `json:"message"`
		Class      protocols.Class `json:"class"`
		Code       protocols.Code  `json:"code"`
		RetryAfter float64         `json:"retry_after"`
		Times      int             `json:"times"`
	}{Message: "failed as it was told to", Class: protocols.ClassExecution}
	if err := readParameters(call, &p); err != nil {
		return nil, err
	}
	if p.Times > 0 && call.Attempt > p.Times {
		return echoWith(call, "attempt", call.Attempt)
	}
	code, known := classCodes[p.Class]
	if !known {
		return nil, protocols.Errorf(protocols.TaskParameterError, "echo/fail knows no class %q", p.Class)
	}
	if p.Code != 0 {
		code = p.Code
	}
	failure := protocols.Errorf(code, "%s", p.Message)
	if p.RetryAfter > 0 {
		failure = failure.With(map[string]float64{"retry_after": p.RetryAfter})
	}
	return nil, failure
}

// echoWith returns the parameters with one more member.
func echoWith(call Call, key string, value any) (json.RawMessage, error) {
	said := map[string]any{}
	var p map[string]json.RawMessage
	if err := readParameters(call, &p); err != nil {
		return nil, err
	}
	for k, v := range p {
		said[k] = v
	}
	said[key] = value
	return encode(said)
}

// seconds turns a number into a duration, the longest one if it doesn't fit.
func seconds(n float64) time.Duration {
	if n >= math.MaxInt64/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(n * float64(time.Second))
}
