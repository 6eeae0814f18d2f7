package providers

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"gleitzeit/protocols"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// rewrite keeps what came, if that was asked for.
func rewrite(t *testing.T, a *txtar.Archive, name string) {
	if !*update {
		return
	}
	if err := os.WriteFile(filepath.Join("testdata", name), txtar.Format(a), 0o666); err != nil {
		t.Fatal(err)
	}
}

// mocked opens a set whose mocks say what text says.
func mocked(t testing.TB, text string, c Config) *Set {
	t.Helper()
	mocks, problems := ParseMocks("mocks.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	c.Mocks = mocks
	return openSet(t, c)
}

// mockScriptOfTest has a rule for each thing that rules can do.
const mockScriptOfTest = `
mocks:
  - {method: llm/chat, task: greet, answer: "Hello, ${call.parameters.prompt}!"}
  - method: llm/chat
    provider: fast
    fail: {class: rate_limit, retry_after: 2, message: slow down}
    then: [{fail: PROVIDER_OVERLOADED, times: 2}, {answer: at last}]
  - {method: llm/*, text: "(?i)whale", stream: [Mo, {text: by, delay: 10ms}], usage: {prompt_tokens: 7, completion_tokens: 2}}
  - {method: llm/chat, parameters: {model: tools}, tool_calls: [{name: add, arguments: {a: 1}}]}
  - {method: llm/chat, parameters: {model: json}, answer: '{"n": 5}'}
  - {method: llm/chat, parameters: {model: prose}, answer: no JSON, then: [{answer: {n: 7}}]}
  - {method: llm/chat, parameters: {model: raw}, result: {response: r, content: c, extra: 1}}
  - {method: llm/embed, answer: [0.5, 0.25]}
  - {method: python/execute, when: "call.parameters.context.n > 3 && call.attempt == 1", answer: {big: true}}
  - {method: python/*, answer: 42, stream: ["a line"]}
  - {method: mcp/tools/call, answer: {sum: 3}}
  - {method: mcp/tool.concat, answer: some text}
  - {method: echo/ping, garbage: "}{"}
  - {method: echo/delay, hang: true}
  - {method: echo/fail, crash: connection}
  - {method: echo/echo, task: each, answer: item}
  - {method: echo/echo, task: real, passthrough: true}
  - {method: echo/echo, when: call.parameters.size > 1, answer: big}
  - {method: echo/timestamp, times: 1, answer: once}
`

func TestMockAnswers(t *testing.T) {
	s := mocked(t, mockScriptOfTest, Config{Providers: map[string]ProviderConfig{"fast": {Kind: "openai", URL: "http://127.0.0.1:1"}}})
	tests := []struct {
		provider string
		call     Call
		params   string
		want     string // contained in the result, or in the error
	}{
		{"ollama", Call{Method: "llm/chat", Task: "greet"}, `{"prompt":"Ada"}`, `"response":"Hello, Ada!"`},
		{"ollama", Call{Method: "llm/chat", Task: "greet"}, `{"prompt":"Ada"}`, `"prompt_tokens":1,"completion_tokens":2,"total_tokens":3`},
		{"fast", Call{Method: "llm/chat", Attempt: 1}, `{"prompt":"x"}`, `RATE_LIMIT_EXCEEDED slow down {"retry_after":2`},
		{"fast", Call{Method: "llm/chat", Attempt: 2}, `{"prompt":"x"}`, `PROVIDER_OVERLOADED`},
		{"fast", Call{Method: "llm/chat", Attempt: 3}, `{"prompt":"x"}`, `PROVIDER_OVERLOADED`},
		{"fast", Call{Method: "llm/chat", Attempt: 4}, `{"prompt":"x"}`, `"response":"at last"`},
		{"fast", Call{Method: "llm/chat", Attempt: 9}, `{"prompt":"x"}`, `"response":"at last"`},
		{"ollama", Call{Method: "llm/complete"}, `{"prompt":"the WHALE"}`, `"response":"Moby"`},
		{"ollama", Call{Method: "llm/chat"}, `{"messages":[{"role":"user","content":"whales"}]}`, `"prompt_tokens":7,"completion_tokens":2,"total_tokens":9`},
		{"ollama", Call{Method: "llm/chat"}, `{"model":"tools","prompt":"x"}`, `"tool_calls":[{"id":"call_0","type":"function","function":{"name":"add","arguments":{"a":1}}}]`},
		{"ollama", Call{Method: "llm/chat", OutputSchema: json.RawMessage(`{"type":"object"}`)}, `{"model":"json","prompt":"x"}`, `"parsed":{"n":5}`},
		{"ollama", Call{Method: "llm/chat", OutputSchema: json.RawMessage(`{"type":"object"}`)}, `{"model":"prose","prompt":"x"}`, `"parsed":{"n":7}`}, // repaired
		{"ollama", Call{Method: "llm/chat"}, `{"model":"raw","prompt":"x"}`, `{"response":"r","content":"c","extra":1}`},
		{"ollama", Call{Method: "llm/embed"}, `{"input":["a","b"]}`, `"embeddings":[[0.5,0.25],[0.5,0.25]]`},
		{"ollama", Call{Method: "llm/chat", Task: "t", Attempt: 1}, `{"prompt":"x"}`, `METHOD_NOT_SUPPORTED mocks.yaml mocks llm, but nothing fits the call of task "t", attempt 1; add`},
		{"python", Call{Method: "python/execute", Attempt: 1}, `{"code":"1","context":{"n":4}}`, `{"result":{"big":true},"output":"","success":true`},
		{"python", Call{Method: "python/execute", Attempt: 2}, `{"code":"1","context":{"n":4}}`, `{"result":42,"output":"a line"`},
		{"python", Call{Method: "python/execute", Attempt: 1}, `{"code":"1"}`, `{"result":42`},
		{"echo", Call{Method: "echo/echo"}, `{}`, `attempt 0 (when: call: ${call.parameters.size}: no key size`},
		{"mcp", Call{Method: "mcp/call_tool"}, `{"name":"add"}`, `{"result":{"sum":3},"response":"{\"sum\":3}"`},
		{"mcp", Call{Method: "mcp/tool.concat"}, `{}`, `{"result":"some text","response":"some text","content":[{"text":"some text","type":"text"}]}`},
		{"mcp", Call{Method: "mcp/tool.add"}, `{}`, `METHOD_NOT_SUPPORTED`},
		{"echo", Call{Method: "echo/ping"}, `{}`, `}{`},
		{"echo", Call{Method: "echo/fail"}, `{}`, `CONNECTION_LOST the other side is gone`},
		{"echo", Call{Method: "echo/echo", Task: "each[17]"}, `{"a":1}`, `"item"`},
		{"echo", Call{Method: "echo/echo", Task: "real"}, `{"a":1}`, `{"a":1}`},
		{"echo", Call{Method: "echo/timestamp", Attempt: 1}, `{}`, `"once"`},
		{"echo", Call{Method: "echo/timestamp", Attempt: 2}, `{}`, `(mock 19 was for earlier attempts)`},
	}
	for _, test := range tests {
		test.call.Parameters = json.RawMessage(test.params)
		for range 2 { // the same call has the same answer
			if got := outcome(s.Call(patience(t, tooLong), test.provider, test.call, nil)); !strings.Contains(got, test.want) {
				t.Errorf("%s %s of %q, attempt %d: %s\nwant %s", test.call.Method, test.params, test.call.Task, test.call.Attempt, got, test.want)
			}
		}
	}
}

// outcome is a call's result, or its error with its code and data.
func outcome(result json.RawMessage, err error) string {
	if err == nil {
		return string(result)
	}
	e := asError(err)
	return fmt.Sprintf("%s %s %s", e.Code, e.Message, e.Data)
}

// What is shown comes piece by piece, each in its time.
func TestMockStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mocked(t, `mocks: [{method: llm/chat, delay: 1h, stream: [a, {text: b, delay: 2h}], fail: network}]`, Config{})
		began, host := time.Now(), newLines()
		_, err := s.Call(t.Context(), "ollama", Call{Method: "llm/chat", Parameters: json.RawMessage(`{"prompt":"x"}`)}, host)
		if took := time.Since(began); took != 3*time.Hour {
			t.Errorf("took %v", took)
		}
		e := wantError(t, err, protocols.ConnectionLost)
		if want := `"partial":"ab"`; !strings.Contains(string(e.Data), want) {
			t.Errorf("data %s", e.Data)
		}
		if host.next(t) != "a" || host.next(t) != "b" {
			t.Error("the pieces are not those of the script")
		}
	})
}

