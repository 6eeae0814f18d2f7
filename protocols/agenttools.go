package protocols

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// This file is what an agent's model may call, and what it asks for.

// tool is one that the model knows.
type tool struct {
	form        int
	server      string // that a call has to name, "" for none
	name        string // what its server calls it
	description string
	schema      json.RawMessage
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
