package providers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gleitzeit/protocols"
)

// This file holds what every llm/v1 provider starts with: a call's parameters
// become one llmRequest, whatever form they were written in.

// llmRequest is a call of llm/v1, its files read and its forms made one.
type llmRequest struct {
	Method string // llm/chat, llm/complete, llm/vision, llm/embed; llm/generate is llm/complete
	Model  string // "" when neither task nor configuration names one
	// Messages of a conversation; empty when there is a Prompt.
	Messages []llmMessage
	// Prompt is the text of a completion, or of a vision call without messages.
	Prompt string
	System string
	Images []llmImage // that go with Prompt
	// Inputs are the texts to embed; Many tells that they were written as a
	// list, so that the result is one.
	Inputs []string
	Many   bool
	// Schema is what the answer must fit, {} for any JSON, nil for any text.
	Schema json.RawMessage
	// Idle bounds the server's silence, zero for the provider's own bound.
	Idle time.Duration
	llmSampling
}

// llmSampling holds what goes to the model as it was written. How each kind of
// server is told it is in llm_sampling.go.
type llmSampling struct {
	Temperature      *float64 `json:"temperature"`
	MaxTokens        *int     `json:"max_tokens"`
	TopP             *float64 `json:"top_p"`
	TopK             *int     `json:"top_k"`
	MinP             *float64 `json:"min_p"`
	Seed             *int64   `json:"seed"`
	Stop             llmTexts `json:"stop"`
	PresencePenalty  *float64 `json:"presence_penalty"`
	FrequencyPenalty *float64 `json:"frequency_penalty"`
	RepeatPenalty    *float64 `json:"repeat_penalty"`
	Mirostat         *int     `json:"mirostat"`
	MirostatTau      *float64 `json:"mirostat_tau"`
	MirostatEta      *float64 `json:"mirostat_eta"`
	NumCtx           *int     `json:"num_ctx"`

	Tools      json.RawMessage            `json:"tools"`
	ToolChoice json.RawMessage            `json:"tool_choice"`
	Format     json.RawMessage            `json:"format"`  // "json" or a JSON Schema
	Options    map[string]json.RawMessage `json:"options"` // of the server's own
	KeepAlive  json.RawMessage            `json:"keep_alive"`
}

// llmMessage is one turn of a conversation.
type llmMessage struct {
	Role       string        `json:"role"`
	Content    llmText       `json:"content"`
	Images     llmImages     `json:"images"`
	ToolCalls  []llmToolCall `json:"tool_calls"`
	ToolCallID string        `json:"tool_call_id"`
	ToolName   string        `json:"tool_name"`
}

// llmToolCall is the model's wish to have a tool called.
type llmToolCall struct {
	ID       string          `json:"id"`
	Type     string          `json:"type"`
	Function llmToolFunction `json:"function"`
}

type llmToolFunction struct {
	Name string `json:"name"`
	// Arguments are an object; a string only if the model wrote no JSON.
	Arguments json.RawMessage `json:"arguments"`
}

// llmParameters is the object that a task gives.
type llmParameters struct {
	Model      string       `json:"model"`
	Messages   []llmMessage `json:"messages"`
	Prompt     llmText      `json:"prompt"`
	System     llmText      `json:"system"`
	Input      llmTexts     `json:"input"`
	FilePath   string       `json:"file_path"`
	Files      []string     `json:"files"`
	ImagePath  string       `json:"image_path"`
	ImagePaths []string     `json:"image_paths"`
	Images     llmImages    `json:"images"`
	llmSampling
}

// readLLM makes a call's request. A model that the task doesn't name is
// fallback's. Its errors are the task's own: parameters or files.
func readLLM(call Call, fallback string) (*llmRequest, error) {
	var p llmParameters
	if err := readParameters(call, &p); err != nil {
		return nil, err
	}
	r := &llmRequest{Method: call.Method, Model: p.Model, Messages: p.Messages,
		Prompt: string(p.Prompt), System: string(p.System), Images: p.Images, llmSampling: p.llmSampling}
	if r.Method == "llm/generate" {
		r.Method = "llm/complete"
	}
	if r.Model == "" {
		r.Model = fallback
	}
	if r.Method == "llm/embed" {
		r.Inputs, r.Many = p.Input.List, p.Input.Many
		if r.Prompt != "" {
			r.addInput(r.Prompt)
		}
	}
	if err := r.addFiles(call, &p); err != nil {
		return nil, err
	}
	if err := r.settle(); err != nil {
		return nil, err
	}
	r.Idle = call.IdleTimeout
	return r, r.promise(call.OutputSchema)
}

