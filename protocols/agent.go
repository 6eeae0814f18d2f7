package protocols

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// This file says what an agent is: a model that may call tools until it knows
// its answer, in steps that are tasks of their own. agentloop.go says what
// follows from what.

// AgentMethod is the method whose tasks are carried out in steps: turns of a
// model, and the calls of tools that it asks for.
const AgentMethod = "llm/agent"

// Agent is what a task with AgentMethod has beside the parameters of its model.
type Agent struct {
	// MaxTurns bounds the turns of the model.
	MaxTurns int `json:"max_turns"`
	// MaxParallel bounds the tools that one turn has called at once, zero means
	// no bound.
	MaxParallel int `json:"max_parallel,omitempty"`
	// FailOnToolError lets a failed tool fail the task. Else the model is told.
	FailOnToolError bool `json:"fail_on_tool_error,omitempty"`
	// MaxToolOutput is how much of a tool's answer the model is told, in bytes.
	MaxToolOutput int         `json:"max_tool_output"`
	Tools         []AgentTool `json:"tools,omitempty"`
}

// AgentTool is a tool, or the tools of an MCP server.
type AgentTool struct {
	// Server is the MCP server, "" for all that are configured. It counts only
	// without a Call.
	Server string `json:"server,omitempty"`
	// Only names those of its tools that the model may call; empty: all.
	Only []string `json:"only,omitempty"`

	// Name is what the model calls a tool that is a Call, and Description what
	// it is told of it.
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	// Arguments is the JSON Schema of what the model gives; Call's parameters
	// refer to it as args.
	Arguments json.RawMessage `json:"arguments,omitempty"`
	// Call is what is called: a task of which only Protocol, Method, Provider,
	// Parameters and Literal count.
	Call *Task `json:"call,omitempty"`
}

// The bounds of an agent.
const (
	defaultTurns      = 10
	mostTurns         = 1000
	defaultToolOutput = 64 << 10
	mostTools         = 128
	// MaxToolCalls is how many tools one turn may call.
	MaxToolCalls = 64
)

// withArguments returns names in which args means what a model gave a tool.
func (n *names) withArguments() *names {
	m := *n
	m.args = true
	return &m
}

// The forms of an agent's steps: two for the turns, and two for every tool.
const (
	TurnForm   = 0 // a turn of the model, which may call tools
	AnswerForm = 1 // the answer in the form that output_schema wants, without tools
)

// ListForm is the form of asking a server for its tools.
func ListForm(tool int) int { return 2 + 2*tool }

// CallForm is the form of calling a tool.
func CallForm(tool int) int { return 3 + 2*tool }

// ToolOf returns the tool that a form is of, and whether it is that of a call;
// -1 for a turn.
func ToolOf(form int) (tool int, call bool) {
	if form < 2 {
		return -1, false
	}
	return (form - 2) / 2, form%2 == 1
}

// AgentForms returns what the steps of an agent are as tasks, by their forms;
// nil for a form that no step has. They have what the task says of time, crash,
// retries and limits.
func (t *Task) AgentForms() []*Task {
	turn := *t
	turn.Agent, turn.If, turn.Foreach, turn.Repeat, turn.Cache, turn.OutputSchema = nil, nil, nil, nil, nil, nil
	turn.Method, turn.Literal, turn.ContinueOnError = "llm/chat", false, false
	answer := turn
	answer.OutputSchema = t.OutputSchema
	forms := []*Task{&turn, &answer}
	for _, tool := range t.Agent.Tools {
		list, call := turn, turn
		call.References = t.References
		if tool.Call != nil {
			call.Protocol, call.Method, call.Provider, call.Fallbacks = tool.Call.Protocol, tool.Call.Method, tool.Call.Provider, tool.Call.Fallbacks
			call.Parameters = tool.Call.Parameters
			forms = append(forms, nil, &call)
			continue
		}
		list.Protocol, list.Method, list.Provider, list.Fallbacks = "mcp/v1", "mcp/tools/list", tool.Server, nil
		call.Protocol, call.Method, call.Provider, call.Fallbacks = "mcp/v1", "mcp/call_tool", tool.Server, nil
		list.Parameters, call.Parameters = json.RawMessage("{}"), json.RawMessage("{}")
		forms = append(forms, &list, &call)
	}
	return forms
}

// checkAgent refuses what no Compile can have made.
func (w *Workflow) checkAgent(t *Task) error {
	if (t.Agent != nil) != (t.Method == AgentMethod) {
		return fmt.Errorf("it is half an agent")
	}
	if t.Agent == nil {
		return nil
	}
	for i, tool := range t.Agent.Tools {
		if tool.Call != nil && kindOf(tool.Call.Parameters) != mapKind {
			return fmt.Errorf("the parameters of tool %d are not an object", i)
		}
	}
	return nil
}

// SubstituteTool fills in the references of the parameters of a tool that is a
// call, as Substitute does for a task; s.Args is what the model gave.
func SubstituteTool(w *Workflow, task, tool int, s *Scope, r *Registry) (*Substituted, *Error) {
	t := w.Tasks[task]
	call := t.Agent.Tools[tool].Call
	if call.Literal {
		return &Substituted{Parameters: call.Parameters}, nil
	}
	tmpl, err := w.toolTemplate(task, tool, r)
	if err != nil {
		return nil, Errorf(TaskParameterError, "task %s: %v", t.ID, err)
	}
	f := w.filler(s, t)
	f.what = "the tool " + t.Agent.Tools[tool].Name
	params, failed := f.fill(tmpl)
	if failed != nil {
		return nil, failed
	}
	return &Substituted{Parameters: params, Bindings: f.bindings}, nil
}

func (w *Workflow) toolTemplate(task, tool int, r *Registry) (*template, error) {
	key := restKey{task, "tool " + strconv.Itoa(tool)}
	all := w.templates()
	if t, ok := all.rest.Load(key); ok {
		return t.(*template), nil
	}
	call := w.Tasks[task].Agent.Tools[tool].Call
	source, err := sourceOf(call.Method, r)
	if err != nil {
		return nil, err
	}
	t, err := newTemplate(call.Parameters, w.namesIn(task).withArguments(), source)
	if err != nil {
		return nil, err
	}
	kept, _ := all.rest.LoadOrStore(key, t)
	return kept.(*template), nil
}

// toolSecrets notes the secrets that the calls of an agent's tools need.
func (w *Workflow) toolSecrets(task int, r *Registry, names map[string]bool) error {
	if w.Tasks[task].Agent == nil {
		return nil
	}
	for i, tool := range w.Tasks[task].Agent.Tools {
		if tool.Call == nil || tool.Call.Literal || tool.Call.Protocol == waitProtocol || tool.Call.Protocol == workflowProtocol {
			continue
		}
		tmpl, err := w.toolTemplate(task, i, r)
		if err != nil {
			return err
		}
		for _, p := range tmpl.parts {
			w.noteSecret(p.ref, names)
		}
	}
	return nil
}
