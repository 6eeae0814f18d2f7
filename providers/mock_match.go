package providers

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"gleitzeit/protocols"
)

// This file finds the rule of a script that fits a call.

// mockCall is what expressions and answers call the call: ${call.parameters.x}.
const mockCall = "call"

// mockScript is a script made ready.
type mockScript struct {
	*Mocks
	rules []mockRule
}

// mockRule is a rule made ready.
type mockRule struct {
	*MockRule
	text       *regexp.Regexp       // nil: any
	when       *protocols.Condition // nil: always
	parameters any                  // nil: any
}

// compile makes a script ready. The error names the first thing that is wrong.
func (m *Mocks) compile() (*mockScript, error) {
	s := &mockScript{Mocks: m}
	registry := specs()
	for i := range m.Rules {
		r := mockRule{MockRule: &m.Rules[i]}
		if known, canonical, ok := registry.Method(r.Method); ok && !strings.HasSuffix(known.Name, "*") {
			named := *r.MockRule
			named.Method = canonical
			r.MockRule = &named
		}
		if err := r.compile(); err != nil {
			return nil, fmt.Errorf("mock %d of %s: %w", i+1, m.File, err)
		}
		s.rules = append(s.rules, r)
	}
	return s, nil
}

func (r *mockRule) compile() (err error) {
	if r.Text != "" {
		if r.text, err = regexp.Compile(r.Text); err != nil {
			return err
		}
	}
	if r.When != "" {
		if r.when, err = protocols.NewCondition(r.When, mockCall); err != nil {
			return err
		}
	}
	if len(r.Parameters) > 0 {
		return json.Unmarshal(r.Parameters, &r.parameters)
	}
	return nil
}

// Covers tells whether calls of the protocol are answered by the script.
func (m *Mocks) Covers(protocol string) bool {
	name, _, _ := strings.Cut(protocol, "/")
	return mockable(protocol) && m.covers(name+"/")
}

// covers is Covers by the beginning of the protocol's methods, "llm/".
func (m *Mocks) covers(prefix string) bool {
	named := func(p string) bool { return strings.HasPrefix(p, prefix) }
	if slices.ContainsFunc(m.Protocols, named) {
		return true
	}
	return slices.ContainsFunc(m.Rules, func(r MockRule) bool { return mayMean(r.Method, prefix+"*") })
}

// spokenBy is the name of a method's protocol: what stands before the slash.
func spokenBy(method string) string {
	name, _, _ := strings.Cut(method, "/")
	return name
}

// step finds what becomes of a call; nil if no rule fits, with what should be
// known of those that nearly did.
func (s *mockScript) step(provider string, call Call, round int) (step *MockStep, nearly []string, err error) {
	about := &mockedCall{provider: provider, call: call}
	for i := range s.rules {
		r := &s.rules[i]
		if !r.fits(about) {
			continue
		}
		if step := r.at(max(call.Attempt, 1) - 1 + round); step != nil {
			step, err = about.filled(step)
			return step, nil, err
		}
		about.nearly = append(about.nearly, fmt.Sprintf("mock %d was for earlier attempts", i+1))
	}
	if s.Default != nil {
		step, err = about.filled(s.Default)
	}
	return step, about.nearly, err
}

// at returns the step for the attempt after n others, nil if its times are over.
func (r *MockRule) at(n int) *MockStep {
	for i := range len(r.Then) + 1 {
		step := &r.MockStep
		if i > 0 {
			step = &r.Then[i-1]
		}
		times := step.Times
		if times == 0 && i == len(r.Then) {
			return step
		}
		if n -= max(times, 1); n < 0 {
			return step
		}
	}
	return nil
}

// mockedCall is a call that rules look at; what costs something is found out
// when it is asked for.
type mockedCall struct {
	provider   string
	call       Call
	parameters any
	read       bool
	value      json.RawMessage
	nearly     []string // why rules don't fit that should perhaps
}

