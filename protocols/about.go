package protocols

import (
	"encoding/json"
	"fmt"
	"strings"
)

// This file lets others than workflows have references and conditions. They are
// about one value, which has a name: ${call.method}.

// Template is JSON with references to one value.
type Template struct {
	t    *template
	name string
}

// NewTemplate reads valid JSON whose texts may hold references to the value of
// that name, and to nothing else.
func NewTemplate(raw json.RawMessage, name string) (*Template, error) {
	t, err := newTemplate(raw, about(name), nil)
	if err != nil {
		return nil, err
	}
	for _, p := range t.parts {
		if p.ref != nil {
			if err := onlyAbout(name, p.ref); err != nil {
				return nil, err
			}
		}
	}
	return &Template{t, name}, nil
}

// Fill puts in what the references mean for the value. The error is
// TASK_PARAMETER_ERROR.
func (t *Template) Fill(value json.RawMessage) (json.RawMessage, *Error) {
	return fillerAbout(t.name, value).fill(t.t)
}

// Condition is an expression about one value.
type Condition struct {
	e    *expression
	name string
}

// NewCondition reads an expression, all of which may stand in ${…}.
func NewCondition(text, name string) (*Condition, error) {
	text, whole := inside(text)
	if !whole {
		return nil, fmt.Errorf("it must be one expression: all of it may stand in ${…}, not a part")
	}
	e, wrong := readExpression(text, about(name))
	if wrong != nil {
		return nil, fmt.Errorf("%s", wrong.text)
	}
	if err := onlyAbout(name, &reference{root: exprRoot, expr: e}); err != nil {
		return nil, err
	}
	switch wrong := e.compile(nil); {
	case wrong != nil:
		return nil, fmt.Errorf("%s", wrong.text)
	case e.known && e.result != boolKind && e.result != nullKind:
		return nil, fmt.Errorf("it must be true or false, not %s", e.result)
	}
	return &Condition{e, name}, nil
}

// Holds tells whether the condition is true of the value. A path that leads
// nowhere (unless ?? follows), and anything but true, false and null, is
// TASK_PARAMETER_ERROR.
func (c *Condition) Holds(value json.RawMessage) (bool, *Error) {
	f := fillerAbout(c.name, value)
	v, err := f.evaluate(c.e)
	if err != nil {
		return false, err
	}
	switch v := v.(type) {
	case nil:
		return false, nil
	case bool:
		return v, nil
	}
	return false, f.refuse(c.e.text, nil, "a condition must be true or false, not %s", showValue(v))
}

// about has the value's name alone.
func about(name string) *names { return namesOf(nil, nil).withItem(name) }

func fillerAbout(name string, value json.RawMessage) *filler {
	return &filler{scope: &Scope{Item: &ItemValue{Value: value}}, place: name}
}

// onlyAbout refuses references to what only a workflow has.
func onlyAbout(name string, ref *reference) error {
	switch {
	case ref.root == exprRoot && ref.expr.status:
		return fmt.Errorf("%s can't be used here", strings.Join(statusFunctions, ", "))
	case ref.root == exprRoot:
		for _, r := range ref.expr.refs {
			if err := onlyAbout(name, r); err != nil {
				return err
			}
		}
		return nil
	case ref.root != itemRoot:
		return fmt.Errorf("${%s}: only %s can be referred to here", shorten(strings.TrimSpace(ref.text)), name)
	}
	return nil
}
