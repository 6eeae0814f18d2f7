package protocols

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Schema returns the JSON Schema (2020-12) of workflow files, for editors: every
// spelling of every key that works, and the parameters of every built-in
// method. It lets through some that Compile refuses, never the other way
// round, but that keys without a value are not foreseen.
func Schema() []byte {
	lang, r := newLanguage(), NewRegistry()
	e := &editor{defs: map[string]any{}}
	e.defs["task"] = e.task(lang, r)
	for _, l := range []*level{lang.retry.level, lang.input.level, lang.batch.level, lang.foreach.level, lang.repeat.level,
		lang.cache.level, lang.budget.level, lang.limits.level, lang.schedule.level} {
		e.defs[defOf(l)] = e.object(l)
	}
	root := e.object(lang.workflow.level)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "gleitzeit workflow"
	root["anyOf"] = []any{needs("tasks"), needs("steps"), needs("template")}
	root["$defs"] = e.defs
	b, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("write schema: %v", err))
	}
	return append(b, '\n')
}

type editor struct {
	defs map[string]any
}

func needs(key string) map[string]any { return map[string]any{"required": []string{key}} }

// object returns the schema of a map by its table.
func (e *editor) object(l *level) map[string]any {
	properties := map[string]any{}
	for _, s := range l.spellings {
		switch s.state {
		case supported:
			properties[s.name] = e.value(s, s.doc)
			for _, alias := range s.aliases {
				properties[alias] = e.value(s, "The same as "+s.name+".")
			}
		case ignored:
			properties[s.name] = map[string]any{"description": "Does nothing.", "deprecated": true}
		}
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

// value returns the schema of a key's value.
func (e *editor) value(s *spelling, doc string) map[string]any {
	v := map[string]any{}
	if s.schema != "" {
		v = decoded([]byte(s.schema)).(map[string]any)
	}
	if s.inside != nil {
		ref := map[string]any{"$ref": "#/$defs/" + defOf(s.inside)}
		switch {
		case !s.many && s.schema != "":
			v = map[string]any{"anyOf": []any{ref, v}}
		case !s.many:
			v = ref
		case s.name == "inputs":
			v = map[string]any{"type": "object", "additionalProperties": map[string]any{"anyOf": []any{ref, map[string]any{"type": "null"}}}}
		default:
			v = map[string]any{"type": "array", "minItems": 1, "items": ref}
		}
	}
	v["description"] = doc
	return v
}

// defOf returns what the definition of a map is called.
func defOf(l *level) string { return strings.TrimPrefix(strings.TrimPrefix(l.what, "a "), "an ") }

// task adds to a task's keys the methods and their parameters.
func (e *editor) task(lang *language, r *Registry) map[string]any {
	t := e.object(lang.task.level)
	var names []string
	var rules []any
	for _, spec := range r.List() {
		e.definitions(spec)
		for _, m := range spec.Methods {
			if len(m.Parameters) == 0 {
				continue
			}
			is := map[string]any{"const": m.Name}
			if prefix, open := strings.CutSuffix(m.Name, "*"); open {
				is = map[string]any{"pattern": "^" + prefix}
			} else {
				names = append(names, m.Name)
			}
			rules = append(rules, e.rule(lang, spec, m, is))
		}
	}
	method := lang.task.find("method")
	for _, word := range append([]string{method.name}, method.aliases...) {
		p := t["properties"].(map[string]any)[word].(map[string]any)
		p["anyOf"] = []any{map[string]any{"enum": names}, map[string]any{"type": "string"}}
	}
	t["anyOf"] = []any{needs("method"), needs("action"), needs("uses")}
	t["allOf"] = rules
	return t
}

// rule says: if the method is this, the parameters are such.
func (e *editor) rule(lang *language, spec *Spec, m *Method, is map[string]any) map[string]any {
	var when []any
	method := lang.task.find("method")
	for _, word := range append([]string{method.name}, method.aliases...) {
		when = append(when, map[string]any{"required": []string{word}, "properties": map[string]any{word: is}})
	}
	then := map[string]any{}
	params := lang.task.find("parameters")
	for _, word := range append([]string{params.name}, params.aliases...) {
		then[word] = e.adapt(decoded(m.Parameters), spec)
	}
	return map[string]any{"if": map[string]any{"anyOf": when}, "then": map[string]any{"properties": then}}
}

// definitions takes over what a spec's schemas refer to.
func (e *editor) definitions(spec *Spec) {
	if len(spec.Definitions) == 0 {
		return
	}
	for name, d := range decoded(spec.Definitions).(map[string]any) {
		e.defs[defName(spec, name)] = e.adapt(d, spec)
	}
}

func defName(spec *Spec, name string) string {
	return strings.ReplaceAll(spec.Protocol, "/", "-") + "-" + name
}

// adapt returns a copy of a method's schema in which a reference may stand
// for any value.
func (e *editor) adapt(s any, spec *Spec) any {
	schema, ok := s.(map[string]any)
	if !ok {
		return s
	}
	out := map[string]any{}
	for word, v := range schema {
		switch word {
		case "x-text", "x-file", "x-source", "x-workflow", "x-duration", "x-time", "x-one-of":
		case "$ref":
			out[word] = "#/$defs/" + defName(spec, strings.TrimPrefix(v.(string), "#/$defs/"))
		case "properties":
			properties := map[string]any{}
			for name, p := range v.(map[string]any) {
				properties[name] = orReference(e.adapt(p, spec))
			}
			out[word] = properties
		case "items":
			out[word] = orReference(e.adapt(v, spec))
		default:
			out[word] = v
		}
	}
	return out
}

func orReference(s any) any {
	schema, ok := s.(map[string]any)
	if !ok {
		return s
	}
	out := map[string]any{"anyOf": []any{schema, map[string]any{"type": "string", "pattern": `\$\{`}}}
	if doc, ok := schema["description"]; ok {
		out["description"] = doc
		delete(schema, "description")
	}
	return out
}

// decoded reads JSON of our own.
func decoded(raw []byte) any {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		panic(fmt.Sprintf("schema %s: %v", shorten(string(raw)), err))
	}
	return v
}