// A hang ends with the call, and silence by the task's idle timeout.
func TestMockHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mocked(t, `mocks: [{method: "*", hang: true}]`, Config{})
		for provider, call := range map[string]Call{
			"echo":   {Method: "echo/echo"},
			"ollama": {Method: "llm/chat", Parameters: json.RawMessage(`{"prompt":"x"}`)},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			_, err := s.Call(ctx, provider, call, nil)
			cancel()
			wantError(t, err, protocols.TaskTimeout)
			call.IdleTimeout = time.Minute
			began := time.Now()
			_, err = s.Call(t.Context(), provider, call, nil)
			if wantError(t, err, protocols.TaskTimeout); !strings.Contains(err.Error(), "no sign of life") {
				t.Error(err)
			}
			if took := time.Since(began); took != time.Minute {
				t.Errorf("took %v", took)
			}
		}
	})
}

// No real provider of a mocked protocol is opened, and its name, its models and
// its bounds stay; protocols and names that nobody has get a mock.
func TestMockList(t *testing.T) {
	c := Config{
		Providers:  map[string]ProviderConfig{"far": {Kind: "openai", URL: "http://127.0.0.1:1", Models: []string{"m"}, Rate: "5/s"}},
		MCPServers: map[string]MCPServer{"files": {Command: "/nowhere"}},
	}
	plain := c.List()
	c.Mocks = &Mocks{File: "f.yaml", Protocols: []string{"web-search/v1"}, Rules: []MockRule{
		{Method: "llm/chat", Provider: "near", MockStep: MockStep{Answer: json.RawMessage(`"x"`)}}, {Method: "mcp/tool.*", Provider: "*"}}}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	got := map[string]Info{}
	for _, info := range c.List() {
		got[info.Name+" "+info.Protocol] = info
	}
	for _, info := range plain {
		its := got[info.Name+" "+info.Protocol]
		if wanted := info.Protocol == "llm/v1" || info.Protocol == "mcp/v1"; wanted != (its.Mock == "f.yaml") {
			t.Errorf("%s is mocked by %q", info.Name, its.Mock)
		}
		same := c.Identity(info.Name) == (Config{Providers: c.Providers, MCPServers: c.MCPServers}).Identity(info.Name)
		if same != (its.Mock == "") {
			t.Errorf("%s: mocked by %q, and the identity of the real one: %v", info.Name, its.Mock, same)
		}
		its.Mock, its.Kind = info.Mock, info.Kind
		if !reflect.DeepEqual(its, info) {
			t.Errorf("%+v\nwas %+v", its, info)
		}
	}
	if near := got["near llm/v1"]; near.Mock != "f.yaml" || !near.ByName {
		t.Errorf("%+v", near)
	}
	if web := got["mock web-search/v1"]; web.Mock != "f.yaml" || web.ByName {
		t.Errorf("%+v", web)
	}
	if len(got) != len(plain)+2 {
		t.Errorf("%d providers, of which %d are real", len(got), len(plain))
	}
	if _, err := Route(plain, "web-search/v1", ""); err == nil || !strings.Contains(err.Error(), "kind: mock") {
		t.Errorf("how to get a mock isn't told: %v", err)
	}
}

