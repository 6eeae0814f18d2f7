//go:build unix

package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// roleSet is a set with one server for each name, playing that role.
func roleSet(t testing.TB, roles ...string) *Set {
	t.Helper()
	servers := map[string]MCPServer{}
	for _, role := range roles {
		name, _, _ := strings.Cut(role, " ")
		servers[name] = serverRole(role)
	}
	return openSet(t, Config{MCPServers: servers})
}

// callMCP makes one mcp/v1 call.
func callMCP(t testing.TB, s *Set, name, method, params string) (json.RawMessage, error) {
	t.Helper()
	return s.Call(patience(t, time.Minute), name, Call{Method: method, Parameters: json.RawMessage(params)}, nil)
}

func wantMCP(t testing.TB, s *Set, name, method, params, want string) {
	t.Helper()
	got, err := callMCP(t, s, name, method, params)
	if err != nil || string(got) != want {
		t.Errorf("%s %s: %s, %v\nwant %s", method, params, got, err, want)
	}
}

func TestMCPResults(t *testing.T) {
	s := roleSet(t, "good")
	said := func(result, text string) string {
		quoted, _ := encode(text)
		return fmt.Sprintf(`{"result":%s,"response":%s,"content":[{"type":"text","text":%s}]}`, result, quoted, quoted)
	}
	tests := []struct{ method, params, want string }{
		{"mcp/tool.say", `{"text":"hello"}`, said(`"hello"`, "hello")},
		{"mcp/tool.say", `{"text":"5"}`, said(`5`, "5")},
		{"mcp/tool.say", `{"text":"123456789012345678901234567890"}`, said(`123456789012345678901234567890`, "123456789012345678901234567890")},
		{"mcp/tool.say", `{"text":" {\"a\": [1, 2.0]} "}`, said(`{"a":[1,2.0]}`, ` {"a": [1, 2.0]} `)},
		{"mcp/tool.say", `{"text":"null"}`, said(`null`, "null")},
		{"mcp/tool.say", `{"text":"007"}`, said(`"007"`, "007")},
		{"mcp/tool.say", `{"text":""}`, said(`""`, "")},
		{"mcp/tool.say", `{"arguments":{"text":"inside"}}`, said(`"inside"`, "inside")},
		{"mcp/tool.say", `{"arguments":{"text":"named"},"server":"good"}`, said(`"named"`, "named")},
		{"mcp/tool.say", `{"server":"an argument"}`, said(`{"server":"an argument"}`, `{"server":"an argument"}`)},
		{"mcp/tool.say", ``, said(`{}`, `{}`)},
		{"mcp/call_tool", `{"name":"say","arguments":{"text":"x"}}`, said(`"x"`, "x")},
		{"mcp/call_tool", `{"name":"say"}`, said(`{}`, `{}`)},
		{"mcp/tool.structured", `{}`, `{"result":{"z":12345678901234567890,"a":1.0},"response":"in words",` +
			`"content":[{"type":"text","text":"in words"}],"structured":{"z":12345678901234567890,"a":1.0}}`},
		{"mcp/tool.picture", `{}`, `{"result":[{"type":"image","mimeType":"image/png","data":"cG5n"}],"response":"",` +
			`"content":[{"type":"image","mimeType":"image/png","data":"cG5n"}]}`},
		{"mcp/tool.nothing", `{}`, `{"result":"","response":"","content":[]}`},
	}
	for _, test := range tests {
		wantMCP(t, s, "mcp", test.method, test.params, test.want)
		wantMCP(t, s, "good", test.method, test.params, test.want)
	}
	large, err := callMCP(t, s, "mcp", "mcp/tool.large", `{}`)
	if err != nil || len(large) < 60<<20 {
		t.Errorf("large: %d bytes, %v", len(large), err)
	}
}

