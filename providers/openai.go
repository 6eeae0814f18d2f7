package providers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// openAI speaks llm/v1 with any server that has OpenAI's chat completions:
// OpenAI, vLLM, llama.cpp, LM Studio, Ollama's /v1. A completion is asked for
// as a chat of one message, since not every server has the older form.
type openAI struct {
	server *llmServer
	config ProviderConfig
}

// openAIURL is where requests go when the configuration says nothing; only
// then is the key looked for in OPENAI_API_KEY.
const openAIURL = "https://api.openai.com/v1"

// newOpenAI makes the provider for the server at c.URL; a URL without a path
// gets /v1. It doesn't connect.
func newOpenAI(name string, c ProviderConfig, env func(string) string) (Provider, error) {
	address := c.URL
	if address == "" {
		address = openAIURL
		if c.KeyEnv == "" {
			c.KeyEnv = "OPENAI_API_KEY"
		}
	}
	server, err := newLLMServer(name, "OpenAI-compatible server", address, c, env)
	if err != nil {
		return nil, err
	}
	if server.base.Path == "" {
		server.base.Path = "/v1"
	}
	return &openAI{server: server, config: c}, nil
}

// Call carries out one llm/v1 method. keep_alive is Ollama's and means
// nothing here.
func (o *openAI) Call(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	r, err := readLLM(call, o.config.Model)
	if err != nil {
		return nil, err
	}
	if r.Model == "" {
		return nil, protocols.Errorf(protocols.TaskParameterError,
			"%s names no model, and the configuration of provider %s doesn't either", r.Method, o.server.provider)
	}
	header := http.Header{}
	if call.Key != "" {
		header.Set("Idempotency-Key", headerKey(call.Key))
	}
	var result json.RawMessage
	if r.Method == "llm/embed" {
		result, err = o.embed(ctx, r, header)
	} else {
		result, err = o.generate(ctx, r, header, host)
	}
	return result, o.explain(r, err)
}

// Close drops the idle connections.
func (o *openAI) Close() error { return o.server.Close() }

// explain names the model in a 404, and leaves of every error what may cross
// the border.
func (o *openAI) explain(r *llmRequest, err error) error {
	var refusal *llmRefusal
	if !errors.As(err, &refusal) {
		return err
	}
	if refusal.status != http.StatusNotFound {
		return refusal.err
	}
	hint := fmt.Sprintf(" (model %q; on an Ollama server, get it with: ollama pull %s)", r.Model, r.Model)
	if !strings.Contains(strings.ToLower(refusal.text), "model") {
		hint = "; is the provider's url right, with its /v1?"
	}
	return &protocols.Error{Code: refusal.err.Code, Message: refusal.err.Message + hint, Data: refusal.err.Data}
}

