// Package llmtest is a language model server for tests: OpenAI's chat
// completions, embeddings and model list, with answers and faults that the
// test chooses. It has no model and is no part of the program.
//
//	s := &llmtest.Server{}
//	h := httptest.NewServer(s)
//	defer h.Close()
//	… a provider of kind openai with the url h.URL …
//
// Without further words it answers every chat with Fibonacci, a piece of
// Python in a Markdown fence.
package llmtest

import (
	"encoding/json"
	"io"
	"net/http"
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
	// Key, if set, must come as "Authorization: Bearer …", else 401.
	Key string
	// Models are those that it has, else 404; nil is any.
	Models []string
	// Gone is called when a client went away before its answer was whole.
	Gone func()

	mu       sync.Mutex
	requests []Request
	faults   []Fault
}

// Request is a request as it came.
type Request struct {
	Path     string
	Header   http.Header
	Body     json.RawMessage
	Model    string          `json:"model"`
	Messages []Message       `json:"messages"`
	Input    []string        `json:"input"`
	Stream   bool            `json:"stream"`
	Tools    json.RawMessage `json:"tools"`
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
}

// ToolCall has arguments that are JSON in a text.
type ToolCall struct{ Name, Arguments string }

// Fault is what goes wrong with one request. Its zero value is nothing.
type Fault struct {
	// Status, if set, is answered at once, with Header and Body.
	Status int
	Header http.Header
	Body   string
	// After is how many pieces of a stream come before Garbage, Cut or Hang.
	After int
	// Garbage is sent then, as it stands.
	Garbage string
	// Cut breaks the connection then.
	Cut bool
	// Hang sends nothing more, until the client goes away.
	Hang bool
	// Pause comes before each piece.
	Pause time.Duration
}

// Fail gives the next requests one fault each; a Fault{} lets one through.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Requests returns the requests so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// ServeHTTP answers /v1/chat/completions, /v1/embeddings and /v1/models.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	q := Request{Path: r.URL.Path, Header: r.Header.Clone(), Body: body}
	if len(body) > 0 && json.Unmarshal(body, &q) != nil {
		refuse(w, http.StatusBadRequest, "the body is not what it should be")
		return
	}
	fault := s.next(q)
	switch {
	case fault.Status != 0:
		for name, values := range fault.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(fault.Status)
		io.WriteString(w, fault.Body)
	case s.Key != "" && r.Header.Get("Authorization") != "Bearer "+s.Key:
		refuse(w, http.StatusUnauthorized, "Incorrect API key provided: "+r.Header.Get("Authorization"))
	case r.URL.Path == "/v1/models":
		s.models(w)
	case !s.has(q.Model):
		refuse(w, http.StatusNotFound, "The model `"+q.Model+"` does not exist")
	case r.URL.Path == "/v1/chat/completions":
		s.chat(w, r, q, fault)
	case r.URL.Path == "/v1/embeddings":
		embeddings(w, q)
	default:
		refuse(w, http.StatusNotFound, "Not Found")
	}
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

// embeddings gives each text two numbers: its length and its spaces.
func embeddings(w http.ResponseWriter, q Request) {
	var data []any
	for i, text := range q.Input {
		data = append(data, map[string]any{"index": i,
			"embedding": []float64{float64(len(text)), float64(strings.Count(text, " "))}})
	}
	write(w, map[string]any{"model": q.Model, "data": data, "usage": map[string]int{"prompt_tokens": len(q.Input)}})
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
