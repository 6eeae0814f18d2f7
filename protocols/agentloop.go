package protocols

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
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

// tool is one that the model knows.
type tool struct {
	form        int
	server      string // that a call has to name, "" for none
	name        string // what its server calls it
	description string
	schema      json.RawMessage
}

// turn is what matters of a model's answer.
type turn struct {
	Content      string          `json:"content"`
	ToolCalls    []wanted        `json:"tool_calls"`
	FinishReason string          `json:"finish_reason"`
	Usage        agentUsage      `json:"usage"`
	Parsed       json.RawMessage `json:"parsed"`
}

// wanted is a call of a tool as the model asks for it.
type wanted struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"function"`
}

type agentUsage struct {
	PromptTokens     int64    `json:"prompt_tokens"`
	CompletionTokens int64    `json:"completion_tokens"`
	TotalTokens      int64    `json:"total_tokens"`
	CostUSD          *float64 `json:"cost_usd,omitempty"`
}

// learn gathers the tools: those of the task, and those that servers listed.
// One that has the name of another before it goes by its server's too.
func (v *Conversation) learn() *Error {
	if v.tools != nil {
		return nil
	}
	v.tools = map[string]tool{}
	add := func(server, name string, t tool) {
		for _, known := range []string{name, server + "_" + name} {
			known = strings.Map(func(r rune) rune {
				if r < 0x80 && toolName.MatchString(string(r)) {
					return r
				}
				return '_'
			}, known)
			if known = known[:min(len(known), 64)]; v.tools[known].form == 0 {
				v.tools[known] = t
				v.list = append(v.list, known)
				return
			}
		}
	}
	for i, t := range v.Task.Agent.Tools {
		if t.Call != nil {
			add("", t.Name, tool{CallForm(i), "", t.Name, t.Description, t.Arguments})
		}
	}
	for i, t := range v.Task.Agent.Tools {
		if t.Call != nil {
			continue
		}
		listed, err := v.listed(i, t)
		if err != nil {
			return err
		}
		for _, l := range listed {
			server := l.Server
			if t.Server != "" {
				server = ""
			}
			add(l.Server, l.Name, tool{CallForm(i), server, l.Name, l.Description, l.InputSchema})
		}
	}
	return nil
}

// listedTool is a tool as mcp/tools/list describes it.
type listedTool struct {
	Server      string          `json:"server"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	InputSchema json.RawMessage `json:"inputSchema"`
}

// listed returns the tools of an MCP server that the model may call.
func (v *Conversation) listed(i int, t AgentTool) (list []listedTool, err *Error) {
	var all struct {
		Tools []listedTool `json:"tools"`
	}
	for _, s := range v.Steps {
		if s.Form == ListForm(i) && len(s.Result) > 0 && json.Unmarshal(s.Result, &all) != nil {
			return nil, Errorf(TaskResultInvalid, "what the MCP server %s said of its tools can't be read", t.Server)
		}
	}
	if len(t.Only) == 0 {
		return all.Tools, nil
	}
	for _, name := range t.Only {
		n := slices.IndexFunc(all.Tools, func(l listedTool) bool { return l.Name == name })
		if n < 0 {
			var names []string
			for _, l := range all.Tools {
				names = append(names, l.Name)
			}
			return nil, Errorf(MethodNotFound, "the agent may call the tool %s, which no server has; %s", quoted(name), thereAre(names))
		}
		list = append(list, all.Tools[n])
	}
	return list, nil
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

// described is what the model is told of the tools, in OpenAI's form.
func (v *Conversation) described() json.RawMessage {
	if len(v.list) == 0 {
		return nil
	}
	out := []byte{'['}
	for i, name := range v.list {
		t := v.tools[name]
		if i > 0 {
			out = append(out, ',')
		}
		schema := t.schema
		if kindOf(schema) != mapKind {
			schema = json.RawMessage(`{"type":"object"}`)
		}
		out = appendString(append(out, `{"type":"function","function":{"name":`...), name)
		out = appendString(append(out, `,"description":`...), t.description)
		out = append(append(append(out, `,"parameters":`...), schema...), "}}"...)
	}
	return append(out, ']')
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

// allowed finds the tool that the model asks for, or says why it can't be
// called.
func (v *Conversation) allowed(call int, w wanted) (t tool, why string) {
	t, known := v.tools[w.Function.Name]
	if !known {
		return t, fmt.Sprintf("there is no tool %s; %s", quoted(w.Function.Name), thereAre(v.list))
	}
	if call >= MaxToolCalls {
		return t, fmt.Sprintf("a turn may call %d tools; call the others in the next", MaxToolCalls)
	}
	arguments := w.arguments()
	if kindOf(arguments) != mapKind || !json.Valid(arguments) {
		return t, "the arguments are no JSON object"
	}
	schema, err := newSchema(t.schema, nil)
	if err != nil || len(t.schema) == 0 {
		return t, "" // its server judges
	}
	var texts []string
	for _, x := range schema.check(arguments, checkOptions{what: w.Function.Name, member: "argument"}) {
		texts = append(texts, x.String())
	}
	return t, strings.Join(texts, "; ")
}

// arguments are those that the model gave; none are {}.
func (w wanted) arguments() json.RawMessage {
	raw := bytes.TrimSpace(w.Function.Arguments)
	if kindOf(raw) == stringKind { // as OpenAI has them
		raw = bytes.TrimSpace([]byte(rawText(raw)))
	}
	if len(raw) == 0 || string(raw) == "null" {
		return json.RawMessage("{}")
	}
	return raw
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

// Asked returns the name of the tool that a call is of, and the arguments that
// the model gave.
func (v *Conversation) Asked(call AgentStep) (tool string, arguments json.RawMessage, err *Error) {
	for _, s := range v.Steps {
		if s.Form > AnswerForm || s.Turn != call.Turn {
			continue
		}
		t, err := read(s)
		if err != nil {
			return "", nil, err
		}
		if call.Call < len(t.ToolCalls) {
			w := t.ToolCalls[call.Call]
			return w.Function.Name, w.arguments(), nil
		}
	}
	return "", nil, Errorf(InternalError, "turn %d asked for no call %d", call.Turn, call.Call)
}

// ServerCall makes the parameters of mcp/call_tool of a call.
func (v *Conversation) ServerCall(call AgentStep) (json.RawMessage, *Error) {
	if err := v.learn(); err != nil {
		return nil, err
	}
	name, arguments, err := v.Asked(call)
	if err != nil {
		return nil, err
	}
	t := v.tools[name]
	out := appendString([]byte(`{"name":`), t.name)
	if t.server != "" {
		out = appendString(append(out, `,"server":`...), t.server)
	}
	return append(append(append(out, `,"arguments":`...), arguments...), '}'), nil
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
