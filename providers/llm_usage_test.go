package providers

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gleitzeit/protocols"
	"gleitzeit/providers/llmtest"
)

func TestPriceOf(t *testing.T) {
	table := map[string]Price{"gpt-5": {1, 0}, "gpt-5*": {2, 0}, "gpt-*": {3, 0}, "*mini": {4, 0}, "meta/*": {5, 0}, "m?": {6, 0}, "n?": {7, 0}, "?1": {8, 0}}
	for model, want := range map[string]float64{"gpt-5": 1, "gpt-5-pro": 2, "gpt-4": 3, "o-mini": 4, "gpt-9-mini": 4, "meta/llama/3": 5, "x": 0, "m1": 8} {
		for range 20 { // whatever the order of the map
			if got, found := priceOf(table, model); got.Input != want || found != (want > 0) {
				t.Errorf("%s: %v, want %v", model, got.Input, want)
			}
		}
	}
}

func near(got any, want float64) bool {
	f, is := got.(float64)
	return is && math.Abs(f-want) < 1e-12
}

// The provider's price beats that of all, and repairs and embeddings cost too.
func TestCost(t *testing.T) {
	h := httptest.NewServer(says("one two"))
	defer h.Close()
	set, err := Open(Config{
		Prices: map[string]Price{"m": {Input: 100, Output: 1000}, "n": {Input: 7, Output: 0}},
		Providers: map[string]ProviderConfig{
			"own":    {Kind: "openai", URL: h.URL, Prices: map[string]Price{"*": {Input: 1, Output: 10}}},
			"shared": {Kind: "ollama", URL: h.URL},
		}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, test := range []struct {
		provider, method, parameters string
		want                         float64
	}{
		{"own", "llm/chat", `{"model":"m","prompt":"hi"}`, 3e-6 + 20e-6},
		{"shared", "llm/chat", `{"model":"m","prompt":"hi"}`, 300e-6 + 2000e-6},
		{"shared", "llm/embed", `{"model":"n","input":["a","b"]}`, 14e-6},
	} {
		result, err := set.Call(t.Context(), test.provider, llmCall(test.method, test.parameters), nil)
		if err != nil {
			t.Fatal(err)
		}
		if usage := members(t, result)["usage"].(map[string]any); !near(usage["cost_usd"], test.want) {
			t.Errorf("%+v: %v", test, usage)
		}
	}
	result, err := set.Call(t.Context(), "shared", llmCall("llm/chat", `{"model":"other","prompt":"hi"}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if usage := members(t, result)["usage"].(map[string]any); usage["cost_usd"] != nil {
		t.Errorf("a price from nowhere: %v", usage)
	}
	call := llmCall("llm/chat", `{"model":"m","prompt":"hi"}`)
	call.OutputSchema = json.RawMessage(person)
	_, err = set.Call(t.Context(), "own", call, nil)
	e := wantCode(t, err, protocols.TaskResultInvalid)
	if usage := members(t, e.Data)["usage"].(map[string]any); !near(usage["cost_usd"], 3*23e-6) {
		t.Errorf("%s", e.Data)
	}
}

// Of a stream that breaks off the error keeps what had come, and what it cost.
func TestPartial(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			leakless(t)
			s := says("one two three four five six")
			h := httptest.NewServer(s)
			defer h.Close()
			p := open(t, kind.make, ProviderConfig{URL: h.URL, Prices: map[string]Price{"m": {Output: 1e6}}})
			after, prompt := 3, 0.0 // pieces
			if name == "anthropic" {
				after, prompt = 6, 3 // a message's start, a ping and a block's start come first
			}
			for _, fault := range []llmtest.Fault{{Cut: true}, {End: true}, {Garbage: "data: <\n\n"}} {
				fault.After = after
				s.Fail(fault)
				host := &tokens{}
				_, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), host)
				e := wantCode(t, err, map[bool]protocols.Code{true: protocols.TaskResultInvalid, false: protocols.ConnectionLost}[fault.Garbage != ""])
				data := members(t, e.Data)
				usage, _ := data["usage"].(map[string]any)
				if data["partial"] != "one two three " || host.text() != "one two three " || usage["completion_tokens"] != 3.0 ||
					usage["total_tokens"] != 3+prompt || usage["estimated"] != true || !near(usage["cost_usd"], 3) {
					t.Errorf("%+v: %s, shown %q", fault, e.Data, host.text())
				}
			}
			s.Fail(llmtest.Fault{Status: 500})
			_, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
			if e := wantCode(t, err, protocols.ProviderUnhealthy); members(t, e.Data)["usage"] != nil {
				t.Errorf("a refusal costs: %s", e.Data)
			}
		})
	}
}

// A key that a server repeats in its answer doesn't get into the error.
func TestPartialSecret(t *testing.T) {
	for name, kind := range kinds {
		s := says("your key is sk-secret-1 one two")
		after := 5
		if name == "anthropic" {
			after = 8
		}
		s.Fail(llmtest.Fault{After: after, Cut: true})
		h := httptest.NewServer(s)
		p, err := kind.make("test", ProviderConfig{URL: h.URL, KeyEnv: "K", Model: "m"}, deps{env: func(string) string { return "sk-secret-1" }})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"hi"}`), &tokens{})
		if e, is := err.(*protocols.Error); !is || strings.Contains(string(e.Data), "sk-secret") || !strings.Contains(string(e.Data), "your key is ***") {
			t.Errorf("%s: %v", name, err)
		}
		p.Close()
		h.Close()
	}
}

// The refusal of a repair keeps what the rounds before it cost.
func TestPartialRefusal(t *testing.T) {
	s := says("no JSON")
	p := runOpenAI(t, s, ProviderConfig{Model: "m"})
	s.Fail(llmtest.Fault{}, llmtest.Fault{Status: 503, Header: map[string][]string{"Retry-After": {"4"}}})
	call := llmCall("llm/chat", `{"prompt":"hi"}`)
	call.OutputSchema = raw(person)
	_, err := p.Call(t.Context(), call, &tokens{})
	e := wantCode(t, err, protocols.ProviderOverloaded)
	data := members(t, e.Data)
	if usage, _ := data["usage"].(map[string]any); usage["total_tokens"] != 5.0 || data["retry_after"] != 4.0 || data["status"] != 503.0 {
		t.Errorf("%s", e.Data)
	}
}

// What a server says of tokens is counted within reason: budgets must not run
// backwards, nor wrap around.
func TestUsageWithinReason(t *testing.T) {
	for usage, want := range map[string]float64{
		`{"prompt_tokens": 9000000000000000000, "completion_tokens": 9000000000000000000}`: 2e9,
		`{"prompt_tokens": -1000, "completion_tokens": 7}`:                                 7,
	} {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/embeddings") {
				io.WriteString(w, `{"data": [{"index": 0, "embedding": [1]}], "usage": `+usage+`}`)
				return
			}
			io.WriteString(w, `{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": `+usage+`}`)
		}))
		set, err := Open(Config{Providers: map[string]ProviderConfig{"x": {Kind: "openai", URL: h.URL}}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for method, parameters := range map[string]string{"llm/chat": `{"model":"m","prompt":"hi"}`, "llm/embed": `{"model":"m","input":["a"]}`} {
			result, err := set.Call(t.Context(), "x", llmCall(method, parameters), nil)
			if err != nil {
				t.Fatal(err)
			}
			said := members(t, result)["usage"].(map[string]any)
			if method == "llm/embed" {
				if n := said["total_tokens"].(float64); n < 0 || n > 1e9 {
					t.Errorf("%s: %v of %s", method, said, usage)
				}
			} else if said["total_tokens"] != want {
				t.Errorf("%s: %v of %s, want %v", method, said, usage, want)
			}
		}
		set.Close()
		h.Close()
	}
}
