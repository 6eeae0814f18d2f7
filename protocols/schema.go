package protocols

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// This file checks JSON against a schema and tells everything that is wrong.
// The library stops at the first problem, so the words that schemas are mostly
// made of are checked here, value by value; the rare ones (anyOf, not, if, …)
// are left to the library, for the value that they are about.

// schema is a JSON Schema, ready for checking. The zero schema allows anything.
type schema struct {
	root  *jsonschema.Schema
	facts map[*jsonschema.Schema]*facts
}

// facts are what is worked out once about a schema within.
type facts struct {
	rare    *jsonschema.Resolved // only the rare words, nil if there are none
	pattern *regexp.Regexp       // nil if there is none
	closed  bool                 // no properties but those that are named
	// anyOf and oneOf name properties of which one must be there, if that is
	// all that the words say.
	anyOf, oneOf []string
	atMost       [][]string         // of each, one property may be there
	definition   *jsonschema.Schema // that is referred to, nil if none is
}

// violation is one thing that is wrong with a value: where in it, and what.
type violation struct {
	path  []string
	onKey bool // the key at path is wrong, whatever its value
	text  string
	hint  string
}

// String returns the violation on one line.
func (v violation) String() string {
	if v.hint != "" {
		return v.text + " (" + v.hint + ")"
	}
	return v.text
}

// checkOptions says how to check.
type checkOptions struct {
	what   string // that has the value, for messages
	member string // what a key of the outermost map is called
	// anyText takes a value of any type where the schema says x-text.
	anyText bool
	// unknown tells of a string whether it holds references, and of one that
	// does whether it is nothing but one. nil: none does.
	unknown func(text string) (some, whole bool)
}

// newSchema reads a schema with the definitions that it may refer to.
func newSchema(raw, definitions json.RawMessage) (*schema, error) {
	s := &schema{root: &jsonschema.Schema{}, facts: map[*jsonschema.Schema]*facts{anything: {}}}
	if len(raw) == 0 {
		return s, s.prepare(s.root)
	}
	if err := json.Unmarshal(raw, s.root); err != nil {
		return nil, err
	}
	if len(definitions) > 0 && s.root.Defs == nil {
		if err := json.Unmarshal(definitions, &s.root.Defs); err != nil {
			return nil, err
		}
	}
	if _, err := s.root.Resolve(nil); err != nil {
		return nil, err
	}
	if err := checkRefs(s.root); err != nil {
		return nil, err
	}
	return s, s.prepare(s.root)
}

// anything is the schema that everything fits.
var anything = &jsonschema.Schema{}

// prepare works out what is to be known about t and below.
func (s *schema) prepare(t *jsonschema.Schema) error {
	if t == nil {
		return nil
	}
	k := &facts{closed: isFalse(t.AdditionalProperties), anyOf: requiredNames(t.AnyOf), oneOf: requiredNames(t.OneOf)}
	k.definition = s.root.Defs[localRef(t)]
	if err := k.readAtMost(t.Extra["x-one-of"]); err != nil {
		return err
	}
	s.facts[t] = k
	if t.Pattern != "" {
		p, err := regexp.Compile(t.Pattern)
		if err != nil {
			return err
		}
		k.pattern = p
	}
	if rest := rareWords(t); rest != nil {
		rest.Defs = s.root.Defs
		r, err := rest.CloneSchemas().Resolve(nil)
		if err != nil {
			return fmt.Errorf("only #/$defs can be referred to: %w", err)
		}
		k.rare = r
	}
	below := []*jsonschema.Schema{t.Items, t.AdditionalProperties}
	below = append(below, t.PrefixItems...)
	below = slices.AppendSeq(below, maps.Values(t.Properties))
	below = slices.AppendSeq(below, maps.Values(t.Defs))
	for _, b := range below {
		if err := s.prepare(b); err != nil {
			return err
		}
	}
	return nil
}

// readAtMost reads the word x-one-of, nil if it isn't there.
func (k *facts) readAtMost(word any) error {
	if word == nil {
		return nil
	}
	b, err := json.Marshal(word)
	if err == nil {
		err = json.Unmarshal(b, &k.atMost)
	}
	if err != nil {
		return fmt.Errorf("x-one-of is no list of lists of names: %w", err)
	}
	return nil
}

// rareWords returns the part of t that is left to the library, nil if there
// is none.
func rareWords(t *jsonschema.Schema) *jsonschema.Schema {
	rest := *t
	rest.ID, rest.Schema, rest.Comment, rest.Title, rest.Description = "", "", "", "", ""
	rest.Defs, rest.Definitions, rest.Extra, rest.Examples, rest.Default = nil, nil, nil, nil, nil
	rest.Deprecated, rest.ReadOnly, rest.WriteOnly, rest.Format, rest.PropertyOrder = false, false, false, "", nil
	rest.Type, rest.Types, rest.Enum, rest.Const, rest.Pattern = "", nil, nil, nil, ""
	rest.Minimum, rest.Maximum, rest.ExclusiveMinimum, rest.ExclusiveMaximum = nil, nil, nil, nil
	rest.MinLength, rest.MaxLength, rest.MinItems, rest.MaxItems = nil, nil, nil, nil
	rest.Required = nil
	if len(t.PatternProperties) == 0 && t.UnevaluatedProperties == nil {
		rest.Properties, rest.AdditionalProperties = nil, nil
	}
	if t.ItemsArray == nil && t.UnevaluatedItems == nil {
		rest.Items, rest.PrefixItems = nil, nil
	}
	if localRef(t) != "" {
		rest.Ref = ""
	}
	if isOneOf(t.AnyOf) {
		rest.AnyOf = nil
	}
	if isOneOf(t.OneOf) {
		rest.OneOf = nil
	}
	if reflect.DeepEqual(rest, jsonschema.Schema{}) {
		return nil
	}
	return &rest
}

func localRef(t *jsonschema.Schema) string {
	name, ok := strings.CutPrefix(t.Ref, "#/$defs/")
	if !ok || strings.ContainsAny(name, "/~%") {
		return ""
	}
	return name
}

// isOneOf tells whether the schemas only say which properties must be there.
func isOneOf(ts []*jsonschema.Schema) bool {
	for _, t := range ts {
		if len(t.Required) != 1 || !reflect.DeepEqual(*t, jsonschema.Schema{Required: t.Required}) {
			return false
		}
	}
	return len(ts) > 0
}
