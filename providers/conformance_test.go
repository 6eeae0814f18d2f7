//go:build unix

package providers

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// This file holds every kind of provider to the contract of Provider.

// conformer is one kind under test.
type conformer struct {
	config  Config
	name    string   // of the provider in it
	slow    Call     // would take a minute
	fails   Call     // ends in an error soon
	methods []string // that get garbage
}

// conformers has one of each kind in the table.
func conformers(t *testing.T) map[string]conformer {
	silence := silentServer(t)
	chat := json.RawMessage(`{"model":"m","messages":[{"role":"user","content":"x"}]}`)
	llm := func(kind string) conformer {
		return conformer{
			config: Config{Providers: map[string]ProviderConfig{"p": {Kind: kind, URL: silence}}}, name: "p",
			slow:    Call{Method: "llm/chat", Parameters: chat},
			fails:   Call{Method: "llm/chat", Parameters: json.RawMessage(`{"messages":5}`)},
			methods: []string{"llm/chat", "llm/complete", "llm/generate", "llm/vision", "llm/embed"},
		}
	}
	python := func(warm bool) conformer {
		return conformer{
			config:  Config{Providers: map[string]ProviderConfig{"python": {Kind: "python", Command: realPython(), Warm: &warm}}},
			name:    "python",
			slow:    Call{Method: "python/execute", Parameters: parameters(t, "code", "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('on')\ntime.sleep(60)")},
			fails:   Call{Method: "python/execute", Parameters: parameters(t, "code", "1/0")},
			methods: []string{"python/execute", "python/call"},
		}
	}
	return map[string]conformer{
		"echo": {
			name:    "echo",
			slow:    Call{Method: "echo/delay", Parameters: json.RawMessage(`{"seconds":60}`)},
			fails:   Call{Method: "echo/fail", Parameters: json.RawMessage(`{}`)},
			methods: []string{"echo/echo", "echo/ping", "echo/delay", "echo/timestamp", "echo/fail"},
		},
		"python":      python(true),
		"python cold": python(false),
		"mcp": {
			config: Config{MCPServers: map[string]MCPServer{"good": serverRole("good")}},
			name:   "mcp",
			slow:   Call{Method: "mcp/tool.hang", Parameters: json.RawMessage(`{}`)},
			fails:  Call{Method: "mcp/tool.die", Parameters: json.RawMessage(`{}`)},
			methods: []string{"mcp/tool.say", "mcp/tool.add", "mcp/tool.", "mcp/call_tool", "mcp/tools/list", "mcp/server_info", "mcp/ping",
				"mcp/resources/list", "mcp/resources/read", "mcp/prompt.say", "mcp/prompts/list", "mcp/prompts/get"},
		},
		"data": {
			name:    "data",
			slow:    Call{Method: "data/jq", Parameters: json.RawMessage(`{"filter":"reduce range(60) as $i (0; [., .]) | tojson | length"}`)},
			fails:   Call{Method: "data/jq", Parameters: json.RawMessage(`{"filter":".a","input":[]}`)},
			methods: []string{"data/set", "data/jq"},
		},
		"http": {
			config:  Config{Providers: map[string]ProviderConfig{"http": {Kind: "http", Allow: []string{"127.0.0.1"}}}},
			name:    "http",
			slow:    Call{Method: "http/request", Parameters: parameters(t, "url", silence)},
			fails:   Call{Method: "http/request", Parameters: json.RawMessage(`{"url":5}`)},
			methods: []string{"http/request"},
		},
		"mock": {
			config:  Config{Providers: map[string]ProviderConfig{"mock": {Kind: "mock"}}},
			name:    "mock",
			slow:    Call{Method: "mock/play", Parameters: json.RawMessage(`{"hang":true}`)},
			fails:   Call{Method: "mock/play", Parameters: json.RawMessage(`{"fail":"server"}`)},
			methods: slices.Collect(maps.Keys(inventions)),
		},
		"ollama":    llm("ollama"),
		"openai":    llm("openai"),
		"anthropic": llm("anthropic"),
	}
}

// silentServer accepts requests and never answers.
func silentServer(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that the caller has gone
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestConformance(t *testing.T) {
	needPython(t)
	for kind, c := range conformers(t) {
		t.Run(kind, func(t *testing.T) { conform(t, c) })
	}
	for kind := range kindTable() {
		if _, tested := conformers(t)[kind]; !tested {
			t.Errorf("kind %s is not held to the contract", kind)
		}
	}
}

func conform(t *testing.T, c conformer) {
	before := len(ownChildren(t))
	s, err := Open(c.config, Options{Env: os.Getenv, Self: filterRole()})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("cancel", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		conformEnd(t, s, c, ctx, cancel)
	})
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		conformEnd(t, s, c, ctx, func() { <-ctx.Done(); cancel() })
	})
	t.Run("ended before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		conformEnd(t, s, c, ctx, cancel)
	})
	t.Run("garbage", func(t *testing.T) { conformGarbage(t, s, c) })
	t.Run("failure", func(t *testing.T) {
		_, err := s.Call(patience(t, 30*time.Second), c.name, c.fails, nil)
		if _, is := err.(*protocols.Error); !is {
			t.Errorf("error %T %v", err, err)
		}
	})
	t.Run("unknown method", func(t *testing.T) {
		_, err := s.Call(patience(t, 30*time.Second), c.name, Call{Method: "nosuch/method"}, nil)
		wantError(t, err, protocols.MethodNotSupported)
	})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if after := ownChildren(t); len(after) > before {
		t.Errorf("children after Close: %v", after)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	_, err = s.Call(context.Background(), c.name, c.slow, nil)
	wantError(t, err, protocols.SystemShutdown)
}

// conformEnd ends a slow call, and measures how long that takes.
func conformEnd(t *testing.T, s *Set, c conformer, ctx context.Context, end func()) {
	t.Helper()
	done := make(chan error, 1)
	host := newLines()
	go func() {
		_, err := s.Call(ctx, c.name, c.slow, host)
		done <- err
	}()
	select {
	case <-host.c: // it runs
	case <-time.After(500 * time.Millisecond):
	case <-ctx.Done():
	}
	end()
	started := time.Now()
	select {
	case err := <-done:
		if _, is := err.(*protocols.Error); !is {
			t.Errorf("error %T %v", err, err)
		}
		if took := time.Since(started); took > tooLong {
			t.Errorf("took %v to end", took)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("did not end")
	}
}

// conformGarbage: an error or a JSON value, and no panic.
func conformGarbage(t *testing.T, s *Set, c conformer) {
	for _, method := range c.methods {
		for _, raw := range garbage {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			result, err := s.Call(ctx, c.name, Call{Method: method, Parameters: json.RawMessage(raw), Dir: t.TempDir()}, nil)
			cancel()
			if _, is := err.(*protocols.Error); err != nil && !is {
				t.Errorf("%s %s: error %T %v", method, raw, err, err)
			}
			if err == nil && json.Valid([]byte(raw)) && !json.Valid(result) {
				t.Errorf("%s %s: result %q is not JSON", method, raw, result)
			}
		}
	}
}
