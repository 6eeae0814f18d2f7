package protocols

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// This file holds calls of MCP tools to what the servers say of them, which is
// known only where they have been asked.

// Tool is what a server says of one of its tools.
type Tool struct {
	Name       string
	Parameters json.RawMessage // JSON Schema of its arguments
}

// LearnTools tells the registry which tools a server has: Compile checks calls
// of tools then. "" is for those that are there without a server; nil tools are
// not known, as of a server that doesn't answer. Schemas that can't be read are
// taken to allow anything.
func (r *Registry) LearnTools(server string, tools []Tool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tools == nil {
		r.tools = map[string]map[string]*schema{}
	}
	r.tools[server] = nil
	if tools != nil {
		r.tools[server] = map[string]*schema{}
	}
	for _, t := range tools {
		s, err := newSchema(t.Parameters, nil)
		if err != nil {
			s, _ = newSchema(nil, nil)
		}
		r.tools[server][t.Name] = s
	}
}

// learned returns the tools of the servers that a call may go to, those of
// each by name, or nil if not all of them are known.
func (r *Registry) learned(servers []string) map[string]map[string]*schema {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(servers) == 0 {
		servers = slices.Collect(maps.Keys(r.tools))
	}
	var some map[string]map[string]*schema
	for _, server := range servers {
		if r.tools[server] == nil {
			return nil
		}
		if some == nil {
			some = map[string]map[string]*schema{}
		}
		some[server] = r.tools[server]
	}
	return some
}

// tool checks a task that calls a tool with the parameters n.
func (c *compiler) tool(d *draft, n *node) {
	name, arguments, path := toolCall(d.Method, n)
	if name == "" {
		return
	}
	all := c.registry.learned(toolServers(d, n))
	if all == nil {
		return
	}
	var having []string
	for server, tools := range all {
		if tools[name] != nil {
			having = append(having, server)
		}
	}
	slices.Sort(having)
	if len(having) > 1 && having[0] == "" {
		having = having[1:] // a server's tool comes before one that is built in
	}
	switch len(having) {
	case 0:
		c.noTool(d, name, all)
	case 1:
		c.learnedArguments(d, n, all[having[0]][name], arguments, path)
	default:
		c.problem(d.method, fmt.Sprintf("tool %s is on several MCP servers: %s", quoted(name), strings.Join(having, ", ")), "say which with provider")
	}
}

// toolCall finds the tool that is called and its arguments: where, among the
// parameters. Without a name it isn't known, or there is none.
func toolCall(method string, n *node) (name string, arguments *node, path []string) {
	wrapped := n.get("arguments")
	name, direct := strings.CutPrefix(method, "mcp/tool.")
	switch {
	case direct && wrapped == nil:
		return name, n, nil
	case direct:
		return name, wrapped, []string{"arguments"}
	case method != "mcp/call_tool":
		return "", nil, nil
	}
	if v := n.get("name"); v != nil && v.kind == stringKind && !hasReference(v.text) {
		name = unescape(v.text)
	} else {
		return "", nil, nil
	}
	if wrapped == nil {
		wrapped = &node{kind: mapKind, line: n.line, col: n.col}
	}
	return name, wrapped, []string{"arguments"}
}

// toolServers are the servers that the task names, none for any. Providers
// that stand for all servers are none.
func toolServers(d *draft, n *node) []string {
	if v := n.get("server"); v != nil && v.kind == stringKind && (d.Method == "mcp/call_tool" || n.get("arguments") != nil) {
		return []string{unescape(v.text)}
	}
	if d.Provider == "" || d.Provider == "mcp" {
		return nil
	}
	return append([]string{d.Provider}, d.Fallbacks...)
}

func (c *compiler) noTool(d *draft, name string, all map[string]map[string]*schema) {
	var names []string
	for _, tools := range all {
		names = slices.AppendSeq(names, maps.Keys(tools))
	}
	slices.Sort(names)
	where := "no MCP server has a tool"
	if len(all) == 1 {
		where = "MCP server " + slices.Collect(maps.Keys(all))[0] + " has no tool"
	}
	c.problem(d.method, where+" "+quoted(name), Suggest(name, slices.Compact(names)))
}

func (c *compiler) learnedArguments(d *draft, n *node, s *schema, arguments *node, path []string) {
	o := checkOptions{what: "the tool", member: "argument"}
	if !d.Literal {
		names := c.namesFor(d)
		o.unknown = func(text string) (some, whole bool) { return unknown(text, names) }
	}
	for _, v := range s.check(arguments.appendJSON(nil, escapes{keys: true, texts: d.Literal}), o) {
		v.path = append(slices.Clone(path), v.path...)
		line, col := n.placeOf(v)
		if arguments.kind == mapKind && len(arguments.members) == 0 && len(v.path) == len(path) {
			line, col = d.method.line, d.method.col // there is nothing else to point at
		}
		c.problemAt(line, col, v.text, v.hint)
	}
}
