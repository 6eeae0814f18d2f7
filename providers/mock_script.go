package providers

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gleitzeit/protocols"
)

// This file reads scripted answers, as --mock takes them: which calls each is
// for, and what happens to those.

// Mocks are scripted answers to calls. They are part of a configuration, and so
// of a run's setup: whoever resumes the run gives the same answers.
type Mocks struct {
	File string `json:"file,omitempty"` // that they were read from, for people
	// Rules are tried in their order; the first that fits a call answers it.
	Rules []MockRule `json:"mocks,omitempty"`
	// Protocols are mocked beside those of the rules' methods.
	Protocols []string `json:"protocols,omitempty"`
	// Default answers what no rule fits. Without one the call fails, or goes
	// through to the real provider if Passthrough says so.
	Default     *MockStep `json:"default,omitempty"`
	Passthrough bool      `json:"passthrough,omitempty"`
}

// MockRule says which calls it is for, and what happens to them: its own step is
// for the first attempts of a task, those of Then for the later ones.
type MockRule struct {
	Method     string          `json:"method,omitempty"` // * stands for any text, as in Task and Provider
	Task       string          `json:"task,omitempty"`   // its id; that of an instance of a foreach with or without its index
	Provider   string          `json:"provider,omitempty"`
	Parameters json.RawMessage `json:"parameters,omitempty"` // that the call has among its own
	Text       string          `json:"text,omitempty"`       // regular expression that fits a text of its parameters
	When       string          `json:"when,omitempty"`       // expression about call
	MockStep
	Then []MockStep `json:"then,omitempty"`
}

// MockStep is what happens to a call: at first it takes time (Delay), then it
// shows something (Stream), then it ends in one of the other ways.
type MockStep struct {
	Delay  protocols.Duration `json:"delay,omitempty"`
	Stream []MockChunk        `json:"stream,omitempty"`

	Answer      json.RawMessage `json:"answer,omitempty"` // what the method is asked for: a model's text, a script's result
	Result      json.RawMessage `json:"result,omitempty"` // all that the method returns
	Fail        *MockFailure    `json:"fail,omitempty"`
	Hang        bool            `json:"hang,omitempty"`        // no end until the call is stopped
	Crash       string          `json:"crash,omitempty"`       // connection: it is lost; process: ours dies, as if killed
	Garbage     *string         `json:"garbage,omitempty"`     // sent instead of JSON
	Passthrough bool            `json:"passthrough,omitempty"` // the real provider is called

	ToolCalls []MockToolCall `json:"tool_calls,omitempty"` // that a model asks for, beside its answer
	Usage     *MockUsage     `json:"usage,omitempty"`      // of a model; else words are counted
	// Times is for how many attempts the step is; 0 is 1, for the last step
	// all that come.
	Times int `json:"times,omitempty"`
}

// MockChunk is a piece of what is shown while the call lasts.
type MockChunk struct {
	Text  string             `json:"text"`
	Delay protocols.Duration `json:"delay,omitempty"` // before it
}

// MockFailure is an error.
type MockFailure struct {
	Class      protocols.Class    `json:"class,omitempty"` // "" with a code, else execution
	Code       protocols.Code     `json:"code,omitempty"`  // 0: the one that stands for the class
	Message    string             `json:"message,omitempty"`
	RetryAfter protocols.Duration `json:"retry_after,omitempty"`
	Data       json.RawMessage    `json:"data,omitempty"`

	unknown string // a class or code that there is not
}

