package protocols

import (
	"encoding/json"
	"fmt"
	"slices"
)

// This file is about a task's output_schema: which forms it may be written in,
// and how a result is held to it.

// outputSchema reads a schema in the forms that are in use: JSON Schema
// itself, and OpenAI's response_format, {type: json_object} or {type:
// json_schema, json_schema: {schema: …}}. Any JSON is {}.
func (c *compiler) outputSchema(key string, v *node) json.RawMessage {
	if v.kind != mapKind {
		c.mismatch(key, v, "a JSON Schema, or {type: json_object}")
		return nil
	}
	switch form := v.get("type"); {
	case form != nil && form.text == "json_object":
		return json.RawMessage("{}")
	case form != nil && form.text == "json_schema":
		inner := v.get("json_schema")
		if inner == nil || inner.kind != mapKind || inner.get("schema") == nil {
			c.problem(v, fmt.Sprintf("%s of type json_schema has no json_schema.schema", key), "the schema itself will do: {type: object, …}")
			return nil
		}
		v = inner.get("schema")
	}
	c.refuseReferences(key, v)
	raw, ok := c.object(key, v)
	if !ok {
		return nil
	}
	s, err := newSchema(raw, nil)
	if err != nil {
		c.problem(v, fmt.Sprintf("%s is no JSON Schema: %s", key, libraryText(err)), "")
		return nil
	}
	for _, name := range s.strangeTypes() {
		c.problem(v, fmt.Sprintf("%s: JSON has no type %s", key, quoted(name)), Suggest(name, sortedKeys(kindNames)))
	}
	return raw
}

// refuseReferences: a schema is the same for every run. A pattern is left
// alone, for in one "${" may mean something else.
func (c *compiler) refuseReferences(key string, n *node) {
	if n.kind == stringKind && hasReference(n.text) {
		c.problem(n, key+" can't hold references", "it is the same for every run; a later task can compare values")
	}
	for _, item := range n.items {
		c.refuseReferences(key, item)
	}
	for _, m := range n.members {
		if m.key != "pattern" {
			c.refuseReferences(key, m.value)
		}
	}
}

// strangeTypes returns the types that a schema names and JSON hasn't, sorted.
func (s *schema) strangeTypes() (names []string) {
	for t := range s.facts {
		for _, name := range typesOf(t) {
			if _, known := kindNames[name]; !known {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// needsProvider refuses what only a provider sees to on a task that has none.
func (c *compiler) needsProvider(d *draft) {
	if d.Protocol != "wait/v1" && d.Protocol != "workflow/v1" {
		return
	}
	if d.outputSchema != nil {
		c.problem(d.outputSchema, fmt.Sprintf("%s takes no output_schema", d.Method), "give one to a task that uses its result")
	}
	if d.idleTimeout != nil {
		c.problem(d.idleTimeout, fmt.Sprintf("%s takes no idle_timeout", d.Method), "timeout bounds the waiting")
	}
}

// CheckOutput holds what a reference to a task's result means to the task's
// OutputSchema. The error is TASK_RESULT_INVALID, which retry.on knows as
// schema, and lists every violation.
func CheckOutput(schema, value json.RawMessage) *Error {
	s, err := newSchema(schema, nil)
	if err != nil {
		return Errorf(InternalError, "output_schema: %v", err)
	}
	if !json.Valid(value) {
		return Errorf(TaskResultInvalid, "the result is not JSON")
	}
	return violated(TaskResultInvalid, "the result doesn't fit output_schema", s.check(value, checkOptions{what: "it", member: "key"}))
}

// ResultOf returns what a bare reference to a task with this payload means:
// the result in it, else its text, else all of it.
func ResultOf(payload json.RawMessage) json.RawMessage { return bare(payload) }
