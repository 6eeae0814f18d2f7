package providers

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// This file makes of an answer what the method returns: people write the text
// that a model says, and get all of its result.

// result is what a step returns for a call of any protocol but llm/v1.
func (m *mock) result(step *MockStep, call Call) (json.RawMessage, error) {
	switch {
	case step.Garbage != nil:
		return json.RawMessage(*step.Garbage), nil
	case len(step.Result) > 0:
		return step.Result, nil
	case len(step.Answer) == 0 && len(step.Stream) == 0 && invents(call.Method):
		return invent(call)
	}
	answer := step.Answer
	if len(answer) == 0 {
		var err error
		if answer, err = encode(step.streamed()); err != nil {
			return nil, err
		}
	}
	switch spokenBy(call.Method) {
	case "python":
		return encode(struct {
			Result        json.RawMessage `json:"result"`
			Output        string          `json:"output"`
			Success       bool            `json:"success"`
			ExecutionTime float64         `json:"execution_time"`
		}{answer, step.streamed(), true, 0})
	case "mcp":
		if call.Method == "mcp/call_tool" || strings.HasPrefix(call.Method, "mcp/tool.") {
			return mockTool(m.name, call.Method, answer)
		}
	}
	return answer, nil
}

// streamed is all that a step shows.
func (s *MockStep) streamed() string {
	var all strings.Builder
	for _, chunk := range s.Stream {
		all.WriteString(chunk.Text)
	}
	return all.String()
}

// mockTool is a tool's result: a map is structured content, a text is a text.
func mockTool(server, tool string, answer json.RawMessage) (json.RawMessage, error) {
	var text string
	if json.Unmarshal(answer, &text) != nil {
		text = string(answer)
	}
	raw := map[string]any{"content": []any{map[string]any{"type": "text", "text": text}}}
	if bytes.HasPrefix(bytes.TrimSpace(answer), []byte("{")) {
		raw["structuredContent"] = answer
	}
	told, err := encode(raw)
	if err != nil {
		return nil, err
	}
	return toolResult(server, tool, told)
}

// model is a provider of llm/v1 that is told what to say: all but the server is
// that of a real one, so that files, schemas, repairs and costs are, too.
func (m *mock) model(call Call) Provider {
	server := &llmServer{provider: m.name, kind: "mock", base: &url.URL{}, env: func(string) string { return "" },
		prices: m.config.Prices, sharedPrices: m.prices, client: http.DefaultClient}
	return &llmProvider{server: server, config: m.config, form: &mockForm{mock: m, call: call}}
}

// mockForm is the way in which a model that is mocked is spoken to, for one call.
type mockForm struct {
	mock  *mock
	call  Call
	round int // how often it was asked
}

func (*mockForm) fallback(string) string       { return "mock" }
func (*mockForm) refuse(*llmRequest) error     { return nil }
func (*mockForm) showsSchema(*llmRequest) bool { return true }
func (f *mockForm) look(context.Context) (*llmLook, error) {
	return &llmLook{unlisted: true}, nil
}

func (*mockForm) explain(_ *llmRequest, refusal *llmRefusal) *protocols.Error { return refusal.err }

// ask says what the script says.
func (f *mockForm) ask(ctx context.Context, r *llmRequest, _ http.Header, a *llmAnswer) error {
	step, err := f.mock.step(f.call, f.round)
	f.round++
	if err != nil {
		return err
	}
	if err := pass(ctx, time.Duration(step.Delay)); err != nil {
		return err
	}
	a.Prompt = step.asked(r)
	for _, chunk := range step.Stream {
		if err := pass(ctx, time.Duration(chunk.Delay)); err != nil {
			return err
		}
		a.add(chunk.Text)
		a.show()
	}
	if err := step.failure(ctx, f.call); err != nil {
		return err
	}
	return step.say(a)
}

// say gives a model's answer its text, its tool calls and its usage.
func (s *MockStep) say(a *llmAnswer) error {
	if s.Garbage != nil {
		return protocols.Errorf(protocols.TaskResultInvalid, "the answer makes no sense")
	}
	if len(s.Answer) > 0 && len(s.Stream) == 0 {
		var text llmText
		if err := text.UnmarshalJSON(s.Answer); err != nil {
			return protocols.Errorf(protocols.TaskResultInvalid, "the answer: %v", err)
		}
		a.add(string(text))
		a.show()
	}
	for _, c := range s.ToolCalls {
		a.ToolCalls = append(a.ToolCalls, llmToolCall{ID: c.ID, Function: llmToolFunction{Name: c.Name, Arguments: c.Arguments}})
	}
	a.Completion = len(strings.Fields(a.content.String()))
	if u := s.Usage; u != nil && u.Completion != nil {
		a.Completion = *u.Completion
	}
	return nil
}

// asked is how many tokens the question has.
func (s *MockStep) asked(r *llmRequest) int {
	if u := s.Usage; u != nil && u.Prompt != nil {
		return *u.Prompt
	}
	n := len(strings.Fields(r.Prompt)) + len(strings.Fields(r.System))
	for _, m := range r.Messages {
		n += len(strings.Fields(string(m.Content)))
	}
	for _, text := range r.Inputs {
		n += len(strings.Fields(text))
	}
	return n
}

// embed gives each text the vector that the script says, or that is in its turn.
func (f *mockForm) embed(ctx context.Context, r *llmRequest, _ http.Header) (*llmVectors, error) {
	step, err := f.mock.step(f.call, 0)
	if err != nil {
		return nil, err
	}
	if err := step.perform(ctx, f.call, silent{}); err != nil {
		return nil, err
	}
	v := &llmVectors{model: r.Model, prompt: step.asked(r)}
	var list []json.RawMessage
	if json.Unmarshal(step.Answer, &list) != nil || len(list) == 0 {
		return nil, protocols.Errorf(protocols.TaskResultInvalid, "the answer of llm/embed is no list of numbers, nor of such lists")
	}
	several := list[0][0] == '['
	for i := range r.Inputs {
		if several {
			v.list = append(v.list, list[i%len(list)])
		} else {
			v.list = append(v.list, step.Answer)
		}
	}
	return v, nil
}
