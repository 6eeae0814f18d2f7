package providers

import (
	"net/http/httptest"
	"strings"
	"testing"

	"gleitzeit/protocols"
	"gleitzeit/providers/llmtest"
)

const person = `{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name","age"],"additionalProperties":false}`

// replies is a server whose model says one thing after the other.
func replies(list ...llmtest.Reply) *llmtest.Server {
	return &llmtest.Server{Answer: func(llmtest.Request) llmtest.Reply {
		reply := list[0]
		if len(list) > 1 {
			list = list[1:]
		}
		return reply
	}}
}

// structured calls a model of each kind that gives these replies.
func structured(t *testing.T, schema, parameters string, list []llmtest.Reply, check func(t *testing.T, s *llmtest.Server, result map[string]any, err error)) {
	t.Helper()
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			leakless(t)
			s := replies(list...)
			h := httptest.NewServer(s)
			defer h.Close()
			p := open(t, kind.make, ProviderConfig{URL: h.URL, Model: "m"})
			call := llmCall("llm/chat", parameters)
			call.OutputSchema, call.Key = raw(schema), "k"
			if strings.Contains(parameters, `"prompt"`) {
				call.Method = "llm/complete"
			}
			result, err := p.Call(t.Context(), call, &tokens{})
			if err != nil {
				check(t, s, nil, err)
				return
			}
			check(t, s, members(t, result), nil)
		})
	}
}

func TestSchemaFits(t *testing.T) {
	structured(t, person, `{"prompt":"who?"}`, []llmtest.Reply{{Text: `{"name":"Ada","age":36}`}},
		func(t *testing.T, s *llmtest.Server, result map[string]any, err error) {
			if err != nil {
				t.Fatal(err)
			}
			parsed, _ := result["parsed"].(map[string]any)
			if parsed["name"] != "Ada" || parsed["age"] != 36.0 || result["response"] != `{"name":"Ada","age":36}` || result["finish_reason"] != "stop" {
				t.Errorf("%v", result)
			}
			body := lastBody(s)
			native := strings.Contains(body, `"format":{"type":"object"`) || strings.Contains(body, `"response_format":{"json_schema"`) ||
				strings.Contains(body, `"tool_choice":{"name":"give_answer","type":"tool"}`)
			told := strings.Contains(body, `It must fit this JSON Schema`) || strings.Contains(body, `"input_schema":{"type":"object"`)
			if !native || !told || len(s.Requests()) != 1 {
				t.Errorf("sent %s", body)
			}
		})
}

// What doesn't fit goes back with the reasons; the rounds add up.
func TestSchemaRepair(t *testing.T) {
	list := []llmtest.Reply{{Text: `{"name":"Ada"}`}, {Text: "I am sorry"}, {Text: "Here: {\"name\": \"Ada\", \"age\": 36}. Good?"}}
	structured(t, person, `{"messages":[{"role":"user","content":"who?"}]}`, list,
		func(t *testing.T, s *llmtest.Server, result map[string]any, err error) {
			if err != nil {
				t.Fatal(err)
			}
			usage := result["usage"].(map[string]any)
			if result["parsed"].(map[string]any)["age"] != 36.0 || usage["prompt_tokens"] != 9.0 || usage["completion_tokens"] != 1+3+6.0 {
				t.Errorf("%v", result)
			}
			q := s.Requests()
			if len(q) != 3 || !strings.Contains(string(q[1].Body), "it needs age") || !strings.Contains(string(q[2].Body), "the answer is not JSON") ||
				!strings.Contains(string(q[2].Body), "I am sorry") {
				t.Errorf("%d requests, the last %s", len(q), q[len(q)-1].Body)
			}
			if first, second := q[0].Header.Get("Idempotency-Key"), q[1].Header.Get("Idempotency-Key"); first == second && first != "" {
				t.Errorf("a repair has the key of the first call: %s", first)
			}
		})
}

func TestSchemaGivesUp(t *testing.T) {
	structured(t, person, `{"prompt":"who?"}`, []llmtest.Reply{{Text: `{"name":"Ada","age":"old"}`}},
		func(t *testing.T, s *llmtest.Server, _ map[string]any, err error) {
			e := wantCode(t, err, protocols.TaskResultInvalid)
			data := members(t, e.Data)
			if !strings.Contains(e.Message, "age must be a whole number") || data["partial"] != `{"name":"Ada","age":"old"}` ||
				data["violations"] == nil || data["usage"].(map[string]any)["total_tokens"] != 12.0 || e.Code.Class() != protocols.ClassSchema {
				t.Errorf("%s %s", e.Message, e.Data)
			}
			if n := len(s.Requests()); n != 1+maxRepairs {
				t.Errorf("%d requests", n)
			}
		})
}

