package providers

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/providers/llmtest"
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
		release, err := llmtest.Alone()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
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

// The server makes the model keep to a schema; the answer is parsed and fits.
func TestOllamaRealSchema(t *testing.T) {
	eachReal(t, func(t *testing.T, p Provider) {
		for _, method := range []string{"llm/chat", "llm/generate"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			call := llmCall(method, `{"model":"scripted","prompt":"JSON","max_tokens":100}`)
			call.OutputSchema = json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}`)
			result, err := p.Call(ctx, call, &tokens{})
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s", result)
			parsed, _ := members(t, result)["parsed"].(map[string]any)
			if _, is := parsed["n"].(float64); !is {
				t.Errorf("%s", result)
			}
		}
	})
}

// A schema that the server can't make the model keep to, and the model doesn't
// keep to by itself either, ends in class schema with all that it cost.
func TestOllamaRealSchemaFails(t *testing.T) {
	eachReal(t, func(t *testing.T, p Provider) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		call := llmCall("llm/chat", `{"model":"scripted","prompt":"JSON","max_tokens":100}`)
		call.OutputSchema = json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer","multipleOf":1e12,"minimum":1}},"required":["n"]}`)
		_, err := p.Call(ctx, call, &tokens{})
		e := wantCode(t, err, protocols.TaskResultInvalid)
		t.Logf("%v %s", e, e.Data)
		if usage, _ := members(t, e.Data)["usage"].(map[string]any); usage["total_tokens"].(float64) < 10 {
			t.Errorf("%s", e.Data)
		}
	})
}

// A model without a template for tools is refused by the server.
func TestOllamaRealNoTools(t *testing.T) {
	eachReal(t, func(t *testing.T, p Provider) {
		_, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"loop","prompt":"hi","tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{}}}}]}`), &tokens{})
		if e := wantCode(t, err, protocols.TaskParameterError); !strings.Contains(e.Message, "does not support tools") {
			t.Error(e.Message)
		}
	})
}

// The options that the server knows reach it.
func TestOllamaRealOptions(t *testing.T) {
	p := realOllama(t, "ollama")
	callReal(t, p, "llm/chat", `{"model":"random","prompt":"hi","temperature":0.5,"max_tokens":3,"top_p":0.9,"top_k":10,"min_p":0.1,"seed":7,
		"presence_penalty":0.5,"frequency_penalty":0.5,"repeat_penalty":1.1,"mirostat":0,"mirostat_tau":5,"mirostat_eta":0.1,"num_ctx":256,"keep_alive":60}`)
	r := callReal(t, p, "llm/chat", `{"model":"random","prompt":"`+strings.Repeat("word ", 400)+`","num_ctx":64,"max_tokens":2}`)
	if used := r["usage"].(map[string]any)["prompt_tokens"].(float64); used > 64 {
		t.Errorf("%v tokens of prompt in a context of 64", used)
	}
}

// The answer comes in pieces, and what had come when the task's time was over
// is kept.
func TestOllamaRealPartial(t *testing.T) {
	eachReal(t, func(t *testing.T, p Provider) {
		ctx, cancel := context.WithCancel(t.Context())
		host := &tokens{}
		host.first = func() { time.AfterFunc(500*time.Millisecond, cancel) }
		_, err := p.Call(ctx, llmCall("llm/chat", `{"model":"loop","prompt":"hi"}`), host)
		e := wantCode(t, err, protocols.TaskCancelled)
		data := members(t, e.Data)
		if partial, _ := data["partial"].(string); partial == "" || partial != host.text() {
			t.Errorf("partial %q, shown %q", partial, host.text())
		}
		if usage, _ := data["usage"].(map[string]any); usage["completion_tokens"].(float64) < 1 || usage["estimated"] != true {
			t.Errorf("%v", usage)
		}
	})
}

func TestOllamaRealLook(t *testing.T) {
	eachReal(t, func(t *testing.T, p Provider) {
		models, err := p.(*llmProvider).Models(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, m := range models {
			found = found || m.Name == "scripted" && m.Size > 1000 && strings.Contains(m.Family, "llama") || m.Name == "scripted:latest"
		}
		if !found {
			t.Errorf("%+v", models)
		}
	})
}

// With room for one request in its queue a real server refuses the third that
// has to wait for another model to be unloaded.
func TestOllamaRealOverload(t *testing.T) {
	leakless(t)
	host := busyOllama(t)
	p := openReal(t, host, "ollama")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	endless, stop := context.WithCancel(ctx)
	begun := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = p.Call(endless, llmCall("llm/chat", `{"model":"loop","prompt":"hi"}`), &tokens{first: func() { close(begun) }})
	}()
	within(t, "the model began", begun)
	const calls = 4
	errs := make(chan error, calls)
	for range calls {
		go func() {
			_, err := p.Call(ctx, llmCall("llm/embed", `{"model":"random","input":"hi"}`), &tokens{})
			errs <- err
		}()
	}
	e := wantCode(t, <-errs, protocols.ProviderOverloaded) // the others still wait
	if !strings.Contains(e.Message, "503") || !strings.Contains(e.Message, "maximum pending requests exceeded") || e.Code.Class() != protocols.ClassServer {
		t.Error(e.Message)
	}
	t.Log(e.Message)
	stop()
	<-ended
	served := 0
	for range calls - 1 {
		if err := <-errs; err == nil {
			served++
		} else {
			wantCode(t, err, protocols.ProviderOverloaded)
		}
	}
	if served == 0 {
		t.Error("nobody was served")
	}
}

// busyOllama starts a server of its own with a queue of one and room for one
// model, and returns its address. It ends with the test.
func busyOllama(t *testing.T) string {
	t.Helper()
	if os.Getenv("OLLAMA_HOST") == "" && os.Getenv("GLEITZEIT_TEST_OLLAMA") != "required" {
		t.Skip("OLLAMA_HOST is not set; run with: .ci/ollama run go test ./providers")
	}
	cmd := exec.Command("../.ci/ollama", "run", "sh", "-c", `echo "$OLLAMA_HOST"; cat >/dev/null`)
	cmd.Env = append(os.Environ(), "OLLAMA_MAX_QUEUE=1", "OLLAMA_MAX_LOADED_MODELS=1", "OLLAMA_NUM_PARALLEL=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	host, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(host)
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