// fits tells whether a rule is for the call. A condition that can't be answered,
// as of a parameter that the call hasn't, doesn't hold.
func (r *mockRule) fits(c *mockedCall) bool {
	if !fitsPattern(r.Method, c.call.Method) || r.Provider != "" && !fitsPattern(r.Provider, c.provider) {
		return false
	}
	if r.Task != "" && !fitsPattern(r.Task, c.call.Task) && !fitsPattern(r.Task, withoutIndex(c.call.Task)) {
		return false
	}
	if r.parameters != nil && !contains(c.arguments(), r.parameters) || r.text != nil && !mentions(c.arguments(), r.text) {
		return false
	}
	if r.when == nil {
		return true
	}
	holds, err := r.when.Holds(c.asValue())
	if err != nil {
		c.nearly = append(c.nearly, "when: "+err.Message)
	}
	return holds
}

// fitsPattern tells whether a text is what a pattern means, in which * is any
// text.
func fitsPattern(pattern, text string) bool {
	first, rest, some := strings.Cut(pattern, "*")
	if !some {
		return pattern == text
	}
	text, fits := strings.CutPrefix(text, first)
	for fits {
		piece, more, some := strings.Cut(rest, "*")
		if !some {
			return strings.HasSuffix(text, piece)
		}
		at := strings.Index(text, piece)
		if fits = at >= 0; fits {
			text, rest = text[at+len(piece):], more
		}
	}
	return false
}

// withoutIndex is the id of the foreach whose instance a task is.
func withoutIndex(task string) string {
	if at := strings.LastIndexByte(task, '['); at > 0 && strings.HasSuffix(task, "]") {
		return task[:at]
	}
	return task
}

// arguments are the call's parameters; those that are no JSON are none.
func (c *mockedCall) arguments() any {
	if !c.read {
		c.read = true
		_ = json.Unmarshal(c.call.Parameters, &c.parameters)
	}
	return c.parameters
}

// contains tells whether a value has all that another has.
func contains(value, wanted any) bool {
	of, isMap := wanted.(map[string]any)
	if !isMap {
		return reflect.DeepEqual(value, wanted)
	}
	has, isMap := value.(map[string]any)
	if !isMap {
		return false
	}
	for key, one := range of {
		if its, there := has[key]; !there || !contains(its, one) {
			return false
		}
	}
	return true
}

// mentions tells whether the expression fits a text in a value.
func mentions(value any, text *regexp.Regexp) bool {
	switch v := value.(type) {
	case string:
		return text.MatchString(v)
	case []any:
		return slices.ContainsFunc(v, func(one any) bool { return mentions(one, text) })
	case map[string]any:
		for one := range maps.Values(v) {
			if mentions(one, text) {
				return true
			}
		}
	}
	return false
}

// asValue is the call as expressions and answers see it.
func (c *mockedCall) asValue() json.RawMessage {
	if c.value != nil {
		return c.value
	}
	parameters := c.call.Parameters
	if !json.Valid(parameters) {
		parameters = json.RawMessage("null")
	}
	value, err := encode(map[string]any{"method": c.call.Method, "task": c.call.Task, "run": c.call.Run,
		"attempt": c.call.Attempt, "provider": c.provider, "parameters": parameters})
	if err != nil {
		panic(fmt.Sprintf("a call as JSON: %v", err)) // its parts are
	}
	c.value = value
	return value
}

// filled is a step whose answer has what it says about the call.
func (c *mockedCall) filled(step *MockStep) (*MockStep, error) {
	done := *step
	for _, raw := range []*json.RawMessage{&done.Answer, &done.Result} {
		if !strings.Contains(string(*raw), "${") {
			continue
		}
		t, err := protocols.NewTemplate(*raw, mockCall)
		if err != nil {
			return nil, protocols.Errorf(protocols.ConfigurationError, "a mock's answer: %v", err)
		}
		filled, failed := t.Fill(c.asValue())
		if failed != nil {
			return nil, protocols.Errorf(protocols.TaskParameterError, "a mock's answer: %s", failed.Message)
		}
		*raw = filled
	}
	return &done, nil
}
