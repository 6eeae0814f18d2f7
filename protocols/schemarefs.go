package protocols

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

// This file refuses schemas whose references have no end. Each word is checked
// apart from the schema that it stands in, so nothing but a definition can be
// referred to; and definitions that refer to each other for the same value
// would be followed until the stack is full, which ends the process.

// checkRefs tells what is wrong with the references in root.
func checkRefs(root *jsonschema.Schema) error {
	w := &refWalk{root: root, ended: map[*jsonschema.Schema]bool{}}
	return w.all(root)
}

// refWalk is one walk through a schema. ended has the schemas in sight: false
// while what they say about their value is looked at, then true.
type refWalk struct {
	root  *jsonschema.Schema
	ended map[*jsonschema.Schema]bool
}

// all looks at t and every schema within.
func (w *refWalk) all(t *jsonschema.Schema) error {
	if t == nil {
		return nil
	}
	if err := w.form(t); err != nil {
		return err
	}
	for _, below := range append(sameValue(t), otherValues(t)...) {
		if err := w.all(below); err != nil {
			return err
		}
	}
	return w.follow(t)
}

// form refuses what refers to something else than a definition.
func (w *refWalk) form(t *jsonschema.Schema) error {
	switch {
	case t.DynamicRef != "":
		return fmt.Errorf("$dynamicRef %q: only $ref with #/$defs/NAME can refer to something", t.DynamicRef)
	case t.Ref != "" && localRef(t) == "":
		return fmt.Errorf("$ref %q: only #/$defs/NAME can be referred to", t.Ref)
	case t.ID != "" && t != w.root:
		return fmt.Errorf("$id %q: only the whole schema can have one", t.ID)
	}
	return nil
}

// follow goes from t along what is said about the same value.
func (w *refWalk) follow(t *jsonschema.Schema) error {
	ended, seen := w.ended[t]
	switch {
	case t == nil || ended:
		return nil
	case seen:
		return errors.New("a $ref leads back to itself, for the same value")
	}
	w.ended[t] = false
	for _, next := range append(sameValue(t), w.root.Defs[localRef(t)]) {
		if err := w.follow(next); err != nil {
			return err
		}
	}
	w.ended[t] = true
	return nil
}

// sameValue returns the schemas in t that are about the value t is about.
func sameValue(t *jsonschema.Schema) []*jsonschema.Schema {
	return slices.Concat(t.AllOf, t.AnyOf, t.OneOf, []*jsonschema.Schema{t.Not, t.If, t.Then, t.Else},
		slices.Collect(maps.Values(t.DependentSchemas)), slices.Collect(maps.Values(t.DependencySchemas)))
}

// otherValues returns the schemas in t that are about values within that one.
func otherValues(t *jsonschema.Schema) []*jsonschema.Schema {
	one := []*jsonschema.Schema{t.Items, t.AdditionalItems, t.Contains, t.UnevaluatedItems, t.AdditionalProperties,
		t.PropertyNames, t.UnevaluatedProperties, t.ContentSchema}
	many := slices.Concat(t.PrefixItems, t.ItemsArray)
	for _, m := range []map[string]*jsonschema.Schema{t.Properties, t.PatternProperties, t.Defs, t.Definitions} {
		many = slices.AppendSeq(many, maps.Values(m))
	}
	return append(one, many...)
}