// An answer that was cut off would be cut off again.
func TestSchemaCutOff(t *testing.T) {
	structured(t, person, `{"prompt":"who?"}`, []llmtest.Reply{{Text: `"name`, Cut: true}},
		func(t *testing.T, s *llmtest.Server, _ map[string]any, err error) {
			if e := wantCode(t, err, protocols.TaskResultInvalid); !strings.Contains(e.Message, "cut off at max_tokens") || len(s.Requests()) != 1 {
				t.Errorf("%s after %d requests", e.Message, len(s.Requests()))
			}
		})
}

// Any JSON, and JSON that is not a map.
func TestSchemaForms(t *testing.T) {
	structured(t, `{}`, `{"prompt":"numbers"}`, []llmtest.Reply{{Text: "Look [here]"}, {Text: "<think>[9]</think>\n```json\n[1, 2]\n```"}},
		func(t *testing.T, s *llmtest.Server, result map[string]any, err error) {
			if err != nil || len(result["parsed"].([]any)) != 2 || len(s.Requests()) != 2 || !strings.Contains(lastBody(s), "Answer with JSON only") {
				t.Errorf("%v, %v: %s", result, err, lastBody(s))
			}
		})
	structured(t, `{"type":"array","items":{"$ref":"#/$defs/n"},"$defs":{"n":{"type":"integer"}}}`, `{"prompt":"numbers"}`,
		[]llmtest.Reply{{Text: `{"value":[1,2]}`}, {Text: `[1,2]`}},
		func(t *testing.T, s *llmtest.Server, result map[string]any, err error) {
			if err != nil || len(result["parsed"].([]any)) != 2 || !strings.HasPrefix(result["content"].(string), "[") {
				t.Errorf("%v, %v", result, err)
			}
			body := lastBody(s)
			if !strings.Contains(body, "give_answer") {
				return
			}
			if !strings.Contains(body, `"input_schema":{"$defs":{"n":{"type":"integer"}},"properties":{"value":{"type":"array"`) || len(s.Requests()) != 1 {
				t.Errorf("%d requests, the last %s", len(s.Requests()), body)
			}
		})
}

// A model that asks for a tool has not answered yet.
func TestSchemaAndTools(t *testing.T) {
	structured(t, person, `{"messages":[{"role":"user","content":"who?"}],"tools":[{"type":"function","function":{"name":"f"}}]}`,
		[]llmtest.Reply{{ToolCalls: []llmtest.ToolCall{{Name: "f", Arguments: `{"a":1}`}}}},
		func(t *testing.T, s *llmtest.Server, result map[string]any, err error) {
			if err != nil || result["parsed"] != nil || len(result["tool_calls"].([]any)) != 1 {
				t.Errorf("%v, %v", result, err)
			}
		})
}

// A server that knows no response_format is asked without: the answer is
// checked anyway.
func TestSchemaWithoutHelp(t *testing.T) {
	s := says(`{"name":"Ada","age":36}`)
	p := runOpenAI(t, s, ProviderConfig{Model: "m"})
	s.Fail(llmtest.Fault{Status: 400, Body: `{"error":"'response_format.type' must be 'text'"}`})
	call := llmCall("llm/chat", `{"prompt":"who?"}`)
	call.OutputSchema = raw(person)
	if _, err := p.Call(t.Context(), call, &tokens{}); err != nil || strings.Contains(lastBody(s), "response_format") {
		t.Errorf("%v: %s", err, lastBody(s))
	}
	s.Fail(llmtest.Fault{Status: 400, Body: `{"error":"'response_format.type' must be 'text'"}`})
	_, err := p.Call(t.Context(), llmCall("llm/chat", `{"prompt":"who?","format":"json"}`), &tokens{})
	wantCode(t, err, protocols.TaskParameterError)
	call.Parameters = raw(`{"prompt":"who?","format":"json"}`)
	_, err = p.Call(t.Context(), call, &tokens{})
	wantCode(t, err, protocols.TaskParameterError)
}

func TestJSONIn(t *testing.T) {
	for text, want := range map[string]string{
		` {"a":1} `: `{"a":1}`, "```json\n{\"a\":1}\n```": `{"a":1}`, "Well:\n```\n[1]\n```\nok": `[1]`,
		`It is {"a":1}, I think`: `{"a":1}`, `no`: ``, `{"a":`: ``, "<think>{\"b\":2}</think>{\"a\":1}": `{"a":1}`, `3`: `3`,
	} {
		if got := string(jsonIn(text, true)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := jsonIn(`see [1]`, false); got != nil {
		t.Errorf("%s", got)
	}
}
