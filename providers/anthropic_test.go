package providers

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gleitzeit/protocols"
	"gleitzeit/providers/llmtest"
)

func runAnthropic(t *testing.T, s *llmtest.Server, c ProviderConfig) Provider {
	t.Helper()
	leakless(t)
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	c.URL = h.URL + "/v1"
	return open(t, newAnthropic, c)
}

// says is a server whose model always says the same.
func says(text string) *llmtest.Server {
	return &llmtest.Server{Answer: func(llmtest.Request) llmtest.Reply { return llmtest.Reply{Text: text} }}
}

func lastBody(s *llmtest.Server) string {
	all := s.Requests()
	return string(all[len(all)-1].Body)
}

func TestAnthropicChat(t *testing.T) {
	s := says("Hello out there")
	p := runAnthropic(t, s, ProviderConfig{Model: "own", Headers: map[string]string{"anthropic-beta": "x"}})
	host := &tokens{}
	call := llmCall("llm/chat", `{"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"what?","images":["iVBORw0KGgo="]},
		{"role":"user","content":"now"}],"system":"be quick","temperature":0,"top_p":0.5,"top_k":3,"max_tokens":5,"stop":"x","options":{"metadata":{"user_id":"7"},"model":"other"}}`)
	call.Key = "key-1"
	result, err := p.Call(t.Context(), call, host)
	if err != nil {
		t.Fatal(err)
	}
	got := members(t, result)
	usage := got["usage"].(map[string]any)
	if got["response"] != "Hello out there" || got["model"] != "own" || got["finish_reason"] != "stop" || host.text() != "Hello out there" ||
		usage["prompt_tokens"] != 3.0 || usage["completion_tokens"] != 3.0 || usage["total_tokens"] != 6.0 {
		t.Errorf("%s", result)
	}
	q := s.Requests()[0]
	want := `{"max_tokens":5,"messages":[{"role":"user","content":[{"text":"what?","type":"text"},` +
		`{"source":{"data":"iVBORw0KGgo=","media_type":"image/png","type":"base64"},"type":"image"},{"text":"now","type":"text"}]}],` +
		`"metadata":{"user_id":"7"},"model":"own","stop_sequences":["x"],"stream":true,"system":"be quick\n\nbe kind","temperature":0,"top_k":3,"top_p":0.5}`
	if string(q.Body) != want {
		t.Errorf("sent %s\nwant %s", q.Body, want)
	}
	if q.Path != "/v1/messages" || q.Header.Get("Anthropic-Version") != "2023-06-01" || q.Header.Get("Anthropic-Beta") != "x" ||
		q.Header.Get("Idempotency-Key") != "key-1" || q.Header.Get("Authorization") != "" {
		t.Errorf("%s %v", q.Path, q.Header)
	}
}

