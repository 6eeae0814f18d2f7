package providers

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// These tests talk to a real Ollama server that has the models which
// .ci/ollama makes:
//
//	.ci/ollama run go test ./providers -run TestOllamaReal -v

const fox = "The quick brown fox jumps over the lazy dog today."

// realOllama opens the server at OLLAMA_HOST. Without one that has the test
// models the test is skipped, or fails if GLEITZEIT_TEST_OLLAMA=required.
func realOllama(t *testing.T, kind string) Provider {
	t.Helper()
	leakless(t)
	host := os.Getenv("OLLAMA_HOST")
	why := "OLLAMA_HOST is not set"
	if host != "" {
		p := openReal(t, host, kind)
		h := p.Check(t.Context())
		if d, is := h.Details.(map[string]any); is && hasTestModel(d["models"]) {
			return p
		}
		why = "no test models there: " + h.Message
	}
	why += "; run with: .ci/ollama run go test ./providers"
	if os.Getenv("GLEITZEIT_TEST_OLLAMA") == "required" {
		t.Fatal(why)
	}
	t.Skip(why)
	return nil
}

func openReal(t *testing.T, host, kind string) Provider {
	t.Helper()
	address, err := OllamaURL(host)
	if err != nil {
		t.Fatal(err)
	}
	if kind == "openai" {
		return open(t, newOpenAI, ProviderConfig{URL: address + "/v1"})
	}
	return open(t, newOllama, ProviderConfig{URL: address})
}

func hasTestModel(models any) bool {
	list, _ := models.([]string)
	for _, m := range list {
		if strings.TrimSuffix(m, ":latest") == "loop" {
			return true
		}
	}
	return false
}

// eachReal runs a test on Ollama's own API and on its /v1.
func eachReal(t *testing.T, test func(t *testing.T, p Provider)) {
	for _, kind := range []string{"ollama", "openai"} {
		t.Run(kind, func(t *testing.T) { test(t, realOllama(t, kind)) })
	}
}

func callReal(t *testing.T, p Provider, method, parameters string) map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result, err := p.Call(ctx, llmCall(method, parameters), &tokens{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", result)
	return members(t, result)
}

func TestOllamaRealText(t *testing.T) {
	eachReal(t, func(t *testing.T, p Provider) {
		for method, parameters := range map[string]string{
			"llm/chat":     `{"model":"llama3.2","messages":[{"role":"user","content":"Write a haiku about coding"}],"seed":1,"keep_alive":"1m"}`,
			"llm/complete": `{"model":"scripted","prompt":"Write","max_tokens":100}`,
			"llm/generate": `{"model":"scripted:latest","prompt":"Write"}`,
		} {
			r := callReal(t, p, method, parameters)
			u := r["usage"].(map[string]any)
			if r["response"] != fox || r["content"] != fox || r["finish_reason"] != "stop" || u["completion_tokens"].(float64) < 10 ||
				u["total_tokens"] != u["prompt_tokens"].(float64)+u["completion_tokens"].(float64) {
				t.Errorf("%s: %v", method, r)
			}
		}
		if r := callReal(t, p, "llm/chat", `{"model":"scripted","prompt":"Write","max_tokens":3}`); r["finish_reason"] != "length" || r["content"] == fox {
			t.Errorf("cut off: %v", r)
		}
		if r := callReal(t, p, "llm/chat", `{"model":"scripted","prompt":"Write","stop":["jumps"]}`); strings.Contains(r["content"].(string), "jumps") {
			t.Errorf("stopped: %v", r)
		}
	})
}

func TestOllamaRealFile(t *testing.T) {
	eachReal(t, func(t *testing.T, p Provider) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "long.txt"), strings.Repeat("word ", 100))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		call := llmCall("llm/chat", `{"model":"scripted","prompt":"Sum up","file_path":"long.txt"}`)
		call.Dir = dir
		result, err := p.Call(ctx, call, &tokens{})
		if err != nil {
			t.Fatal(err)
		}
		if u := members(t, result)["usage"].(map[string]any); u["prompt_tokens"].(float64) < 100 {
			t.Errorf("the file didn't reach the model: %s", result)
		}
	})
}

