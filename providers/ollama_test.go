package providers

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"gleitzeit/protocols"
)

// ollamaScript answers each path with a text and keeps the bodies.
type ollamaScript struct {
	answers map[string]string
	bodies  []string // "path body"
}

func (s *ollamaScript) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.bodies = append(s.bodies, r.URL.Path+" "+string(body))
	answer, has := s.answers[r.URL.Path]
	if !has {
		http.NotFound(w, r)
		return
	}
	io.WriteString(w, answer)
}

func runOllama(t *testing.T, answers map[string]string, c ProviderConfig) (Provider, *ollamaScript) {
	t.Helper()
	leakless(t)
	s := &ollamaScript{answers: answers}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	c.URL = h.URL
	return open(t, newOllama, c), s
}

const ollamaHello = `{"model":"m","message":{"role":"assistant","content":"Hel"},"done":false}
{"model":"m","message":{"role":"assistant","content":"lo"},"done":false}
{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"length","total_duration":5000000,"prompt_eval_count":4,"eval_count":2}
`

func TestOllamaFormChat(t *testing.T) {
	p, s := runOllama(t, map[string]string{"/api/chat": ollamaHello}, ProviderConfig{Model: "own"})
	host := &tokens{}
	result, err := p.Call(t.Context(), llmCall("llm/chat", `{
		"messages": [{"role":"system","content":"s"},{"role":"user","content":"hi","images":["aGk="]},
			{"role":"assistant","content":"","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
			{"role":"tool","content":"r","tool_name":"f"}],
		"temperature": 0, "max_tokens": 5, "top_p": 0.5, "seed": 7, "stop": ".", "keep_alive": "1m",
		"options": {"num_ctx": 512, "temperature": 2}, "format": "json"}`), host)
	if err != nil {
		t.Fatal(err)
	}
	got := members(t, result)
	delete(got, "duration_ms")
	want := map[string]any{"response": "Hello", "content": "Hello", "role": "assistant", "model": "m", "provider": "test",
		"usage":         map[string]any{"prompt_tokens": 4.0, "completion_tokens": 2.0, "total_tokens": 6.0},
		"finish_reason": "length", "tokens_used": 2.0, "total_duration": 5e6}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("result %v", got)
	}
	if host.text() != "Hello" {
		t.Errorf("shown %v", host.shown)
	}
	body := `/api/chat {"model":"own","messages":[{"role":"system","content":"s"},{"role":"user","content":"hi","images":["aGk="]},` +
		`{"role":"assistant","content":"","tool_calls":[{"id":"1","function":{"name":"f","arguments":{"a":1}}}]},` +
		`{"role":"tool","content":"r","tool_name":"f"}],"format":"json",` +
		`"options":{"num_ctx":512,"num_predict":5,"seed":7,"stop":["."],"temperature":0,"top_p":0.5},"keep_alive":"1m","stream":true}`
	if s.bodies[0] != body {
		t.Errorf("sent %s\nwant %s", s.bodies[0], body)
	}
}

func TestOllamaFormGenerate(t *testing.T) {
	p, s := runOllama(t, map[string]string{"/api/generate": `{"model":"m","response":"x","done":true,"done_reason":"stop"}`}, ProviderConfig{})
	result, err := p.Call(t.Context(), llmCall("llm/complete", `{"prompt":"hi","system":"s"}`), &tokens{})
	if err != nil || members(t, result)["response"] != "x" {
		t.Errorf("%s, %v", result, err)
	}
	if want := `/api/generate {"model":"llama3.2","prompt":"hi","system":"s","stream":true}`; s.bodies[0] != want {
		t.Errorf("sent %s", s.bodies[0])
	}
}

func TestOllamaFormTools(t *testing.T) {
	p, _ := runOllama(t, map[string]string{"/api/chat": `{"model":"m","message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":[1]}}}]},"done":false}
{"model":"m","message":{"content":""},"done":true,"done_reason":"stop"}`}, ProviderConfig{})
	result, err := p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi","tools":[{"type":"function"}]}`), &tokens{})
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Finish string          `json:"finish_reason"`
		Calls  json.RawMessage `json:"tool_calls"`
	}
	if err := json.Unmarshal(result, &d); err != nil {
		t.Fatal(err)
	}
	if want := `[{"id":"call_0","type":"function","function":{"name":"f","arguments":{"a":[1]}}}]`; string(d.Calls) != want || d.Finish != "tool_calls" {
		t.Errorf("%s", result)
	}
}

