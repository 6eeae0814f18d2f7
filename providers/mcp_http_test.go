//go:build unix

package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/protocols"
)

// httpServer is a server over HTTP with the tools of actAsServer, behind
// whatever before does first: it returns true when it has answered.
func httpServer(t testing.TB, sse bool, before func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "test-http", Version: "1.2.3"}, nil)
	addTools(server)
	return serveMCP(t, server, sse, before)
}

// serveMCP puts a server on HTTP.
func serveMCP(t testing.TB, server *mcp.Server, sse bool, before func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	var handler http.Handler = mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)
	if sse {
		handler = mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return server }, nil)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before == nil || !before(w, r) {
			handler.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		for session := range server.Sessions() {
			_ = session.Close() // those whose end nobody told it
		}
		s.Close()
	})
	return s.URL
}

// httpSet is a set with that one server, called "web".
func httpSet(t testing.TB, m MCPServer) *Set {
	t.Helper()
	return openSet(t, Config{MCPServers: map[string]MCPServer{"web": m}})
}

func TestMCPOverHTTP(t *testing.T) {
	for name, m := range map[string]MCPServer{
		"http":             {URL: httpServer(t, false, nil), Type: "http"},
		"sse":              {URL: httpServer(t, true, nil), Type: "sse"},
		"found to be http": {URL: httpServer(t, false, nil)},
		"found to be sse":  {URL: httpServer(t, true, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			s := httpSet(t, m)
			wantMCP(t, s, "web", "mcp/tool.say", `{"text":"123456789012345678901234567890"}`,
				`{"result":123456789012345678901234567890,"response":"123456789012345678901234567890","content":[{"type":"text","text":"123456789012345678901234567890"}]}`)
			wantMCP(t, s, "mcp", "mcp/tool.structured", `{}`, `{"result":{"z":12345678901234567890,"a":1.0},"response":"in words",`+
				`"content":[{"type":"text","text":"in words"}],"structured":{"z":12345678901234567890,"a":1.0}}`)
			if m.Type != "" {
				if large, err := callMCP(t, s, "web", "mcp/tool.large", `{}`); err != nil || len(large) < 60<<20 {
					t.Errorf("large: %d bytes, %v", len(large), err)
				}
			}
			if h := s.Check(patience(t, time.Minute), "web"); h.Status != "healthy" {
				t.Errorf("%+v", h)
			}
			_, err := callMCP(t, s, "web", "mcp/tool.fail", `{}`)
			wantError(t, err, protocols.TaskExecutionFailed)
			_, err = callMCP(t, s, "web", "mcp/tool.refuse", `{}`)
			if e := wantError(t, err, protocols.InvalidParams); !strings.Contains(e.Message, "bad arguments") {
				t.Errorf("%s", e.Message)
			}
			_, err = callMCP(t, s, "web", "mcp/tool.more", `{}`)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// The server hears of a cancel, and the session goes on.
func TestMCPHTTPCancelIsTold(t *testing.T) {
	for _, sse := range []bool{false, true} {
		t.Run(fmt.Sprint("sse ", sse), func(t *testing.T) {
			began, told := make(chan struct{}), make(chan struct{})
			server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
			addTools(server)
			server.AddTool(&mcp.Tool{Name: "wait", InputSchema: json.RawMessage(`{"type":"object"}`)},
				func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
					close(began)
					<-ctx.Done()
					close(told)
					return nil, ctx.Err()
				})
			s := httpSet(t, MCPServer{URL: serveMCP(t, server, sse, nil)})
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() {
				_, err := s.Call(ctx, "web", Call{Method: "mcp/tool.wait"}, nil)
				done <- err
			}()
			happens(t, began)
			cancel()
			wantError(t, <-done, protocols.TaskCancelled)
			happens(t, told)
			link := s.deps.servers.list[0].current
			wantMCP(t, s, "web", "mcp/tool.say", `{"text":"x"}`, `{"result":"x","response":"x","content":[{"type":"text","text":"x"}]}`)
			if s.deps.servers.list[0].current != link {
				t.Error("the session was begun again")
			}
		})
	}
}

func happens(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(tooLong):
		t.Fatal("did not happen")
	}
}

// Headers go to the server with every request, and never into an error.
func TestMCPHTTPHeaders(t *testing.T) {
	var without atomic.Int32
	before := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "Bearer tops3cret" {
			without.Add(1)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if strings.Contains(string(body), `"refuse"`) {
			http.Error(w, "the token tops3cret is no good", http.StatusUnauthorized)
			return true
		}
		return false
	}
	s := httpSet(t, MCPServer{URL: httpServer(t, false, before), Headers: map[string]string{"Authorization": "Bearer tops3cret"}})
	wantMCP(t, s, "web", "mcp/tool.say", `{"text":"x"}`, `{"result":"x","response":"x","content":[{"type":"text","text":"x"}]}`)
	_, err := callMCP(t, s, "web", "mcp/tool.refuse", `{}`)
	e := wantError(t, err, protocols.AuthenticationFailed)
	if !strings.Contains(e.Message, "the token *** is no good") || strings.Contains(e.Message+string(e.Data), "tops3cret") {
		t.Errorf("%s %s", e.Message, e.Data)
	}
	if n := without.Load(); n != 0 {
		t.Errorf("%d requests without the header", n)
	}
}

// An answer that is no success has the code that its status means.
func TestMCPHTTPStatuses(t *testing.T) {
	tests := []struct {
		status int
		header string
		code   protocols.Code
		want   string
	}{
		{401, "", protocols.AuthenticationFailed, "401 Unauthorized"},
		{403, "", protocols.AuthorizationFailed, "no way"},
		{429, "7", protocols.RateLimitExceeded, "429"},
		{503, "3", protocols.ProviderOverloaded, "no way"},
		{500, "", protocols.ProviderUnhealthy, "no way"},
		{504, "", protocols.ProviderTimeout, "no way"},
		{302, "", protocols.ConfigurationError, "redirects are not followed"},
		{418, "", protocols.TaskParameterError, "no way"},
	}
	for _, at := range []string{"initialize", "tools/call"} {
		for _, test := range tests {
			t.Run(fmt.Sprint(at, " ", test.status), func(t *testing.T) {
				s := httpSet(t, MCPServer{URL: httpServer(t, false, func(w http.ResponseWriter, r *http.Request) bool {
					body, _ := io.ReadAll(r.Body)
					r.Body = io.NopCloser(strings.NewReader(string(body)))
					if !strings.Contains(string(body), `"`+at+`"`) && (at != "initialize" || !strings.Contains(string(body), "discover")) {
						return false
					}
					w.Header().Set("Retry-After", test.header)
					w.Header().Set("Location", "/elsewhere")
					w.WriteHeader(test.status)
					io.WriteString(w, `{"error":"no way"}`)
					return true
				})})
				_, err := callMCP(t, s, "web", "mcp/tool.say", `{}`)
				e := wantError(t, err, test.code)
				if !strings.Contains(e.Message, test.want) {
					t.Errorf("%s", e.Message)
				}
				if wait := e.RetryAfter(); (wait > 0) != (test.header != "") {
					t.Errorf("retry after %v", wait)
				}
			})
		}
	}
}

func TestMCPHTTPNobodyThere(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	s := httpSet(t, MCPServer{URL: strings.Replace(gone.URL, "http://", "http://me:passw0rd@", 1) + "/?key=s3cretkey"})
	_, err := callMCP(t, s, "web", "mcp/ping", `{}`)
	e := wantError(t, err, protocols.ConnectionRefused)
	if !strings.Contains(e.Message, "is not running") || strings.Contains(e.Message, "passw0rd") || strings.Contains(e.Message, "s3cretkey") {
		t.Errorf("%s", e.Message)
	}
}

// A server that was started anew, and knows no sessions of before, is greeted
// again; the call isn't lost.
func TestMCPHTTPSessionDropped(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
	}{
		{404, ""},
		{404, `{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}`},
		{400, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":3}`},
	} {
		var dropped, calls atomic.Int32
		var old sync.Map
		s := httpSet(t, MCPServer{URL: httpServer(t, false, func(w http.ResponseWriter, r *http.Request) bool {
			id := r.Header.Get("Mcp-Session-Id")
			if dropped.Load() == 0 {
				old.Store(id, true)
			}
			if _, is := old.Load(id); id == "" || !is || dropped.Load() == 0 {
				return false
			}
			calls.Add(1)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(test.status)
			io.WriteString(w, test.body)
			return true
		})})
		wantMCP(t, s, "web", "mcp/tool.say", `{"text":"x"}`, `{"result":"x","response":"x","content":[{"type":"text","text":"x"}]}`)
		dropped.Store(1)
		wantMCP(t, s, "web", "mcp/tool.say", `{"text":"y"}`, `{"result":"y","response":"y","content":[{"type":"text","text":"y"}]}`)
		if calls.Load() == 0 {
			t.Error("the old session was not tried: the test shows nothing")
		}
	}
}

// What a server says nothing to is given up when the caller does.
func TestMCPHTTPSilence(t *testing.T) {
	for _, silent := range []string{"GET", "tools/call", "notifications/cancelled", "DELETE", "initialize"} {
		t.Run(strings.ReplaceAll(silent, "/", " "), func(t *testing.T) {
			over := make(chan struct{})
			url := httpServer(t, false, func(w http.ResponseWriter, r *http.Request) bool {
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(strings.NewReader(string(body)))
				if r.Method != silent && !strings.Contains(string(body), `"`+silent+`"`) && (silent != "initialize" || !strings.Contains(string(body), "discover")) {
					return false
				}
				select {
				case <-over:
				case <-r.Context().Done():
				}
				return true
			})
			s, err := Open(Config{MCPServers: map[string]MCPServer{"web": {URL: url, Type: "http"}}}, Options{Env: os.Getenv})
			if err != nil {
				t.Fatal(err)
			}
			defer close(over)
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			started := time.Now()
			_, err = s.Call(ctx, "web", Call{Method: "mcp/tool.nap"}, nil)
			wantError(t, err, protocols.TaskTimeout)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(started); took > tooLong {
				t.Errorf("took %v", took)
			}
		})
	}
}

// An answer over the limit is refused in so many words, over every line.
func TestMCPMessageTooLong(t *testing.T) {
	for name, m := range map[string]MCPServer{
		"stdio": serverRole("good"),
		"http":  {URL: httpServer(t, false, nil), Type: "http"},
		"sse":   {URL: httpServer(t, true, nil), Type: "sse"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httpSet(t, m)
			s.deps.servers.list[0].limit = 1 << 20
			_, err := s.Call(patience(t, time.Minute), "web", Call{Method: "mcp/tool.say", Parameters: parameters(t, "text", strings.Repeat("x", 2<<20))}, nil)
			if name == "sse" { // the stream of events has no place for saying so
				wantError(t, err, protocols.ConnectionLost)
			} else if e := wantError(t, err, protocols.TaskResultInvalid); !strings.Contains(e.Message, "over 1 MiB") {
				t.Errorf("%s", e.Message)
			}
			wantMCP(t, s, "web", "mcp/tool.say", `{"text":"x"}`, `{"result":"x","response":"x","content":[{"type":"text","text":"x"}]}`)
		})
	}
}

// A server may not send us, and our headers, to another host.
func TestMCPHTTPStranger(t *testing.T) {
	var reached atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer other.Close()
	url := httpServer(t, true, func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "event: endpoint\ndata: %s/steal\n\n", other.URL)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	s := httpSet(t, MCPServer{URL: url, Type: "sse", Headers: map[string]string{"Authorization": "Bearer tops3cret"}})
	_, err := callMCP(t, s, "web", "mcp/ping", `{}`)
	if e := wantError(t, err, protocols.ConfigurationError); !strings.Contains(e.Message, "another host") || reached.Load() != 0 {
		t.Errorf("%v, reached %d times", err, reached.Load())
	}
}

func BenchmarkMCPCallHTTP(b *testing.B) {
	s := httpSet(b, MCPServer{URL: httpServer(b, false, nil)})
	call := Call{Method: "mcp/tool.say", Parameters: json.RawMessage(`{"text":"x"}`)}
	for b.Loop() {
		if _, err := s.Call(context.Background(), "web", call, nil); err != nil {
			b.Fatal(err)
		}
	}
}
