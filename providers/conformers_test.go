//go:build unix

package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// This file is the table of the conformance suite: for every kind of provider
// calls that go well, that never end, and that go wrong in each way that there
// is. A kind that is in kindTable and not here fails the suite, and so does one
// that has no call for a promise and no reason for that.

// conformer is one kind under test. Where a call is nil, why says why.
type conformer struct {
	config  Config
	workers *Workers // that are connected
	name    string   // of the provider in it
	works   Call     // ends well
	slow    Call     // would take a minute
	fails   Call     // ends in an error soon
	methods []string // that get garbage
	shrink  func(t *testing.T, s *Set)

	huge     *wrong                          // the other side answers more than is taken
	nonsense *wrong                          // the other side answers what makes no sense
	quotes   *Call                           // the other side repeats, in its error, the secret that it was given
	keyed    func(t *testing.T, s *Set) bool // whether the other side is told the idempotency key conformKey
	down     *Config                         // with which the provider can't work

	why map[string]string // huge, nonsense, quotes, keyed, down: why not
}

// wrong is a call that goes wrong, and how.
type wrong struct {
	call Call
	code protocols.Code // or one of those below
}

const (
	noJSON  protocols.Code = 0 // no error, but a result that is no JSON, which the caller finds
	anyCode protocols.Code = 1 // how a process dies of its memory is not the same with the race detector
)

const (
	conformKey    = "store-1-2-3"
	conformSecret = "correct-horse-battery"
)

// conformers has one of each kind in the table, some in several settings.
func conformers(t testing.TB) map[string]conformer {
	other := newOther(t)
	all := map[string]conformer{
		"echo": {
			name:    "echo",
			works:   Call{Method: "echo/echo", Parameters: json.RawMessage(`{"a":1}`)},
			slow:    Call{Method: "echo/delay", Parameters: json.RawMessage(`{"seconds":60}`)},
			fails:   Call{Method: "echo/fail", Parameters: json.RawMessage(`{}`)},
			methods: []string{"echo/echo", "echo/ping", "echo/delay", "echo/timestamp", "echo/fail"},
			why:     nobody("huge", "nonsense", "quotes", "keyed", "down"),
		},
		"mock": {
			config:   Config{Providers: map[string]ProviderConfig{"mock": {Kind: "mock"}}},
			name:     "mock",
			works:    Call{Method: "text-processing/translate", Parameters: json.RawMessage(`{"text":"x"}`)},
			slow:     Call{Method: "mock/play", Parameters: json.RawMessage(`{"hang":true}`)},
			fails:    Call{Method: "mock/play", Parameters: json.RawMessage(`{"fail":"server"}`)},
			methods:  append(slices.Collect(maps.Keys(inventions)), "mock/play", "mock/call.x"),
			nonsense: &wrong{Call{Method: "mock/play", Parameters: json.RawMessage(`{"garbage":"}{"}`)}, noJSON},
			why:      nobody("huge", "quotes", "keyed", "down"),
		},
		"data": {
			name:    "data",
			works:   Call{Method: "data/jq", Parameters: json.RawMessage(`{"filter":".","input":5}`)},
			slow:    Call{Method: "data/jq", Parameters: json.RawMessage(`{"filter":"(reduce range(60) as $i (0; [., .])) as $x | $x == $x"}`)},
			fails:   Call{Method: "data/jq", Parameters: json.RawMessage(`{"filter":".a","input":[]}`)},
			methods: []string{"data/set", "data/jq"},
			huge:    &wrong{Call{Method: "data/jq", Parameters: json.RawMessage(`{"filter":".[536870910] = 1"}`)}, anyCode},
			why:     nobody("nonsense", "quotes", "keyed", "down"),
		},
		"remote":      conformRemote(t),
		"http":        other.http(t),
		"ollama":      keyless(other.llm(t, "ollama")),
		"openai":      other.llm(t, "openai"),
		"anthropic":   other.llm(t, "anthropic"),
		"python":      conformPython(t, true),
		"python cold": conformPython(t, false),
		"shell":       conformShell(t),
		"mcp":         conformMCP(Config{MCPServers: map[string]MCPServer{"x": serverRole("good"), "liar": serverRole(`raw "result":5`)}}),
	}
	for _, form := range []string{"http", "sse"} {
		url := httpServer(t, form == "sse", nil)
		c := conformMCP(Config{MCPServers: map[string]MCPServer{"x": {URL: url, Type: form}}})
		c.fails, c.nonsense, c.why["nonsense"] = Call{Method: "mcp/tool.fail", Parameters: json.RawMessage(`{}`)}, nil, "what is inside of a message is the same over all transports"
		c.huge.code = map[string]protocols.Code{"http": protocols.TaskResultInvalid, "sse": protocols.ConnectionLost}[form]
		all["mcp over "+form] = c
	}
	return all
}