func TestMCPServerErrors(t *testing.T) {
	s := roleSet(t, "good")
	_, err := callMCP(t, s, "mcp", "mcp/tool.fail", `{}`)
	if e := wantError(t, err, protocols.TaskExecutionFailed); !strings.Contains(e.Message, "it \nfailed") || !strings.Contains(string(e.Data), `"tool":"fail"`) {
		t.Errorf("%s %s", e.Message, e.Data)
	}
	_, err = callMCP(t, s, "mcp", "mcp/tool.refuse", `{}`)
	if e := wantError(t, err, protocols.InvalidParams); !strings.Contains(e.Message, "bad arguments") || !strings.Contains(string(e.Data), `"why":"bad"`) {
		t.Errorf("%s %s", e.Message, e.Data)
	}
	_, err = callMCP(t, s, "mcp", "mcp/tool.structure", `{}`)
	if e := wantError(t, err, protocols.MethodNotFound); !strings.Contains(e.Message, "did you mean structured?") || !strings.Contains(e.Message, "multiply") {
		t.Errorf("%s", e.Message)
	}
	_, err = callMCP(t, s, "good", "mcp/tool.add", `{}`)
	if e := wantError(t, err, protocols.MethodNotFound); strings.Contains(e.Message, "multiply") {
		t.Errorf("%s", e.Message)
	}
	_, err = callMCP(t, s, "mcp", "mcp/call_tool", `{"name":"say","server":"god"}`)
	if e := wantError(t, err, protocols.ProviderNotFound); !strings.Contains(e.Message, "did you mean good?") {
		t.Errorf("%s", e.Message)
	}
	_, err = callMCP(t, s, "good", "mcp/call_tool", `{"name":"say","server":"other"}`)
	wantError(t, err, protocols.TaskParameterError)
	_, err = callMCP(t, s, "mcp", "mcp/completion", `{}`)
	wantError(t, err, protocols.MethodNotSupported)
	for _, params := range []string{`[]`, `"x"`, `{"arguments":[]}`, `{"arguments":"x"}`, `{"arguments":`} {
		_, err = callMCP(t, s, "mcp", "mcp/tool.say", params)
		wantError(t, err, protocols.TaskParameterError)
	}
}

// Resources and prompts of a server that has other things: none.
func TestMCPNothingToList(t *testing.T) {
	s := roleSet(t, "good", "slow")
	wantMCP(t, s, "mcp", "mcp/resources/list", `{}`, `{"resources":[],"templates":[]}`)
	wantMCP(t, s, "mcp", "mcp/prompts/list", `{}`, `{"prompts":[]}`)
	_, err := callMCP(t, s, "mcp", "mcp/resources/read", `{"uri":"x://y"}`)
	wantError(t, err, protocols.MethodNotFound)
	_, err = callMCP(t, s, "mcp", "mcp/prompt.greet", `{}`)
	wantError(t, err, protocols.MethodNotFound)
	_, err = callMCP(t, s, "good", "mcp/prompt.greet", `{}`)
	wantError(t, err, protocols.InvalidParams)
	for method, params := range map[string]string{"mcp/resources/read": `{}`, "mcp/prompts/get": `{}`, "mcp/prompt.x": `{"arguments":[]}`} {
		_, err = callMCP(t, s, "good", method, params)
		wantError(t, err, protocols.TaskParameterError)
	}
}

