package protocols

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

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

// check returns every violation of the schema in raw, which must be JSON.
func (s *schema) check(raw json.RawMessage, o checkOptions) []violation {
	w := &checker{schema: s, o: o}
	w.value(s.root, raw, nil)
	return w.found
}

// checker is one walk through a value.
type checker struct {
	*schema
	o     checkOptions
	found []violation
	refs  int // definitions within each other
}

func (w *checker) violate(path []string, hint, format string, args ...any) {
	if len(w.found) < maxProblems {
		w.found = append(w.found, violation{path: slices.Clone(path), text: fmt.Sprintf(format, args...), hint: hint})
	}
}

// value checks raw against t, and tells whether all of raw is known.
func (w *checker) value(t *jsonschema.Schema, raw json.RawMessage, path []string) (known bool) {
	if some, whole := w.references(raw); some {
		if !whole {
			w.partly(t, path)
		}
		return false
	}
	known = w.referred(t, raw, path)
	if !w.typeFits(t, raw, path) {
		return known
	}
	switch kindOf(raw) {
	case mapKind:
		known = w.object(t, raw, path) && known
	case listKind:
		known = w.array(t, raw, path) && known
	case stringKind:
		w.text(t, rawText(raw), path)
	case numberKind:
		w.number(t, string(raw), path)
	}
	if known {
		w.whole(t, raw, path)
	}
	return known
}

// referred checks raw against the definition that t refers to.
func (w *checker) referred(t *jsonschema.Schema, raw json.RawMessage, path []string) (known bool) {
	const most = 100 // definitions that do nothing but refer to each other
	d := w.facts[t].definition
	if d == nil || w.refs > most {
		return true
	}
	w.refs++
	known = w.value(d, raw, path)
	w.refs--
	return known
}

func (w *checker) references(raw json.RawMessage) (some, whole bool) {
	if w.o.unknown == nil || kindOf(raw) != stringKind {
		return false, false
	}
	return w.o.unknown(rawText(raw))
}

// partly checks a text that a reference is only part of: all that is known
// is that it will be a string.
func (w *checker) partly(t *jsonschema.Schema, path []string) {
	if !(&checker{schema: w.schema, o: w.o}).typeFits(t, json.RawMessage(`""`), path) {
		w.violate(path, "a reference alone keeps its type", "%s must be %s, not a text with a reference in it", w.name(path), typeList(typesOf(t)))
	}
}

func (w *checker) typeFits(t *jsonschema.Schema, raw json.RawMessage, path []string) bool {
	types := typesOf(t)
	got := kindOf(raw)
	if len(types) == 0 || w.o.anyText && got != nullKind && t.Extra["x-text"] == true {
		return true
	}
	for _, name := range types {
		if kindNames[name] == got && (name != "integer" || isInteger(string(raw))) {
			return true
		}
	}
	hint := ""
	if got == numberKind || got == boolKind {
		if slices.Contains(types, "string") {
			hint = "quote it for text"
		}
	}
	w.violate(path, hint, "%s must be %s, not %s", w.name(path), typeList(types), show(raw))
	return false
}

func typesOf(t *jsonschema.Schema) []string {
	if t.Type != "" {
		return []string{t.Type}
	}
	return t.Types
}

var kindNames = map[string]kind{"null": nullKind, "boolean": boolKind, "number": numberKind, "integer": numberKind,
	"string": stringKind, "array": listKind, "object": mapKind}

func typeList(types []string) string {
	names := make([]string, len(types))
	for i, name := range types {
		names[i] = kindNames[name].String()
		if name == "integer" {
			names[i] = "a whole number"
		}
	}
	return strings.Join(names, " or ")
}

// isInteger tells whether a JSON number is whole, as 3, 3.0 and 3e2 are.
func isInteger(number string) bool {
	if !strings.ContainsAny(number, ".eE") {
		return true
	}
	if !finite(number) {
		return false
	}
	f, _ := strconv.ParseFloat(number, 64)
	return f == float64(int64(f)) || f > 1<<53 || f < -1<<53
}