// nobody is why nothing comes from outside.
func nobody(promises ...string) map[string]string {
	why := map[string]string{}
	for _, p := range promises {
		why[p] = "there is nobody on the other side"
	}
	return why
}

func opened(t *testing.T, s *Set, name string) Provider {
	t.Helper()
	p, err := s.provider(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func conformPython(t testing.TB, warm bool) conformer {
	run := func(code string) Call {
		return Call{Method: "python/execute", Parameters: parameters(t, "code", code)}
	}
	return conformer{
		config:  Config{Providers: map[string]ProviderConfig{"python": {Kind: "python", Command: realPython(), Warm: &warm}}},
		name:    "python",
		works:   run("result = 1"),
		slow:    run("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('on')\ntime.sleep(60)"),
		fails:   run("1/0"),
		methods: []string{"python/execute", "python/call"},
		huge:    &wrong{run("result = 'x' * (65 << 20)"), protocols.TaskResultInvalid},
		keyed: func(t *testing.T, s *Set) bool {
			call := run("import os\nos.environ['GLEITZEIT_KEY']")
			call.Key = conformKey
			result, err := s.Call(patience(t, tooLong), "python", call, nil)
			return err == nil && strings.Contains(string(result), conformKey)
		},
		down: &Config{Providers: map[string]ProviderConfig{"python": {Kind: "python", Command: "/nowhere/python3", Warm: &warm}}},
		why: map[string]string{
			"nonsense": "only our own driver answers: TestPythonResultCannotBeForged",
			"quotes":   "what a program prints is scrubbed by whoever gave it the secret",
		},
	}
}

func conformShell(t testing.TB) conformer {
	run := func(script string, pairs ...any) Call {
		return Call{Method: "shell/run", Parameters: parameters(t, append([]any{"script", script}, pairs...)...)}
	}
	return conformer{
		config:   Config{Providers: map[string]ProviderConfig{"shell": {Kind: "shell"}}},
		name:     "shell",
		works:    run("echo x"),
		slow:     run("trap '' TERM; echo on; sleep 60; sleep 60"),
		fails:    run("exit 1"),
		methods:  []string{"shell/run"},
		huge:     &wrong{run("yes | head -c 68000000", "parse", "lines"), protocols.TaskResultInvalid},
		nonsense: &wrong{run("echo x", "parse", "json"), protocols.TaskResultInvalid},
		keyed: func(t *testing.T, s *Set) bool {
			call := run("echo $GLEITZEIT_KEY")
			call.Key = conformKey
			result, err := s.Call(patience(t, tooLong), "shell", call, nil)
			return err == nil && strings.Contains(string(result), conformKey)
		},
		why: map[string]string{
			"quotes": "what a program prints is scrubbed by whoever gave it the secret",
			"down":   "it needs nothing but the machine",
		},
	}
}

func conformMCP(config Config) conformer {
	tool := func(name, arguments string) Call {
		return Call{Method: "mcp/tool." + name, Parameters: json.RawMessage(arguments)}
	}
	return conformer{
		config: config, name: "x",
		works: tool("say", `{"text":"x"}`),
		slow:  tool("hang", `{}`),
		fails: tool("die", `{}`),
		methods: []string{"mcp/tool.say", "mcp/tool.add", "mcp/tool.", "mcp/call_tool", "mcp/tools/list", "mcp/server_info", "mcp/ping",
			"mcp/resources/list", "mcp/resources/read", "mcp/prompt.say", "mcp/prompts/list", "mcp/prompts/get"},
		shrink: func(_ *testing.T, s *Set) {
			for _, server := range s.deps.servers.list {
				server.limit = 1 << 20
			}
		},
		huge:     &wrong{tool("large", `{}`), protocols.TaskResultInvalid},
		nonsense: &wrong{Call{Method: "mcp/call_tool", Parameters: json.RawMessage(`{"name":"say","server":"liar"}`)}, protocols.TaskResultInvalid},
		down:     &Config{MCPServers: map[string]MCPServer{"x": {Command: "/nowhere/server"}}},
		why: map[string]string{
			"quotes": "what a server says is scrubbed by whoever gave it the secret",
			"keyed":  "the protocol has no place for it",
		},
	}
}

// other is a server on the other side, for all kinds that speak HTTP. What it
// does is the model that is asked for, or the path.
type other struct {
	url string

	mu   sync.Mutex
	seen http.Header // of the last request
}

func newOther(t testing.TB) *other {
	o := &other{}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	o.url = server.URL
	return o
}

// wishes are what the other side can be asked to do.
var wishes = []string{"slow", "huge", "nonsense", "quotes"}

func (o *other) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // only when it was read does the server see that the caller has gone
	o.mu.Lock()
	o.seen = r.Header.Clone()
	o.mu.Unlock()
	does := ""
	for _, wish := range wishes {
		if strings.Contains(string(body), `"`+wish+`"`) || strings.HasSuffix(r.URL.Path, "/"+wish) {
			does = wish
		}
	}
	w.Header().Set("Content-Type", "application/json")
	switch does {
	case "slow":
		<-r.Context().Done()
	case "huge":
		for range 64 {
			if _, err := io.WriteString(w, `{"message":{"content":"`+strings.Repeat("x", 32<<10)+`"},"done":false}`+"\n"); err != nil {
				return
			}
		}
	case "nonsense":
		_, _ = io.WriteString(w, "<html>")
	case "quotes":
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":{"message":"what is %s?","type":"x"}}`, r.Header)
	default:
		_, _ = io.WriteString(w, answers[r.URL.Path])
	}
}

// answers are good ones, by their paths.
var answers = map[string]string{
	"/":                    `{"ok":true}`,
	"/api/version":         `{"version":"0.6.5"}`,
	"/api/tags":            `{"models":[{"name":"m"}]}`,
	"/api/chat":            `{"message":{"role":"assistant","content":"hi"},"done":true,"done_reason":"stop"}`,
	"/v1/models":           `{"data":[{"id":"m"}]}`,
	"/v1/chat/completions": `{"model":"m","choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}`,
	"/v1/messages":         `{"model":"m","role":"assistant","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn"}`,
}

// told tells whether the last request had the key.
func (o *other) told() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Contains(o.seen.Get("Idempotency-Key"), conformKey)
}

