package protocols

import (
	"slices"
	"strings"
	"testing"
)

func TestCheckParameters(t *testing.T) {
	tests := []struct{ method, params, want string }{
		{"llm/chat", `{"messages":[{"role":"user","content":"x"}]}`, ""},
		{"llm/chat", `{"messages":[{"role":"user","content":{"any":"thing"}},{"role":"user","content":3}],"prompt":[1]}`, ""},
		{"llm/chat", `{"messages":[{"role":"user","content":null}]}`, "llm/chat: messages[0].content must be a string, not null"},
		{"llm/chat", `{"messages":[{"role":3}],"temperature":"x","seed":1.0,"top_p":1e999,"foo":1}`,
			"llm/chat: messages[0].role must be a string, not 3 (quote it for text); messages[0] needs content or images or tool_calls; " +
				`temperature must be a number, not the text "x"; top_p must be at most 1, not 1e999; llm/chat has no parameter foo`},
		{"python/execute", `{"code":"x","context":{"a":1}}`, ""},
		{"python/execute", `{"code":"x","file":"y"}`, "python/execute: python/execute takes only one of code, file"},
		{"python/execute", `[]`, "python/execute: python/execute must be a map, not a list"},
		{"python/execute", `{`, "the parameters of python/execute are not JSON"},
		{"mcp/tool.any", `{"any":"thing"}`, ""},
		{"mcp/tool.any", `{"arguments":[]}`, "mcp/tool.any: arguments must be a map, not a list"},
		{"llm/embed", `{"input":["a",{"b":1}]}`, ""},
		{"llm/embed", `{"input":7}`, ""},
		{"nope", `{}`, "unknown method nope"},
	}
	for _, test := range tests {
		got := ""
		err := registry.CheckParameters(test.method, raw(test.params))
		if err != nil {
			got = err.Message
		}
		if got != test.want {
			t.Errorf("%s %s: got %s, want %s", test.method, test.params, got, test.want)
		}
		if err != nil && test.method != "nope" && err.Code != TaskParameterError {
			t.Errorf("%s: code %s", test.params, err.Code)
		}
	}
}

func TestCheckResult(t *testing.T) {
	tests := []struct{ method, result, want string }{
		{"llm/chat", `{"response":"x","content":"x","anything":1}`, ""},
		{"llm/chat", `{"response":3}`, "the result of llm/chat: response must be a string, not 3 (quote it for text); it needs content"},
		{"llm/embed", `{"embedding":[1,2]}`, ""},
		{"llm/embed", `{}`, "the result of llm/embed: it needs embedding or embeddings"},
		{"python/execute", `{"result":null}`, ""},
		{"python/execute", `null`, "the result of python/execute: it must be a map, not null"},
		{"echo/echo", `nonsense`, "the result of echo/echo is not JSON"},
		{"mcp/tool.x", `{"result":[1]}`, ""},
	}
	for _, test := range tests {
		got := ""
		err := registry.CheckResult(test.method, raw(test.result))
		if err != nil {
			got = err.Message
		}
		if got != test.want || err != nil && err.Code != TaskResultInvalid {
			t.Errorf("%s %s: got %s, want %s", test.method, test.result, got, test.want)
		}
	}
}

