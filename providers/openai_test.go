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

func runOpenAI(t *testing.T, s *llmtest.Server, c ProviderConfig) Provider {
	t.Helper()
	leakless(t)
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	c.URL = h.URL
	return open(t, newOpenAI, c)
}

func TestOpenAIChat(t *testing.T) {
	s := &llmtest.Server{}
	p := runOpenAI(t, s, ProviderConfig{Model: "own", Headers: map[string]string{"X-Team": "blue"}})
	host := &tokens{}
	call := llmCall("llm/chat", `{"messages":[{"role":"user","content":"Generate Python code"}],
		"temperature":0,"max_tokens":5,"stop":["a","b"],"options":{"top_k":3,"model":"other","stream":false},"format":{"type":"object"}}`)
	call.Key = "store/run 1/ü"
	result, err := p.Call(t.Context(), call, host)
	if err != nil {
		t.Fatal(err)
	}
	got := members(t, result)
	if got["response"] != llmtest.Fibonacci || got["model"] != "own" || got["finish_reason"] != "stop" ||
		got["usage"].(map[string]any)["prompt_tokens"] != 3.0 || host.text() != llmtest.Fibonacci {
		t.Errorf("%s", result)
	}
	q := s.Requests()[0]
	want := `{"max_tokens":5,"messages":[{"role":"user","content":"Generate Python code"}],"model":"own",` +
		`"response_format":{"json_schema":{"name":"answer","schema":{"type":"object"}},"type":"json_schema"},` +
		`"stop":["a","b"],"stream":true,"stream_options":{"include_usage":true},"temperature":0,"top_k":3}`
	if string(q.Body) != want {
		t.Errorf("sent %s\nwant %s", q.Body, want)
	}
	if q.Header.Get("X-Team") != "blue" || len(q.Header.Get("Idempotency-Key")) != 64 || q.Header.Get("Authorization") != "" {
		t.Errorf("%v", q.Header)
	}
}

func TestOpenAICompleteAndVision(t *testing.T) {
	s := &llmtest.Server{Answer: func(llmtest.Request) llmtest.Reply { return llmtest.Reply{Text: "yes"} }}
	p := runOpenAI(t, s, ProviderConfig{Model: "m"})
	for _, test := range []struct{ method, parameters, messages string }{
		{"llm/complete", `{"prompt":"hi","system":"s"}`, `[{"role":"system","content":"s"},{"role":"user","content":"hi"}]`},
		{"llm/vision", `{"prompt":"hi","images":["iVBORw0KGgo="]}`, `[{"role":"user","content":[{"text":"hi","type":"text"},` +
			`{"image_url":{"url":"data:image/png;base64,iVBORw0KGgo="},"type":"image_url"}]}]`},
		{"llm/chat", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"id":"7","function":{"name":"f","arguments":{"a":1}}}]},` +
			`{"role":"tool","tool_call_id":"7","content":"r"}]}`,
			`[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"id":"7","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},` +
				`{"role":"tool","content":"r","tool_call_id":"7"}]`},
	} {
		if _, err := p.Call(t.Context(), llmCall(test.method, test.parameters), &tokens{}); err != nil {
			t.Fatal(err)
		}
		var d struct {
			Messages json.RawMessage `json:"messages"`
		}
		requests := s.Requests()
		json.Unmarshal(requests[len(requests)-1].Body, &d)
		if string(d.Messages) != test.messages {
			t.Errorf("sent %s\nwant %s", d.Messages, test.messages)
		}
	}
}

// A tool call that comes in pieces, and one that comes whole.
func TestOpenAITools(t *testing.T) {
	reply := llmtest.Reply{ToolCalls: []llmtest.ToolCall{{Name: "f", Arguments: `{"city":"Wien"}`}, {Name: "g", Arguments: `{}`}}}
	s := &llmtest.Server{Answer: func(llmtest.Request) llmtest.Reply { return reply }}
	p := runOpenAI(t, s, ProviderConfig{Model: "m"})
	refused := llmtest.Fault{Status: 400, Body: `{"error":{"message":"stream is not supported"}}`}
	for _, faults := range [][]llmtest.Fault{nil, {refused}} {
		s.Fail(faults...)
		result, err := p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi","tools":[{}],"tool_choice":"auto"}`), &tokens{})
		if err != nil {
			t.Fatal(err)
		}
		want := `"tool_calls":[{"id":"call_test_0","type":"function","function":{"name":"f","arguments":{"city":"Wien"}}},` +
			`{"id":"call_test_1","type":"function","function":{"name":"g","arguments":{}}}]`
		if !strings.Contains(string(result), want) || !strings.Contains(string(result), `"finish_reason":"tool_calls"`) {
			t.Errorf("%s", result)
		}
	}
}

