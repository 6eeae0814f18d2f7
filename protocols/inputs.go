package protocols

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// inputDraft is an input as it is read.
type inputDraft struct {
	*Input
	at    *node
	deflt *node
	enum  *node
}

var inputTypes = []string{"string", "integer", "number", "boolean", "array", "object"}

func inputKeys() []key[*inputDraft] {
	return []key[*inputDraft]{
		{spelling{name: "type", doc: "The type of the value; absent: any.", schema: `{"enum":["string","integer","number","boolean","array","object"]}`},
			func(c *compiler, d *inputDraft, k string, v *node) { d.Type = c.inputType(k, v) }},
		{spelling{name: "required", doc: "The run must be given a value.", schema: schemaBool},
			func(c *compiler, d *inputDraft, k string, v *node) { d.Required, _ = c.boolean(k, v) }},
		{spelling{name: "default", doc: "The value when none is given.", schema: `{}`, nullable: true},
			func(c *compiler, d *inputDraft, _ string, v *node) { d.deflt = v }},
		{spelling{name: "description", doc: "What the input is for.", schema: schemaText},
			func(c *compiler, d *inputDraft, k string, v *node) { d.Description, _ = c.text(k, v) }},
		{spelling{name: "enum", doc: "The values that are allowed.", schema: `{"type":"array","minItems":1}`},
			func(c *compiler, d *inputDraft, k string, v *node) {
				if v.kind != listKind || len(v.items) == 0 {
					c.mismatch(k, v, "a list of one or more values")
					return
				}
				d.enum = v
			}},
		{spelling{name: "secret", doc: "The value is a reference to a secret: env:NAME, file:PATH or age:PATH.", schema: schemaBool},
			func(c *compiler, d *inputDraft, k string, v *node) {
				d.Secret, _ = c.boolean(k, v)
			}},
	}
}

// inputType reads a type; the names that other languages have for it get a hint.
func (c *compiler) inputType(k string, v *node) string {
	meant := map[string]string{"str": "string", "text": "string", "int": "integer", "float": "number", "bool": "boolean",
		"list": "array", "map": "object", "dict": "object", "json": "object"}
	if m := meant[v.text]; v.kind == stringKind && m != "" {
		c.problem(v, fmt.Sprintf("%s must be one of %s, not %s", k, strings.Join(inputTypes, ", "), v.text), "did you mean "+m+"?")
		return ""
	}
	t, _ := c.choice(k, v, inputTypes...)
	return t
}

// readInputs reads the inputs and sees that defaults fit.
func (c *compiler) readInputs(n *node) {
	c.inputs = map[string]*Input{}
	if n == nil {
		return
	}
	if n.kind != mapKind {
		c.mismatch("inputs", n, "a map of names")
		return
	}
	for _, m := range n.members {
		if m.key == "" || !printable(m.key) || len(m.key) > maxName {
			c.problemAt(m.line, m.col, quoted(m.key)+" can't be the name of an input", "")
			continue
		}
		d := &inputDraft{Input: &Input{Name: m.key}, at: m.value}
		switch {
		case m.value.kind == nullKind:
		case m.value.kind != mapKind:
			c.problem(m.value, fmt.Sprintf("the input %s must be a map of keys, not %s", quoted(m.key), m.value.kind),
				fmt.Sprintf("write %s: {default: …}", shorten(m.key)))
		default:
			readMap(c, m.value, c.lang.input, d)
			c.inputValues(d)
		}
		c.inputs[m.key] = d.Input
		c.w.Inputs = append(c.w.Inputs, *d.Input)
	}
}

// inputValues takes over enum and default, which must fit the type.
func (c *compiler) inputValues(d *inputDraft) {
	if d.Secret {
		c.secretInput(d)
	}
	if d.enum != nil {
		for _, item := range d.enum.items {
			if text := d.misfit(item.raw()); text != "" {
				c.problem(item, text, "")
			}
		}
		for _, item := range d.enum.items {
			d.Enum = append(d.Enum, item.raw())
		}
	}
	if d.deflt != nil {
		d.Default = d.deflt.raw()
		if text := d.misfit(d.Default); text != "" && d.deflt.kind != nullKind {
			c.problem(d.deflt, "the default of "+text, "")
		}
	}
}

