package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// ollama is the form of an Ollama server's own API, whose answers are streams
// of JSON objects, one a line.
type ollama struct{ server *llmServer }

// newOllama makes the provider for the server at c.URL, or else at
// OLLAMA_HOST, or else at Ollama's usual address. It doesn't connect.
func newOllama(name string, c ProviderConfig, d deps) (Provider, error) {
	address := c.URL
	if address == "" {
		address = d.env("OLLAMA_HOST")
	}
	address, err := OllamaURL(address)
	if err != nil {
		return nil, protocols.Errorf(protocols.ConfigurationError, "provider %s: %v", name, err)
	}
	server, err := newLLMServer(name, "Ollama", address, c, d)
	if err != nil {
		return nil, err
	}
	return &llmProvider{server, c, &ollama{server}}, nil
}

// checkOllama says what is wrong with a configuration.
func checkOllama(_ string, c ProviderConfig) []string {
	if c.URL == "" {
		return nil
	}
	if _, err := OllamaURL(c.URL); err != nil {
		return []string{fmt.Sprintf("url: %v", err)} // not the URL: it may hold a password
	}
	return nil
}

// ollamaModels are what the Python original asked for when nobody said.
var ollamaModels = map[string]string{"llm/vision": "llava", "llm/embed": "nomic-embed-text"}

func (o *ollama) fallback(method string) string {
	if model, special := ollamaModels[method]; special {
		return model
	}
	return "llama3.2"
}

// refuse: the server has no say in which tool is called, except none.
func (o *ollama) refuse(r *llmRequest) error {
	switch string(r.ToolChoice) {
	case "", "null", `"auto"`, `"none"`:
		return r.llmSampling.refuse("Ollama server", ollamaSampling)
	}
	return protocols.Errorf(protocols.TaskParameterError,
		"an Ollama server can't be told which tool to call: tool_choice is \"auto\" or \"none\"")
}

// showsSchema: the server makes the model keep to the schema, but doesn't show
// it.
func (o *ollama) showsSchema(*llmRequest) bool { return false }

// explain says how to get a model that the server doesn't have.
func (o *ollama) explain(r *llmRequest, refusal *llmRefusal) *protocols.Error {
	if refusal.status == http.StatusNotFound && strings.Contains(refusal.text, "model") {
		return protocols.Errorf(protocols.ProviderNotFound,
			"model %q is not on the Ollama server at %s; get it with: ollama pull %s",
			r.Model, o.server.address(), r.Model).With(map[string]any{"status": refusal.status, "model": r.Model})
	}
	return refusal.err
}

// ollamaChat is the body of /api/chat and, with a prompt, of /api/generate.
type ollamaChat struct {
	Model     string          `json:"model"`
	Messages  []ollamaMessage `json:"messages,omitempty"`
	Prompt    string          `json:"prompt,omitempty"`
	System    string          `json:"system,omitempty"`
	Images    []llmImage      `json:"images,omitempty"`
	Tools     json.RawMessage `json:"tools,omitempty"`
	Format    json.RawMessage `json:"format,omitempty"`
	Options   map[string]any  `json:"options,omitempty"`
	KeepAlive json.RawMessage `json:"keep_alive,omitempty"`
	Stream    bool            `json:"stream"`
}

type ollamaMessage struct {
	Role      string           `json:"role"`
	Content   string           `json:"content"`
	Thinking  string           `json:"thinking,omitempty"`
	Images    []llmImage       `json:"images,omitempty"`
	ToolCalls []ollamaToolCall `json:"tool_calls,omitempty"`
	ToolName  string           `json:"tool_name,omitempty"`
}

// ollamaToolCall differs from OpenAI's: its arguments are an object.
type ollamaToolCall struct {
	ID       string          `json:"id,omitempty"`
	Function llmToolFunction `json:"function"`
}

// ollamaLine is one line of a streamed answer.
type ollamaLine struct {
	Model      string          `json:"model"`
	Message    *ollamaMessage  `json:"message"`  // of /api/chat
	Response   string          `json:"response"` // of /api/generate
	Done       bool            `json:"done"`
	DoneReason string          `json:"done_reason"`
	Total      int64           `json:"total_duration"` // ns
	Prompt     int             `json:"prompt_eval_count"`
	Completion int             `json:"eval_count"`
	Error      json.RawMessage `json:"error"` // instead of all else
}

func (o *ollama) ask(ctx context.Context, r *llmRequest, _ http.Header, answer *llmAnswer) error {
	path := "/api/generate"
	if len(r.Messages) > 0 {
		path = "/api/chat"
	}
	stream, err := o.server.post(ctx, llmPost{path: path, body: ollamaBody(r), idle: r.Idle, streams: true})
	if err != nil {
		return err
	}
	defer stream.Close()
	return ollamaRead(stream, answer)
}

