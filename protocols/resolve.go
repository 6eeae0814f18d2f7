package protocols

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// This file finds the value that a reference means.

// value returns what ref means, as JSON. Its default counts when there is no
// value, or when the value is null.
func (f *filler) value(ref *reference) (json.RawMessage, *Error) {
	if ref.root == exprRoot {
		return f.evaluated(ref.expr)
	}
	found, lost := f.find(ref)
	if ref.fallback != nil && (lost != nil || kindOf(found) == nullKind) {
		return ref.fallback, nil
	}
	if lost != nil {
		return nil, f.refuse(ref.text, lost.keys, "%s", lost.text)
	}
	return found, nil
}

// missing says why a reference has no value, and what there is instead.
type missing struct {
	text string
	keys []string
}

// refuse makes the error of a reference or expression.
func (f *filler) refuse(ref string, keys []string, format string, args ...any) *Error {
	data := struct {
		Task      string   `json:"task,omitempty"`
		Reference string   `json:"reference"`
		Keys      []string `json:"keys,omitempty"`
	}{Reference: ref, Keys: keys}
	where := "outputs"
	if f.task != nil {
		where, data.Task = "task "+f.task.ID, f.task.ID
	}
	if f.place != "" {
		where = f.place
	}
	if f.what != "" {
		where += ": " + f.what
	}
	text := fmt.Sprintf("%s: ${%s}: ", where, shorten(strings.TrimSpace(ref))) + fmt.Sprintf(format, args...)
	return Errorf(TaskParameterError, "%s", text).With(data)
}

func (f *filler) find(ref *reference) (json.RawMessage, *missing) {
	switch ref.root {
	case taskRoot:
		v, ended := f.scope.Tasks[ref.task]
		if !ended {
			return nil, &missing{text: fmt.Sprintf("the task %s has not ended", f.name(ref))}
		}
		return v.find(ref.path)
	case inputsRoot:
		return f.input(ref.path)
	case envRoot:
		return f.env(ref.path)
	case secretsRoot:
		return f.secret(ref.path)
	case itemRoot, indexRoot:
		return f.item(ref)
	case argsRoot:
		if f.scope.Args == nil {
			return nil, &missing{text: "there are no arguments here"}
		}
		return walk(f.scope.Args, ref.path)
	case runRoot:
		return walk(f.run(), ref.path)
	case workflowRoot:
		return walk(f.scope.Workflow.fields(), ref.path)
	}
	panic(fmt.Sprintf("reference to root %d was compiled", ref.root))
}

func (f *filler) name(ref *reference) string {
	if tasks := f.scope.Workflow.Tasks; ref.task < len(tasks) {
		return tasks[ref.task].ID
	}
	return ref.text
}

// find looks into an ended task. The payload comes first, so that every form
// in use works; what else is known of the task comes last.
func (v TaskValue) find(path []step) (json.RawMessage, *missing) {
	payload := v.Result
	if len(payload) == 0 {
		payload = json.RawMessage("null")
	}
	if len(path) == 0 {
		return bare(payload), nil
	}
	found, lost := walk(payload, path)
	if lost == nil {
		return found, nil
	}
	if path[0].key == "result" {
		if len(path) == 1 {
			return bare(payload), nil
		}
		if found, below := walk(payload, path[1:]); below == nil {
			return found, nil
		} else if _, has := rawMember(payload, "result"); !has {
			lost = below
		}
	}
	if own, ok := v.field(path[0].key); ok {
		return walk(own, path[1:])
	}
	if kindOf(payload) == nullKind && v.Status != "completed" {
		lost = &missing{text: fmt.Sprintf("the task is %s and has no result", v.Status), keys: taskFields}
	}
	return nil, lost
}

// bare returns what a reference to a whole payload means: its result, else
// its text, else all of it.
func bare(payload json.RawMessage) json.RawMessage {
	if result, ok := rawMember(payload, "result"); ok {
		return result
	}
	for _, key := range []string{"response", "content", "text"} {
		if text, ok := rawMember(payload, key); ok && kindOf(text) == stringKind {
			return text
		}
	}
	return payload
}

// taskFields are what can be asked of any task, whatever its payload.
var taskFields = []string{"status", "error", "attempts", "duration", "usage"}

// field returns what is known of a task itself. A usage that isn't in the
// payload is null.
func (v TaskValue) field(name string) (json.RawMessage, bool) {
	switch name {
	case "status":
		return appendString(nil, v.Status), true
	case "attempts":
		return strconv.AppendInt(nil, int64(v.Attempts), 10), true
	case "duration", "duration_seconds":
		return strconv.AppendFloat(nil, v.Duration.Seconds(), 'f', -1, 64), true
	case "error":
		return v.errorValue(), true
	case "usage":
		return json.RawMessage("null"), true
	}
	return nil, false
}