// What servers send is kept as it is, and brought into one form.
func TestMCPContentForms(t *testing.T) {
	got, err := resourceResult("s", "u", json.RawMessage(`{"contents":[{"uri":"a","mimeType":"image/png","blob":"cG5n"},`+
		`{"uri":"b","mimeType":"audio/wav","blob":"YQ=="},{"uri":"c","blob":"Yg=="},{"uri":"d","mimeType":"application/json","text":" {\"n\":1.0}"}]}`))
	want := `{"result":{"n":1.0},"response":" {\"n\":1.0}","content":[{"type":"image","mimeType":"image/png","data":"cG5n","uri":"a"},` +
		`{"type":"audio","mimeType":"audio/wav","data":"YQ==","uri":"b"},{"type":"blob","data":"Yg==","uri":"c"},` +
		`{"type":"text","mimeType":"application/json","text":" {\"n\":1.0}","uri":"d"}]}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	got, err = promptResult("s", "p", json.RawMessage(`{"description":"d","messages":[{"role":"user","content":{"type":"text","text":"a"}},`+
		`{"role":"user","content":{"type":"image","mimeType":"image/png","data":"cG5n"}},{"role":"user","content":{"type":"audio","data":"YQ=="}},`+
		`{"role":"assistant","content":{"type":"resource","resource":{"uri":"u","text":"b"}}}]}`))
	messages := `[{"role":"user","content":"a"},{"role":"user","content":"","images":["cG5n"]},{"role":"assistant","content":"b"}]`
	want = `{"result":` + messages + `,"response":"a\nb","messages":` + messages + `,"description":"d",` +
		`"rest":[{"role":"user","content":{"type":"audio","data":"YQ=="}}]}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	for _, raw := range []string{`{}`, `5`, `null`, `{"contents":5,"messages":5}`, `{"contents":[5],"messages":[5]}`} {
		_, err = resourceResult("s", "u", json.RawMessage(raw))
		wantError(t, err, protocols.TaskResultInvalid)
		_, err = promptResult("s", "p", json.RawMessage(raw))
		wantError(t, err, protocols.TaskResultInvalid)
	}
}

func TestMCPSeveralServers(t *testing.T) {
	s := roleSet(t, "good", "slow")
	_, err := callMCP(t, s, "mcp", "mcp/tool.say", `{}`)
	if e := wantError(t, err, protocols.TaskParameterError); !strings.Contains(e.Message, "good, slow") {
		t.Errorf("%s", e.Message)
	}
	wantMCP(t, s, "slow", "mcp/tool.say", `{"text":"s"}`, `{"result":"s","response":"s","content":[{"type":"text","text":"s"}]}`)
	wantMCP(t, s, "mcp", "mcp/tool.add", `{"a":1,"b":2}`, `{"response":"3","result":3,"calculation":"1 + 2 = 3"}`)
	raw, err := callMCP(t, s, "mcp", "mcp/server_info", ``)
	if err != nil || !strings.Contains(string(raw), `"server":"good","name":"test-good","version":"1.2.3"`) || !strings.Contains(string(raw), "test-slow") {
		t.Errorf("%s, %v", raw, err)
	}
	raw, err = callMCP(t, s, "mcp", "mcp/ping", `{}`)
	if err != nil || !strings.Contains(string(raw), `"response":"pong"`) || strings.Count(string(raw), "latency_ms") != 2 {
		t.Errorf("%s, %v", raw, err)
	}
	if h := s.Check(patience(t, time.Minute), "mcp"); h.Status != "healthy" {
		t.Errorf("%+v", h)
	}
}

// Whether a tool exists can't be said while a server is down: the built-in
// tool of the same name must not step in.
func TestMCPBrokenServer(t *testing.T) {
	s := roleSet(t, "broken", "good")
	_, err := callMCP(t, s, "mcp", "mcp/tool.add", `{"a":1}`)
	e := wantError(t, err, protocols.ProviderUnhealthy)
	if !strings.Contains(e.Message, "exited with status 7: cannot read the configuration") {
		t.Errorf("%s", e.Message)
	}
	if raw, err := callMCP(t, s, "mcp", "mcp/tool.say", `{"text":"fine"}`); err != nil {
		t.Errorf("a tool of a good server: %s, %v", raw, err)
	}
	for range 3 {
		_, err = callMCP(t, s, "broken", "mcp/ping", `{}`)
		e = wantError(t, err, protocols.ProviderUnhealthy)
	}
	if e.RetryAfter() <= 0 || e.RetryAfter() > mcpMaxDelay || !strings.Contains(e.Message, "cannot read the configuration") {
		t.Errorf("retry after %v: %s", e.RetryAfter(), e.Message)
	}
	if h := s.Check(patience(t, time.Minute), "mcp"); h.Status != "degraded" {
		t.Errorf("%+v", h)
	}
	if h := s.Check(patience(t, time.Minute), "broken"); h.Status != "unhealthy" {
		t.Errorf("%+v", h)
	}
}