// MockToolCall is a model's wish to have a tool called.
type MockToolCall struct {
	ID        string          `json:"id,omitempty"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
}

// MockUsage are the tokens of a model's answer.
type MockUsage struct {
	Prompt     *int `json:"prompt_tokens,omitempty"`
	Completion *int `json:"completion_tokens,omitempty"`
}

// UnmarshalJSON reads a chunk, or its text alone.
func (c *MockChunk) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &c.Text) == nil {
		return nil
	}
	type plain MockChunk
	return json.Unmarshal(b, (*plain)(c))
}

// UnmarshalJSON reads a failure, or the name of its class or code alone.
func (f *MockFailure) UnmarshalJSON(b []byte) error {
	var word string
	if json.Unmarshal(b, &word) == nil {
		f.named(word)
		return nil
	}
	type plain MockFailure
	p := struct {
		*plain
		Code json.RawMessage `json:"code"`
	}{plain: (*plain)(f)}
	if err := json.Unmarshal(b, &p); err != nil || len(p.Code) == 0 {
		return err
	}
	if json.Unmarshal(p.Code, &word) == nil {
		f.coded(word)
		return nil
	}
	return json.Unmarshal(p.Code, &f.Code)
}

// named takes the name of a class or of a code.
func (f *MockFailure) named(word string) {
	if _, known := classCodes[protocols.Class(word)]; known {
		f.Class = protocols.Class(word)
		return
	}
	f.coded(word)
}

// coded takes the name of a code.
func (f *MockFailure) coded(word string) {
	known := false
	if f.Code, known = protocols.CodeNamed(word); !known {
		f.unknown = word
	}
}

//go:embed mock.schema.json
var mockSchema json.RawMessage

// ParseMocks reads a file of scripted answers, YAML or JSON. It tells everything
// that is wrong with it.
func ParseMocks(file string, data []byte) (*Mocks, protocols.Problems) {
	read, problems := protocols.ParseData(file, data, mockSchema)
	if len(problems) > 0 {
		return nil, problems
	}
	m := &Mocks{}
	if err := json.Unmarshal(read.JSON, m); err != nil {
		return nil, protocols.Problems{read.Problem(nil, err.Error(), "")}
	}
	m.File = file
	m.problems(func(path []string, text, hint string) {
		problems = append(problems, read.Problem(path, text, hint))
	})
	if len(problems) > 0 {
		return nil, problems
	}
	return m, nil
}

// problems reports what a schema doesn't see.
func (m *Mocks) problems(report func(path []string, text, hint string)) {
	registry := specs()
	for i, name := range m.Protocols {
		hint := protocols.Suggest(name, protocolNames(registry))
		if !mockable(name) {
			hint = "it is no provider's work"
		}
		if _, known := registry.Get(name); !known || !mockable(name) {
			report([]string{"protocols", strconv.Itoa(i)}, fmt.Sprintf("no protocol %q can be mocked", name), hint)
		}
	}
	for i, r := range m.Rules {
		at := []string{"mocks", strconv.Itoa(i)}
		for _, wrong := range r.wrong(registry) {
			report(append(at, wrong.key), wrong.text, wrong.hint)
		}
		r.MockStep.wrong(r.Method, func(key, text string) { report(append(at, key), text, "") })
		for j, step := range r.Then {
			step.wrong(r.Method, func(key, text string) { report(append(at, "then", strconv.Itoa(j), key), text, "") })
		}
	}
	if m.Default != nil {
		m.Default.wrong("", func(key, text string) { report([]string{"default", key}, text, "") })
	}
	if len(m.Rules)+len(m.Protocols) == 0 {
		report(nil, "it mocks nothing", "add a list of mocks, each with a method and an answer")
	}
}

// mockable tells whether calls of a protocol are a provider's work.
func mockable(protocol string) bool { return protocol != "wait/v1" && protocol != "workflow/v1" }

func protocolNames(r *protocols.Registry) (names []string) {
	for _, s := range r.List() {
		if mockable(s.Protocol) {
			names = append(names, s.Protocol)
		}
	}
	return names
}

// mockWrong is something that is wrong with a rule.
type mockWrong struct{ key, text, hint string }

// wrong says what is wrong with what a rule is for.
func (r *MockRule) wrong(registry *protocols.Registry) (all []mockWrong) {
	if names := methodNames(registry); !slices.ContainsFunc(names, func(name string) bool { return mayMean(r.Method, name) }) {
		all = append(all, mockWrong{"method", fmt.Sprintf("there is no method %q that can be mocked", r.Method), protocols.Suggest(r.Method, names)})
	}
	if r.Method == "llm/agent" {
		all = append(all, mockWrong{"method", "nothing calls llm/agent: the turns of an agent are calls of llm/chat", "task: NAME.turn1 is the first"})
	}
	if _, err := regexp.Compile(r.Text); err != nil {
		all = append(all, mockWrong{"text", fmt.Sprintf("text is no regular expression: %v", err), ""})
	}
	if r.When != "" {
		if _, err := protocols.NewCondition(r.When, mockCall); err != nil {
			all = append(all, mockWrong{"when", fmt.Sprintf("when: %v", err), ""})
		}
	}
	return all
}

// methodNames are the names of all methods that can be mocked, and their
// aliases; those of an open one end in *.
func methodNames(r *protocols.Registry) (names []string) {
	for _, s := range r.List() {
		for _, m := range s.Methods {
			if mockable(s.Protocol) {
				names = append(append(names, m.Name), m.Aliases...)
			}
		}
	}
	return names
}

// mayMean tells whether a pattern may mean a method, which is open if its name
// ends in *.
func mayMean(pattern, name string) bool {
	prefix, open := strings.CutSuffix(name, "*")
	if !open {
		return fitsPattern(pattern, name)
	}
	fixed, _, some := strings.Cut(pattern, "*")
	return strings.HasPrefix(fixed, prefix) || some && strings.HasPrefix(prefix, fixed)
}

// wrong reports what is wrong with a step.
func (s *MockStep) wrong(method string, report func(key, text string)) {
	ends := s.endings()
	switch {
	case len(ends) > 1:
		report(ends[1], fmt.Sprintf("%s and %s: a call ends in one way only", ends[0], ends[1]))
	case len(ends) == 0 && len(s.Stream) == 0 && len(s.ToolCalls) == 0 && !invents(method):
		report("", "it doesn't say what becomes of the call: add answer, result, fail, stream, hang, crash, garbage or passthrough")
	}
	if s.Fail != nil && s.Fail.unknown != "" {
		report("fail", fmt.Sprintf("fail: %q is neither an error class such as rate_limit nor a code such as PROVIDER_TIMEOUT", s.Fail.unknown))
	}
	if len(s.ToolCalls) > 0 && len(ends) == 1 && ends[0] != "answer" {
		report("tool_calls", "tool_calls go with an answer, or stand alone")
	}
	if (len(s.ToolCalls) > 0 || s.Usage != nil) && method != "" && !strings.HasPrefix(method, "llm/") {
		key := "usage"
		if len(s.ToolCalls) > 0 {
			key = "tool_calls"
		}
		report(key, "only models have "+key)
	}
	for _, one := range []struct {
		key string
		raw json.RawMessage
	}{{"answer", s.Answer}, {"result", s.Result}} {
		if len(one.raw) > 0 {
			if _, err := protocols.NewTemplate(one.raw, mockCall); err != nil {
				report(one.key, fmt.Sprintf("%s: %v", one.key, err))
			}
		}
	}
}

// endings are the keys that say how the call ends.
func (s *MockStep) endings() (keys []string) {
	for _, one := range []struct {
		key string
		is  bool
	}{{"answer", len(s.Answer) > 0}, {"result", len(s.Result) > 0}, {"fail", s.Fail != nil}, {"hang", s.Hang}, {"crash", s.Crash != ""},
		{"garbage", s.Garbage != nil}, {"passthrough", s.Passthrough}} {
		if one.is {
			keys = append(keys, one.key)
		}
	}
	return keys
}
