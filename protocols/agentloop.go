package protocols

import (
	"encoding/json"
	"strings"
)

// This file is an agent's loop as a pure function of what its steps came to
// (design.md, rule 10): what the model is asked next, and what its answer
// means. Nothing of it is remembered but the steps themselves.
//
//	lists of tools ─► turn 1 ─► calls ─► turn 2 ─► … ─► answer

// AgentStep is a step that has ended, and what it came to.
type AgentStep struct {
	Form   int    // which of AgentForms it is
	Turn   int    // from 1; 0 for a list of tools
	Call   int    // of a call: which of those that its turn asked for, from 0
	Status string // completed, failed, skipped, cancelled
	Result json.RawMessage
	Error  *Error
}

// Conversation is an agent's past.
type Conversation struct {
	Task  *Task
	Steps []AgentStep // in the order in which they began

	tools map[string]tool
	list  []string // their names, in the order in which the model is told
}

// AgentCall is a tool that a turn of the model has asked for.
type AgentCall struct {
	Call int    // which of those that the turn asked for
	Form int    // of the step that calls it
	Tool string // its name
}

type agentUsage struct {
	PromptTokens     int64    `json:"prompt_tokens"`
	CompletionTokens int64    `json:"completion_tokens"`
	TotalTokens      int64    `json:"total_tokens"`
	CostUSD          *float64 `json:"cost_usd,omitempty"`
}

// Request makes the parameters of a turn's call of the model from those of the
// task, filled in: the conversation so far, and the tools unless it is the
// answer that is asked for.
func (v *Conversation) Request(parameters json.RawMessage, answer bool) (json.RawMessage, *Error) {
	if err := v.learn(); err != nil {
		return nil, err
	}
	messages, err := v.messages(parameters)
	if err != nil {
		return nil, err
	}
	if answer {
		messages = append(messages, message{Role: "user", Content: "Now give your answer, as JSON."})
	}
	raw, failed := marshal(messages)
	if failed != nil {
		return nil, Errorf(TaskParameterError, "the conversation can't be written: %v", failed)
	}
	if len(raw) > maxSubstituted {
		return nil, Errorf(TaskParameterError, "the conversation has %d bytes, the limit is %d", len(raw), maxSubstituted)
	}
	request := setMember(dropMember(parameters, "prompt"), "messages", raw)
	if tools := v.described(); !answer && len(tools) > 0 {
		request = setMember(request, "tools", tools)
	}
	return request, nil
}

// Next says what the last turn leads to: calls of tools, or the task's result,
// or neither. Then there is to be another turn: the one whose form is
// AnswerForm if answer is set, for the model has spoken but not in the form
// that the task's output_schema wants.
func (v *Conversation) Next() (calls []AgentCall, result json.RawMessage, answer bool, err *Error) {
	if err := v.learn(); err != nil {
		return nil, nil, false, err
	}
	last := v.Steps[len(v.Steps)-1]
	t, err := read(last)
	if err != nil {
		return nil, nil, false, err
	}
	if len(t.ToolCalls) > 0 && last.Form == TurnForm {
		for k, w := range t.ToolCalls {
			if tool, why := v.allowed(k, w); why == "" {
				calls = append(calls, AgentCall{Call: k, Form: tool.form, Tool: w.Function.Name})
			}
		}
		return calls, nil, false, nil
	}
	if schema := v.Task.OutputSchema; len(schema) > 0 && len(t.Parsed) == 0 {
		text := json.RawMessage(strings.TrimSpace(t.Content))
		if !json.Valid(text) || CheckOutput(schema, text) != nil {
			return nil, nil, true, nil
		}
		last.Result = setMember(last.Result, "parsed", text)
	}
	result, err = v.result(last)
	return nil, result, false, err
}

// madeCall is a call of a tool as the result of an agent tells it.
type madeCall struct {
	Turn      int             `json:"turn"`
	Tool      string          `json:"tool"`
	Arguments json.RawMessage `json:"arguments"`
	Status    string          `json:"status"`
	Error     string          `json:"error,omitempty"`
}

// result is the agent's: that of its last turn, with what all turns have used
// and what tools were called.
func (v *Conversation) result(last AgentStep) (json.RawMessage, *Error) {
	var usage agentUsage
	calls := []madeCall{}
	turns := 0
	for _, s := range v.Steps {
		if s.Form <= AnswerForm {
			t, err := read(s)
			if err != nil {
				return nil, err
			}
			turns++
			usage.add(t.Usage)
		} else if _, call := ToolOf(s.Form); call {
			name, arguments, err := v.Asked(s)
			if err != nil {
				return nil, err
			}
			made := madeCall{Turn: s.Turn, Tool: name, Arguments: arguments, Status: s.Status}
			if s.Error != nil {
				made.Error = cut(s.Error.Message, 1000)
			}
			calls = append(calls, made)
		}
	}
	result := last.Result
	for _, m := range []struct {
		key   string
		value any
	}{{"usage", usage}, {"turns", turns}, {"calls", calls}} {
		raw, err := marshal(m.value)
		if err != nil {
			return nil, Errorf(TaskResultInvalid, "%s: %v", m.key, err)
		}
		result = setMember(result, m.key, raw)
	}
	return dropMember(result, "tool_calls"), nil
}

func (u *agentUsage) add(v agentUsage) {
	u.PromptTokens += v.PromptTokens
	u.CompletionTokens += v.CompletionTokens
	u.TotalTokens += v.TotalTokens
	if v.CostUSD != nil {
		sum := *v.CostUSD
		if u.CostUSD != nil {
			sum += *u.CostUSD
		}
		u.CostUSD = &sum
	}
}

// dropMember returns the JSON object raw without the member.
func dropMember(raw json.RawMessage, key string) json.RawMessage {
	out := []byte{'{'}
	eachMember(raw, func(k, v json.RawMessage) bool {
		if !sameString(k, key) {
			if len(out) > 1 {
				out = append(out, ',')
			}
			out = append(append(append(out, k...), ':'), v...)
		}
		return true
	})
	return append(out, '}')
}
