// Package llmtest is a language model server for tests: it speaks as OpenAI,
// Azure, Anthropic and Ollama do, with answers and faults that the test
// chooses. It has no model and is no part of the program.
//
//	s := &llmtest.Server{}
//	h := httptest.NewServer(s)
//	defer h.Close()
//	… a provider of kind openai, anthropic or ollama with the url h.URL …
//
// Without further words it answers every chat with Fibonacci, a piece of
// Python in a Markdown fence.
package llmtest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Fibonacci is what a Server answers when it isn't told otherwise. Its result
// is the list of the first ten numbers.
const Fibonacci = "```python\n" + `def fibonacci(n):
    a, b = 0, 1
    numbers = []
    for _ in range(n):
        numbers.append(a)
        a, b = b, a + b
    return numbers

result = fibonacci(10)
print("the first", len(result), "numbers")
` + "```\n"

// Server is an http.Handler. Its zero value works, and may be used from many
// goroutines; set its fields before the first request.
type Server struct {
	// Answer says what the model answers; nil is Fibonacci.
	Answer func(Request) Reply
	// Key, if set, must come as "Authorization: Bearer …", or in x-api-key or
	// api-key, else 401.
	Key string
	// Models are those that it has, else 404; nil is any.
	Models []string
	// Gone is called when a client went away before its answer was whole.
	Gone func()

	mu       sync.Mutex
	requests []Request
	faults   []Fault
	sayings  []Reply
}

// Request is a request as it came.
type Request struct {
	Path     string
	Query    url.Values
	Header   http.Header
	Body     json.RawMessage
	Model    string          `json:"model"`
	Messages []Message       `json:"messages"`
	Input    []string        `json:"input"`
	Stream   bool            `json:"stream"`
	Tools    json.RawMessage `json:"tools"`

	ToolChoice json.RawMessage `json:"tool_choice"`
}

// Message is one turn. Content is a text or a list of parts.
type Message struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

// Reply is what the model answers: a text, tool calls, or both.
type Reply struct {
	Text      string
	ToolCalls []ToolCall
	Cut       bool // the answer ends because it is long enough
}

// ToolCall has arguments that are JSON in a text.
type ToolCall struct{ Name, Arguments string }

// Fault is what goes wrong with one request. Its zero value is nothing.
type Fault struct {
	// Status, if set, is answered at once, with Header and Body.
	Status int
	Header http.Header
	Body   string
	// Delay comes before the answer, its head included.
	Delay time.Duration
	// Type is the media type, instead of the right one.
	Type string
	// After is how many pieces of a stream come before what is below.
	After int
	// Flood is how many bytes of nonsense come then.
	Flood int
	// Garbage is sent then, as it stands.
	Garbage string
	// Cut breaks the connection then.
	Cut bool
	// Hang sends nothing more, until the client goes away.
	Hang bool
	// End ends the answer then, as if it were whole.
	End bool
	// Pause comes before each piece.
	Pause time.Duration
}

// Fail gives the next requests one fault each; a Fault{} lets one through.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Say gives the next answers, one each; then Answer is asked again.
func (s *Server) Say(replies ...Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sayings = append(s.sayings, replies...)
}

// reply is what the model answers to a request.
func (s *Server) reply(q Request) Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sayings) > 0 {
		reply := s.sayings[0]
		s.sayings = s.sayings[1:]
		return reply
	}
	if s.Answer != nil {
		return s.Answer(q)
	}
	return Reply{Text: Fibonacci}
}

// Requests returns the requests so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// ServeHTTP answers what the servers that it stands for would.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	q := Request{Path: r.URL.Path, Query: r.URL.Query(), Header: r.Header.Clone(), Body: body}
	if len(body) > 0 && json.Unmarshal(body, &q) != nil {
		refuse(w, http.StatusBadRequest, "the body is not what it should be")
		return
	}
	fault := s.next(q)
	path := strings.TrimPrefix(r.URL.Path, "/v1")
	if deployment, rest, is := strings.Cut(strings.TrimPrefix(path, "/openai/deployments/"), "/"); is && strings.HasPrefix(path, "/openai/deployments/") {
		q.Model, path = deployment, "/"+rest // as on Azure
	}
	switch {
	case fault.Status != 0:
		for name, values := range fault.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(fault.Status)
		io.WriteString(w, fault.Body)
	case s.Key != "" && !s.authorized(r.Header):
		refuse(w, http.StatusUnauthorized, "Incorrect API key provided: "+r.Header.Get("Authorization")+r.Header.Get("X-Api-Key"))
	case path == "/models", path == "/openai/models":
		s.models(w)
	case path == "/api/version":
		write(w, map[string]string{"version": "0.0.1-test"})
	case path == "/api/tags":
		s.tags(w)
	case !s.has(q.Model):
		refuse(w, http.StatusNotFound, "The model `"+q.Model+"` does not exist")
	case path == "/chat/completions":
		s.chat(w, r, q, fault, openAI)
	case path == "/messages":
		s.chat(w, r, q, fault, anthropic)
	case path == "/api/chat":
		s.chat(w, r, q, fault, ollamaChat)
	case path == "/api/generate":
		s.chat(w, r, q, fault, ollamaGenerate)
	case path == "/embeddings", path == "/api/embed":
		embeddings(w, q)
	default:
		refuse(w, http.StatusNotFound, "Not Found")
	}
}

func (s *Server) authorized(h http.Header) bool {
	return h.Get("Authorization") == "Bearer "+s.Key || h.Get("X-Api-Key") == s.Key || h.Get("Api-Key") == s.Key
}

func (s *Server) next(q Request) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, q)
	if len(s.faults) == 0 {
		return Fault{}
	}
	fault := s.faults[0]
	s.faults = s.faults[1:]
	return fault
}

func (s *Server) has(model string) bool {
	for _, m := range s.Models {
		if m == model {
			return true
		}
	}
	return s.Models == nil
}

func (s *Server) models(w http.ResponseWriter) {
	list := []any{}
	for _, m := range s.Models {
		list = append(list, map[string]string{"id": m, "object": "model"})
	}
	write(w, map[string]any{"object": "list", "data": list})
}

func (s *Server) tags(w http.ResponseWriter) {
	list := []any{}
	for _, m := range s.Models {
		list = append(list, map[string]any{"name": m + ":latest", "size": 1 << 20,
			"details": map[string]string{"family": "test", "parameter_size": "1M"}})
	}
	write(w, map[string]any{"models": list})
}

// embeddings gives each text two numbers: its length and its spaces.
func embeddings(w http.ResponseWriter, q Request) {
	var data, plain []any
	for i, text := range q.Input {
		numbers := []float64{float64(len(text)), float64(strings.Count(text, " "))}
		plain = append(plain, numbers)
		data = append(data, map[string]any{"index": i, "embedding": numbers})
	}
	write(w, map[string]any{"model": q.Model, "data": data, "usage": map[string]int{"prompt_tokens": len(q.Input)},
		"embeddings": plain, "prompt_eval_count": len(q.Input)})
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"message": message}})
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