func TestMCPProgramMissing(t *testing.T) {
	s := openSet(t, Config{MCPServers: map[string]MCPServer{"x": {Command: "npx", Env: map[string]string{"PATH": "/nowhere"}}}})
	_, err := callMCP(t, s, "x", "mcp/ping", ``)
	if e := wantError(t, err, protocols.ProviderNotAvailable); !strings.Contains(e.Message, "install Node.js") {
		t.Errorf("%s", e.Message)
	}
}

func TestMCPDiesDuringCall(t *testing.T) {
	s := roleSet(t, "good")
	var first, second struct{ Result int }
	raw, err := callMCP(t, s, "mcp", "mcp/tool.pid", ``)
	if err != nil || json.Unmarshal(raw, &first) != nil {
		t.Fatal(raw, err)
	}
	started := time.Now()
	_, err = callMCP(t, s, "mcp", "mcp/tool.die", `{}`)
	e := wantError(t, err, protocols.ConnectionLost)
	if !strings.Contains(e.Message, "exited with status 3") || !strings.Contains(e.Message, "a fatal error in the server") ||
		!strings.Contains(string(e.Data), `"stderr":"a fatal error`) {
		t.Errorf("%s %s", e.Message, e.Data)
	}
	if took := time.Since(started); took > tooLong {
		t.Errorf("took %v", took)
	}
	raw, err = callMCP(t, s, "mcp", "mcp/tool.pid", ``)
	if err != nil || json.Unmarshal(raw, &second) != nil || second == first {
		t.Errorf("after the death: %s, %v, before %v", raw, err, first)
	}
	wantGone(t, first.Result)
}

func TestMCPStartsOnceForMany(t *testing.T) {
	s := roleSet(t, "once "+filepath.Join(t.TempDir(), "started"))
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			want := fmt.Sprintf(`{"result":%d,"response":"%d","content":[{"type":"text","text":"%d"}]}`, i, i, i)
			wantMCP(t, s, "mcp", "mcp/tool.say", fmt.Sprintf(`{"text":"%d"}`, i), want)
		})
	}
	all.Wait()
}

// A server that talks where it shouldn't is put up with.
func TestMCPOddServers(t *testing.T) {
	for _, role := range []string{"talker", "flood", "slow"} {
		t.Run(role, func(t *testing.T) {
			s := roleSet(t, role)
			for range 20 {
				wantMCP(t, s, "mcp", "mcp/tool.say", `{"text":"x"}`, `{"result":"x","response":"x","content":[{"type":"text","text":"x"}]}`)
			}
		})
	}
	t.Run("liar", func(t *testing.T) {
		s := roleSet(t, "liar")
		_, err := callMCP(t, s, "mcp", "mcp/ping", ``)
		if e := wantError(t, err, protocols.ProviderUnhealthy); !strings.Contains(e.Message, "invalid character") {
			t.Errorf("%s", e.Message)
		}
	})
}

// Answers that the SDK's types have no place for.
func TestMCPOddAnswers(t *testing.T) {
	tests := []struct{ answer, want string }{
		{`"result":{"content":[{"type":"hologram","x":1},{"type":"text","text":"a"}]}`,
			`{"result":"a","response":"a","content":[{"type":"hologram","x":1},{"type":"text","text":"a"}]}`},
		{`"result":{"structuredContent":[1,2.0]}`, `{"result":[1,2.0],"response":"","content":[],"structured":[1,2.0]}`},
		{`"result":{"structuredContent":null,"content":[]}`, `{"result":"","response":"","content":[]}`},
		{`"result":{}`, "it has no content"},
		{`"result":5`, "cannot unmarshal"},
		{`"result":{"content":"x"}`, "cannot unmarshal"},
		{`"result":{"content":[],"isError":true}`, "tool say of MCP server raw failed"},
		{`"error":{"code":-1,"message":"own"}`, "MCP server raw refused tool say: own"},
		{`"error":"x"`, "MCP server raw"},
	}
	for _, test := range tests {
		s := roleSet(t, "raw "+test.answer)
		started := time.Now()
		got, err := callMCP(t, s, "mcp", "mcp/tool.say", `{}`)
		if string(got) != test.want && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %s, %v", test.answer, got, err)
		}
		if took := time.Since(started); took > tooLong {
			t.Errorf("%s: took %v", test.answer, took)
		}
	}
}