// headerKey is an idempotency key in a form that any server takes: itself if
// it is short plain ASCII, else its hash.
func headerKey(key string) string {
	plain := len(key) <= 255
	for i := 0; i < len(key); i++ {
		plain = plain && key[i] > ' ' && key[i] < 0x7f
	}
	if plain {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// openAIMessage is a turn as the server wants it.
type openAIMessage struct {
	Role       string           `json:"role"`
	Content    any              `json:"content"` // text, parts, or null beside tool calls
	ToolCalls  []openAIToolCall `json:"tool_calls,omitempty"`
	ToolCallID string           `json:"tool_call_id,omitempty"`
}

// openAIToolCall has arguments that are a text; a streamed one comes in
// pieces that Index holds together.
type openAIToolCall struct {
	Index    *int   `json:"index,omitempty"`
	ID       string `json:"id,omitempty"`
	Type     string `json:"type,omitempty"`
	Function struct {
		Name      string          `json:"name,omitempty"`
		Arguments json.RawMessage `json:"arguments,omitempty"`
	} `json:"function"`
}

func (o *openAI) generate(ctx context.Context, r *llmRequest, header http.Header, host Host) (json.RawMessage, error) {
	if len(r.Messages) == 0 {
		r.converse()
	}
	answer := newAnswer(r, host)
	stream, err := o.ask(ctx, openAIBody(r), header)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	if err := openAIRead(stream, answer); err != nil {
		return nil, err
	}
	return answer.result(o.server.provider)
}

// ask sends a chat, and again with less when the server says that it can't do
// all of what was asked.
func (o *openAI) ask(ctx context.Context, body map[string]any, header http.Header) (*llmStream, error) {
	for {
		stream, err := o.server.post(ctx, "/chat/completions", body, header)
		var refusal *llmRefusal
		if !errors.As(err, &refusal) || !simplify(body, refusal) {
			return stream, err
		}
	}
}

// simplify gives up what a server refused by name and tells whether there was
// anything to give up: the usage in a stream, the stream, or the old name of
// max_tokens, which newer models don't take.
func simplify(body map[string]any, refusal *llmRefusal) bool {
	if refusal.status != http.StatusBadRequest && refusal.status != http.StatusUnprocessableEntity {
		return false
	}
	has := func(name string) bool {
		_, has := body[name]
		return has && strings.Contains(refusal.text, name)
	}
	switch {
	case has("stream_options"):
		delete(body, "stream_options")
	case has("stream"):
		delete(body, "stream")
		delete(body, "stream_options")
	case has("max_tokens") && strings.Contains(refusal.text, "max_completion_tokens"):
		body["max_completion_tokens"] = body["max_tokens"]
		delete(body, "max_tokens")
	default:
		return false
	}
	return true
}

// openAIBody puts llm/v1's own parameters over the server's options.
func openAIBody(r *llmRequest) map[string]any {
	body := map[string]any{}
	for k, v := range r.Options {
		body[k] = v
	}
	body["model"] = r.Model
	body["messages"] = openAIMessages(r.Messages)
	body["stream"] = true
	body["stream_options"] = map[string]bool{"include_usage": true}
	set(body, "temperature", r.Temperature)
	set(body, "max_tokens", r.MaxTokens)
	set(body, "top_p", r.TopP)
	set(body, "seed", r.Seed)
	if len(r.Stop.List) > 0 {
		body["stop"] = r.Stop.List
	}
	if len(r.Tools) > 0 {
		body["tools"] = r.Tools
	}
	if len(r.ToolChoice) > 0 {
		body["tool_choice"] = r.ToolChoice
	}
	if len(r.Format) > 0 {
		body["response_format"] = openAIFormat(r.Format)
	}
	return body
}

// openAIFormat turns "json" or a JSON Schema into a response_format.
func openAIFormat(format json.RawMessage) any {
	if format[0] == '"' {
		return map[string]any{"type": "json_object"}
	}
	return map[string]any{"type": "json_schema",
		"json_schema": map[string]any{"name": "answer", "schema": format}}
}

func openAIMessages(messages []llmMessage) []openAIMessage {
	var turns []openAIMessage
	for _, m := range messages {
		turn := openAIMessage{Role: m.Role, Content: string(m.Content), ToolCallID: m.ToolCallID}
		if len(m.Images) > 0 {
			turn.Content = openAIParts(m)
		}
		for i, c := range m.ToolCalls {
			c.settle(i)
			call := openAIToolCall{ID: c.ID, Type: c.Type}
			call.Function.Name, call.Function.Arguments = c.Function.Name, c.Function.text()
			turn.ToolCalls = append(turn.ToolCalls, call)
		}
		if m.Content == "" && len(m.ToolCalls) > 0 {
			turn.Content = nil
		}
		turns = append(turns, turn)
	}
	return turns
}

// openAIParts is a message's text and its images.
func openAIParts(m llmMessage) []any {
	var parts []any
	if m.Content != "" {
		parts = append(parts, map[string]string{"type": "text", "text": string(m.Content)})
	}
	for _, image := range m.Images {
		parts = append(parts, map[string]any{
			"type": "image_url", "image_url": map[string]string{"url": image.dataURL()}})
	}
	return parts
}

func (o *openAI) embed(ctx context.Context, r *llmRequest, header http.Header) (json.RawMessage, error) {
	body := map[string]any{}
	for k, v := range r.Options {
		body[k] = v
	}
	body["model"], body["input"] = r.Model, r.Inputs
	stream, err := o.server.post(ctx, "/embeddings", body, header)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var d struct {
		Model string `json:"model"`
		Data  []struct {
			Index     int             `json:"index"`
			Embedding json.RawMessage `json:"embedding"`
		} `json:"data"`
		Usage struct {
			Prompt int `json:"prompt_tokens"`
		} `json:"usage"`
	}
	if err := stream.document(&d); err != nil {
		return nil, err
	}
	vectors := make([]json.RawMessage, len(d.Data))
	for _, e := range d.Data {
		if e.Index < 0 || e.Index >= len(vectors) {
			return nil, stream.garbage(fmt.Errorf("embedding %d of %d", e.Index, len(vectors)))
		}
		vectors[e.Index] = e.Embedding
	}
	if d.Model == "" {
		d.Model = r.Model
	}
	return embedded(r, d.Model, vectors, d.Usage.Prompt)
}

// Check asks for the list of models. A server that has none to show is
// healthy, one without the configured model is degraded.
func (o *openAI) Check(ctx context.Context) Health {
	started := time.Now()
	var d struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	err := o.server.get(ctx, "/models", &d)
	var refusal *llmRefusal
	if errors.As(err, &refusal) && (refusal.status == http.StatusNotFound || refusal.status == http.StatusMethodNotAllowed) {
		return Health{Status: "healthy", Latency: time.Since(started),
			Message: o.server.address() + " answers, but lists no models"}
	}
	if err != nil {
		return unhealthy(err, started)
	}
	models, found := []string{}, o.config.Model == ""
	for _, m := range d.Data {
		models = append(models, m.ID)
		found = found || m.ID == o.config.Model
	}
	h := Health{Status: "healthy", Latency: time.Since(started),
		Message: fmt.Sprintf("%s, %d models", o.server.address(), len(models)),
		Details: map[string]any{"url": o.server.address(), "models": models}}
	if !found {
		h.Status = "degraded"
		h.Message += fmt.Sprintf("; %s is not among them", o.config.Model)
	}
	return h
}
