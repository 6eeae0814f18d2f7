package providers

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gleitzeit/protocols"
)

func TestEcho(t *testing.T) {
	for _, test := range []struct{ method, parameters, result string }{
		{"echo/echo", `{"b": 1.0, "a": "<ä>"}`, `{"b": 1.0, "a": "<ä>"}`},
		{"echo/echo", ``, `{}`},
		{"echo/ping", `{}`, `{"response":"pong"}`},
		{"echo/ping", `{"message":"a & b"}`, `{"response":"a & b"}`},
		{"echo/delay", `{"seconds":0,"x":[]}`, `{"delayed_for_seconds":0,"seconds":0,"x":[]}`},
		{"echo/fail", `{"times":2}`, `{"attempt":3,"times":2}`},
	} {
		result, err := echo{}.Call(t.Context(), Call{Method: test.method, Parameters: json.RawMessage(test.parameters), Attempt: 3}, nil)
		if err != nil || string(result) != test.result {
			t.Errorf("%s %s: %s, %v; want %s", test.method, test.parameters, result, err, test.result)
		}
	}
}

func TestEchoTimestamp(t *testing.T) {
	result, err := echoTimestamp(time.Date(2026, 1, 2, 3, 4, 5, 500e6, time.FixedZone("", 3600)))
	want := `{"timestamp":"2026-01-02T02:04:05.5Z","unix_timestamp":1767319445.5}`
	if err != nil || string(result) != want {
		t.Errorf("%s, %v; want %s", result, err, want)
	}
}

func TestEchoFails(t *testing.T) {
	for _, test := range []struct {
		method, parameters string
		code               protocols.Code
		message            string
		wait               time.Duration
	}{
		{"echo/fail", `{}`, protocols.TaskExecutionFailed, "failed as it was told to", 0},
		{"echo/error", `{"message":"no"}`, protocols.TaskExecutionFailed, "no", 0},
		{"echo/fail", `{"class":"rate_limit","retry_after":1.5}`, protocols.RateLimitExceeded, "failed as it was told to", 1500 * time.Millisecond},
		{"echo/fail", `{"class":"timeout","code":-30003}`, protocols.ProviderNotAvailable, "failed as it was told to", 0},
		{"echo/fail", `{"times":1}`, protocols.TaskExecutionFailed, "failed as it was told to", 0},
		{"echo/fail", `{"class":"nonsense"}`, protocols.TaskParameterError, `echo/fail knows no class "nonsense"`, 0},
		{"echo/fail", `{"times":"x"}`, protocols.TaskParameterError, "parameter times of echo/fail can't be a string", 0},
		{"echo/delay", `{"seconds":-1}`, protocols.TaskParameterError, "echo/delay can't wait for -1 seconds", 0},
		{"echo/sing", `{}`, protocols.MethodNotSupported, "echo/v1 has no method echo/sing", 0},
	} {
		_, err := echo{}.Call(t.Context(), Call{Method: test.method, Parameters: json.RawMessage(test.parameters), Attempt: 1}, nil)
		var e *protocols.Error
		if !errors.As(err, &e) || e.Code != test.code || e.Message != test.message || e.RetryAfter() != test.wait {
			t.Errorf("%s %s: %#v", test.method, test.parameters, err)
		}
	}
}

// Each class that echo/fail can be given is the class of the code it gives.
func TestEchoClasses(t *testing.T) {
	for class, code := range classCodes {
		if code.Class() != class {
			t.Errorf("%s stands for %d, whose class is %s", class, code, code.Class())
		}
	}
}

func TestEchoDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		call := Call{Method: "echo/delay", Parameters: json.RawMessage(`{"seconds":3600}`)}
		if _, err := (echo{}).Call(t.Context(), call, nil); err != nil || time.Since(started) != time.Hour {
			t.Errorf("%v after %v", err, time.Since(started))
		}

		started = time.Now()
		if _, err := (echo{}).Call(t.Context(), Call{Method: "echo/delay"}, nil); err != nil || time.Since(started) != time.Second {
			t.Errorf("without seconds: %v after %v", err, time.Since(started))
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		started = time.Now()
		_, err := echo{}.Call(ctx, call, nil)
		if wantCode(t, err, protocols.TaskTimeout); time.Since(started) != time.Minute {
			t.Errorf("ended after %v", time.Since(started))
		}

		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = echo{}.Call(ctx, call, nil)
		wantCode(t, err, protocols.TaskCancelled)
	})
}

// Every method of the specification is there.
func TestEchoSpecification(t *testing.T) {
	for _, m := range specification(t, "echo").Methods {
		for _, name := range append(m.Aliases, m.Name) {
			_, err := echo{}.Call(t.Context(), Call{Method: name, Parameters: json.RawMessage(`{"seconds":0}`)}, silent{})
			if e, is := err.(*protocols.Error); is && e.Code == protocols.MethodNotSupported {
				t.Error(e)
			}
		}
	}
}

func TestSecondsOverflow(t *testing.T) {
	for _, n := range []float64{1e10, 1e300} {
		if seconds(n) <= 0 {
			t.Errorf("%g seconds are %v", n, seconds(n))
		}
	}
}

func BenchmarkEcho(b *testing.B) {
	call := Call{Method: "echo/echo", Parameters: json.RawMessage(`{"a":1}`)}
	for b.Loop() {
		if _, err := (echo{}).Call(b.Context(), call, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// answering is a host with a person who takes their time.
type answering struct {
	silent
	after time.Duration
}

func (a answering) Ask(ctx context.Context, q Question) (Answer, error) {
	select {
	case <-time.After(a.after):
		return Answer{Action: Accept, Content: json.RawMessage(`"` + q.Message + q.From + `"`)}, nil
	case <-ctx.Done():
		return Answer{}, context.Cause(ctx)
	}
}

// TestEchoAsk also sees that waiting for a person is no idleness.
func TestEchoAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call := Call{Method: "echo/ask", Parameters: json.RawMessage(`{"message":"who","from":"me"}`), IdleTimeout: time.Second}
		result, err := kept(t.Context(), echo{}, call, answering{after: time.Hour})
		if string(result) != `{"action":"accept","content":"whome"}` || err != nil {
			t.Errorf("%s %v", result, err)
		}
		result, err = kept(t.Context(), echo{}, call, silent{})
		if string(result) != `{"action":"cancel"}` || err != nil {
			t.Errorf("%s %v", result, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err = kept(ctx, echo{}, call, answering{after: time.Hour}); err == nil {
			t.Error("it waits longer than it may")
		}
	})
}
