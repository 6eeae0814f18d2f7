package providers

import (
	"net/http/httptest"
	"strings"
	"testing"

	"gleitzeit/protocols"
	"gleitzeit/providers/llmtest"
)

const everyParameter = `{"prompt":"hi","model":"m","temperature":0.5,"max_tokens":9,"top_p":0.25,"top_k":3,"min_p":0.125,"seed":7,"stop":["a"],
	"presence_penalty":1,"frequency_penalty":-1,"repeat_penalty":1.5,"mirostat":2,"mirostat_tau":5,"mirostat_eta":0.5%s}`

// Each kind of server is given every parameter under its own name, or refuses
// it by name.
func TestSampling(t *testing.T) {
	for kind, want := range map[string]string{
		"ollama": `"options":{"frequency_penalty":-1,"min_p":0.125,"mirostat":2,"mirostat_eta":0.5,"mirostat_tau":5,"num_ctx":512,"num_predict":9,` +
			`"presence_penalty":1,"repeat_penalty":1.5,"seed":7,"stop":["a"],"temperature":0.5,"top_k":3,"top_p":0.25,"typical_p":1}`,
		"openai": `{"frequency_penalty":-1,"max_tokens":9,"messages":[{"role":"user","content":"hi"}],"min_p":0.125,"mirostat":2,"mirostat_eta":0.5,` +
			`"mirostat_tau":5,"model":"m","presence_penalty":1,"repeat_penalty":1.5,"repetition_penalty":1.5,"seed":7,"stop":["a"],` +
			`"stream":true,"stream_options":{"include_usage":true},"temperature":0.5,"top_k":3,"top_p":0.25,"typical_p":1}`,
		"anthropic": "",
	} {
		s := says("x")
		h := httptest.NewServer(s)
		p := open(t, kinds[kind].make, ProviderConfig{URL: h.URL})
		options := `,"options":{"typical_p":1}`
		if kind == "ollama" {
			options += `,"num_ctx":512`
		}
		_, err := p.Call(t.Context(), llmCall("llm/chat", strings.Replace(everyParameter, "%s", options, 1)), &tokens{})
		if kind == "anthropic" {
			e := wantCode(t, err, protocols.TaskParameterError)
			if want := "frequency_penalty, min_p, mirostat, mirostat_eta, mirostat_tau, presence_penalty, repeat_penalty, seed; "; !strings.Contains(e.Message, want) {
				t.Error(e.Message)
			}
		} else if err != nil || !strings.Contains(lastBody(s), want) {
			t.Errorf("%s: %v, sent %s\nwant %s", kind, err, lastBody(s), want)
		}
		h.Close()
	}
	p := runOpenAI(t, says("x"), ProviderConfig{Model: "m"})
	_, err := p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi","num_ctx":512}`), &tokens{})
	wantCode(t, err, protocols.TaskParameterError)
}

// Of two names of the same thing a server may refuse one.
func TestSamplingNames(t *testing.T) {
	s := says("x")
	p := runOpenAI(t, s, ProviderConfig{Model: "m"})
	s.Fail(llmtest.Fault{Status: 400, Body: `{"error":"unknown field repetition_penalty"}`})
	if _, err := p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi","repeat_penalty":1.5}`), &tokens{}); err != nil {
		t.Fatal(err)
	}
	if body := lastBody(s); strings.Contains(body, "repetition") || !strings.Contains(body, `"repeat_penalty":1.5`) {
		t.Error(body)
	}
	s.Fail(llmtest.Fault{Status: 400, Body: `{"error":"unknown field repeat_penalty"}`}, llmtest.Fault{Status: 400, Body: `{"error":"unknown field repetition_penalty"}`})
	_, err := p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi","repeat_penalty":1.5}`), &tokens{})
	wantCode(t, err, protocols.TaskParameterError)
}

func TestOllamaToolChoice(t *testing.T) {
	p, s := runOllama(t, map[string]string{"/api/chat": ollamaHello}, ProviderConfig{})
	_, err := p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi","tools":[{"type":"function"}],"tool_choice":"required"}`), &tokens{})
	wantCode(t, err, protocols.TaskParameterError)
	for choice, tools := range map[string]bool{`"auto"`: true, `"none"`: false} {
		if _, err := p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi","tools":[{"type":"function"}],"tool_choice":`+choice+`}`), &tokens{}); err != nil {
			t.Fatal(err)
		}
		if got := s.bodies[len(s.bodies)-1]; strings.Contains(got, `"tools"`) != tools {
			t.Errorf("%s: %s", choice, got)
		}
	}
}

// Azure: the deployment is in the path, the version in the query, the key in
// a header of its own.
func TestAzure(t *testing.T) {
	s := &llmtest.Server{Key: "azure-key", Models: []string{"gpt/4o"}}
	h := httptest.NewServer(s)
	defer h.Close()
	p, err := newOpenAI("azure", ProviderConfig{URL: h.URL + "/openai/deployments/{model}", KeyEnv: "K", KeyHeader: "api-key",
		APIVersion: "2024-10-21", Model: "gpt/4o"}, deps{env: func(string) string { return "azure-key" }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s.Models = nil
	if _, err := p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi","model":"gpt-4o"}`), &tokens{}); err != nil {
		t.Fatal(err)
	}
	if h := p.Check(t.Context()); h.Status != "degraded" { // it lists none
		t.Errorf("%+v", h)
	}
	q := s.Requests()
	if q[0].Path != "/openai/deployments/gpt-4o/chat/completions" || q[0].Query.Get("api-version") != "2024-10-21" ||
		q[0].Header.Get("Authorization") != "" || q[1].Path != "/openai/models" || q[1].Query.Get("api-version") != "2024-10-21" {
		t.Errorf("%+v", q)
	}
}

func TestPlaces(t *testing.T) {
	for _, test := range []struct{ base, version, path, model, want string }{
		{"http://h/v1", "", "/models", "", "http://h/v1/models"},
		{"http://h", "", "/v1/models?limit=9", "", "http://h/v1/models?limit=9"},
		{"http://h/v1?tenant=a%20b", "2", "/chat", "m", "http://h/v1/chat?api-version=2&tenant=a+b"},
		{"http://h/d/{model}", "", "/chat", "a/b c", "http://h/d/a%2Fb%20c/chat"},
		{"http://h/openai/deployments/{model}", "", "/models", "", "http://h/openai/models"},
		{"http://user:pw@h/x%2Fy", "", "/chat", "m", "http://user:pw@h/x%2Fy/chat"},
	} {
		s := &llmServer{base: mustParse(t, test.base), version: test.version}
		if got := s.place(test.path, test.model); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}