// The version and the key's header are the configuration's, where it has any.
func TestAnthropicHeaders(t *testing.T) {
	s := &llmtest.Server{Key: "sk-ant-1"}
	h := httptest.NewServer(s)
	defer h.Close()
	for _, c := range []ProviderConfig{
		{URL: h.URL, KeyEnv: "K", Model: "m"},
		{URL: h.URL, KeyEnv: "K", Model: "m", KeyHeader: "api-key", Headers: map[string]string{"anthropic-version": "2030-01-01"}},
		{URL: h.URL, KeyEnv: "K", Model: "m", KeyHeader: "authorization"},
	} {
		p, err := newAnthropic("test", c, deps{env: func(string) string { return "sk-ant-1" }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Call(t.Context(), llmCall("llm/complete", `{"prompt":"hi"}`), &tokens{}); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		p.Close()
	}
	if v := s.Requests()[1].Header.Get("Anthropic-Version"); v != "2030-01-01" {
		t.Error(v)
	}
	p, _ := newAnthropic("test", ProviderConfig{URL: h.URL, KeyEnv: "K", Model: "m"}, deps{env: func(string) string { return "wrong-key" }})
	defer p.Close()
	_, err := p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi"}`), &tokens{})
	if e := wantCode(t, err, protocols.AuthenticationFailed); strings.Contains(e.Message, "wrong-key") {
		t.Error(e.Message)
	}
}

func TestAnthropicTools(t *testing.T) {
	reply := llmtest.Reply{Text: "let me see", ToolCalls: []llmtest.ToolCall{{Name: "f", Arguments: `{"city":"Wien"}`}, {Name: "g", Arguments: `{}`}}}
	s := &llmtest.Server{Answer: func(llmtest.Request) llmtest.Reply { return reply }}
	p := runAnthropic(t, s, ProviderConfig{Model: "m"})
	result, err := p.Call(t.Context(), llmCall("llm/chat", `{"messages":[{"role":"user","content":"q"},
		{"role":"assistant","content":"","tool_calls":[{"id":"7","function":{"name":"f","arguments":"{\"a\":1}"}},{"function":{"name":"g"}},{"function":{"name":"f"}}]},
		{"role":"tool","tool_call_id":"7","content":"r1"},{"role":"tool","tool_name":"f","content":"r3"},{"role":"tool","content":"r2"},{"role":"user","content":"and?"}],
		"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{}}}},
			{"type":"function","function":{"name":"g"}},{"type":"web_search_20250305","name":"web_search"}],"tool_choice":"required"}`), &tokens{})
	if err != nil {
		t.Fatal(err)
	}
	want := `"tool_calls":[{"id":"toolu_test_0","type":"function","function":{"name":"f","arguments":{"city":"Wien"}}},` +
		`{"id":"toolu_test_1","type":"function","function":{"name":"g","arguments":{}}}]`
	if !strings.Contains(string(result), want) || members(t, result)["finish_reason"] != "tool_calls" || members(t, result)["content"] != "let me see" {
		t.Errorf("%s", result)
	}
	sent := `"messages":[{"role":"user","content":[{"text":"q","type":"text"}]},{"role":"assistant","content":[` +
		`{"id":"7","input":{"a":1},"name":"f","type":"tool_use"},{"id":"call_1","input":{},"name":"g","type":"tool_use"},{"id":"call_2","input":{},"name":"f","type":"tool_use"}]},` +
		`{"role":"user","content":[{"content":"r1","tool_use_id":"7","type":"tool_result"},{"content":"r3","tool_use_id":"call_2","type":"tool_result"},` +
		`{"content":"r2","tool_use_id":"call_1","type":"tool_result"},{"text":"and?","type":"text"}]}],"model":"m","stream":true,"tool_choice":{"type":"any"},` +
		`"tools":[{"description":"d","input_schema":{"type":"object","properties":{}},"name":"f"},{"input_schema":{"type":"object"},"name":"g"},` +
		`{"type":"web_search_20250305","name":"web_search"}]`
	if body := lastBody(s); !strings.Contains(body, sent) {
		t.Errorf("sent %s\nwant %s", body, sent)
	}
}

// What a tool said without saying to which call goes with the last turn's.
func TestAnthropicTurns(t *testing.T) {
	call := func(id string) []llmToolCall { return []llmToolCall{{ID: id, Function: llmToolFunction{Name: "f"}}} }
	system, turns := anthropicTurns([]llmMessage{{Role: "system", Content: "a"}, {Role: "user", Content: "q"},
		{Role: "assistant", ToolCalls: call("old")}, {Role: "user", Content: " "}, {Role: "assistant", ToolCalls: call("new")},
		{Role: "tool", Content: "r"}, {Role: "system", Content: "b"}})
	got, _ := json.Marshal(turns)
	want := `[{"role":"user","content":[{"text":"q","type":"text"}]},{"role":"assistant","content":[{"id":"old","input":{},"name":"f","type":"tool_use"},` +
		`{"id":"new","input":{},"name":"f","type":"tool_use"}]},{"role":"user","content":[{"content":"r","tool_use_id":"new","type":"tool_result"}]}]`
	if string(got) != want || system != "a\n\nb" {
		t.Errorf("%s %s", system, got)
	}
}

func TestAnthropicToolChoice(t *testing.T) {
	for _, test := range []struct{ choice, format, tools, want string }{
		{``, ``, ``, `null`},
		{`"auto"`, ``, `[{}]`, `{"type":"auto"}`},
		{`"none"`, ``, `[{}]`, `{"type":"none"}`},
		{`"required"`, ``, `[{}]`, `{"type":"any"}`},
		{`{"type":"function","function":{"name":"f"}}`, ``, `[{}]`, `{"name":"f","type":"tool"}`},
		{`{"type":"tool","name":"f"}`, ``, `[{}]`, `{"type":"tool","name":"f"}`},
		{``, `{}`, ``, `{"name":"give_answer","type":"tool"}`},
		{`"none"`, `{}`, `[{}]`, `{"name":"give_answer","type":"tool"}`},
		{`"auto"`, `{}`, `[{}]`, `{"type":"any"}`},
		{``, `"json"`, ``, `null`},
	} {
		r := &llmRequest{llmSampling: llmSampling{ToolChoice: raw(test.choice), Format: raw(test.format), Tools: raw(test.tools)}}
		if got, _ := json.Marshal(anthropicChoice(r)); string(got) != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

func raw(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// A server that doesn't stream, and the ends that a message may have.
func TestAnthropicWhole(t *testing.T) {
	for _, test := range []struct{ body, want string }{
		{`{"type":"message","model":"m2","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"a"},{"type":"text","text":"b"}],` +
			`"stop_reason":"max_tokens","usage":{"input_tokens":1,"cache_read_input_tokens":2,"cache_creation_input_tokens":4,"output_tokens":8}}`,
			`"content":"ab","role":"assistant","model":"m2","provider":"test","usage":{"prompt_tokens":7,"completion_tokens":8,"total_tokens":15},"finish_reason":"length"`},
		{`{"content":[{"type":"tool_use","id":"1","name":"f","input":{"a":1}}],"stop_reason":"tool_use"}`,
			`"finish_reason":"tool_calls"`},
		{`{"content":[],"stop_reason":"refusal"}`, `"finish_reason":"content_filter"`},
		{`{"content":[],"stop_reason":"pause_turn"}`, `"finish_reason":"pause_turn"`},
	} {
		h := httptest.NewServer(handler(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte(test.body))
		}))
		p := open(t, newAnthropic, ProviderConfig{URL: h.URL})
		result, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
		if err != nil || !strings.Contains(string(result), test.want) {
			t.Errorf("%s, %v", result, err)
		}
		h.Close()
	}
}

// Counts are totals, of which an event may lack some.
func TestAnthropicCounts(t *testing.T) {
	h := httptest.NewServer(handler(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, data := range []string{
			`{"type":"message_start","message":{"model":"m2","usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":1}}}`,
			`{"type":"what_is_new"}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}`,
			`{"type":"message_delta","usage":{"output_tokens":9}}`,
			`{"type":"message_delta","delta":{"stop_reason":"stop_sequence"}}`,
			`{"type":"message_stop"}`,
		} {
			w.Write([]byte("data: " + data + "\n\n"))
		}
	}))
	defer h.Close()
	p := open(t, newAnthropic, ProviderConfig{URL: h.URL})
	result, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
	if err != nil || !strings.Contains(string(result), `"model":"m2","provider":"test","usage":{"prompt_tokens":7,"completion_tokens":9,"total_tokens":16},"finish_reason":"stop"`) {
		t.Errorf("%s, %v", result, err)
	}
}

// An error within a stream has the class that it says.
func TestComplaints(t *testing.T) {
	for _, test := range []struct {
		kind, garbage string
		code          protocols.Code
	}{
		{"anthropic", `data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, protocols.ProviderOverloaded},
		{"anthropic", `data: {"type":"error","error":{"type":"rate_limit_error","message":"slow"}}`, protocols.RateLimitExceeded},
		{"anthropic", `data: {"type":"error","error":{"type":"api_error","message":"oh"}}`, protocols.ProviderUnhealthy},
		{"openai", `data: {"error":{"code":429,"message":"slow"}}`, protocols.RateLimitExceeded},
		{"openai", `data: {"error":{"code":"rate_limit_exceeded","message":"slow"}}`, protocols.RateLimitExceeded},
		{"openai", `data: {"error":{"code":"what","message":"slow"}}`, protocols.ProviderUnhealthy},
		{"openai", `data: {"error":"oh"}`, protocols.ProviderUnhealthy},
		{"ollama", `{"error":"out of memory"}`, protocols.ProviderUnhealthy},
	} {
		s := &llmtest.Server{}
		s.Fail(llmtest.Fault{After: 4, Garbage: test.garbage + "\n\n"})
		h := httptest.NewServer(s)
		p := open(t, kinds[test.kind].make, ProviderConfig{URL: h.URL})
		_, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
		wantCode(t, err, test.code)
		h.Close()
	}
}

func TestAnthropicRefuses(t *testing.T) {
	p := runAnthropic(t, says("x"), ProviderConfig{Model: "m"})
	_, err := p.Call(t.Context(), llmCall("llm/embed", `{"input":"hi"}`), &tokens{})
	wantCode(t, err, protocols.MethodNotSupported)
	_, err = p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi","seed":1,"min_p":0.5}`), &tokens{})
	if e := wantCode(t, err, protocols.TaskParameterError); !strings.Contains(e.Message, "can't be given min_p, seed") {
		t.Error(e.Message)
	}
	p = runAnthropic(t, &llmtest.Server{Models: []string{"m"}}, ProviderConfig{})
	_, err = p.Call(t.Context(), llmCall("llm/chat", `{"model":"n","prompt":"hi"}`), &tokens{})
	if e := wantCode(t, err, protocols.ProviderNotFound); !strings.Contains(e.Message, "gleitzeit provider models test") {
		t.Error(e.Message)
	}
}
