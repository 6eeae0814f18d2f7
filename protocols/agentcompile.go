package protocols

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// This file compiles llm/agent: what is its own of the parameters, and its tools.

// toolName is what every model's server takes as the name of a tool.
var toolName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// agentParameters are those that are the agent's own and not its model's.
var agentParameters = []string{"tools", "max_turns", "max_parallel", "on_tool_error", "max_tool_output"}

// agent reads what is the agent's own of a task's parameters, and returns the
// rest.
func (c *compiler) agent(d *draft, n *node) *node {
	a := &Agent{MaxTurns: defaultTurns, MaxToolOutput: defaultToolOutput}
	d.Agent = a
	rest := *n
	rest.members = nil
	for _, m := range n.members {
		if !slices.Contains(agentParameters, m.key) {
			rest.members = append(rest.members, m)
			continue
		}
		if m.value.kind == stringKind && hasReference(m.value.text) {
			c.problem(m.value, m.key+" of an agent must be literal", "what it may do is known before it begins")
			continue
		}
		switch m.key {
		case "tools":
			c.agentTools(d, m.value)
		case "max_turns":
			a.MaxTurns = c.agentCount(m, mostTurns)
		case "max_parallel":
			a.MaxParallel = c.agentCount(m, MaxToolCalls)
		case "max_tool_output":
			a.MaxToolOutput = c.agentCount(m, maxSubstituted>>4)
		case "on_tool_error":
			s, _ := c.choice(m.key, m.value, "tell", "fail")
			a.FailOnToolError = s == "fail"
		}
	}
	if d.cache != nil {
		c.problem(d.cache.at, "llm/agent takes no cache", "its tools may do something each time; cache the tasks around it")
	}
	return &rest
}

func (c *compiler) agentCount(m member, most int) int {
	i, ok := c.count(m.key, m.value)
	if ok && i > most {
		c.problem(m.value, fmt.Sprintf("%s can be at most %d", m.key, most), "")
	}
	return max(i, 1)
}

// toolDraft is an entry of tools.
type toolDraft struct {
	tool                                         AgentTool
	mcp, only, name, arguments, parameters, with *node
	call                                         *draft
}

func toolKeys() []key[*toolDraft] {
	return []key[*toolDraft]{
		{spelling{name: "mcp", doc: "The MCP server whose tools the model may call.", schema: schemaLabel},
			func(c *compiler, d *toolDraft, k string, v *node) { d.mcp = v; d.tool.Server, _ = c.label(k, v) }},
		{spelling{name: "only", doc: "Which of the server's tools; else all.", schema: schemaTexts},
			func(c *compiler, d *toolDraft, k string, v *node) {
				d.only = v
				ns, _ := c.texts(k, v)
				d.tool.Only = texted(ns)
			}},
		{spelling{name: "name", doc: "What the model calls the tool.", schema: schemaLabel},
			func(c *compiler, d *toolDraft, k string, v *node) { d.name = v; d.tool.Name, _ = c.label(k, v) }},
		{spelling{name: "description", doc: "What the model is told of the tool.", schema: schemaText},
			func(c *compiler, d *toolDraft, k string, v *node) { d.tool.Description, _ = c.text(k, v) }},
		{spelling{name: "method", doc: "What is called.", schema: schemaText},
			func(_ *compiler, d *toolDraft, _ string, v *node) { d.call.method = v }},
		{spelling{name: "provider", doc: "The provider that does it, or several in the order of preference.", schema: schemaTexts},
			func(c *compiler, d *toolDraft, k string, v *node) {
				if d.with = v; v.kind == listKind {
					d.call.providers(c, k, v)
					return
				}
				d.call.Provider, _ = c.label(k, v)
			}},
		{spelling{name: "parameters", doc: "The method's parameters; ${args.NAME} is what the model gave.", schema: schemaMap},
			func(c *compiler, d *toolDraft, k string, v *node) {
				if v.kind != mapKind {
					c.mismatch(k, v, "a map")
					return
				}
				d.parameters = v
			}},
		{spelling{name: "arguments", doc: "What the model gives: a JSON Schema, or a map of names to types.", schema: schemaMap},
			func(_ *compiler, d *toolDraft, _ string, v *node) { d.arguments = v }},
	}
}

// agentTools reads the list of tools.
func (c *compiler) agentTools(d *draft, list *node) {
	if list.kind != listKind {
		c.mismatch("tools", list, "a list")
		return
	}
	if len(list.items) > mostTools {
		c.problem(list, fmt.Sprintf("an agent can have at most %d tools", mostTools), "")
		return
	}
	named := map[string]bool{}
	for _, item := range list.items {
		t, ok := c.agentTool(d, item)
		if !ok {
			continue
		}
		if t.Name != "" && named[t.Name] {
			c.problem(item, fmt.Sprintf("two tools are called %s", quoted(t.Name)), "give one a name of its own")
			continue
		}
		named[t.Name] = true
		d.Agent.Tools = append(d.Agent.Tools, t)
	}
}

const toolForms = "write {mcp: SERVER} for a server's tools, mcp/tool.NAME for one, or {name, description, arguments, method, parameters}"

