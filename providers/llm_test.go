package providers

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gleitzeit/protocols"
)

// leakless fails the test if a goroutine outlives it and its clean-up.
func leakless(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// wantCode fails the test unless err is a *protocols.Error with the code.
func wantCode(t *testing.T, err error, code protocols.Code) *protocols.Error {
	t.Helper()
	e, is := err.(*protocols.Error)
	if !is || e.Code != code {
		t.Fatalf("error %T %v, want code %d", err, err, code)
	}
	return e
}

// tokens is a Host that keeps what was shown.
type tokens struct {
	silent
	mu    sync.Mutex
	shown []Progress
	first func() // called at the first
}

func (h *tokens) Progress(p Progress) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shown = append(h.shown, p)
	if len(h.shown) == 1 && h.first != nil {
		h.first()
	}
}

func (h *tokens) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, p := range h.shown {
		b.WriteString(p.Message)
	}
	return b.String()
}

func noEnv(string) string { return "" }

// open makes a provider that the test closes.
func open(t *testing.T, make func(string, ProviderConfig, deps) (Provider, error), c ProviderConfig) Provider {
	t.Helper()
	p, err := make("test", c, deps{env: noEnv})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func llmCall(method, parameters string) Call {
	return Call{Method: method, Parameters: json.RawMessage(parameters), Attempt: 1}
}

// members reads a JSON object.
func members(t *testing.T, result json.RawMessage) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(result, &m); err != nil {
		t.Fatalf("%v in %s", err, result)
	}
	return m
}

func TestLLMMessages(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a.txt"), "\ufeffalpha")
	writeFile(t, filepath.Join(dir, "i.PNG"), "\x89PNG\r\n\x1a\n")
	for _, test := range []struct{ name, method, parameters, want string }{
		{"as written", "llm/chat", `{"messages":[{"role":"user","content":"hi"}]}`, "user: hi"},
		{"a prompt is a message", "llm/chat", `{"prompt":"hi","system":"be kind"}`, "system: be kind|user: hi"},
		{"any JSON is text", "llm/chat", `{"messages":[{"role":"user","content":{"a": [1, true]}}]}`, `user: {"a":[1,true]}`},
		{"nothing beside tool calls", "llm/chat", `{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":null}]}`, "user: x|assistant: "},
		{"file in the last user message", "llm/chat",
			`{"messages":[{"role":"user","content":"sum up"},{"role":"assistant","content":"what?"}],"file_path":"a.txt"}`,
			"user: sum up\n\nFile content from a.txt:\nalpha|assistant: what?"},
		{"file without a user message", "llm/chat", `{"messages":[{"role":"system","content":"s"}],"file_path":"a.txt"}`,
			"system: s|user: File content from a.txt:\nalpha"},
		{"files", "llm/chat", `{"prompt":"p","files":["a.txt","i.PNG"]}`, "user: p\n\nFile content from a.txt:\nalpha +1 image"},
		{"image", "llm/vision", `{"messages":[{"role":"user","content":"what?"}],"image_path":"i.PNG"}`, "user: what? +1 image"},
		{"images", "llm/vision", `{"messages":[{"role":"user","content":"what?","images":["aGk="]}],"images":["data:image/png;base64,aGk"]}`,
			"user: what? +2 images"},
	} {
		t.Run(test.name, func(t *testing.T) {
			call := llmCall(test.method, test.parameters)
			call.Dir = dir
			r, err := readLLM(call, "m")
			if err != nil {
				t.Fatal(err)
			}
			if got := spell(r.Messages); got != test.want || r.Prompt != "" || r.Model != "m" {
				t.Errorf("got %q, prompt %q; want %q", got, r.Prompt, test.want)
			}
		})
	}
}

func spell(messages []llmMessage) string {
	var all []string
	for _, m := range messages {
		line := m.Role + ": " + string(m.Content)
		switch len(m.Images) {
		case 0:
		case 1:
			line += " +1 image"
		default:
			line += " +2 images"
		}
		all = append(all, line)
	}
	return strings.Join(all, "|")
}