func (o *other) llm(t testing.TB, kind string) conformer {
	chat := func(model string) Call {
		return Call{Method: "llm/chat", Parameters: parameters(t, "model", model, "prompt", "x"), Key: conformKey}
	}
	quotes := chat("quotes")
	return conformer{
		config: Config{Providers: map[string]ProviderConfig{"p": {Kind: kind, URL: o.url, KeyEnv: "CONFORM_KEY",
			Headers: map[string]string{"X-Also": conformSecret}}}},
		name:    "p",
		works:   chat("m"),
		slow:    chat("slow"),
		fails:   Call{Method: "llm/chat", Parameters: json.RawMessage(`{"messages":5}`)},
		methods: []string{"llm/chat", "llm/complete", "llm/generate", "llm/vision", "llm/embed"},
		shrink: func(t *testing.T, s *Set) {
			opened(t, s, "p").(*llmProvider).server.limit = 1 << 20
		},
		huge:     &wrong{chat("huge"), protocols.TaskResultInvalid},
		nonsense: &wrong{chat("nonsense"), protocols.TaskResultInvalid},
		quotes:   &quotes,
		keyed: func(t *testing.T, s *Set) bool {
			_, err := s.Call(patience(t, tooLong), "p", chat("m"), nil)
			return err == nil && o.told()
		},
		down: &Config{Providers: map[string]ProviderConfig{"p": {Kind: kind, URL: "http://127.0.0.1:1"}}},
	}
}

// keyless is a kind of server that knows no idempotency keys.
func keyless(c conformer) conformer {
	c.keyed, c.why = nil, map[string]string{"keyed": "such a server knows none"}
	return c
}

