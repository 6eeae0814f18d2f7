package replay

import (
	"bytes"
	"encoding/json"
	"slices"
)

// This file says what a run has come to, for people and for programs that show
// it to them.

// Result is a named part of what a run has come to, or a member of an object.
type Result struct {
	Name  string
	Value json.RawMessage
}

// Results returns the outputs of a run, or without any the results of the
// completed tasks that no other waits for, hooks left out. The view must have
// been made with its values.
func (v *RunView) Results() []Result {
	if v.Outputs != nil {
		return Members(v.Outputs)
	}
	leaves := v.leaves()
	parts := make([]Result, len(leaves))
	for i, t := range leaves {
		parts[i] = Result{t.ID, Essence(t.Result)}
	}
	return parts
}

// Whole is a run's result as one value: the object of its outputs, or without
// any the payload of the only task that no other waits for, nil if that isn't
// only one.
func (v *RunView) Whole() json.RawMessage {
	if v.Outputs != nil {
		return v.Outputs
	}
	if leaves := v.leaves(); len(leaves) == 1 {
		return leaves[0].Result
	}
	return nil
}

// leaves are the completed tasks that no other waits for.
func (v *RunView) leaves() (leaves []TaskView) {
	needed := map[string]bool{}
	for _, t := range v.Tasks {
		for _, d := range t.Dependencies {
			needed[d] = needed[d] || t.Hook == ""
		}
	}
	for _, t := range v.Tasks {
		if !needed[t.ID] && t.Of == "" && t.Hook == "" && t.Status == TaskIsCompleted {
			leaves = append(leaves, t)
		}
	}
	return leaves
}

// Members returns the members of a JSON object in their order, none of anything
// else.
func Members(object json.RawMessage) (all []Result) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	for d.More() {
		key, err := d.Token()
		var raw json.RawMessage
		if err != nil || d.Decode(&raw) != nil {
			return all
		}
		all = append(all, Result{key.(string), raw})
	}
	return all
}

// Essence is what a bare reference to a task gives: its payload's result, else
// its text, else the whole payload.
func Essence(payload json.RawMessage) json.RawMessage {
	all := Members(payload)
	for _, name := range []string{"result", "response", "content", "text"} {
		i := slices.IndexFunc(all, func(v Result) bool { return v.Name == name })
		if i >= 0 && (name == "result" || IsText(all[i].Value)) {
			return all[i].Value
		}
	}
	return payload
}

// IsText tells whether a JSON value is a string.
func IsText(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '"' }

// oneLine is how long JSON may be to be written on one line.
const oneLine = 72

// Text writes text as it is, anything else as JSON, on lines of its own if it
// is long.
func Text(raw json.RawMessage) string {
	var text string
	if IsText(raw) && json.Unmarshal(raw, &text) == nil {
		return text
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	if b.Len() > oneLine {
		b.Reset()
		_ = json.Indent(&b, raw, "", "  ") // it is JSON
	}
	return b.String()
}