// Nobody waits for a server that doesn't answer, or doesn't even read.
func TestMCPCancel(t *testing.T) {
	tests := []struct{ role, method, params string }{
		{"mute", "mcp/ping", `{}`},
		{"deaf", "mcp/ping", `{}`},
		{"good", "mcp/tool.hang", `{}`},
	}
	for _, test := range tests {
		t.Run(test.role, func(t *testing.T) {
			s := roleSet(t, test.role)
			if test.role == "good" {
				if _, err := callMCP(t, s, "mcp", "mcp/tools/list", ``); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			started := time.Now()
			_, err := s.Call(ctx, "mcp", Call{Method: test.method, Parameters: json.RawMessage(test.params)}, nil)
			wantError(t, err, protocols.TaskTimeout)
			if took := time.Since(started); took > tooLong {
				t.Errorf("took %v", took)
			}
		})
	}
}

// The server hears of a cancel, and goes on serving others.
func TestMCPCancelIsTold(t *testing.T) {
	s := roleSet(t, "good")
	if _, err := callMCP(t, s, "mcp", "mcp/ping", ``); err != nil {
		t.Fatal(err)
	}
	link := s.deps.servers.list[0].current
	pipes := link.line.(*mcpPipes)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := s.Call(ctx, "mcp", Call{Method: "mcp/tool.hang"}, nil)
		done <- err
	}()
	waitFor(t, func() bool { return strings.Contains(pipes.words(), "hanging") })
	cancel()
	wantError(t, <-done, protocols.TaskCancelled)
	waitFor(t, func() bool { return strings.Contains(pipes.words(), "was told to stop") })
	wantMCP(t, s, "mcp", "mcp/tool.say", `{"text":"x"}`, `{"result":"x","response":"x","content":[{"type":"text","text":"x"}]}`)
	if s.deps.servers.list[0].current != link {
		t.Error("the server was started again")
	}
	if len(pipes.wire.wants) != 0 || len(link.calls) != 0 {
		t.Errorf("still kept: %v, %v", pipes.wire.wants, link.calls)
	}
}

// waitFor waits until something outside of this process has happened.
func waitFor(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not happen within 10 s")
		}
	}
}

// A message that the server doesn't read holds nobody up, and the server is
// given up with it.
func TestMCPServerThatStopsReading(t *testing.T) {
	s := roleSet(t, "good")
	raw, err := callMCP(t, s, "mcp", "mcp/tool.pid", ``)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Result int }
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatal(err)
	}
	stopProcess(t, answer.Result)
	pipes := s.deps.servers.list[0].current.line.(*mcpPipes)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	call := Call{Method: "mcp/tool.say", Parameters: parameters(t, "text", strings.Repeat("x", 1<<20))}
	go func() {
		_, err := s.Call(ctx, "mcp", call, nil)
		done <- err
	}()
	waitFor(t, func() bool { return len(pipes.turn) == 1 }) // it writes
	started := time.Now()
	cancel()
	wantError(t, <-done, protocols.TaskCancelled)
	if took := time.Since(started); took > tooLong {
		t.Errorf("took %v", took)
	}
	wantGone(t, answer.Result)
	waitFor(t, func() bool {
		_, err := callMCP(t, s, "mcp", "mcp/tool.say", `{"text":"x"}`)
		return err == nil
	})
}

