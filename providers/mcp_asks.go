//lint:file-ignore SA1019 servers of earlier revisions ask for samples and roots, and go on doing so

package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// This file is about what a server may ask of us: something of a person
// (elicitation), something of a model (sampling), and which folders concern it
// (roots). What the configuration doesn't allow is not claimed.

// sampleTokens is how long a model's answer to a server may be, unless
// max_tokens says it.
const sampleTokens = 4096

// callKey finds the call in the context of what it asks its server.
type callKey struct{}

// elicit has a person answer the server. An address to be opened elsewhere is
// declined: nobody could tell when that is done.
func (l *mcpLink) elicit(ctx context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
	if r.Params.Mode == "url" {
		return &mcp.ElicitResult{Action: string(Decline)}, nil
	}
	call, ctx, done, err := l.asker(ctx)
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	if call == nil {
		return &mcp.ElicitResult{Action: string(Cancel)}, nil
	}
	defer done()
	q := Question{Message: r.Params.Message, From: "MCP server " + l.server}
	if r.Params.RequestedSchema != nil {
		if q.Schema, err = json.Marshal(r.Params.RequestedSchema); err != nil {
			return nil, err
		}
	}
	answer, err := call.host.Ask(ctx, q)
	if err != nil && ctx.Err() != nil { // the call is over, and nobody decides any more
		return &mcp.ElicitResult{Action: string(Cancel)}, nil
	}
	if err != nil {
		return nil, err
	}
	result := &mcp.ElicitResult{Action: string(answer.Action)}
	if answer.Action == Accept && len(answer.Content) > 0 {
		err = json.Unmarshal(answer.Content, &result.Content)
	}
	return result, err
}

// sample has a model answer the server.
func (l *mcpLink) sample(ctx context.Context, s *mcpServer, r *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	call, ctx, done, err := l.asker(ctx)
	if err != nil {
		return nil, err
	}
	if call == nil {
		return nil, fmt.Errorf("a model is asked on behalf of a call, and none is under way")
	}
	defer done()
	parameters, err := s.sampleParameters(r.Params)
	if err != nil {
		return nil, err
	}
	call.host.Progress(Progress{Message: "MCP server " + l.server + " asks " + s.sampler.provider})
	raw, err := call.host.Sample(ctx, Sample{Provider: s.sampler.provider, Parameters: parameters})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Response, Model string
		FinishReason    string `json:"finish_reason"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, err
	}
	return &mcp.CreateMessageResult{Role: "assistant", Model: answer.Model, Content: &mcp.TextContent{Text: answer.Response},
		StopReason: stopReason(answer.FinishReason)}, nil
}

// stopReason is the protocol's word for why an answer ended.
func stopReason(finish string) string {
	switch finish {
	case "stop":
		return "endTurn"
	case "length":
		return "maxTokens"
	}
	return finish
}

// sampler is the model's provider that a server may ask.
type sampler struct {
	provider string   // "": none
	models   []string // that it has
}

// sampleParameters are those of llm/chat for what a server asks.
func (s *mcpServer) sampleParameters(p *mcp.CreateMessageParams) (json.RawMessage, error) {
	most := int64(orElse(s.config.MaxTokens, sampleTokens))
	if p.MaxTokens > 0 {
		most = min(most, p.MaxTokens)
	}
	chat := map[string]any{"max_tokens": most}
	var messages []promptMessage
	for _, m := range p.Messages {
		raw, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		var part promptPart
		if err := json.Unmarshal(raw, &part); err != nil {
			return nil, err
		}
		message, fits := part.message()
		if !fits {
			return nil, fmt.Errorf("a model can't be given %s", part.Content.Type)
		}
		messages = append(messages, message)
	}
	chat["messages"] = messages
	if p.SystemPrompt != "" {
		chat["system"] = p.SystemPrompt
	}
	if p.Temperature > 0 {
		chat["temperature"] = min(p.Temperature, 2)
	}
	if len(p.StopSequences) > 0 {
		chat["stop"] = p.StopSequences
	}
	if model := s.sampler.preferred(p.ModelPreferences); model != "" {
		chat["model"] = model
	}
	return encode(chat)
}

// preferred is the first of the provider's models that a hint is part of, "" if
// there is none: then it is the provider's own.
func (s sampler) preferred(p *mcp.ModelPreferences) string {
	if p == nil {
		return ""
	}
	for _, hint := range p.Hints {
		i := slices.IndexFunc(s.models, func(model string) bool { return hint.Name != "" && strings.Contains(model, hint.Name) })
		if i >= 0 {
			return s.models[i]
		}
	}
	return ""
}

// sampler is the provider that the server may ask, of those that are
// configured: the one that it names, else the first of them.
func (c Config) sampler(m MCPServer) (sampler, error) {
	name, named := m.Sampling.(string)
	if allowed, _ := m.Sampling.(bool); !named && !allowed {
		return sampler{}, nil
	}
	var models []string
	for _, p := range c.List() {
		if p.Protocol != "llm/v1" {
			continue
		}
		if !named || p.Name == name {
			return sampler{p.Name, p.Models}, nil
		}
		models = append(models, p.Name)
	}
	return sampler{}, fmt.Errorf("sampling: no provider %q of a language model%s", name, choices(name, models))
}

// roots are the folders that the server is told of.
func (m MCPServer) roots() (roots []*mcp.Root) {
	for _, dir := range m.Roots {
		path := filepath.ToSlash(dir)
		if !strings.HasPrefix(path, "/") {
			path = "/" + path // a drive
		}
		roots = append(roots, &mcp.Root{URI: (&url.URL{Scheme: "file", Path: path}).String(), Name: filepath.Base(dir)})
	}
	return roots
}

// asksProblems names what is wrong with what the server may ask.
func (m MCPServer) asksProblems() (problems []string) {
	switch m.Sampling.(type) {
	case nil, bool, string:
	default:
		problems = append(problems, "sampling: must be true, or the name of a provider of language models")
	}
	if m.MaxTokens < 0 || m.MaxTokens > 0 && (m.Sampling == nil || m.Sampling == false) {
		problems = append(problems, fmt.Sprintf("max_tokens: %d: must be at least 1, and goes with sampling", m.MaxTokens))
	}
	return problems
}

// asks are the handlers of what the server may ask, and the capabilities that
// we claim with them.
func (l *mcpLink) asks(s *mcpServer, o *mcp.ClientOptions) {
	if e := s.config.Elicitation; e == nil || *e {
		o.ElicitationHandler = l.elicit
		o.Capabilities.Elicitation = &mcp.ElicitationCapabilities{Form: &mcp.FormElicitationCapabilities{}}
	}
	if s.sampler.provider != "" {
		o.Capabilities.Sampling = &mcp.SamplingCapabilities{}
		o.CreateMessageHandler = func(ctx context.Context, r *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			return l.sample(ctx, s, r)
		}
	}
	if len(s.config.Roots) > 0 {
		o.Capabilities.RootsV2 = &mcp.RootCapabilities{}
	}
}
