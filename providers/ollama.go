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

// ollama speaks llm/v1 with an Ollama server through Ollama's own API, whose
// answers are streams of JSON objects, one a line.
type ollama struct {
	server *llmServer
	config ProviderConfig
}

// newOllama makes the provider for the server at c.URL, or else at
// OLLAMA_HOST, or else at Ollama's usual address. It doesn't connect.
func newOllama(name string, c ProviderConfig, env func(string) string) (Provider, error) {
	address := c.URL
	if address == "" {
		address = env("OLLAMA_HOST")
	}
	address, err := OllamaURL(address)
	if err != nil {
		return nil, protocols.Errorf(protocols.ConfigurationError, "provider %s: %v", name, err)
	}
	server, err := newLLMServer(name, "Ollama", address, c, env)
	if err != nil {
		return nil, err
	}
	return &ollama{server: server, config: c}, nil
}

// ollamaModels are what the Python original asked for when nobody said.
var ollamaModels = map[string]string{"llm/vision": "llava", "llm/embed": "nomic-embed-text"}

func (o *ollama) fallback(method string) string {
	if o.config.Model != "" {
		return o.config.Model
	}
	if model, special := ollamaModels[method]; special {
		return model
	}
	return "llama3.2"
}

// Call carries out one llm/v1 method.
func (o *ollama) Call(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	r, err := readLLM(call, o.fallback(call.Method))
	if err != nil {
		return nil, err
	}
	var result json.RawMessage
	if r.Method == "llm/embed" {
		result, err = o.embed(ctx, r)
	} else {
		result, err = o.generate(ctx, r, host)
	}
	return result, o.explain(r, err)
}

// Close drops the idle connections.
func (o *ollama) Close() error { return o.server.Close() }

// explain says how to get a model that the server doesn't have, and leaves
// of every error what may cross the border.
func (o *ollama) explain(r *llmRequest, err error) error {
	var refusal *llmRefusal
	if !errors.As(err, &refusal) {
		return err
	}
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
	Model      string         `json:"model"`
	Message    *ollamaMessage `json:"message"`  // of /api/chat
	Response   string         `json:"response"` // of /api/generate
	Done       bool           `json:"done"`
	DoneReason string         `json:"done_reason"`
	Total      int64          `json:"total_duration"` // ns
	Prompt     int            `json:"prompt_eval_count"`
	Completion int            `json:"eval_count"`
	Error      string         `json:"error"` // instead of all else
}

func (o *ollama) generate(ctx context.Context, r *llmRequest, host Host) (json.RawMessage, error) {
	path := "/api/generate"
	if len(r.Messages) > 0 {
		path = "/api/chat"
	}
	answer := newAnswer(r, host)
	stream, err := o.server.post(ctx, path, ollamaBody(r), nil)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	if err := ollamaRead(stream, answer); err != nil {
		return nil, err
	}
	return answer.result(o.server.provider)
}

func ollamaBody(r *llmRequest) ollamaChat {
	body := ollamaChat{Model: r.Model, Prompt: r.Prompt, System: r.System, Images: r.Images, Tools: r.Tools,
		Format: r.Format, Options: ollamaOptions(r), KeepAlive: r.KeepAlive, Stream: true}
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
	set(options, "temperature", r.Temperature)
	set(options, "num_predict", r.MaxTokens)
	set(options, "top_p", r.TopP)
	set(options, "seed", r.Seed)
	if len(r.Stop.List) > 0 {
		options["stop"] = r.Stop.List
	}
	return options
}

func set[T any](options map[string]any, name string, value *T) {
	if value != nil {
		options[name] = *value
	}
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
		if line.Error != "" {
			return protocols.Errorf(protocols.ProviderUnhealthy, "Ollama at %s: %s",
				stream.server.address(), stream.scrub(line.Error))
		}
		answer.add(line.Response)
		if line.Message != nil {
			answer.add(line.Message.Content)
			for _, c := range line.Message.ToolCalls {
				answer.ToolCalls = append(answer.ToolCalls, llmToolCall{ID: c.ID, Function: c.Function})
			}
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
func (o *ollama) embed(ctx context.Context, r *llmRequest) (json.RawMessage, error) {
	stream, err := o.server.post(ctx, "/api/embed", ollamaEmbed{
		Model: r.Model, Input: r.Inputs, Options: ollamaOptions(r), KeepAlive: r.KeepAlive,
	}, nil)
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
	return embedded(r, d.Model, d.Embeddings, d.Prompt)
}

func (o *ollama) embedOld(ctx context.Context, r *llmRequest) (json.RawMessage, error) {
	var vectors []json.RawMessage
	for _, text := range r.Inputs {
		vector, err := o.embedOne(ctx, r, text)
		if err != nil {
			return nil, err
		}
		vectors = append(vectors, vector)
	}
	return embedded(r, r.Model, vectors, 0)
}

func (o *ollama) embedOne(ctx context.Context, r *llmRequest, text string) (json.RawMessage, error) {
	stream, err := o.server.post(ctx, "/api/embeddings", ollamaEmbed{
		Model: r.Model, Prompt: text, Options: ollamaOptions(r), KeepAlive: r.KeepAlive,
	}, nil)
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

// Check asks for the version and the models. A server without the configured
// model, or without any, is degraded.
func (o *ollama) Check(ctx context.Context) Health {
	started := time.Now()
	var version struct {
		Version string `json:"version"`
	}
	var tags struct {
		Models []struct {
			Name string `json:"name"`
		} `json:"models"`
	}
	err := o.server.get(ctx, "/api/version", &version)
	if err == nil {
		err = o.server.get(ctx, "/api/tags", &tags)
	}
	if err != nil {
		return unhealthy(err, started)
	}
	models := []string{}
	for _, m := range tags.Models {
		models = append(models, strings.TrimSuffix(m.Name, ":latest"))
	}
	slices.Sort(models)
	h := Health{Status: "healthy", Latency: time.Since(started),
		Message: fmt.Sprintf("Ollama %s at %s, %d models", version.Version, o.server.address(), len(models)),
		Details: map[string]any{"version": version.Version, "url": o.server.address(), "models": models}}
	want := strings.TrimSuffix(o.fallback("llm/chat"), ":latest")
	if len(models) == 0 || o.config.Model != "" && !slices.Contains(models, want) {
		h.Status = "degraded"
		h.Message += fmt.Sprintf("; %s is not among them, get it with: ollama pull %s", want, want)
	}
	return h
}

func unhealthy(err error, started time.Time) Health {
	return Health{Status: "unhealthy", Message: err.Error(), Latency: time.Since(started)}
}