// errorValue is the task's error with its code's name, null without one.
func (v TaskValue) errorValue() json.RawMessage {
	if v.Error == nil {
		return json.RawMessage("null")
	}
	b, err := marshal(struct {
		Code    Code            `json:"code"`
		Name    string          `json:"name"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data,omitempty"`
	}{v.Error.Code, v.Error.Code.String(), v.Error.Message, v.Error.Data})
	if err != nil { // its data isn't JSON
		return appendString(nil, v.Error.Message)
	}
	return b
}

// walk follows path into value.
func walk(value json.RawMessage, path []step) (json.RawMessage, *missing) {
	for i, s := range path {
		next, ok := enter(value, s)
		if !ok {
			return nil, lostAt(value, path[:i], s)
		}
		value = next
	}
	return value, nil
}

func enter(value json.RawMessage, s step) (json.RawMessage, bool) {
	if kindOf(value) == listKind && s.isIndex {
		return rawItem(value, s.index)
	}
	return rawMember(value, s.key)
}

// lostAt says that value, which way leads to, has no s.
func lostAt(value json.RawMessage, way []step, s step) *missing {
	const most = 50
	after := ""
	for _, w := range way {
		after += w.String()
	}
	if after != "" {
		after = " after " + shorten(after)
	}
	switch k := kindOf(value); k {
	case mapKind:
		keys := rawKeys(value, most)
		return &missing{fmt.Sprintf("no key %s%s; %s", quoted(s.key), after, shortenTo(thereAre(keys), 200)), keys}
	case listKind:
		if s.isIndex {
			return &missing{text: fmt.Sprintf("no item %d%s: the list has %s", s.index, after, plural(rawLen(value), "item"))}
		}
		return &missing{text: fmt.Sprintf("no key %s%s: there is a list", quoted(s.key), after)}
	default:
		return &missing{text: fmt.Sprintf("no key %s%s: there is %s", quoted(s.key), after, k)}
	}
}

// item finds the item of a foreach, or its index.
func (f *filler) item(ref *reference) (json.RawMessage, *missing) {
	it := f.scope.Item
	switch {
	case it == nil:
		return nil, &missing{text: "there is no item here"}
	case ref.root == indexRoot:
		return walk(strconv.AppendInt(nil, int64(it.Index), 10), ref.path)
	}
	return walk(it.Value, ref.path)
}

func (f *filler) input(path []step) (json.RawMessage, *missing) {
	if len(path) == 0 {
		b, err := marshal(f.scope.Inputs)
		if err != nil {
			return nil, &missing{text: err.Error()}
		}
		if f.scope.Inputs == nil {
			return json.RawMessage("{}"), nil
		}
		return b, nil
	}
	if in := f.inputs[path[0].key]; in != nil && in.Secret {
		return f.secretInput(in.Name)
	}
	value, given := f.scope.Inputs[path[0].key]
	if !given {
		return nil, &missing{"the input was not given and has no default", sortedKeys(f.scope.Inputs)}
	}
	return walk(value, path[1:])
}

func (f *filler) env(path []step) (json.RawMessage, *missing) {
	if len(path) != 1 {
		return nil, &missing{text: "name one variable"}
	}
	name := path[0].key
	envs := []map[string]string{f.scope.Workflow.Env, f.scope.Env}
	if f.task != nil {
		envs = append([]map[string]string{f.task.Env}, envs...)
	}
	for _, env := range envs {
		if value, ok := env[name]; ok {
			return appendString(nil, value), nil
		}
	}
	return nil, &missing{text: "the environment has no variable " + quoted(name)}
}

// runFields and workflowFields are what ${run.…} and ${workflow.…} know.
var (
	runFields      = []string{"id", "name", "attempt"}
	workflowFields = []string{"id", "name", "description", "metadata", "tags"}
)

func (f *filler) run() json.RawMessage {
	b := append(appendString([]byte(`{"id":`), f.scope.Run.ID), `,"name":`...)
	b = append(appendString(b, f.scope.Run.Name), `,"attempt":`...)
	return append(strconv.AppendInt(b, int64(f.scope.Run.Attempt), 10), '}')
}

// fields is what ${workflow} means.
func (w *Workflow) fields() json.RawMessage {
	b, err := marshal(struct {
		ID          string          `json:"id"`
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Metadata    json.RawMessage `json:"metadata"`
		Tags        []string        `json:"tags"`
	}{w.ID, w.Name, w.Description, w.Metadata, w.Tags})
	if err != nil {
		panic(fmt.Sprintf("workflow %s: %v", w.Name, err))
	}
	return b
}