func TestLLMPrompts(t *testing.T) {
	call := llmCall("llm/generate", `{"prompt":"p","system":"s","image_path":"x.png","model":"own","stop":"."}`)
	call.File = func(string) ([]byte, bool, error) { return []byte("img"), true, nil }
	r, err := readLLM(call, "m")
	if err != nil || r.Method != "llm/complete" || r.Prompt != "p" || r.System != "s" || len(r.Images) != 1 ||
		r.Model != "own" || !reflect.DeepEqual(r.Stop.List, []string{"."}) {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = readLLM(llmCall("llm/vision", `{"images":["aGk="]}`), "m")
	if err != nil || r.Prompt != "Describe this image" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestLLMInputs(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a.txt"), "alpha")
	for _, test := range []struct {
		parameters string
		inputs     []string
		many       bool
	}{
		{`{"input":"a"}`, []string{"a"}, false},
		{`{"prompt":"a"}`, []string{"a"}, false},
		{`{"input":["a"]}`, []string{"a"}, true},
		{`{"input":"a","prompt":"b"}`, []string{"a", "b"}, true},
		{`{"input":["a",1]}`, []string{"a", "1"}, true},
		{`{"file_path":"a.txt"}`, []string{"alpha"}, false},
		{`{"input":"a","file_path":"a.txt"}`, []string{"a", "alpha"}, true},
	} {
		call := llmCall("llm/embed", test.parameters)
		call.Dir = dir
		r, err := readLLM(call, "m")
		if err != nil || !reflect.DeepEqual(r.Inputs, test.inputs) || r.Many != test.many {
			t.Errorf("%s: %+v, %v", test.parameters, r, err)
		}
	}
}

func TestLLMParameterErrors(t *testing.T) {
	for _, test := range []struct {
		method, parameters string
		code               protocols.Code
		says               string
	}{
		{"llm/chat", `{}`, protocols.TaskParameterError, "llm/chat has no messages"},
		{"llm/complete", `{}`, protocols.TaskParameterError, "llm/complete has no prompt"},
		{"llm/embed", `{}`, protocols.TaskParameterError, "llm/embed has no input"},
		{"llm/embed", `{"input":"x","image_path":"kept.png"}`, protocols.TaskParameterError, "not images"},
		{"llm/vision", `{"prompt":"x"}`, protocols.TaskParameterError, "has no image"},
		{"llm/vision", `{"images":["%%"]}`, protocols.TaskParameterError, "an image is not base64"},
		{"llm/chat", `{"prompt":"x","max_tokens":"many"}`, protocols.TaskParameterError, "max_tokens of llm/chat can't be a string"},
		{"llm/sing", `{"prompt":"x"}`, protocols.MethodNotSupported, "no method llm/sing"},
		{"llm/chat", `{"prompt":"x","file_path":"missing.txt"}`, protocols.TaskParameterError, "missing.txt not found"},
	} {
		call := llmCall(test.method, test.parameters)
		call.File = func(name string) ([]byte, bool, error) { return []byte("x"), name == "kept.png", nil }
		_, err := readLLM(call, "m")
		if e := wantCode(t, err, test.code); !strings.Contains(e.Message, test.says) {
			t.Errorf("%s %s: %s", test.method, test.parameters, e.Message)
		}
	}
}

// Every parameter that the specification allows is one that is read here, and
// the other way round.
func TestLLMSpecification(t *testing.T) {
	read := map[string]bool{"batch_mode": true} // the original's; does nothing
	for _, of := range []reflect.Type{reflect.TypeFor[llmParameters](), reflect.TypeFor[llmSampling]()} {
		for i := range of.NumField() {
			if tag := of.Field(i).Tag.Get("json"); tag != "" {
				read[tag] = true
			}
		}
	}
	allowed := map[string]bool{}
	for _, m := range specification(t, "llm").Methods {
		if m.Name == protocols.AgentMethod {
			continue // its turns are calls of llm/chat
		}
		for name := range m.Parameters.Properties {
			allowed[name] = true
		}
		if _, err := readLLM(llmCall(m.Name, `{}`), "m"); err == nil || err.(*protocols.Error).Code == protocols.MethodNotSupported {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
	if !reflect.DeepEqual(read, allowed) {
		t.Errorf("read    %v\nallowed %v", read, allowed)
	}
}

type spec struct {
	Methods []struct {
		Name       string
		Aliases    []string
		Parameters struct{ Properties map[string]any }
	}
}

func specification(t *testing.T, name string) spec {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "protocols", "specs", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var s spec
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReadFile(t *testing.T) {
	top := t.TempDir()
	dir, other, secret := filepath.Join(top, "flow"), filepath.Join(top, "cwd"), filepath.Join(top, "secret.txt")
	writeFile(t, filepath.Join(dir, "in.txt"), "in")
	writeFile(t, filepath.Join(other, "both.txt"), "other")
	writeFile(t, secret, "secret")
	for name, to := range map[string]string{"out.txt": secret, "back.txt": filepath.Join(dir, "in.txt"), "across.txt": filepath.Join(other, "both.txt")} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Skip("no symbolic links here: ", err)
		}
	}
	call := Call{Dir: dir, Roots: []string{dir, other}, File: func(name string) ([]byte, bool, error) {
		switch name {
		case "kept.txt":
			return []byte("kept"), true, nil
		case "broken.txt":
			return nil, false, errors.New("hash")
		}
		return nil, false, nil
	}}
	for name, want := range map[string]string{
		"in.txt": "in", filepath.Join(dir, "in.txt"): "in", "both.txt": "other",
		"kept.txt": "kept", "back.txt": "in", "across.txt": "other",
	} {
		if data, err := readFile(call, name); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	for name, code := range map[string]protocols.Code{
		"out.txt": protocols.AuthorizationFailed, "../secret.txt": protocols.AuthorizationFailed,
		secret: protocols.AuthorizationFailed, filepath.Join(top, "not-there"): protocols.AuthorizationFailed,
		"missing.txt": protocols.TaskParameterError, ".": protocols.TaskParameterError,
		"broken.txt": protocols.PersistenceReadFailed,
	} {
		data, err := readFile(call, name)
		wantCode(t, err, code)
		if data != nil {
			t.Errorf("%s: %q", name, data)
		}
	}
}

func TestReadFileLimit(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "big.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(maxFile+1), f.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = readFile(Call{Dir: dir}, "big.txt")
	wantCode(t, err, protocols.TaskParameterError)
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestAnswerIsShownInPieces(t *testing.T) {
	host := &tokens{}
	a := newAnswer(&llmRequest{Model: "m"}, host)
	for range 1000 {
		a.add("x ")
	}
	a.show()
	if _, err := a.result("p", &llmSpent{server: &llmServer{}}); err != nil {
		t.Fatal(err)
	}
	last := host.shown[len(host.shown)-1]
	if n := len(host.shown); n > 100 || last.Tokens != 1000 || last.Stream != "tokens" || host.text() != strings.Repeat("x ", 1000) {
		t.Errorf("shown %d times, last %+v", n, last)
	}
}

// TestAnswerIsShownWhenItStalls: what came last isn't kept back until more comes.
func TestAnswerIsShownWhenItStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := &tokens{}
		a := newAnswer(&llmRequest{Model: "m"}, host)
		a.add("one ")
		a.add("two ")
		a.add("three")
		time.Sleep(showEvery)
		synctest.Wait()
		if got := host.text(); got != "one two three" || len(host.shown) != 2 {
			t.Errorf("%q %v", got, host.shown)
		}
		a.add(" four")
		a.show()
		time.Sleep(time.Second)
		if n := len(host.shown); n != 3 {
			t.Errorf("shown %d times", n)
		}
	})
}

func TestToolArguments(t *testing.T) {
	for _, test := range []struct{ arguments, object, text string }{
		{`{"a":1}`, `{"a":1}`, `"{\"a\":1}"`},
		{`"{\"a\":1}"`, `{"a":1}`, `"{\"a\":1}"`},
		{`""`, `{}`, `""`},
		{``, `{}`, `"{}"`},
		{`"not json"`, `"not json"`, `"not json"`},
	} {
		f := llmToolFunction{Arguments: json.RawMessage(test.arguments)}
		if o, s := string(f.object()), string(f.text()); o != test.object || s != test.text {
			t.Errorf("%s: %s and %s", test.arguments, o, s)
		}
	}
}

// handler serves one test's faults.
func handler(f func(w http.ResponseWriter, r *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // else the server doesn't notice a client that goes
		f(w, r)
	})
}

func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("waited in vain until ", what)
	}
}
