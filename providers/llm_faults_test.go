package providers

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/providers/llmtest"
)

// Every fault that a server can have, on every kind of server.
func TestLLMFaults(t *testing.T) {
	date := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for _, test := range []struct {
		name  string
		fault llmtest.Fault
		code  protocols.Code
		wait  time.Duration
	}{
		{"truncated", llmtest.Fault{After: 4, End: true}, protocols.ConnectionLost, 0},
		{"cut", llmtest.Fault{After: 4, Cut: true}, protocols.ConnectionLost, 0},
		{"garbage", llmtest.Fault{After: 4, Garbage: "data: {{{\n\n"}, protocols.TaskResultInvalid, 0},
		{"a page", llmtest.Fault{Status: 200, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>"}, protocols.TaskResultInvalid, 0},
		{"wrong type", llmtest.Fault{Type: "text/html", Garbage: "<html>"}, protocols.TaskResultInvalid, 0},
		{"429", llmtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}}, protocols.RateLimitExceeded, 7 * time.Second},
		{"429 with a date", llmtest.Fault{Status: 429, Header: http.Header{"Retry-After": {date}}}, protocols.RateLimitExceeded, time.Hour},
		{"503", llmtest.Fault{Status: 503, Header: http.Header{"Retry-After": {"1.5"}}}, protocols.ProviderOverloaded, 1500 * time.Millisecond},
		{"529", llmtest.Fault{Status: 529, Header: http.Header{"Retry-After": {date}}}, protocols.ProviderOverloaded, time.Hour},
		{"redirect", llmtest.Fault{Status: 307, Header: http.Header{"Location": {"http://elsewhere.invalid/"}}}, protocols.ConfigurationError, 0},
		{"flood", llmtest.Fault{After: 4, Flood: 2 << 20}, protocols.TaskResultInvalid, 0},
	} {
		for kind := range kinds {
			t.Run(test.name+" "+kind, func(t *testing.T) {
				p, s := faulty(t, kind, ProviderConfig{}, test.fault)
				serverOf(p).limit = 1 << 20
				_, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
				e := wantCode(t, err, test.code)
				if wait := e.RetryAfter(); wait > test.wait || wait < test.wait-time.Minute || test.wait > 0 && wait == 0 {
					t.Errorf("retry after %v, want %v", wait, test.wait)
				}
				if len(e.Message) > 1000 {
					t.Errorf("%d bytes of message", len(e.Message))
				}
				if n := len(s.Requests()); n != 1 {
					t.Errorf("%d requests", n)
				}
				if _, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{}); err != nil {
					t.Errorf("the next call: %v", err)
				}
			})
		}
	}
}

// faulty is a provider whose server does these things wrong, one a request.
func faulty(t *testing.T, kind string, c ProviderConfig, faults ...llmtest.Fault) (Provider, *llmtest.Server) {
	t.Helper()
	leakless(t)
	s := says("one two three four five six seven")
	s.Fail(faults...)
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	c.URL = h.URL
	return open(t, kinds[kind].make, c), s
}

// How long a server may take to begin, and be silent afterwards.
func TestLLMPatience(t *testing.T) {
	const short, long = "40ms", "20s"
	for _, test := range []struct {
		name   string
		config ProviderConfig
		task   time.Duration
		fault  llmtest.Fault
		code   protocols.Code
		says   string
	}{
		{"slow beginning", ProviderConfig{FirstTokenTimeout: short}, 0, llmtest.Fault{Delay: time.Minute}, protocols.ProviderTimeout, "did not begin its answer within 40ms"},
		{"only a head", ProviderConfig{FirstTokenTimeout: short}, 0, llmtest.Fault{Hang: true}, protocols.ProviderTimeout, "did not begin its answer within 40ms"},
		{"silence from the beginning", ProviderConfig{IdleTimeout: short}, 0, llmtest.Fault{Hang: true}, protocols.ProviderTimeout, "sent nothing for 40ms"},
		{"silence later", ProviderConfig{FirstTokenTimeout: long, IdleTimeout: short}, 0, llmtest.Fault{After: 5, Hang: true}, protocols.ProviderTimeout, "sent nothing for 40ms"},
		{"the task's patience", ProviderConfig{IdleTimeout: long}, 40 * time.Millisecond, llmtest.Fault{After: 5, Hang: true}, protocols.TaskTimeout, "sent nothing for 40ms"},
		{"the whole", ProviderConfig{Timeout: "60ms"}, 0, llmtest.Fault{Pause: 20 * time.Millisecond}, protocols.ProviderTimeout, "did not finish in time"},
	} {
		for kind := range kinds {
			t.Run(test.name+" "+kind, func(t *testing.T) {
				p, s := faulty(t, kind, test.config, test.fault)
				gone := make(chan struct{}, 1)
				s.Gone = func() { gone <- struct{}{} }
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				call := llmCall("llm/chat", `{"model":"m","prompt":"hi"}`)
				call.IdleTimeout = test.task
				_, err := p.Call(ctx, call, &tokens{})
				if e := wantCode(t, err, test.code); !strings.Contains(e.Message, test.says) {
					t.Error(e.Message)
				}
				within(t, "the server saw the client go", gone)
			})
		}
	}
}

