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

	"gleitzeit/protocols"
)

// openAI is the form of any server that has OpenAI's chat completions: OpenAI,
// Azure, vLLM, llama.cpp, LM Studio, Ollama's /v1. A completion is asked for as
// a chat of one message, since not every server has the older form.
type openAI struct{ server *llmServer }

// openAIURL is where requests go when the configuration says nothing; only
// then is the key looked for in OPENAI_API_KEY.
const openAIURL = "https://api.openai.com/v1"

// newOpenAI makes the provider for the server at c.URL; a URL without a path
// gets /v1. It doesn't connect.
func newOpenAI(name string, c ProviderConfig, d deps) (Provider, error) {
	address := c.URL
	if address == "" {
		address = openAIURL
		if c.KeyEnv == "" {
			c.KeyEnv = "OPENAI_API_KEY"
		}
	}
	server, err := newLLMServer(name, "OpenAI-compatible server", address, c, d)
	if err != nil {
		return nil, err
	}
	if server.base.Path == "" {
		server.base.Path = "/v1"
	}
	return &llmProvider{server, c, &openAI{server}}, nil
}

func (o *openAI) fallback(string) string { return "" }

// refuse: keep_alive, which is Ollama's, means nothing here and does no harm.
func (o *openAI) refuse(r *llmRequest) error {
	return r.llmSampling.refuse(o.server.kind, openAISampling)
}

// showsSchema: OpenAI itself shows the model the schema, most others don't.
func (o *openAI) showsSchema(*llmRequest) bool { return false }

// explain names the model in a 404.
func (o *openAI) explain(r *llmRequest, refusal *llmRefusal) *protocols.Error {
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

// ask sends a chat, and again with less when the server says that it can't do
// all of what was asked.
func (o *openAI) ask(ctx context.Context, r *llmRequest, header http.Header, answer *llmAnswer) error {
	if len(r.Messages) == 0 {
		r.converse()
	}
	body := openAIBody(r)
	for {
		_, streams := body["stream"]
		stream, err := o.server.post(ctx, llmPost{"/chat/completions", body, header, r.Model, r.Idle, streams})
		var refusal *llmRefusal
		if errors.As(err, &refusal) && simplify(body, refusal, r.Schema != nil) {
			continue
		}
		if err != nil {
			return err
		}
		defer stream.Close()
		return openAIRead(stream, answer)
	}
}

// simplify gives up what a server refused by name and tells whether there was
// anything to give up: the usage in a stream, the stream, the old name of
// max_tokens, which newer models don't take, one of two names of the same
// thing, or the server's help with a form that is checked here anyway.
func simplify(body map[string]any, refusal *llmRefusal, checked bool) bool {
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
	case has("repetition_penalty") && body["repeat_penalty"] != nil:
		delete(body, "repetition_penalty")
	case has("repeat_penalty") && body["repetition_penalty"] != nil:
		delete(body, "repeat_penalty")
	case checked && (has("response_format") || body["response_format"] != nil && strings.Contains(refusal.text, "json_schema")):
		delete(body, "response_format")
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
	r.put(body, openAISampling)
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

func (o *openAI) embed(ctx context.Context, r *llmRequest, header http.Header) (*llmVectors, error) {
	body := map[string]any{}
	for k, v := range r.Options {
		body[k] = v
	}
	body["model"], body["input"] = r.Model, r.Inputs
	stream, err := o.server.post(ctx, llmPost{path: "/embeddings", body: body, header: header, model: r.Model, idle: r.Idle})
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
	return &llmVectors{d.Model, vectors, d.Usage.Prompt}, nil
}

// look asks for the list of models, which not every server has.
func (o *openAI) look(ctx context.Context) (*llmLook, error) {
	return modelList(ctx, o.server, "/models", nil)
}

// modelList reads a list of models as OpenAI and Anthropic have it.
func modelList(ctx context.Context, s *llmServer, path string, header http.Header) (*llmLook, error) {
	var d struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	err := s.get(ctx, path, header, &d)
	var refusal *llmRefusal
	if errors.As(err, &refusal) && (refusal.status == http.StatusNotFound || refusal.status == http.StatusMethodNotAllowed) {
		return &llmLook{unlisted: true}, nil
	}
	l := &llmLook{}
	for _, m := range d.Data {
		l.models = append(l.models, Model{Name: m.ID})
	}
	return l, err
}