// What was written down as JSON reads as the same.
func TestMocksCanonical(t *testing.T) {
	mocks, problems := ParseMocks("m.yaml", []byte(mockScriptOfTest))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	first := Config{Mocks: mocks}.Canonical()
	var again Config
	if err := json.Unmarshal(first, &again); err != nil {
		t.Fatal(err)
	}
	if second := again.Canonical(); string(second) != string(first) {
		t.Errorf("%s\n%s", first, second)
	}
}

// testdata/mocks.txtar has scripts with mistakes, and what is said about them.
func TestMocksProblems(t *testing.T) {
	a, err := txtar.ParseFile(filepath.Join("testdata", "mocks.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Files)%2 != 0 || len(a.Files) == 0 {
		t.Fatalf("%d files", len(a.Files))
	}
	for i := 0; i < len(a.Files); i += 2 {
		_, problems := ParseMocks(a.Files[i].Name, a.Files[i].Data)
		got := ""
		if len(problems) > 0 {
			got = problems.Error() + "\n"
		}
		if *update {
			a.Files[i+1].Data = []byte(got)
		} else if got != string(a.Files[i+1].Data) {
			t.Errorf("%s:\n%s", a.Files[i].Name, got)
		}
	}
	rewrite(t, a, "mocks.txtar")
}

// mock/play does what its parameters say.
func TestMockPlay(t *testing.T) {
	s := openSet(t, Config{Providers: map[string]ProviderConfig{"mock": {Kind: "mock"}}})
	for _, test := range []struct {
		attempt      int
		params, want string
	}{
		{1, `{"answer":[1,2]}`, `[1,2]`},
		{1, `{"stream":["a","b"]}`, `"ab"`},
		{1, `{"fail":"auth","then":[{"answer":5}]}`, `AUTHENTICATION_FAILED`},
		{2, `{"fail":"auth","then":[{"answer":5}]}`, `5`},
		{2, `{"answer":5,"times":1}`, `its times are over at attempt 2`},
		{1, `{"answer":5,"hang":true}`, `a call ends in one way only`},
		{1, `{"fail":"sometimes"}`, `neither an error class`},
		{1, `{}`, `doesn't say what becomes of the call`},
		{1, `{"passthrough":true}`, `nothing to pass through to`},
	} {
		call := Call{Method: "mock/play", Parameters: json.RawMessage(test.params), Attempt: test.attempt}
		if got := outcome(s.Call(patience(t, tooLong), "mock", call, nil)); !strings.Contains(got, test.want) {
			t.Errorf("%s: %s", test.params, got)
		}
	}
	_, err := s.Call(patience(t, tooLong), "mock", Call{Method: "mock/call.x"}, nil)
	wantError(t, err, protocols.MethodNotSupported)
}

// What the original's mocks invented is invented in the same form, always alike,
// and fits the method's schema.
func TestMockInventions(t *testing.T) {
	a, err := txtar.ParseFile(filepath.Join("testdata", "inventions.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	s := openSet(t, Config{Providers: map[string]ProviderConfig{"mock": {Kind: "mock"}}})
	registry, seen := protocols.NewRegistry(), map[string]bool{}
	for i, f := range a.Files {
		method, params, _ := strings.Cut(f.Name, " ")
		seen[method] = true
		got, err := s.Call(patience(t, tooLong), "mock", Call{Method: method, Parameters: json.RawMessage(params)}, nil)
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
			continue
		}
		if wrong := registry.CheckParameters(method, json.RawMessage(params)); wrong != nil {
			t.Error(wrong)
		}
		if wrong := registry.CheckResult(method, got); wrong != nil {
			t.Error(wrong)
		}
		if *update {
			a.Files[i].Data = append(got, '\n')
		} else if string(got)+"\n" != string(f.Data) {
			t.Errorf("%s: %s", f.Name, got)
		}
	}
	for method := range inventions {
		if !seen[method] {
			t.Errorf("%s is not in testdata/inventions.txtar", method)
		}
		if _, err := s.Call(patience(t, tooLong), "mock", Call{Method: method, Parameters: json.RawMessage(`{"query":" ","text":" ","category":5}`)}, nil); err == nil {
			t.Errorf("%s takes anything", method)
		}
	}
	rewrite(t, a, "inventions.txtar")
}
