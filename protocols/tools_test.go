package protocols

import (
	"encoding/json"
	"strings"
	"testing"
)

// What servers say of their tools holds for calls: those that are literal, and
// the literal parts of others.
func TestLearnedTools(t *testing.T) {
	r := NewRegistry()
	r.LearnTools("", []Tool{{"echo", nil}, {"add", nil}})
	r.LearnTools("files", []Tool{{"read", json.RawMessage(`{"type":"object","properties":{"path":{"type":"string"},"head":{"type":"integer"}},
		"required":["path"],"additionalProperties":false}`)}, {"echo", json.RawMessage(`{"type":"object","required":["message"]}`)}})
	r.LearnTools("other", []Tool{{"list", json.RawMessage(`{"type":"object"}`)}, {"twice", nil}, {"odd", json.RawMessage(`{"type":5}`)}})
	r.LearnTools("third", []Tool{{"twice", nil}})
	tests := []struct{ task, want string }{
		{`method: mcp/tool.read, params: {path: x}`, ""},
		{`method: mcp/tool.read, params: {path: "${a.text}", head: "${a.n}"}`, ""},
		{`method: mcp/tool.read, params: {path: 5}`, "f.yaml:3:50: path must be a string, not 5"},
		{`method: mcp/tool.read, params: {path: x, head: "about ${a.n}"}`, "head must be"},
		{`method: mcp/tool.read, params: {path: x, tail: 1}`, `the tool has no argument tail`},
		{`method: mcp/tool.read`, `f.yaml:3:20: the tool needs path`},
		{`method: mcp/tool.read, params: {arguments: {head: 1}}`, `the tool needs path`},
		{`method: mcp/tool.read, params: {arguments: {path: 1}}`, `f.yaml:3:62: path must be`},
		{`method: mcp/call_tool, params: {name: read, arguments: {path: x}}`, ""},
		{`method: mcp/call_tool, params: {name: read}`, `the tool needs path`},
		{`method: mcp/call_tool, params: {name: "${a.text}", arguments: {}}`, ""},
		{`method: mcp/call_tool, params: {name: read, server: other}`, `MCP server other has no tool read`},
		{`method: mcp/tool.reed, params: {path: x}`, `f.yaml:3:20: no MCP server has a tool reed (did you mean read?)`},
		{`method: mcp/tool.read, provider: other, params: {path: x}`, `MCP server other has no tool read`},
		{`method: mcp/tool.read, provider: nobody, params: {path: x}`, ""},
		{`method: mcp/tool.read, provider: mcp, params: {path: x}`, ""},
		{`method: mcp/tool.twice`, "tool twice is on several MCP servers: other, third (say which with provider)"},
		{`method: mcp/tool.twice, provider: third`, ""},
		{`method: mcp/tool.echo, params: {}`, "the tool needs message"},
		{`method: mcp/tool.add, params: {a: 1}`, ""},
		{`method: mcp/tool.odd, params: {a: 1}`, ""},
	}
	for _, test := range tests {
		d, _ := Parse("f.yaml", []byte("tasks:\n - {id: a, method: echo/echo, params: {text: x, n: 1}}\n - {id: b, "+test.task+"}\n"))
		_, ps := r.Compile(d)
		text := ""
		for _, p := range ps.Errors() {
			text += p.Error() + "\n"
		}
		if !strings.Contains(strings.ReplaceAll(text, `"`, ""), test.want) || (text == "") != (test.want == "") || strings.Count(text, "\n") > 1 {
			t.Errorf("%s: %q, want %q", test.task, text, test.want)
		}
	}
}
