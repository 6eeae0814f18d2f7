package providers

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/protocols"
)

// This file lists the prompts of servers, and turns one into messages for a
// model.

// listPrompts describes the prompts of the servers that are meant.
func (m *mcpProvider) listPrompts(ctx context.Context, server string) (json.RawMessage, error) {
	prompts, err := m.everywhere(ctx, server, (*mcpLink).prompts)
	if err != nil {
		return nil, err
	}
	return encode(map[string]any{"prompts": described(prompts)})
}

// getPrompt has a server fill in a prompt.
func (m *mcpProvider) getPrompt(ctx context.Context, p mcpParameters, host Host) (json.RawMessage, error) {
	arguments, err := promptArguments(p)
	if err != nil {
		return nil, err
	}
	s, err := m.holder(ctx, p.Server, "prompt", p.Name, "name", (*mcpLink).prompts)
	if err != nil {
		return nil, err
	}
	return s.do(ctx, func(l *mcpLink) (json.RawMessage, error) {
		raw, err := l.ask(ctx, "prompt "+p.Name, host, func(ctx context.Context, token string) (any, error) {
			params := &mcp.GetPromptParams{Name: p.Name, Arguments: arguments}
			params.SetMeta(mcp.Meta{"progressToken": token})
			return l.session.GetPrompt(ctx, params)
		})
		if err != nil {
			return nil, err
		}
		return promptResult(l.server, p.Name, raw)
	})
}

// prompts lists the server's prompts.
func (l *mcpLink) prompts(ctx context.Context) ([]json.RawMessage, error) {
	if c := l.session.InitializeResult().Capabilities; c != nil && c.Prompts == nil {
		return nil, nil
	}
	return l.listed(ctx, "prompts/list", "prompts", func(ctx context.Context, cursor string) (any, error) {
		return l.session.ListPrompts(ctx, &mcp.ListPromptsParams{Cursor: cursor})
	})
}

// promptArguments are texts, as the protocol wants it: anything else goes as
// its JSON.
func promptArguments(p mcpParameters) (map[string]string, error) {
	var given map[string]json.RawMessage
	if len(p.Arguments) > 0 && json.Unmarshal(p.Arguments, &given) != nil {
		return nil, protocols.Errorf(protocols.TaskParameterError, "arguments of prompt %s: must be a map", p.Name)
	}
	arguments := map[string]string{}
	for name, raw := range given {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		arguments[name] = text
	}
	return arguments, nil
}

// promptMessage is a message as llm/chat takes it.
type promptMessage struct {
	Role    string   `json:"role"`
	Content string   `json:"content"`
	Images  []string `json:"images,omitempty"` // base64
}

// promptPart is a message as a server sends it.
type promptPart struct {
	Role    string `json:"role"`
	Content struct {
		Type     string          `json:"type"`
		Text     string          `json:"text"`
		Data     string          `json:"data"`
		URI      string          `json:"uri"`
		Resource resourceContent `json:"resource"`
	} `json:"content"`
}

// message turns it into one for a model. It reports false for what a model
// can't be given: sound, and bytes that are no picture.
func (p promptPart) message() (promptMessage, bool) {
	m := promptMessage{Role: p.Role}
	switch p.Content.Type {
	case "text":
		m.Content = p.Content.Text
	case "image":
		m.Images = []string{p.Content.Data}
	case "resource_link":
		m.Content = p.Content.URI
	case "resource":
		switch part := p.Content.Resource.part(); part.Type {
		case "text":
			m.Content = part.Text
		case "image":
			m.Images = []string{part.Data}
		default:
			return m, false
		}
	default:
		return m, false
	}
	return m, true
}

// promptResult brings a prompt into a form that a model's task can use.
func promptResult(server, prompt string, raw json.RawMessage) (json.RawMessage, error) {
	var answer struct {
		Description string            `json:"description"`
		Messages    []json.RawMessage `json:"messages"`
	}
	err := json.Unmarshal(raw, &answer)
	if err == nil && answer.Messages == nil {
		err = errors.New("it has no messages")
	}
	result := struct {
		Result      []promptMessage   `json:"result"`
		Response    string            `json:"response"`
		Messages    []promptMessage   `json:"messages"`
		Description string            `json:"description,omitempty"`
		Rest        []json.RawMessage `json:"rest,omitempty"` // messages that a model can't be given
	}{Messages: []promptMessage{}, Description: answer.Description}
	var texts []string
	for _, raw := range answer.Messages {
		var p promptPart
		if err == nil {
			err = json.Unmarshal(raw, &p)
		}
		m, fits := p.message()
		if !fits {
			result.Rest = append(result.Rest, raw)
			continue
		}
		if result.Messages = append(result.Messages, m); m.Content != "" {
			texts = append(texts, m.Content)
		}
	}
	if err != nil {
		return nil, protocols.Errorf(protocols.TaskResultInvalid, "prompt %s of MCP server %s: %v", prompt, server, err)
	}
	result.Result, result.Response = result.Messages, strings.Join(texts, "\n")
	return encode(result)
}