// TestSchemaWords checks every word of JSON Schema that a provider's own
// specification may use.
func TestSchemaWords(t *testing.T) {
	tests := []struct{ schema, value, want string }{
		{`{"const":1}`, `1.0`, ""},
		{`{"const":"a"}`, `"b"`, `it must be a, not the text "b"`},
		{`{"enum":[1,"a",null]}`, `null`, ""},
		{`{"enum":[1,"alpha",[2]]}`, `"alpa"`, `it must be one of 1, alpha, [2], not the text "alpa" (did you mean alpha?)`},
		{`{"pattern":"^a+$"}`, `"aab"`, `it must match ^a+$, not "aab"`},
		{`{"minLength":2,"maxLength":3}`, `"é"`, "it must have at least 2 characters"},
		{`{"minLength":2,"maxLength":3}`, `"éééé"`, "it must have at most 3 characters, not 4"},
		{`{"exclusiveMinimum":1,"exclusiveMaximum":2}`, `1`, "it must be more than 1, not 1"},
		{`{"exclusiveMinimum":1,"exclusiveMaximum":2}`, `2.0`, "it must be less than 2, not 2.0"},
		{`{"minItems":1,"maxItems":2}`, `[]`, "it must have at least 1 item, not 0"},
		{`{"minItems":1,"maxItems":2}`, `[1,2,3]`, "it must have at most 2 items, not 3"},
		{`{"prefixItems":[{"type":"string"}],"items":{"type":"number"}}`, `[1,"x"]`, `[0] must be a string, not 1 (quote it for text); [1] must be a number, not the text "x"`},
		{`{"additionalProperties":{"type":"string"}}`, `{"a":"x","b":1}`, "b must be a string, not 1 (quote it for text)"},
		{`{"properties":{"a":{"properties":{"b":{"type":"null"}}}}}`, `{"a":{"b":1}}`, "a.b must be null, not 1"},
		{`{"patternProperties":{"^x":{"type":"string"}},"additionalProperties":false}`, `{"x1":"a"}`, ""},
		{`{"anyOf":[{"type":"string"},{"type":"number"}]}`, `true`, `it doesn't fit its schema: type: true has type "boolean", want "number"`},
		{`{"oneOf":[{"type":"string"},{"minLength":3}]}`, `"ab"`, ""},
		{`{"not":{"type":"string"}}`, `"a"`, "it doesn't fit its schema: not: validated against <anonymous schema>"},
		{`{"if":{"type":"string"},"then":{"minLength":3}}`, `"a"`, `it doesn't fit its schema: minLength: "a" contains 1 Unicode code points, fewer than 3`},
		{`{"type":"object","properties":{"a":{"$ref":"#/$defs/d"}}}`, `{"a":1}`, "a must be a string, not 1 (quote it for text)"},
		{`{"$ref":"#/$defs/tree"}`, `{"next":{"next":{"next":1}}}`, "next.next.next must be a map, not 1"},
		{`{"properties":{"a":{"anyOf":[{"$ref":"#/$defs/d"}]}}}`, `{"a":1}`, `a doesn't fit its schema: type: 1 has type "integer", want "string"`},
		{`{"type":["string","null"]}`, `1`, "it must be a string or null, not 1 (quote it for text)"},
		{`{"multipleOf":2}`, `3`, "it doesn't fit its schema: multipleOf: 3/1 is not a multiple of 2.000000"},
		{`{"dependentRequired":{"a":["b"]}}`, `{"a":1}`, `it doesn't fit its schema: dependentRequired["a"]: missing properties ["b"]`},
	}
	defs := `{"d":{"type":"string"},"tree":{"type":"object","properties":{"next":{"$ref":"#/$defs/tree"}}}}`
	for _, test := range tests {
		s, err := newSchema(raw(test.schema), raw(defs))
		if err != nil {
			t.Errorf("%s: %v", test.schema, err)
			continue
		}
		var texts []string
		for _, v := range s.check(raw(test.value), checkOptions{what: "it", member: "key"}) {
			texts = append(texts, v.String())
		}
		if got := strings.Join(texts, "; "); got != test.want {
			t.Errorf("%s with %s:\ngot  %s\nwant %s", test.schema, test.value, got, test.want)
		}
	}
}

func TestRegister(t *testing.T) {
	r := NewRegistry()
	spec := &Spec{Protocol: "text/v1.2", Methods: []*Method{{Name: "text/summarize", Aliases: []string{"text/sum"},
		Parameters: raw(`{"type":"object","properties":{"file":{"type":"string","x-file":true},"n":{"type":"integer","default":3}},"required":["file"]}`)}}}
	if err := r.Register(spec); err != nil {
		t.Fatal(err)
	}
	d, _ := Parse("f.yaml", []byte("tasks: [{name: a, protocol: text/v1.2, method: sum, params: {file: a.txt}}]"))
	w, ps := r.Compile(d)
	if w == nil || w.Tasks[0].Method != "text/summarize" || string(w.Tasks[0].Parameters) != `{"file":"a.txt","n":3}` || w.Files[0] != "a.txt" {
		t.Errorf("%v %s", ps, w.Encode())
	}
	if len(r.List()) != len(registry.List())+1 || !slices.Contains(r.List(), spec) {
		t.Errorf("%d protocols", len(r.List()))
	}
	method := func(name, params string) *Spec {
		return &Spec{Protocol: "x/v1", Methods: []*Method{{Name: name, Parameters: raw(params)}}}
	}
	for want, spec := range map[string]*Spec{
		"is there already":            {Protocol: "text/v1.2"},
		"is not of the form":          {Protocol: "text"},
		"doesn't begin with x/":       method("y/a", ""),
		`method "x/" of x/v1 doesn't`: method("x/", ""),
		"belongs to":                  {Protocol: "echo/v2", Methods: []*Method{{Name: "echo/echo"}}},
		"parameters of x/a":           method("x/a", `{"type":3}`),
		"only #/$defs/NAME can":       method("x/a", `{"properties":{"b":{"$ref":"#/properties/c"},"c":{}}}`),
	} {
		if err := r.Register(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestSpecs loads every built-in schema.
func TestSpecs(t *testing.T) {
	for _, s := range registry.List() {
		for _, m := range s.Methods {
			if err := m.load(); err != nil {
				t.Error(err)
			}
			if m.Protocol() != s.Protocol || m.Description == "" || len(m.Parameters) == 0 {
				t.Errorf("%s: incomplete", m.Name)
			}
		}
	}
}
