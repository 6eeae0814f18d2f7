package protocols

import (
	"encoding/json"
	"fmt"
	"strings"
)

// This file is what an agent's model is told: the conversation so far.

// turn is what matters of a model's answer.
type turn struct {
	Content      string          `json:"content"`
	ToolCalls    []wanted        `json:"tool_calls"`
	FinishReason string          `json:"finish_reason"`
	Usage        agentUsage      `json:"usage"`
	Parsed       json.RawMessage `json:"parsed"`
}

// message is one of a conversation, in the form of llm/chat.
type message struct {
	Role       string   `json:"role"`
	Content    string   `json:"content"`
	ToolCalls  []wanted `json:"tool_calls,omitempty"`
	ToolCallID string   `json:"tool_call_id,omitempty"`
	ToolName   string   `json:"tool_name,omitempty"`
}

// messages are what the task begins with, and what has been said since.
func (v *Conversation) messages(parameters json.RawMessage) (all []any, err *Error) {
	var given struct {
		Messages []json.RawMessage `json:"messages"`
		Prompt   json.RawMessage   `json:"prompt"`
	}
	if json.Unmarshal(parameters, &given) != nil {
		return nil, Errorf(TaskParameterError, "the parameters of %s are not an object", AgentMethod)
	}
	for _, m := range given.Messages {
		all = append(all, m)
	}
	if prompt := given.Prompt; len(prompt) > 0 || len(all) == 0 {
		text := rawText(prompt)
		if len(prompt) > 0 && kindOf(prompt) != stringKind {
			text = string(compact(prompt))
		}
		all = append(all, message{Role: "user", Content: text}) // files and images are put to it
	}
	for i, s := range v.Steps {
		if s.Form > AnswerForm {
			continue
		}
		t, err := read(s)
		if err != nil {
			return nil, err
		}
		if len(t.ToolCalls) == 0 {
			if t.Content != "" {
				all = append(all, message{Role: "assistant", Content: t.Content})
			}
			continue
		}
		for k := range t.ToolCalls {
			t.ToolCalls[k].ID = fmt.Sprintf("call_%d_%d", s.Turn, k) // theirs need not differ
			t.ToolCalls[k].Type = "function"
		}
		all = append(all, message{Role: "assistant", Content: t.Content, ToolCalls: t.ToolCalls})
		for k, w := range t.ToolCalls {
			all = append(all, message{Role: "tool", ToolCallID: w.ID, ToolName: w.Function.Name, Content: v.told(i, k, w)})
		}
	}
	return all, nil
}

// read reads what a turn came to.
func read(s AgentStep) (t turn, err *Error) {
	if len(s.Result) == 0 || json.Unmarshal(s.Result, &t) != nil {
		return t, Errorf(TaskResultInvalid, "what the model said in turn %d can't be read", s.Turn)
	}
	return t, nil
}

// told is what the model is told of a call that it asked for in the turn at
// step i.
func (v *Conversation) told(i, call int, w wanted) string {
	for _, s := range v.Steps[i+1:] {
		if _, is := ToolOf(s.Form); !is || s.Turn != v.Steps[i].Turn || s.Call != call {
			continue
		}
		switch {
		case s.Status == "completed":
			return cut(toolText(s.Result), v.Task.Agent.MaxToolOutput)
		case s.Error != nil:
			return cut("Error: "+s.Error.Message, v.Task.Agent.MaxToolOutput)
		}
		return "Error: the call was " + s.Status
	}
	if _, why := v.allowed(call, w); why != "" {
		return "Error: " + why
	}
	return "Error: the tool was not called"
}

// toolText is a tool's answer as text: what a reference to the whole of it
// would mean. Pictures and the like are only named.
func toolText(result json.RawMessage) string {
	value := bare(result)
	switch kindOf(value) {
	case stringKind:
		return rawText(value)
	case listKind:
		if text, ok := contentText(value); ok {
			return text
		}
	case nullKind:
		return ""
	}
	return string(compact(value))
}

// contentText is the text of a list of MCP content some of which isn't text.
func contentText(list json.RawMessage) (string, bool) {
	var parts []struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		MIMEType string `json:"mimeType"`
		Data     string `json:"data"`
	}
	if json.Unmarshal(list, &parts) != nil {
		return "", false
	}
	var texts []string
	for _, p := range parts {
		switch {
		case p.Type == "":
			return "", false
		case p.Data != "":
			p.Text = fmt.Sprintf("[%s, %s]", p.Type, p.MIMEType)
		}
		texts = append(texts, p.Text)
	}
	return strings.Join(texts, "\n"), true
}

// cut shortens a text to so many bytes, and says so.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + fmt.Sprintf("\n[%d more bytes are left out]", len(text)-most)
}
