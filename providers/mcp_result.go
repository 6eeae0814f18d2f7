package providers

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"gleitzeit/protocols"
)

// This file reads a tool's answer.

// toolResult brings a tool's answer into the form of language.md, "Results".
// It works on the server's own text: no number loses a digit.
func toolResult(server, tool string, raw json.RawMessage) (json.RawMessage, error) {
	var answer struct {
		Content    []json.RawMessage `json:"content"`
		Structured json.RawMessage   `json:"structuredContent"`
		IsError    bool              `json:"isError"`
	}
	err := json.Unmarshal(raw, &answer)
	if string(answer.Structured) == "null" {
		answer.Structured = nil
	}
	if err == nil && answer.Content == nil && answer.Structured == nil {
		err = errors.New("it has no content")
	}
	if err != nil {
		return nil, protocols.Errorf(protocols.TaskResultInvalid, "answer of tool %s of MCP server %s: %v", tool, server, err)
	}
	if answer.Content == nil {
		answer.Content = []json.RawMessage{}
	}
	text, spoken := contentText(answer.Content)
	if answer.IsError {
		return nil, protocols.Errorf(protocols.TaskExecutionFailed, "tool %s of MCP server %s failed: %s",
			tool, server, lastBytes(text, mcpQuoted)).With(map[string]any{"server": server, "tool": tool, "content": answer.Content})
	}
	result := struct {
		Result     any               `json:"result"`
		Response   string            `json:"response"`
		Content    []json.RawMessage `json:"content"`
		Structured json.RawMessage   `json:"structured,omitempty"`
	}{text, text, answer.Content, answer.Structured}
	switch {
	case answer.Structured != nil:
		result.Result = answer.Structured
	case !spoken && len(answer.Content) > 0:
		result.Result = answer.Content // pictures, sound, links
	case json.Valid([]byte(text)):
		result.Result = json.RawMessage(bytes.TrimSpace([]byte(text)))
	}
	return encode(result)
}

// contentText joins the texts of a content list, and tells whether there were
// any.
func contentText(content []json.RawMessage) (string, bool) {
	var texts []string
	for _, raw := range content {
		var part struct {
			Type string `json:"type"`
			Text string `json:"text"`
		}
		if json.Unmarshal(raw, &part) == nil && part.Type == "text" {
			texts = append(texts, part.Text)
		}
	}
	return strings.Join(texts, "\n"), len(texts) > 0
}
