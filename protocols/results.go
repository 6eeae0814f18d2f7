package protocols

import (
	"maps"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

// This file finds references to what a task can't return, as far as its
// method's result schema is complete.

// lookup is a reference to a task, and where to complain about it.
type lookup struct {
	ref   *reference
	wrong complaint
}

// results judges the lookups.
func (c *compiler) results() {
	for _, l := range c.lookups {
		if l.ref.fallback != nil || l.ref.maybe || len(l.ref.path) == 0 || c.w.Tasks[l.ref.task].Foreach != nil {
			continue
		}
		method := c.w.Tasks[l.ref.task].Method
		m, _, ok := c.registry.Method(method)
		if !ok || m.load() != nil {
			continue
		}
		if key, there := m.result.lost(m.result.root, l.ref.path); key != "" {
			l.wrong(lostHint(key, there, l.ref), "a result of %s has no key %s", method, quoted(key))
		}
	}
}

func lostHint(key string, there []string, ref *reference) string {
	if hint := Suggest(key, there); hint != "" {
		return hint
	}
	if ref.path[0].key == key && slices.Contains(there, "result") {
		return "did you mean .result" + ref.path[0].String() + "?"
	}
	return thereAre(there)
}

// lost returns the first key of path that a task with this result can't have,
// "" if there is none or nobody knows, and what there is instead. It follows
// the rules of TaskValue.find.
func (s *schema) lost(t *jsonschema.Schema, path []step) (key string, there []string) {
	t = s.definition(t)
	first := path[0].key
	if _, has := t.Properties[first]; !has {
		if slices.Contains(taskFields, first) || first == "duration_seconds" {
			return "", nil
		}
		if first == "result" && len(path) == 1 {
			return "", nil
		}
	}
	key, there = s.lostBelow(t, path)
	if key == "" || first != "result" {
		return key, there
	}
	inside, thereToo := s.lostBelow(t, path[1:])
	if _, has := t.Properties["result"]; has && inside != "" {
		return key, there
	}
	return inside, thereToo
}

func (s *schema) lostBelow(t *jsonschema.Schema, path []step) (key string, there []string) {
	for _, step := range path {
		t = s.definition(t)
		if t.Extra["x-complete"] != true {
			return "", nil
		}
		next, has := t.Properties[step.key]
		if !has {
			return step.key, slices.Sorted(maps.Keys(t.Properties))
		}
		t = next
	}
	return "", nil
}

func (s *schema) definition(t *jsonschema.Schema) *jsonschema.Schema {
	if d := s.root.Defs[localRef(t)]; d != nil {
		return d
	}
	return t
}
