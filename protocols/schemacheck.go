package protocols

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"
)

// This file walks through a value along its schema.

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
	if d := w.facts[t].definition; d != nil {
		return w.value(d, raw, path)
	}
	return true
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
	w.violate(append(path[:len(path):len(path)], key), Suggest(key, sortedKeys(t.Properties)),
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

// oneOf checks anyOf and oneOf when they only name properties, and x-one-of.
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
	for _, names := range w.facts[t].atMost {
		if g := given(names, there); len(g) > 1 {
			w.violate(append(path[:len(path):len(path)], g[1]), "", "%s takes only one of %s", w.name(path), strings.Join(names, ", "))
			return
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

func (w *checker) text(t *jsonschema.Schema, s string, path []string) {
	w.time(t, s, path)
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

// time checks what is a duration or a time.
func (w *checker) time(t *jsonschema.Schema, s string, path []string) {
	if t.Extra["x-duration"] == true && s != "" {
		if d, err := parseDuration(s); err != nil || d < 0 {
			w.violate(path, "", `%s must be a number of seconds or a duration such as "90s" or "1h30m", not %s`, w.name(path), quoted(s))
		}
	}
	if t.Extra["x-time"] == true && s != "" {
		if _, err := time.Parse(time.RFC3339, s); err != nil {
			w.violate(path, "", "%s must be a time such as 2026-12-24T18:00:00Z, not %s", w.name(path), quoted(s))
		}
	}
}

func (w *checker) number(t *jsonschema.Schema, s string, path []string) {
	w.time(t, s, path)
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

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
