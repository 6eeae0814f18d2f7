package providers

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"gleitzeit/protocols"
)

// anthropic is the form of Anthropic's messages API, at Anthropic or whoever
// else serves it. It differs from OpenAI's in that the system's message stands
// apart, turns are made of blocks, and the length of the answer has to be
// bounded.
type anthropic struct{ server *llmServer }

// What is asked when neither task nor configuration says otherwise.
const (
	anthropicURL       = "https://api.anthropic.com"
	anthropicVersion   = "2023-06-01"
	anthropicMaxTokens = 4096
)

// newAnthropic makes the provider for the server at c.URL, which needs no /v1.
// It doesn't connect.
func newAnthropic(name string, c ProviderConfig, d deps) (Provider, error) {
	address := c.URL
	if address == "" {
		address = anthropicURL
		if c.KeyEnv == "" {
			c.KeyEnv = "ANTHROPIC_API_KEY"
		}
	}
	if c.KeyHeader == "" {
		c.KeyHeader = "x-api-key"
	}
	server, err := newLLMServer(name, "Anthropic server", address, c, d)
	if err != nil {
		return nil, err
	}
	server.base.Path = strings.TrimSuffix(server.base.Path, "/v1")
	return &llmProvider{server, c, &anthropic{server}}, nil
}

func (a *anthropic) fallback(string) string { return "" }

func (a *anthropic) refuse(r *llmRequest) error {
	if r.Method == "llm/embed" {
		return protocols.Errorf(protocols.MethodNotSupported,
			"an Anthropic server makes no embeddings; name another provider for llm/embed")
	}
	return r.llmSampling.refuse(a.server.kind, anthropicSampling)
}

// showsSchema: a schema is shown as that of a tool which the model has to
// call; that the answer be any JSON has to be said in words.
func (a *anthropic) showsSchema(r *llmRequest) bool { return hasSchema(r.Format) }

func hasSchema(format json.RawMessage) bool { return len(format) > 0 && format[0] == '{' }

// explain says what a 404 may mean.
func (a *anthropic) explain(r *llmRequest, refusal *llmRefusal) *protocols.Error {
	if refusal.status != http.StatusNotFound {
		return refusal.err
	}
	return &protocols.Error{Code: refusal.err.Code, Data: refusal.err.Data,
		Message: refusal.err.Message + " (model \"" + r.Model + "\"; list them with: gleitzeit provider models " + a.server.provider + ")"}
}

// header adds the version of the API to a request's headers.
func (a *anthropic) header(h http.Header) http.Header {
	h = h.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Anthropic-Version", anthropicVersion)
	return h
}

func (a *anthropic) ask(ctx context.Context, r *llmRequest, header http.Header, answer *llmAnswer) error {
	if len(r.Messages) == 0 {
		r.converse()
	}
	if len(r.Format) > 0 && r.Schema == nil && !hasSchema(r.Format) {
		r.instruct()
	}
	stream, err := a.server.post(ctx, llmPost{"/v1/messages", anthropicBody(r), a.header(header), r.Model, r.Idle, true})
	if err != nil {
		return err
	}
	defer stream.Close()
	return anthropicRead(stream, answer, r.Format)
}

func (a *anthropic) embed(context.Context, *llmRequest, http.Header) (*llmVectors, error) {
	panic("embed: refused before") // by refuse
}

// look asks for the list of models.
func (a *anthropic) look(ctx context.Context) (*llmLook, error) {
	return modelList(ctx, a.server, "/v1/models?limit=1000", a.header(nil))
}

// anthropicBody puts llm/v1's own parameters over the server's options.
func anthropicBody(r *llmRequest) map[string]any {
	body := map[string]any{"max_tokens": anthropicMaxTokens}
	for k, v := range r.Options {
		body[k] = v
	}
	system, turns := anthropicTurns(r.Messages)
	body["model"], body["messages"], body["stream"] = r.Model, turns, true
	if system != "" {
		body["system"] = system
	}
	r.put(body, anthropicSampling)
	tools := anthropicTools(r.Tools)
	if hasSchema(r.Format) {
		tools = append(tools, answerTool(r.Format))
	}
	if len(tools) > 0 {
		body["tools"] = tools
	}
	if choice := anthropicChoice(r); choice != nil {
		body["tool_choice"] = choice
	}
	return body
}

// anthropicTools turns tools in OpenAI's form into Anthropic's, and takes
// those in Anthropic's own as they are.
func anthropicTools(raw json.RawMessage) []any {
	var tools []json.RawMessage
	_ = json.Unmarshal(raw, &tools) // a list, by the specification
	var all []any
	for _, tool := range tools {
		var d struct {
			Function *struct {
				Name        string          `json:"name"`
				Description string          `json:"description,omitempty"`
				Parameters  json.RawMessage `json:"parameters"`
			} `json:"function"`
		}
		if json.Unmarshal(tool, &d) != nil || d.Function == nil {
			all = append(all, tool)
			continue
		}
		one := map[string]any{"name": d.Function.Name, "input_schema": json.RawMessage(`{"type":"object"}`)}
		if d.Function.Description != "" {
			one["description"] = d.Function.Description
		}
		if len(d.Function.Parameters) > 0 {
			one["input_schema"] = d.Function.Parameters
		}
		all = append(all, one)
	}
	return all
}

// anthropicChoice says which tool the model must call: with a schema one of
// its tools, of which the answer is one.
func anthropicChoice(r *llmRequest) any {
	var word string
	if json.Unmarshal(r.ToolChoice, &word) == nil {
		switch {
		case word == "required":
			return map[string]string{"type": "any"}
		case word != "" && !hasSchema(r.Format):
			return map[string]string{"type": word} // auto, any, none
		}
	} else if len(r.ToolChoice) > 0 {
		var d struct {
			Function struct {
				Name string `json:"name"`
			} `json:"function"`
		}
		if json.Unmarshal(r.ToolChoice, &d) == nil && d.Function.Name != "" {
			return map[string]string{"type": "tool", "name": d.Function.Name}
		}
		return r.ToolChoice
	}
	switch {
	case !hasSchema(r.Format):
		return nil
	case len(r.Tools) > 0 && word != "none":
		return map[string]string{"type": "any"}
	}
	return map[string]string{"type": "tool", "name": answerName}
}

// answerName is the tool by which the model gives an answer that has a schema.
const answerName = "give_answer"

// answerTool is that tool. Its input has to be a map: any other answer is
// wrapped in one, and wrapped says so.
func answerTool(schema json.RawMessage) any {
	if wrapped(schema) {
		var d struct {
			Definitions json.RawMessage `json:"$defs,omitempty"`
		}
		_ = json.Unmarshal(schema, &d)
		outer := map[string]any{"type": "object", "required": []string{"value"},
			"properties": map[string]any{"value": schema}}
		if d.Definitions != nil {
			outer["$defs"] = d.Definitions
		}
		schema, _ = encode(outer) // it was JSON before
	}
	return map[string]any{"name": answerName, "description": "Gives the answer.", "input_schema": schema}
}

// wrapped tells whether a schema is not that of a map.
func wrapped(schema json.RawMessage) bool {
	var d struct {
		Type json.RawMessage `json:"type"`
	}
	return json.Unmarshal(schema, &d) != nil || string(d.Type) != `"object"`
}