func TestOllamaRealTools(t *testing.T) {
	eachReal(t, func(t *testing.T, p Provider) {
		r := callReal(t, p, "llm/chat", `{"model":"scripted","prompt":"Weather?","tools":[{"type":"function","function":{"name":"get_weather",
			"description":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}]}`)
		calls, _ := r["tool_calls"].([]any)
		if len(calls) != 1 || r["finish_reason"] != "tool_calls" {
			t.Fatalf("%v", r)
		}
		f := calls[0].(map[string]any)["function"].(map[string]any)
		if f["name"] != "get_weather" || f["arguments"].(map[string]any)["city"] != "Wien" {
			t.Errorf("%v", f)
		}
	})
}

func TestOllamaRealFormat(t *testing.T) {
	eachReal(t, func(t *testing.T, p Provider) {
		r := callReal(t, p, "llm/chat", `{"model":"scripted","prompt":"JSON","max_tokens":100,"format":{"type":"object",
			"properties":{"n":{"type":"integer"}},"required":["n"]}}`)
		var d struct{ N *int }
		if json.Unmarshal([]byte(r["content"].(string)), &d) != nil || d.N == nil {
			t.Errorf("%v", r)
		}
	})
}

func TestOllamaRealEmbed(t *testing.T) {
	eachReal(t, func(t *testing.T, p Provider) {
		one := callReal(t, p, "llm/embed", `{"model":"random","input":"hello"}`)
		if v, _ := one["embedding"].([]any); len(v) != 64 || one["dimensions"] != 64.0 {
			t.Errorf("%v", one)
		}
		two := callReal(t, p, "llm/embed", `{"model":"random","input":["hello","world"]}`)
		if v, _ := two["embeddings"].([]any); len(v) != 2 {
			t.Errorf("%v", two)
		}
	})
}

// The test model has no eyes: the server takes the image and the model answers
// without it.
func TestOllamaRealVision(t *testing.T) {
	eachReal(t, func(t *testing.T, p Provider) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "dot.png"), "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"+
			"\x00\x00\x00\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\x00\x05\x00\x01\xff\x89\x99=\x1d\x00\x00\x00\x00IEND\xaeB`\x82")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		call := llmCall("llm/vision", `{"model":"llava","prompt":"What is it?","image_path":"dot.png"}`)
		call.Dir = dir
		result, err := p.Call(ctx, call, &tokens{})
		t.Logf("%s, %v", result, err)
		if err != nil || members(t, result)["response"] != fox {
			t.Errorf("%s, %v", result, err)
		}
	})
}

func TestOllamaRealUnknownModel(t *testing.T) {
	eachReal(t, func(t *testing.T, p Provider) {
		for _, method := range []string{"llm/chat", "llm/complete", "llm/embed"} {
			_, err := p.Call(t.Context(), llmCall(method, `{"model":"no-such-model","prompt":"hi"}`), &tokens{})
			e := wantCode(t, err, protocols.ProviderNotFound)
			if !strings.Contains(e.Message, "ollama pull no-such-model") {
				t.Error(e.Message)
			}
			t.Log(e.Message)
		}
	})
}

// A cancelled generation stops on the server too: the next call on the same
// model, which runs one at a time, doesn't wait for the rest of it.
func TestOllamaRealCancel(t *testing.T) {
	eachReal(t, func(t *testing.T, p Provider) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		host := &tokens{first: cancel}
		_, err := p.Call(ctx, llmCall("llm/chat", `{"model":"loop","prompt":"hi"}`), host)
		wantCode(t, err, protocols.TaskCancelled)
		started := time.Now()
		if !strings.Contains(host.text(), "on") {
			t.Errorf("shown before: %q", host.text())
		}
		callReal(t, p, "llm/chat", `{"model":"loop","prompt":"hi","max_tokens":2}`)
		if took := time.Since(started); took > tooLong {
			t.Errorf("the next call took %v", took)
		}
	})
}