// show returns a value as a message shows it: what it is if it is long.
func show(raw json.RawMessage) string {
	switch k := kindOf(raw); k {
	case mapKind, listKind, nullKind:
		return k.String()
	case stringKind:
		return "the text " + strconv.Quote(shorten(rawText(raw)))
	}
	return shorten(string(raw))
}

// name returns a path as a message shows it: messages[0].role.
func (w *checker) name(path []string) string {
	if len(path) == 0 {
		return w.o.what
	}
	var b strings.Builder
	for i, p := range path {
		if _, err := strconv.Atoi(p); err == nil {
			b.WriteString("[" + p + "]")
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(quoted(p))
	}
	return b.String()
}

func (w *checker) object(t *jsonschema.Schema, raw json.RawMessage, path []string) (known bool) {
	known = true
	there := map[string]bool{}
	eachMember(raw, func(k, v json.RawMessage) bool {
		key := rawText(k)
		there[key] = true
		below := append(path[:len(path):len(path)], key)
		if p := t.Properties[key]; p != nil {
			known = w.value(p, v, below) && known
		} else if len(t.PatternProperties) > 0 {
			known = w.holdsNone(v) && known
		} else if w.facts[t].closed {
			w.unknownKey(t, key, path)
		} else if t.AdditionalProperties != nil {
			known = w.value(t.AdditionalProperties, v, below) && known
		} else {
			known = w.holdsNone(v) && known
		}
		return true
	})
	for _, name := range t.Required {
		if !there[name] {
			w.violate(path, "", "%s needs %s", w.name(path), quoted(name))
		}
	}
	w.oneOf(t, there, path)
	return known
}

func (w *checker) unknownKey(t *jsonschema.Schema, key string, path []string) {
	what := "key"
	if len(path) == 0 {
		what = w.o.member
	}
	w.violate(append(path[:len(path):len(path)], key), suggest(key, sortedKeys(t.Properties)),
		"%s has no %s %s", w.name(path), what, quoted(key))
	w.found[len(w.found)-1].onKey = true
}

// holdsNone tells whether there is no reference anywhere in raw.
func (w *checker) holdsNone(raw json.RawMessage) bool {
	return w.o.unknown == nil || w.value(anything, raw, nil)
}

// isFalse tells whether t is the schema that allows nothing.
func isFalse(t *jsonschema.Schema) bool {
	return t != nil && t.Not != nil && reflect.DeepEqual(*t, jsonschema.Schema{Not: &jsonschema.Schema{}})
}

// oneOf checks anyOf and oneOf when they only name properties.
func (w *checker) oneOf(t *jsonschema.Schema, there map[string]bool, path []string) {
	if names := w.facts[t].anyOf; names != nil && len(given(names, there)) == 0 {
		w.violate(path, "", "%s needs %s", w.name(path), strings.Join(names, " or "))
	}
	if names := w.facts[t].oneOf; names != nil {
		switch g := given(names, there); {
		case len(g) == 0:
			w.violate(path, "", "%s needs %s", w.name(path), strings.Join(names, " or "))
		case len(g) > 1:
			w.violate(append(path[:len(path):len(path)], g[1]), "", "%s takes only one of %s", w.name(path), strings.Join(names, ", "))
		}
	}
}

func requiredNames(ts []*jsonschema.Schema) []string {
	if !isOneOf(ts) {
		return nil
	}
	var names []string
	for _, t := range ts {
		names = append(names, t.Required[0])
	}
	return names
}

func given(names []string, there map[string]bool) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !there[name] })
}