func ollamaBody(r *llmRequest) ollamaChat {
	body := ollamaChat{Model: r.Model, Prompt: r.Prompt, System: r.System, Images: r.Images, Tools: r.Tools,
		Format: r.Format, Options: ollamaOptions(r), KeepAlive: r.KeepAlive, Stream: true}
	if string(r.ToolChoice) == `"none"` {
		body.Tools = nil
	}
	for _, m := range r.Messages {
		turn := ollamaMessage{Role: m.Role, Content: string(m.Content), Images: m.Images, ToolName: m.ToolName}
		for _, c := range m.ToolCalls {
			c.Function.Arguments = c.Function.object()
			turn.ToolCalls = append(turn.ToolCalls, ollamaToolCall{ID: c.ID, Function: c.Function})
		}
		body.Messages = append(body.Messages, turn)
	}
	return body
}

// ollamaOptions puts llm/v1's own parameters over the server's options.
func ollamaOptions(r *llmRequest) map[string]any {
	options := map[string]any{}
	for k, v := range r.Options {
		options[k] = v
	}
	r.put(options, ollamaSampling)
	return options
}

// ollamaRead takes in the stream up to the line that says done. An answer
// that ends before it is broken.
func ollamaRead(stream *llmStream, answer *llmAnswer) error {
	lines := json.NewDecoder(stream)
	for {
		var line ollamaLine
		if err := lines.Decode(&line); err != nil {
			return stream.decoded(err)
		}
		if len(line.Error) > 0 {
			return stream.complaint(line.Error)
		}
		answer.add(line.Response)
		if line.Message != nil {
			answer.add(line.Message.Content)
			answer.thought = answer.thought || line.Message.Thinking != ""
			for _, c := range line.Message.ToolCalls {
				answer.ToolCalls = append(answer.ToolCalls, llmToolCall{ID: c.ID, Function: c.Function})
			}
		}
		if answer.begun() {
			stream.begin()
		}
		if line.Done {
			answer.Model, answer.Finish = line.Model, line.DoneReason
			answer.Prompt, answer.Completion = line.Prompt, line.Completion
			answer.Total = time.Duration(line.Total)
			return nil
		}
	}
}

// ollamaEmbed is the body of /api/embed, with a prompt of /api/embeddings.
type ollamaEmbed struct {
	Model     string          `json:"model"`
	Input     []string        `json:"input,omitempty"`
	Prompt    string          `json:"prompt,omitempty"`
	Options   map[string]any  `json:"options,omitempty"`
	KeepAlive json.RawMessage `json:"keep_alive,omitempty"`
}

// embed asks /api/embed, and a server too old for it one text at a time.
func (o *ollama) embed(ctx context.Context, r *llmRequest, _ http.Header) (*llmVectors, error) {
	stream, err := o.server.post(ctx, llmPost{path: "/api/embed", idle: r.Idle, body: ollamaEmbed{
		Model: r.Model, Input: r.Inputs, Options: ollamaOptions(r), KeepAlive: r.KeepAlive,
	}})
	var refusal *llmRefusal
	if errors.As(err, &refusal) && refusal.status == http.StatusNotFound && strings.Contains(refusal.text, "page not found") {
		return o.embedOld(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var d struct {
		Model      string            `json:"model"`
		Embeddings []json.RawMessage `json:"embeddings"`
		Prompt     int               `json:"prompt_eval_count"`
	}
	if err := stream.document(&d); err != nil {
		return nil, err
	}
	return &llmVectors{d.Model, d.Embeddings, d.Prompt}, nil
}

func (o *ollama) embedOld(ctx context.Context, r *llmRequest) (*llmVectors, error) {
	v := &llmVectors{model: r.Model}
	for _, text := range r.Inputs {
		vector, err := o.embedOne(ctx, r, text)
		if err != nil {
			return nil, err
		}
		v.list = append(v.list, vector)
	}
	return v, nil
}

func (o *ollama) embedOne(ctx context.Context, r *llmRequest, text string) (json.RawMessage, error) {
	stream, err := o.server.post(ctx, llmPost{path: "/api/embeddings", idle: r.Idle, body: ollamaEmbed{
		Model: r.Model, Prompt: text, Options: ollamaOptions(r), KeepAlive: r.KeepAlive,
	}})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var d struct {
		Embedding json.RawMessage `json:"embedding"`
	}
	err = stream.document(&d)
	return d.Embedding, err
}

// look asks for the version and the models.
func (o *ollama) look(ctx context.Context) (*llmLook, error) {
	var version struct {
		Version string `json:"version"`
	}
	var tags struct {
		Models []struct {
			Name    string `json:"name"`
			Size    int64  `json:"size"`
			Details struct {
				Family string `json:"family"`
				Size   string `json:"parameter_size"`
				Form   string `json:"quantization_level"`
			} `json:"details"`
		} `json:"models"`
	}
	err := o.server.get(ctx, "/api/version", nil, &version)
	if err == nil {
		err = o.server.get(ctx, "/api/tags", nil, &tags)
	}
	if err != nil {
		return nil, err
	}
	l := &llmLook{version: version.Version}
	for _, m := range tags.Models {
		d := m.Details
		l.models = append(l.models, Model{untagged(m.Name), m.Size, strings.Join(strings.Fields(d.Family+" "+d.Size+" "+d.Form), " ")})
	}
	slices.SortFunc(l.models, func(a, b Model) int { return strings.Compare(a.Name, b.Name) })
	return l, nil
}