func TestOllamaFormErrors(t *testing.T) {
	for _, test := range []struct {
		answer string
		code   protocols.Code
	}{
		{`{"error":"model runner has unexpectedly stopped"}`, protocols.ProviderUnhealthy},
		{`{"message":{"content":"x"},"done":false}` + "\n" + `{"error":"out of memory"}`, protocols.ProviderUnhealthy},
		{``, protocols.ConnectionLost},
		{`{"message":3}`, protocols.TaskResultInvalid},
	} {
		p, _ := runOllama(t, map[string]string{"/api/chat": test.answer}, ProviderConfig{})
		_, err := p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi"}`), &tokens{})
		wantCode(t, err, test.code)
	}
}

func TestOllamaUnknownModel(t *testing.T) {
	leakless(t)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"error":"model \"nope\" not found, try pulling it first"}`)
	}))
	defer h.Close()
	p := open(t, newOllama, ProviderConfig{URL: h.URL})
	for _, method := range []string{"llm/chat", "llm/embed"} {
		_, err := p.Call(t.Context(), llmCall(method, `{"model":"nope","prompt":"hi"}`), &tokens{})
		e := wantCode(t, err, protocols.ProviderNotFound)
		if !strings.Contains(e.Message, "ollama pull nope") || e.Code.Class() != protocols.ClassNotFound {
			t.Error(e.Message)
		}
	}
}

func TestOllamaFormEmbed(t *testing.T) {
	both := map[string]string{"/api/embed": `{"model":"m","embeddings":[[1,2,3],[4,5,6]],"prompt_eval_count":9}`}
	p, s := runOllama(t, both, ProviderConfig{})
	result, err := p.Call(t.Context(), llmCall("llm/embed", `{"input":["a","b"]}`), &tokens{})
	want := `{"dimensions":3,"embeddings":[[1,2,3],[4,5,6]],"model":"m","usage":{"prompt_tokens":9,"total_tokens":9}}`
	if err != nil || string(result) != want {
		t.Errorf("%s, %v", result, err)
	}
	if want := `/api/embed {"model":"nomic-embed-text","input":["a","b"]}`; s.bodies[0] != want {
		t.Errorf("sent %s", s.bodies[0])
	}
	_, err = p.Call(t.Context(), llmCall("llm/embed", `{"input":"a"}`), &tokens{})
	wantCode(t, err, protocols.TaskResultInvalid) // two embeddings for one text

	// A server from before /api/embed.
	p, s = runOllama(t, map[string]string{"/api/embeddings": `{"embedding":[1,2]}`}, ProviderConfig{})
	result, err = p.Call(t.Context(), llmCall("llm/embed", `{"prompt":"a","model":"m"}`), &tokens{})
	if want := `{"dimensions":2,"embedding":[1,2],"model":"m","usage":{"prompt_tokens":0,"total_tokens":0}}`; err != nil || string(result) != want {
		t.Errorf("%s, %v", result, err)
	}
	if want := `/api/embeddings {"model":"m","prompt":"a"}`; s.bodies[1] != want {
		t.Errorf("sent %s", s.bodies[1])
	}
}

func TestOllamaFormCheck(t *testing.T) {
	for _, test := range []struct{ tags, model, status, says string }{
		{`{"models":[{"name":"llava:latest"},{"name":"a:7b"}]}`, "", "healthy", "Ollama 0.6.5 at http://127.0.0.1:"},
		{`{"models":[{"name":"llava:latest"}]}`, "llava", "healthy", "1 models"},
		{`{"models":[{"name":"llava:latest"}]}`, "nope", "degraded", "ollama pull nope"},
		{`{"models":[]}`, "", "degraded", "ollama pull llama3.2"},
		{`<html>`, "", "unhealthy", "makes no sense"},
	} {
		p, _ := runOllama(t, map[string]string{"/api/version": `{"version":"0.6.5"}`, "/api/tags": test.tags}, ProviderConfig{Model: test.model})
		if h := p.Check(t.Context()); h.Status != test.status || !strings.Contains(h.Message, test.says) {
			t.Errorf("%s: %+v", test.tags, h)
		}
	}
}