// misfit says why value is none for the input, "" if it is one.
func (in *Input) misfit(value json.RawMessage) string {
	if in.Secret {
		if !secretSource.MatchString(rawText(value)) {
			return fmt.Sprintf("%s is a secret and must be given as a reference, never itself (%s)", quoted(in.Name), howSecrets)
		}
		return ""
	}
	if in.Type != "" && (kindOf(value) != kindNames[in.Type] || in.Type == "integer" && !isInteger(string(value))) {
		return fmt.Sprintf("%s must be %s, not %s", quoted(in.Name), typeList([]string{in.Type}), show(value))
	}
	if len(in.Enum) > 0 && !slices.ContainsFunc(in.Enum, func(e json.RawMessage) bool { return sameJSON(e, value) }) {
		return fmt.Sprintf("%s must be one of %s, not %s", quoted(in.Name), in.choices(), show(value))
	}
	return ""
}

func (in *Input) choices() string {
	words := make([]string, len(in.Enum))
	for i, e := range in.Enum {
		if words[i] = string(e); kindOf(e) == stringKind {
			words[i] = rawText(e)
		}
	}
	return strings.Join(words, ", ")
}

// CheckInputs returns the values that a run has when it is given these:
// defaults filled in, types checked. The error is INVALID_PARAMS and lists
// all that is wrong, also as data.problems.
func (w *Workflow) CheckInputs(given map[string]json.RawMessage) (map[string]json.RawMessage, *Error) {
	values := make(map[string]json.RawMessage, len(w.Inputs))
	var wrong []string
	for i := range w.Inputs {
		in := &w.Inputs[i]
		value, ok := given[in.Name]
		switch {
		case ok && !json.Valid(value):
			wrong = append(wrong, quoted(in.Name)+" is not JSON")
		case ok:
			if text := in.misfit(value); text != "" {
				wrong = append(wrong, text)
			}
			values[in.Name] = compact(value)
		case in.Default != nil:
			values[in.Name] = in.Default
		case in.Required:
			wrong = append(wrong, quoted(in.Name)+" is required and was not given")
		}
	}
	for _, name := range sortedKeys(given) {
		if !slices.Contains(w.inputNames(), name) {
			wrong = append(wrong, w.unknownInput(name))
		}
	}
	if len(wrong) > 0 {
		return nil, Errorf(InvalidParams, "inputs: %s", strings.Join(wrong, "; ")).With(map[string]any{"problems": wrong})
	}
	return values, nil
}

func (w *Workflow) inputNames() []string {
	names := make([]string, len(w.Inputs))
	for i, in := range w.Inputs {
		names[i] = in.Name
	}
	return names
}

func (w *Workflow) unknownInput(name string) string {
	text := "there is no input " + quoted(name)
	if hint := Suggest(name, w.inputNames()); hint != "" {
		return text + " (" + hint + ")"
	}
	return text + " (" + thereAre(w.inputNames()) + ")"
}

// ParseInput reads an input's value as somebody types it on a command line:
// by its declared type; without a type, as JSON if it is JSON, else as text.
// The error is INVALID_PARAMS.
func (w *Workflow) ParseInput(name, text string) (json.RawMessage, *Error) {
	i := slices.Index(w.inputNames(), name)
	if i < 0 {
		return nil, Errorf(InvalidParams, "inputs: %s", w.unknownInput(name))
	}
	value := json.RawMessage(text)
	switch in := &w.Inputs[i]; {
	case in.Secret, in.Type == "string", in.Type == "" && !json.Valid(value):
		value = appendString(nil, text)
	case in.Type == "boolean":
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, Errorf(InvalidParams, "inputs: %s must be true or false, not %s", quoted(name), quoted(text))
		}
		value = strconv.AppendBool(nil, b)
	case !json.Valid(value):
		return nil, Errorf(InvalidParams, "inputs: %s must be %s, not %s", quoted(name), typeList([]string{in.Type}), quoted(text))
	}
	value = compact(value)
	if wrong := w.Inputs[i].misfit(value); wrong != "" {
		return nil, Errorf(InvalidParams, "inputs: %s", wrong)
	}
	return value, nil
}