func TestMCPTimeoutOfTheProvider(t *testing.T) {
	s := openSet(t, Config{
		Providers:  map[string]ProviderConfig{"mcp": {Kind: "mcp", Timeout: "300ms"}},
		MCPServers: map[string]MCPServer{"mute": serverRole("mute")},
	})
	_, err := callMCP(t, s, "mcp", "mcp/ping", ``)
	wantError(t, err, protocols.ProviderTimeout)
}

func TestMCPToolListChanges(t *testing.T) {
	s := roleSet(t, "good")
	_, err := callMCP(t, s, "mcp", "mcp/tool.late", ``)
	wantError(t, err, protocols.MethodNotFound)
	if _, err := callMCP(t, s, "mcp", "mcp/tool.more", ``); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		_, err := callMCP(t, s, "mcp", "mcp/tool.late", ``)
		return err == nil
	})
}

// A server has the environment that it is configured with and what every
// program needs, no more; nothing in it is replaced.
func TestMCPEnvironment(t *testing.T) {
	server := serverRole("good")
	server.Env["TOKEN"] = "${env.SECRET}"
	values := map[string]string{"PATH": "/usr/bin:/bin", "SECRET": "hidden", "OLLAMA_HOST": "x"}
	s, err := Open(Config{MCPServers: map[string]MCPServer{"s": server}}, Options{Env: func(n string) string { return values[n] }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	raw, err := callMCP(t, s, "s", "mcp/tool.environ", ``)
	var answer struct{ Result []string }
	if err != nil || json.Unmarshal(raw, &answer) != nil {
		t.Fatalf("%s, %v", raw, err)
	}
	slices.Sort(answer.Result)
	want := []string{roleVariable + "=good", "PATH=/usr/bin:/bin", "TOKEN=${env.SECRET}"}
	if !slices.Equal(answer.Result, want) {
		t.Errorf("%q, want %q", answer.Result, want)
	}
}

func TestMCPCloseEndsServers(t *testing.T) {
	for _, role := range []string{"good", "stubborn"} {
		t.Run(role, func(t *testing.T) {
			s, err := Open(Config{MCPServers: map[string]MCPServer{"s": serverRole(role)}}, Options{Env: os.Getenv})
			if err != nil {
				t.Fatal(err)
			}
			host := newLines()
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = s.Call(ctx, "s", Call{Method: "mcp/tool.sleeper"}, host)
			}()
			var pids []int
			for range 2 {
				_, pid, _ := strings.Cut(host.next(t), " ")
				pids = append(pids, pidOf(t, pid))
			}
			cancel()
			<-done
			started := time.Now()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(started); took > tooLong {
				t.Errorf("took %v", took)
			}
			wantGone(t, pids...)
			if err := s.Close(); err != nil {
				t.Errorf("closed twice: %v", err)
			}
			_, err = s.Call(context.Background(), "s", Call{Method: "mcp/ping"}, nil)
			wantError(t, err, protocols.SystemShutdown)
		})
	}
}

// Close doesn't wait for a start that leads nowhere.
func TestMCPCloseWhileStarting(t *testing.T) {
	s, err := Open(Config{MCPServers: map[string]MCPServer{"s": serverRole("mute")}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err = s.Call(ctx, "s", Call{Method: "mcp/ping"}, nil)
	wantError(t, err, protocols.TaskTimeout)
	started := time.Now()
	s.Close()
	if took := time.Since(started); took > tooLong {
		t.Errorf("took %v", took)
	}
}

func BenchmarkMCPCall(b *testing.B) {
	s := roleSet(b, "good")
	call := Call{Method: "mcp/tool.say", Parameters: json.RawMessage(`{"text":"x"}`)}
	for b.Loop() {
		if _, err := s.Call(context.Background(), "mcp", call, nil); err != nil {
			b.Fatal(err)
		}
	}
}