// What a server refuses by name is given up, and nothing else.
func TestOpenAISimplifies(t *testing.T) {
	s := &llmtest.Server{}
	p := runOpenAI(t, s, ProviderConfig{Model: "m"})
	refuse := func(why string) llmtest.Fault {
		return llmtest.Fault{Status: 400, Body: `{"error":{"message":"` + why + `"}}`}
	}
	s.Fail(refuse("unknown field stream_options"), refuse("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
		refuse("this server does not stream"))
	if _, err := p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi","max_tokens":9}`), &tokens{}); err != nil {
		t.Fatal(err)
	}
	q := s.Requests()
	if want := `{"max_completion_tokens":9,"messages":[{"role":"user","content":"hi"}],"model":"m"}`; string(q[len(q)-1].Body) != want {
		t.Errorf("sent %s", q[len(q)-1].Body)
	}
	s.Fail(refuse("context length exceeded"))
	_, err := p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi"}`), &tokens{})
	wantCode(t, err, protocols.TaskParameterError)
}

func TestOpenAIFaults(t *testing.T) {
	s := &llmtest.Server{Key: "sk-12345", Models: []string{"m"}}
	leakless(t)
	h := httptest.NewServer(s)
	defer h.Close()
	p, err := newOpenAI("test", ProviderConfig{URL: h.URL, KeyEnv: "K"}, deps{env: func(string) string { return "sk-12345" }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	chat := func() error {
		_, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
		return err
	}
	s.Fail(llmtest.Fault{After: 3, Cut: true}, llmtest.Fault{After: 3, Garbage: "data: ?\n\n"},
		llmtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"2"}}}, llmtest.Fault{After: 3, Garbage: "data: {\"error\":{\"message\":\"oom\"}}\n\n"})
	wantCode(t, chat(), protocols.ConnectionLost)
	wantCode(t, chat(), protocols.TaskResultInvalid)
	wantCode(t, chat(), protocols.RateLimitExceeded)
	wantCode(t, chat(), protocols.ProviderUnhealthy)
	if err := chat(); err != nil {
		t.Fatal(err)
	}
	_, err = p.Call(t.Context(), llmCall("llm/chat", `{"model":"nope","prompt":"hi"}`), &tokens{})
	if e := wantCode(t, err, protocols.ProviderNotFound); !strings.Contains(e.Message, "ollama pull nope") {
		t.Error(e.Message)
	}
	s.Key = "other"
	e := wantCode(t, chat(), protocols.AuthenticationFailed)
	if strings.Contains(e.Message, "12345") {
		t.Error(e.Message)
	}
	_, err = p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi"}`), &tokens{})
	wantCode(t, err, protocols.TaskParameterError) // no model
}

// Ends of a stream that are good enough.
func TestOpenAIEnds(t *testing.T) {
	const end = `data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}` + "\n\n"
	for _, body := range []string{end, end + "data: [DONE]", end + "data: [DONE]\n", ": comment\r\n\r\nevent: x\r\n" + end + "data:[DONE]\r\n\r\n"} {
		leakless(t)
		h := httptest.NewServer(handler(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			w.Write([]byte(body))
		}))
		p := open(t, newOpenAI, ProviderConfig{URL: h.URL + "/v1/"})
		result, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
		if err != nil || members(t, result)["content"] != "x" {
			t.Errorf("%q: %s, %v", body, result, err)
		}
		h.Close()
	}
}

// An event that is cut off is missed, though the model had finished.
func TestOpenAICutEvent(t *testing.T) {
	leakless(t)
	h := httptest.NewServer(handler(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write([]byte(`data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}` + "\n\n" + `data: {"usage":{"prom`))
	}))
	defer h.Close()
	p := open(t, newOpenAI, ProviderConfig{URL: h.URL})
	_, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
	wantCode(t, err, protocols.ConnectionLost)
}

func TestOpenAIEmbed(t *testing.T) {
	p := runOpenAI(t, &llmtest.Server{}, ProviderConfig{Model: "m"})
	for parameters, want := range map[string]string{
		`{"input":["a b","c"]}`: `{"dimensions":2,"embeddings":[[3,1],[1,0]],"model":"m","usage":{"prompt_tokens":2,"total_tokens":2}}`,
		`{"input":"a b"}`:       `{"dimensions":2,"embedding":[3,1],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}`,
	} {
		if result, err := p.Call(t.Context(), llmCall("llm/embed", parameters), &tokens{}); err != nil || string(result) != want {
			t.Errorf("%s, %v", result, err)
		}
	}
}

func TestOpenAICheck(t *testing.T) {
	for _, test := range []struct {
		fault         llmtest.Fault
		model, status string
	}{
		{llmtest.Fault{}, "", "healthy"},
		{llmtest.Fault{}, "m", "healthy"},
		{llmtest.Fault{}, "n", "degraded"},
		{llmtest.Fault{Status: 404}, "", "healthy"},
		{llmtest.Fault{Status: 401}, "", "unhealthy"},
		{llmtest.Fault{Status: 500}, "", "unhealthy"},
	} {
		s := &llmtest.Server{Models: []string{"m"}}
		s.Fail(test.fault)
		if h := runOpenAI(t, s, ProviderConfig{Model: test.model}).Check(t.Context()); h.Status != test.status {
			t.Errorf("%+v: %+v", test, h)
		}
	}
}