func (o *other) http(t testing.TB) conformer {
	request := func(path string, more ...any) Call {
		return Call{Method: "http/request", Parameters: parameters(t, append([]any{"url", path, "method", "POST"}, more...)...), Key: conformKey}
	}
	quotes := request("/quotes")
	return conformer{
		config: Config{Providers: map[string]ProviderConfig{"p": {Kind: "http", URL: o.url, Allow: []string{"127.0.0.1"}, KeyEnv: "CONFORM_KEY",
			Headers: map[string]string{"X-Also": conformSecret}, MaxResponse: "1MiB"}}},
		name:     "p",
		works:    request("/"),
		slow:     request("/slow"),
		fails:    Call{Method: "http/request", Parameters: json.RawMessage(`{"url":5}`)},
		methods:  []string{"http/request"},
		huge:     &wrong{request("/huge"), protocols.TaskResultInvalid},
		nonsense: &wrong{request("/nonsense", "parse", "json"), protocols.TaskResultInvalid},
		quotes:   &quotes,
		keyed: func(t *testing.T, s *Set) bool {
			_, err := s.Call(patience(t, tooLong), "p", request("/"), nil)
			return err == nil && o.told()
		},
		down: &Config{Providers: map[string]ProviderConfig{"p": {Kind: "http", URL: "http://127.0.0.1:1", Allow: []string{"127.0.0.1"}}}},
	}
}

// conformEnvironment is the machine's, with the secret.
func conformEnvironment(name string) string {
	if name == "CONFORM_KEY" {
		return conformSecret
	}
	return os.Getenv(name)
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

// conformRemote has a worker in this process, which echoes.
func conformRemote(t testing.TB) conformer {
	w := NewWorkers()
	l := &echoing{set: openSet(t, Config{}), stops: map[string]context.CancelFunc{}}
	seat, err := w.Join(l, Registration{Worker: "echoing", Instance: "1", Slots: 8, Offers: []WorkerOffer{{Protocol: "echo/v1"}}})
	if err != nil {
		t.Fatal(err)
	}
	l.seat = seat
	over := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() { // or else it is lost before it is its turn
		for {
			select {
			case <-over:
				return
			case <-time.After(Heartbeat):
				seat.Touch()
			}
		}
	})
	t.Cleanup(func() {
		close(over)
		beating.Wait()
		w.Close()
	})
	return conformer{
		config:   Config{Providers: map[string]ProviderConfig{"far": {Kind: "remote", Protocols: []string{"echo/v1"}}}},
		workers:  w,
		name:     "far",
		works:    Call{Method: "echo/echo", Parameters: json.RawMessage(`{"a":1}`)},
		slow:     Call{Method: "echo/delay", Parameters: json.RawMessage(`{"seconds":60}`)},
		fails:    Call{Method: "echo/fail", Parameters: json.RawMessage(`{}`)},
		methods:  []string{"echo/echo", "echo/ping", "echo/delay", "echo/timestamp", "echo/fail"},
		nonsense: &wrong{Call{Method: "echo/echo", Parameters: json.RawMessage(`{"nonsense":true}`)}, noJSON},
		quotes:   &Call{Method: "echo/fail", Parameters: json.RawMessage(`{"class":"auth"}`), Env: map[string]string{"SECRET": conformSecret}},
		keyed: func(t *testing.T, s *Set) bool {
			call := Call{Method: "echo/echo", Parameters: json.RawMessage(`{}`), Key: conformKey}
			if _, err := s.Call(patience(t, tooLong), "far", call, nil); err != nil {
				t.Error(err)
			}
			return l.keyed.Load()
		},
		why: map[string]string{
			"huge": "how much a worker may say is the connection's: TestHTTPHostile",
			"down": "without a worker a call waits: TestWorkersShare",
		},
	}
}

// echoing is a worker in this process.
type echoing struct {
	set   *Set
	seat  *Seat
	mu    sync.Mutex
	stops map[string]context.CancelFunc
	keyed atomic.Bool
}

func (l *echoing) Call(c WorkerCall) error {
	ctx, stop := context.WithCancel(context.Background())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stops[c.ID] = stop
	if c.Key == conformKey {
		l.keyed.Store(true)
	}
	go func() {
		result, err := l.set.Call(ctx, "echo", Call{Method: c.Method, Parameters: c.Parameters, Attempt: c.Attempt}, nil)
		if strings.Contains(string(c.Parameters), "nonsense") {
			result = json.RawMessage("}{")
		}
		l.seat.Finish(c.ID, result, err)
		stop()
	}()
	return nil
}

func (l *echoing) Cancel(c WorkerCancel) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stops[c.ID]()
	return nil
}

func (l *echoing) Close() {}