func (c *compiler) agentTool(d *draft, n *node) (t AgentTool, ok bool) {
	if n.kind == stringKind {
		tool, is := strings.CutPrefix(n.text, "mcp/tool.")
		if !is || tool == "" {
			c.problem(n, quoted(n.text)+" is no tool", toolForms)
			return t, false
		}
		return AgentTool{Only: []string{tool}}, true
	}
	before := len(c.problems)
	td := &toolDraft{call: &draft{Task: &Task{ID: d.ID, Name: d.Name, Hook: d.Hook, Foreach: d.Foreach, Env: d.Env, SecretEnv: d.SecretEnv}, at: n, idAt: n}}
	if !readMap(c, n, c.lang.tool, td) {
		return t, false
	}
	switch {
	case td.mcp != nil && td.call.method != nil:
		c.problem(n, "a tool has either mcp or a method", toolForms)
	case td.mcp != nil:
		for _, x := range []*node{td.name, td.arguments, td.parameters, td.with} {
			if x != nil {
				c.problem(x, "the server says what its tools are called and take", "beside mcp there is only: [NAME, …]")
			}
		}
	case td.call.method == nil:
		c.problem(n, "a tool needs mcp or a method", toolForms)
	default:
		c.toolCall(d, td)
	}
	return td.tool, len(c.problems) == before
}

// toolCall completes a tool that is a method of ours.
func (c *compiler) toolCall(d *draft, td *toolDraft) {
	if td.only != nil {
		c.problem(td.only, "only belongs to mcp", "")
	}
	m := c.method(td.call)
	if m == nil {
		return
	}
	if td.call.Method == AgentMethod {
		c.problem(td.call.method, "an agent can't be another's tool", "put it into a workflow of its own and call that with workflow/run")
		return
	}
	if td.tool.Name == "" {
		td.tool.Name = strings.NewReplacer("/", "_", ".", "_").Replace(td.call.Method)
	}
	if !toolName.MatchString(td.tool.Name) {
		c.problem(td.call.at, quoted(td.tool.Name)+" can't be the name of a tool", "use at most 64 letters, digits, _ and -")
	}
	if td.tool.Description == "" {
		td.tool.Description = m.Description
	}
	td.call.arguments = &argsDraft{}
	c.toolArguments(td, td.call.arguments)
	n := td.parameters
	if n == nil {
		n = &node{kind: mapKind, line: td.call.at.line, col: td.call.at.col}
	}
	c.parameters(td.call, m, n, nil)
	d.References = append(d.References, td.call.References...)
	t := td.call.Task
	td.tool.Call = &Task{ID: t.ID, Name: t.Name, Protocol: t.Protocol, Method: t.Method, Provider: t.Provider, Fallbacks: t.Fallbacks,
		Parameters: t.Parameters, Literal: t.Literal}
}

// argsDraft is what is known of a tool's arguments.
type argsDraft struct {
	names []string
	open  bool // there may be others
}

// toolArguments reads what a tool takes.
func (c *compiler) toolArguments(td *toolDraft, args *argsDraft) {
	v := td.arguments
	if v == nil {
		td.tool.Arguments = json.RawMessage(`{"type":"object","properties":{}}`)
		return
	}
	args.open = true
	if v.kind != mapKind {
		c.mismatch("arguments", v, "a map of names to types, or a JSON Schema")
		return
	}
	c.refuseReferences("arguments", v)
	raw := v.raw()
	if p := v.get("properties"); p == nil || p.kind != mapKind {
		raw = shortArguments(v)
	}
	s, err := newSchema(raw, nil)
	if err != nil {
		c.problem(v, "arguments are no JSON Schema: "+libraryText(err), `write {town: string}, or {town: {type: string, description: …}}`)
		return
	}
	others, _ := rawMember(raw, "additionalProperties")
	args.open = string(others) != "false"
	for _, name := range s.strangeTypes() {
		c.problem(v, fmt.Sprintf("arguments: JSON has no type %s", quoted(name)), Suggest(name, sortedKeys(kindNames)))
	}
	td.tool.Arguments = raw
	args.names = sortedKeys(s.root.Properties)
}

// shortArguments makes the schema of a map of names to types or schemas. All
// are required that have no default.
func shortArguments(v *node) json.RawMessage {
	properties, required := []byte{'{'}, []byte{'['}
	for _, m := range v.members {
		if len(properties) > 1 {
			properties = append(properties, ',')
		}
		properties = append(appendString(properties, m.key), ':')
		if m.value.kind == stringKind {
			properties = append(appendString(append(properties, `{"type":`...), m.value.text), '}')
		} else {
			properties = append(properties, m.value.raw()...)
		}
		if m.value.get("default") == nil {
			if len(required) > 1 {
				required = append(required, ',')
			}
			required = appendString(required, m.key)
		}
	}
	return fmt.Appendf(nil, `{"type":"object","properties":%s},"required":%s],"additionalProperties":false}`, properties, required)
}

// argument checks ${args.X}.
func (c *compiler) argument(ref *reference, u *use, wrong complaint) {
	if u.d == nil || u.d.arguments == nil || u.d.arguments.open || len(ref.path) == 0 {
		return
	}
	names := u.d.arguments.names
	if name := ref.path[0].key; !slices.Contains(names, name) {
		wrong(Suggest(name, names), "the tool has no argument %s", quoted(name))
	}
}