// What a provider that knows nothing of it is held to all the same.
func TestPromises(t *testing.T) {
	set, err := Open(Config{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	call := llmCall("echo/echo", `{"n":"seven"}`)
	call.OutputSchema = raw(`{"type":"object","properties":{"n":{"type":"integer"}}}`)
	_, err = set.Call(t.Context(), "echo", call, nil)
	if e := wantCode(t, err, protocols.TaskResultInvalid); !strings.Contains(e.Message, "n must be a whole number") {
		t.Error(e.Message)
	}
	call.Parameters = raw(`{"n":7}`)
	if _, err = set.Call(t.Context(), "echo", call, nil); err != nil {
		t.Error(err)
	}
	call = llmCall("echo/delay", `{"seconds":60}`)
	call.IdleTimeout = 20 * time.Millisecond
	_, err = set.Call(t.Context(), "echo", call, nil)
	if e := wantCode(t, err, protocols.TaskTimeout); e.Message != "no sign of life for 20ms" {
		t.Error(e.Message)
	}
	call.Parameters, call.IdleTimeout = raw(`{"seconds":0}`), time.Minute
	if _, err = set.Call(t.Context(), "echo", call, nil); err != nil {
		t.Error(err)
	}
}

// Until the answer begins its own bound counts, then that of silence, which
// every byte puts off.
func TestLLMBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &llmServer{kind: "S", base: mustParse(t, "http://s"), first: time.Minute, silence: time.Second, limit: 100}
		ctx, a := server.stream(t.Context(), "", llmPost{streams: true})
		a.body = io.NopCloser(strings.NewReader("abc"))
		time.Sleep(50 * time.Second)
		if _, err := a.Read(make([]byte, 1)); err != nil || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
		time.Sleep(9 * time.Second) // a byte is no beginning
		a.begin()
		for range 2 {
			time.Sleep(900 * time.Millisecond)
			if _, err := a.Read(make([]byte, 1)); err != nil || ctx.Err() != nil {
				t.Fatal(err, ctx.Err())
			}
		}
		time.Sleep(1100 * time.Millisecond)
		wantCode(t, a.ended(), protocols.ProviderTimeout)
		a.Close()

		_, a = server.stream(t.Context(), "", llmPost{streams: true})
		time.Sleep(61 * time.Second)
		if e := wantCode(t, a.ended(), protocols.ProviderTimeout); !strings.Contains(e.Message, "did not begin its answer within 1m0s") {
			t.Error(e.Message)
		}
		a.Close()
	})
}

// Every form knows the beginning of an answer when it comes, be it text, a
// thought or a tool call.
func TestLLMBegins(t *testing.T) {
	server := &llmServer{kind: "S", base: mustParse(t, "http://s"), first: time.Hour, silence: time.Hour, limit: 1 << 20}
	for _, test := range []struct {
		read  func(*llmStream, *llmAnswer) error
		media string
		body  string
	}{
		{ollamaRead, "", `{"message":{"content":"x"}}`},
		{ollamaRead, "", `{"message":{"content":"","thinking":"x"}}`},
		{ollamaRead, "", `{"response":"x"}`},
		{ollamaRead, "", `{"message":{"content":"","tool_calls":[{"function":{"name":"f"}}]}}`},
		{openAIRead, "text/event-stream", `data: {"choices":[{"delta":{"content":"x"}}]}`},
		{openAIRead, "text/event-stream", `data: {"choices":[{"delta":{"reasoning_content":"x"}}]}`},
		{openAIRead, "text/event-stream", `data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}`},
		{anthropicPlain, "text/event-stream", `data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}`},
		{anthropicPlain, "text/event-stream", `data: {"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"x"}}`},
		{anthropicPlain, "text/event-stream", `data: {"type":"content_block_start","content_block":{"type":"tool_use","name":"f"}}`},
	} {
		for _, early := range []string{"", test.body + "\n\n"} {
			_, stream := server.stream(t.Context(), "", llmPost{streams: true})
			stream.body, stream.kind = io.NopCloser(strings.NewReader(early)), test.media
			_ = test.read(stream, newAnswer(&llmRequest{}, silent{})) // it breaks off
			if begun := stream.later == nil; begun != (early != "") {
				t.Errorf("%q: begun %v", early, begun)
			}
			stream.Close()
		}
	}
}

// Each Progress is a sign of life.
func TestListened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chatty := caller(func(ctx context.Context, host Host) error {
			for range 10 {
				host.Progress(Progress{Message: "still here"})
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(time.Second):
				}
			}
			return nil
		})
		if _, err := kept(t.Context(), chatty, Call{IdleTimeout: 2 * time.Second}, silent{}); err != nil {
			t.Error(err)
		}
		_, err := kept(t.Context(), chatty, Call{IdleTimeout: time.Second / 2}, silent{})
		wantCode(t, err, protocols.TaskTimeout)
	})
}

// caller is a provider that does one thing.
type caller func(ctx context.Context, host Host) error

func (f caller) Call(ctx context.Context, _ Call, host Host) (json.RawMessage, error) {
	return nil, f(ctx, host)
}
func (caller) Check(context.Context) Health { return Health{} }
func (caller) Close() error                 { return nil }
