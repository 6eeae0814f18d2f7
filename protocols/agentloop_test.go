package protocols

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// spoken is a turn's result.
func spoken(text string) []byte { return []byte(`{"content":` + string(appendString(nil, text)) + `}`) }

// TestAgentTools: tools of the same name go by their server's too, and a call
// names what the server calls them.
func TestAgentTools(t *testing.T) {
	task := &Task{Agent: &Agent{MaxToolOutput: 1000, Tools: []AgentTool{
		{Name: "add", Description: "ours", Arguments: raw(`{"type":"object"}`), Call: &Task{}}, {}}}}
	lists := AgentStep{Form: ListForm(1), Status: "completed", Result: raw(`{"tools":[
		{"server":"one","name":"add","inputSchema":{"type":"object"}},{"server":"two","name":"über.Größe","description":"odd"},{"server":"two","name":"add"}]}`)}
	v := &Conversation{Task: task, Steps: []AgentStep{lists}}
	request, err := v.Request(raw(`{"prompt":{"n":1},"model":"m"}`), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"name":"add","description":"ours"`, `"name":"one_add"`, `"name":"two_add"`, `"name":"_ber_Gr__e"`,
		`"messages":[{"role":"user","content":"{\"n\":1}"}]`, `"model":"m"`} {
		if !strings.Contains(string(request), want) {
			t.Errorf("%s is not in %s", want, request)
		}
	}
	if strings.Contains(string(request), "prompt") {
		t.Errorf("the prompt comes after what was said: %s", request)
	}
	v.Steps = append(v.Steps, AgentStep{Form: TurnForm, Turn: 1, Status: "completed",
		Result: raw(`{"content":"","tool_calls":[{"function":{"name":"_ber_Gr__e","arguments":"{\"x\": 1}"}},{"function":{"name":"two_add"}}]}`)})
	calls, result, _, err := v.Next()
	if err != nil || result != nil || len(calls) != 2 || calls[0].Form != CallForm(1) {
		t.Fatalf("%+v %s %v", calls, result, err)
	}
	for i, want := range []string{`{"name":"über.Größe","server":"two","arguments":{"x": 1}}`, `{"name":"add","server":"two","arguments":{}}`} {
		if got, err := v.ServerCall(AgentStep{Form: CallForm(1), Turn: 1, Call: i}); err != nil || string(got) != want {
			t.Errorf("%s %v, want %s", got, err, want)
		}
	}
}

// TestAgentTold is what a model is told of a tool's answer.
func TestAgentTold(t *testing.T) {
	for result, want := range map[string]string{
		`"text"`:                           "text",
		`{"result":{"a": 1}}`:              `{"a":1}`,
		`{"response":"said","content":[]}`: "said",
		`null`:                             "",
		`[1, 2]`:                           "[1,2]",
		`{"result":[{"type":"text","text":"a"},{"type":"image","mimeType":"image/png","data":"AAAA"}]}`: "a\n[image, image/png]",
	} {
		if got := toolText(raw(result)); got != want {
			t.Errorf("%s: %q, want %q", result, got, want)
		}
	}
	if got := cut("äöü", 3); got != "ä\n[3 more bytes are left out]" {
		t.Errorf("%q", got)
	}
}

// TestAgentBad: what a model or a server says that can't be read is an error,
// and a turn asks for so many calls at most.
func TestAgentBad(t *testing.T) {
	task := &Task{Agent: &Agent{MaxToolOutput: 1000, Tools: []AgentTool{{Name: "say", Arguments: raw(`{}`), Call: &Task{}}, {Only: []string{"gone"}}}}}
	v := &Conversation{Task: task, Steps: []AgentStep{{Form: ListForm(1), Result: raw(`{"tools":[]}`)}}}
	if _, err := v.Request(raw(`{"prompt":"x"}`), false); err == nil || !strings.Contains(err.Message, "gone") {
		t.Errorf("a tool that nobody has: %v", err)
	}
	task.Agent.Tools = task.Agent.Tools[:1]
	for _, said := range []string{``, `[]`, `{"content":7}`, `{"tool_calls":3}`} {
		v := &Conversation{Task: task, Steps: []AgentStep{{Form: TurnForm, Turn: 1, Result: raw(said)}}}
		if _, _, _, err := v.Next(); err == nil {
			t.Errorf("%q was taken for a turn", said)
		}
		if _, err := v.Request(raw(`{"prompt":"x"}`), false); err == nil {
			t.Errorf("%q was taken for a turn", said)
		}
	}
	call := `{"function":{"name":"say","arguments":{}}}`
	many := strings.Repeat(call+",", MaxToolCalls+1) + call
	v = &Conversation{Task: task, Steps: []AgentStep{{Form: TurnForm, Turn: 1, Result: raw(`{"content":"","tool_calls":[` + many + `]}`)}}}
	if calls, _, _, err := v.Next(); err != nil || len(calls) != MaxToolCalls {
		t.Errorf("%d calls: %v", len(calls), err)
	}
	// No call of a model's is its schema's end.
	for _, arguments := range []string{`"no JSON"`, `[1]`, `"[1]"`, `7`} {
		v = &Conversation{Task: task, Steps: []AgentStep{{Form: TurnForm, Turn: 1, Result: raw(`{"tool_calls":[{"function":{"name":"say","arguments":` + arguments + `}}]}`)}}}
		if calls, _, _, err := v.Next(); err != nil || len(calls) != 0 {
			t.Errorf("%s: %d calls: %v", arguments, len(calls), err)
		}
	}
	task.OutputSchema = raw(`{"type":"object","required":["n"]}`)
	for said, fits := range map[string]bool{`{"n": 1}`: true, `{"m": 1}`: false, `it is 1`: false} {
		v = &Conversation{Task: task, Steps: []AgentStep{{Form: TurnForm, Turn: 1, Result: spoken(said)}}}
		if _, result, answer, err := v.Next(); err != nil || (result != nil) != fits || answer == fits {
			t.Errorf("%s: %s %t %v", said, result, answer, err)
		}
	}
}

// TestAgentParameters: an agent takes what llm/chat takes, but for what it says
// itself.
func TestAgentParameters(t *testing.T) {
	r := NewRegistry()
	properties := func(method string) map[string]string {
		m, _, _ := r.Method(method)
		all := map[string]string{}
		whole, _ := rawMember(m.Parameters, "properties")
		eachMember(whole, func(k, v json.RawMessage) bool {
			all[rawText(k)] = string(compact(v))
			return true
		})
		return all
	}
	chat, agent := properties("llm/chat"), properties(AgentMethod)
	for _, own := range append(slices.Clone(agentParameters), "tool_choice", "format", "batch_mode") {
		delete(chat, own)
		delete(agent, own)
	}
	if len(chat) < 20 || !maps.Equal(chat, agent) {
		t.Errorf("llm/chat has\n%v\nllm/agent\n%v", chat, agent)
	}
}