// settle gives the images to the message they belong to, turns a chat's bare
// prompt into a message, and refuses what would ask the model for nothing.
func (r *llmRequest) settle() error {
	switch r.Method {
	case "llm/embed":
		if len(r.Images) > 0 {
			return protocols.Errorf(protocols.TaskParameterError, "llm/embed takes texts, not images")
		}
		if len(r.Inputs) == 0 {
			return r.missing("input")
		}
		return nil
	case "llm/chat", "llm/vision", "llm/complete":
	default:
		return protocols.Errorf(protocols.MethodNotSupported, "llm/v1 has no method %s", r.Method)
	}
	if r.Method == "llm/vision" {
		if !r.hasImage() {
			return r.missing("image (image_path, image_paths or images)")
		}
		if len(r.Messages) == 0 && r.Prompt == "" {
			r.Prompt = "Describe this image"
		}
	}
	if len(r.Messages) == 0 && r.Prompt == "" {
		if r.Method == "llm/chat" {
			return r.missing("messages")
		}
		return r.missing("prompt")
	}
	if r.Method == "llm/chat" || len(r.Messages) > 0 {
		r.converse()
	}
	return nil
}

// addInput adds a text to embed.
func (r *llmRequest) addInput(text string) {
	r.Many = r.Many || len(r.Inputs) > 0
	r.Inputs = append(r.Inputs, text)
}

// converse moves prompt, system and images into the messages.
func (r *llmRequest) converse() {
	if r.Prompt != "" {
		r.Messages = append(r.Messages, llmMessage{Role: "user", Content: llmText(r.Prompt)})
	}
	if len(r.Images) > 0 {
		m := r.lastUserMessage()
		m.Images = append(m.Images, r.Images...)
	}
	if r.System != "" {
		r.Messages = append([]llmMessage{{Role: "system", Content: llmText(r.System)}}, r.Messages...)
	}
	r.Prompt, r.System, r.Images = "", "", nil
}

// lastUserMessage returns the last message of the user's, an added one if
// there is none.
func (r *llmRequest) lastUserMessage() *llmMessage {
	for i := len(r.Messages) - 1; i >= 0; i-- {
		if r.Messages[i].Role == "user" {
			return &r.Messages[i]
		}
	}
	r.Messages = append(r.Messages, llmMessage{Role: "user"})
	return &r.Messages[len(r.Messages)-1]
}

func (r *llmRequest) hasImage() bool {
	if len(r.Images) > 0 {
		return true
	}
	for _, m := range r.Messages {
		if len(m.Images) > 0 {
			return true
		}
	}
	return false
}

func (r *llmRequest) missing(what string) error {
	return protocols.Errorf(protocols.TaskParameterError, "%s has no %s", r.Method, what)
}

// llmText is text that may have been written as any JSON value: a reference
// that is the whole of a parameter keeps its type, and a model reads text.
type llmText string

// UnmarshalJSON takes a string as it is, null as nothing, the rest as JSON.
func (t *llmText) UnmarshalJSON(b []byte) error {
	var s string
	switch b[0] {
	case 'n':
		return nil
	case '"':
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	default:
		var compact bytes.Buffer
		if err := json.Compact(&compact, b); err != nil {
			return err
		}
		s = compact.String()
	}
	*t = llmText(s)
	return nil
}

// llmTexts is one text or a list of them.
type llmTexts struct {
	List []string
	Many bool // written as a list
}

// UnmarshalJSON takes a list or a single value.
func (t *llmTexts) UnmarshalJSON(b []byte) error {
	if b[0] == 'n' {
		return nil
	}
	if b[0] != '[' {
		var one llmText
		err := json.Unmarshal(b, &one)
		t.List = []string{string(one)}
		return err
	}
	var many []llmText
	if err := json.Unmarshal(b, &many); err != nil {
		return err
	}
	t.Many = true
	for _, one := range many {
		t.List = append(t.List, string(one))
	}
	return nil
}

// readParameters reads a call's parameters into p.
func readParameters(call Call, p any) error {
	if len(call.Parameters) == 0 {
		return nil
	}
	err := json.Unmarshal(call.Parameters, p)
	if err == nil {
		return nil
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return protocols.Errorf(protocols.TaskParameterError, "parameter %s of %s can't be %s",
			wrong.Field, call.Method, protocols.Misfit(wrong))
	}
	return protocols.Errorf(protocols.TaskParameterError, "parameters of %s: %v", call.Method, err)
}

// encode writes v as JSON, leaving <, > and & as they are.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("write result: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// endedError says that ctx ended, and how.
func endedError(ctx context.Context) *protocols.Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return protocols.Errorf(protocols.TaskTimeout, "the time for it was over")
	}
	return protocols.Errorf(protocols.TaskCancelled, "cancelled")
}