func (w *checker) array(t *jsonschema.Schema, raw json.RawMessage, path []string) (known bool) {
	known = true
	n := 0
	trivial := t.Items == nil && len(t.PrefixItems) == 0 && w.o.unknown == nil
	eachItem(raw, func(item json.RawMessage) bool {
		if !trivial {
			of := t.Items
			if n < len(t.PrefixItems) {
				of = t.PrefixItems[n]
			}
			if of == nil {
				of = anything
			}
			known = w.value(of, item, append(path[:len(path):len(path)], strconv.Itoa(n))) && known
		}
		n++
		return true
	})
	if t.MinItems != nil && n < *t.MinItems {
		w.violate(path, "", "%s must have at least %s, not %d", w.name(path), plural(*t.MinItems, "item"), n)
	}
	if t.MaxItems != nil && n > *t.MaxItems {
		w.violate(path, "", "%s must have at most %s, not %d", w.name(path), plural(*t.MaxItems, "item"), n)
	}
	return known
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func (w *checker) text(t *jsonschema.Schema, s string, path []string) {
	if t.MinLength == nil && t.MaxLength == nil && t.Pattern == "" {
		return
	}
	n := utf8.RuneCountInString(s)
	switch {
	case t.MinLength != nil && n < *t.MinLength && n == 0:
		w.violate(path, "", "%s is empty", w.name(path))
	case t.MinLength != nil && n < *t.MinLength:
		w.violate(path, "", "%s must have at least %s", w.name(path), plural(*t.MinLength, "character"))
	case t.MaxLength != nil && n > *t.MaxLength:
		w.violate(path, "", "%s must have at most %s, not %d", w.name(path), plural(*t.MaxLength, "character"), n)
	}
	if p := w.facts[t].pattern; p != nil && !p.MatchString(s) {
		w.violate(path, "", "%s must match %s, not %q", w.name(path), t.Pattern, shorten(s))
	}
}

func (w *checker) number(t *jsonschema.Schema, s string, path []string) {
	if t.Minimum == nil && t.Maximum == nil && t.ExclusiveMinimum == nil && t.ExclusiveMaximum == nil {
		return
	}
	f, _ := strconv.ParseFloat(s, 64) // infinite when out of range
	limit := func(l *float64, wrong func(sign int) bool, words string) {
		if l != nil && wrong(cmp.Compare(f, *l)) {
			w.violate(path, "", "%s must be %s %v, not %s", w.name(path), words, *l, shorten(s))
		}
	}
	limit(t.Minimum, func(sign int) bool { return sign < 0 }, "at least")
	limit(t.Maximum, func(sign int) bool { return sign > 0 }, "at most")
	limit(t.ExclusiveMinimum, func(sign int) bool { return sign <= 0 }, "more than")
	limit(t.ExclusiveMaximum, func(sign int) bool { return sign >= 0 }, "less than")
}

// whole checks the words that need all of the value.
func (w *checker) whole(t *jsonschema.Schema, raw json.RawMessage, path []string) {
	rare := w.facts[t].rare
	if t.Enum == nil && t.Const == nil && rare == nil {
		return
	}
	if t.Const == nil && rare == nil && kindOf(raw) == stringKind && slices.Contains(t.Enum, any(rawText(raw))) {
		return // what is common, fast
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		w.violate(path, "", "%s: %v", w.name(path), err)
		return
	}
	if t.Const != nil && !jsonschema.Equal(*t.Const, v) {
		w.violate(path, "", "%s must be %s, not %s", w.name(path), showAny(*t.Const), show(raw))
	}
	if t.Enum != nil && !slices.ContainsFunc(t.Enum, func(e any) bool { return jsonschema.Equal(e, v) }) {
		w.violate(path, enumHint(t.Enum, v), "%s must be one of %s, not %s", w.name(path), enumList(t.Enum), show(raw))
	}
	if rare != nil {
		if err := rare.Validate(v); err != nil {
			w.violate(path, "", "%s doesn't fit its schema: %s", w.name(path), libraryText(err))
		}
	}
}

func showAny(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("enum value %T: %v", v, err))
	}
	return string(b)
}

func enumList(enum []any) string {
	words := make([]string, len(enum))
	for i, e := range enum {
		words[i] = showAny(e)
	}
	return strings.Join(words, ", ")
}

func enumHint(enum []any, v any) string {
	s, ok := v.(string)
	if !ok {
		return ""
	}
	var words []string
	for _, e := range enum {
		if word, ok := e.(string); ok {
			words = append(words, word)
		}
	}
	return suggest(s, words)
}

// libraryText returns the last part of the library's nested message.
func libraryText(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, "validating "); i >= 0 {
		if _, after, ok := strings.Cut(text[i:], ": "); ok {
			return shorten(after)
		}
	}
	return shorten(text)
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
