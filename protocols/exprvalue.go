package protocols

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/vm"
)

// This file evaluates expressions: values on their way from JSON and back, and
// the functions that are our own.

// maxCost bounds an evaluation: values of one list or map each, steps of a
// loop, and 16 bytes of text count as one.
const maxCost = 10_000_000

// evaluation is one expression at work.
type evaluation struct {
	*filler
	e      *expression
	values []any  // of the placeholders, once known
	known  []bool // a value is known, or it is known that there is none
	lost   []bool // there is none
	cost   int
	// patterns that have been compiled, by their text
	patterns map[string]*pattern
}

// absent says that a member isn't there.
type absent struct{ text string }

func (a absent) Error() string { return a.text }

// evaluate returns an expression's value.
func (f *filler) evaluate(e *expression) (any, *Error) {
	if wrong := e.compile(f.inputs); wrong != nil {
		return nil, f.refuse(e.text, nil, "%s", wrong.text)
	}
	run := &evaluation{filler: f, e: e, values: make([]any, len(e.refs)), known: make([]bool, len(e.refs)), lost: make([]bool, len(e.refs))}
	v, err := vm.Run(e.program, map[string]any{handleName: handle{run}})
	if own := ownError(err); own != nil {
		return nil, own
	}
	if err != nil {
		return nil, f.refuse(e.text, nil, "%s", e.readable(err.Error()))
	}
	return v, nil
}

// evaluated returns an expression's value as JSON.
func (f *filler) evaluated(e *expression) (json.RawMessage, *Error) {
	v, err := f.evaluate(e)
	if err != nil {
		return nil, err
	}
	b, wrong := appendValue(nil, v)
	if wrong != nil {
		return nil, f.refuse(e.text, nil, "%v", wrong)
	}
	return b, nil
}

// reference returns the value of a path, which must be there.
func (v *evaluation) reference(i int, t reflect.Type) (any, error) {
	if v.known[i] && !v.lost[i] {
		return v.values[i], nil
	}
	raw, err := v.value(v.e.refs[i])
	if err != nil {
		return nil, err
	}
	value, wrong := v.decode(raw)
	if wrong != nil {
		return nil, wrong
	}
	if value, wrong = fitted(value, t); wrong != nil {
		return nil, v.refuse(v.e.refs[i].text, nil, "%v", wrong)
	}
	v.values[i], v.known[i] = value, true
	return value, nil
}

// optional returns the value of a path, null if there is none.
func (v *evaluation) optional(i int) (any, error) {
	if v.known[i] {
		return v.values[i], nil
	}
	raw, lost := v.find(v.e.refs[i])
	if lost != nil {
		v.known[i], v.lost[i] = true, true
		return nil, nil
	}
	value, err := v.decode(raw)
	if t := typeOfReference(v.e.refs[i], v.inputs); err == nil && t == anyType {
		v.values[i], v.known[i] = value, true
	}
	return value, err
}

func (v *evaluation) decode(raw json.RawMessage) (any, error) {
	if err := v.spend(len(raw) / 4); err != nil {
		return nil, err
	}
	return decodeValue(raw)
}

// decodeValue reads JSON as the library has values: whole numbers that fit are
// int, all others float64.
func decodeValue(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return numbered(v), nil
}

// numbered replaces every number in v.
func numbered(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := strconv.Atoi(string(v)); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = numbered(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbered(v[k])
		}
	}
	return v
}

// fitted returns v with the type that the library was promised.
func fitted(v any, t reflect.Type) (any, error) {
	if t == anyType {
		return v, nil
	}
	switch n := v.(type) {
	case int:
		if t == floatType {
			return float64(n), nil
		}
	case float64:
		if t == intType && n == math.Trunc(n) && math.Abs(n) < 1<<62 {
			return int(n), nil
		}
	}
	if reflect.TypeOf(v) != t {
		k, _ := kindOfType(t)
		return nil, fmt.Errorf("it must be %s that can be reckoned with", k)
	}
	return v, nil
}

// appendValue appends v as JSON, maps in the order of their keys.
func appendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case string:
		return appendString(b, v), nil
	case int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("the result is not a finite number")
		}
		n, err := json.Marshal(v)
		return append(b, n...), err
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Slice, reflect.Array:
		return appendList(b, r)
	case reflect.Map:
		return appendMap(b, r)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, r.Int(), 10), nil
	}
	return nil, fmt.Errorf("the result is not a value but %s", r.Kind())
}

func appendList(b []byte, r reflect.Value) ([]byte, error) {
	b = append(b, '[')
	for i := range r.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendValue(b, r.Index(i).Interface()); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendMap(b []byte, r reflect.Value) ([]byte, error) {
	values := make(map[string]any, r.Len())
	for each := r.MapRange(); each.Next(); {
		key, err := textOf(each.Key().Interface())
		if err != nil {
			return nil, err
		}
		values[key] = each.Value().Interface()
	}
	b = append(b, '{')
	for i, key := range sortedKeys(values) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, key), ':')
		var err error
		if b, err = appendValue(b, values[key]); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// textOf returns v as it goes into a longer text: text as it is, anything else
// as JSON.
func textOf(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	b, err := appendValue(nil, v)
	return string(b), err
}

// spend counts cost.
func (v *evaluation) spend(n int) error {
	if v.cost += 1 + n; v.cost > maxCost {
		return fmt.Errorf("the expression takes too long")
	}
	return nil
}

// charge counts the size of a value.
func (v *evaluation) charge(value any) error {
	switch value := value.(type) {
	case nil, bool, int, float64:
		return v.spend(0)
	case string:
		return v.spend(len(value) / 16)
	case []any:
		for _, item := range value {
			if err := v.charge(item); err != nil {
				return err
			}
		}
		return v.spend(0)
	case map[string]any:
		for key, item := range value {
			if err := v.spend(len(key) / 16); err != nil {
				return err
			}
			if err := v.charge(item); err != nil {
				return err
			}
		}
		return v.spend(0)
	}
	r := reflect.ValueOf(value)
	switch r.Kind() {
	case reflect.Slice, reflect.Array:
		for i := range r.Len() {
			if err := v.charge(r.Index(i).Interface()); err != nil {
				return err
			}
		}
	case reflect.Map:
		for each := r.MapRange(); each.Next(); {
			if err := v.charge(each.Value().Interface()); err != nil {
				return err
			}
		}
	}
	return v.spend(0)
}

// truth returns a condition's answer: null is no.
func (v *evaluation) truth(value any) (bool, error) {
	if err := v.spend(0); err != nil {
		return false, err
	}
	switch value := value.(type) {
	case nil:
		return false, nil
	case bool:
		return value, nil
	}
	return false, fmt.Errorf("a condition must be true or false, not %s", showValue(value))
}

// showValue returns a value as a message shows it.
func showValue(v any) string {
	b, err := appendValue(nil, v)
	if err != nil {
		return err.Error()
	}
	return show(b)
}

// member looks into a value, as paths do.
func (v *evaluation) member(in, key any) (any, error) {
	if err := v.spend(0); err != nil {
		return nil, err
	}
	if m, ok := in.(map[string]any); ok {
		name, err := textOf(key)
		if err != nil {
			return nil, err
		}
		if item, ok := m[name]; ok {
			return item, nil
		}
		return nil, absent{fmt.Sprintf("no key %s; %s", quoted(name), shortenTo(thereAre(sortedKeys(m)), 200))}
	}
	r := reflect.ValueOf(in)
	if r.IsValid() && r.Kind() == reflect.Map { // of groupBy
		for each := r.MapRange(); each.Next(); {
			if each.Key().Interface() == key {
				return each.Value().Interface(), nil
			}
		}
		return nil, absent{"no key " + showValue(key)}
	}
	if !r.IsValid() || r.Kind() != reflect.Slice {
		k, _ := kindOfType(reflect.TypeOf(in))
		return nil, absent{fmt.Sprintf("no key %s: there is %s", showKey(key), k)}
	}
	i, ok := key.(int)
	if f, isFloat := key.(float64); isFloat && f == math.Trunc(f) && math.Abs(f) < 1<<31 {
		i, ok = int(f), true
	}
	if !ok {
		return nil, absent{fmt.Sprintf("no key %s: there is a list", showKey(key))}
	}
	if i < 0 {
		i += r.Len()
	}
	if i < 0 || i >= r.Len() {
		return nil, absent{fmt.Sprintf("no item %s: the list has %s", showKey(key), plural(r.Len(), "item"))}
	}
	return r.Index(i).Interface(), nil
}

func showKey(key any) string {
	text, err := textOf(key)
	if err != nil {
		return err.Error()
	}
	return quoted(text)
}

// at returns a member of what a path leads to, by the rules of paths.
func (v *evaluation) at(i int, key any) (any, error) {
	ref := *v.e.refs[i]
	if ref.root != taskRoot || len(ref.path) > 0 {
		base, err := v.optional(i)
		if err != nil {
			return nil, err
		}
		if base != nil {
			if item, err := v.member(base, key); err == nil {
				return item, nil
			}
		}
	}
	text, err := textOf(key)
	if err != nil {
		return nil, err
	}
	ref.path = append(ref.path[:len(ref.path):len(ref.path)], stepOf(text))
	raw, lost := v.find(&ref)
	if err := v.spend(len(v.scope.Tasks[ref.task].Result) / 16); ref.root == taskRoot && err != nil {
		return nil, err
	}
	if lost != nil {
		return nil, absent{fmt.Sprintf("%s: %s", ref.text+ref.path[len(ref.path)-1].String(), lost.text)}
	}
	return v.decode(raw)
}

// pattern is a regular expression and how many steps each byte may take.
type pattern struct {
	*regexp.Regexp
	size int
}

func compilePattern(text string) (*pattern, error) {
	r, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	return &pattern{r, len(program.Inst)}, nil
}

// matches tells whether a text matches a pattern; null matches nothing.
func (v *evaluation) matches(in, by any) (bool, error) {
	if in == nil || by == nil {
		return false, nil
	}
	t, err := texts("matches", []any{in, by})
	if err != nil {
		return false, err
	}
	p := v.patterns[t[1]]
	if p == nil {
		if p, err = compilePattern(t[1]); err != nil {
			return false, err
		}
		if v.patterns == nil {
			v.patterns = map[string]*pattern{}
		}
		v.patterns[t[1]] = p
		if err := v.spend(100 * p.size); err != nil {
			return false, err
		}
	}
	if err := v.spend(len(t[1])/16 + len(t[0])*p.size/16); err != nil {
		return false, err
	}
	return p.MatchString(t[0]), nil
}

// slice returns part of a list, or of a text by its characters.
func (v *evaluation) slice(in, from, to any) (any, error) {
	if err := v.charge(in); err != nil {
		return nil, err
	}
	var length int
	var runes []rune
	r := reflect.ValueOf(in)
	switch {
	case r.IsValid() && r.Kind() == reflect.String:
		runes = []rune(r.String())
		length = len(runes)
	case r.IsValid() && r.Kind() == reflect.Slice:
		length = r.Len()
	default:
		return nil, fmt.Errorf("only lists and texts have parts, not %s", showValue(in))
	}
	i, err := bound(from, 0, length)
	if err != nil {
		return nil, err
	}
	j, err := bound(to, length, length)
	if err != nil {
		return nil, err
	}
	j = max(i, j)
	if runes != nil || r.Kind() == reflect.String {
		return string(runes[i:j]), nil
	}
	return r.Slice(i, j).Interface(), nil
}

// bound reads an end of a part, negative from the end.
func bound(v any, absent, length int) (int, error) {
	i, ok := v.(int)
	switch {
	case v == nil:
		return absent, nil
	case !ok:
		return 0, fmt.Errorf("a part begins and ends at a whole number, not %s", showValue(v))
	case i < 0:
		i += length
	}
	return max(0, min(i, length)), nil
}

// status answers a status function.
func (v *evaluation) status(name string) bool {
	s := v.scope.Status
	switch name {
	case "success":
		return s.Success
	case "failure":
		return s.Failure
	case "cancelled":
		return s.Cancelled
	}
	return true
}

// ownFunction is a function that the library has not, or not as it should be.
type ownFunction struct {
	name  string
	call  func(h handle, args []any) (any, error)
	check func(args []reflect.Type) (reflect.Type, error)
}

var ownFunctions = []ownFunction{
	{"string", func(_ handle, args []any) (any, error) { return textOf(args[0]) }, takes("string", 1, 1, stringType)},
	{"toJSON", func(_ handle, args []any) (any, error) {
		b, err := appendValue(nil, args[0])
		return string(b), err
	}, takes("toJSON", 1, 1, stringType)},
	{"fromJSON", func(_ handle, args []any) (any, error) {
		text, err := texts("fromJSON", args)
		if err != nil {
			return nil, err
		}
		if !json.Valid([]byte(text[0])) {
			return nil, fmt.Errorf("fromJSON: the text is not JSON")
		}
		return decodeValue([]byte(text[0]))
	}, takes("fromJSON", 1, 1, anyType, stringType)},
	{"keys", func(_ handle, args []any) (any, error) {
		m, err := entries("keys", args[0])
		out := make([]any, 0, len(m))
		for _, k := range sortedKeys(m) {
			out = append(out, k)
		}
		return out, err
	}, takes("keys", 1, 1, listType, mapType)},
	{"values", func(_ handle, args []any) (any, error) {
		m, err := entries("values", args[0])
		out := make([]any, 0, len(m))
		for _, k := range sortedKeys(m) {
			out = append(out, m[k])
		}
		return out, err
	}, takes("values", 1, 1, listType, mapType)},
	{"type", func(_ handle, args []any) (any, error) {
		k, _ := kindOfType(reflect.TypeOf(args[0]))
		return [...]string{"null", "boolean", "number", "string", "array", "object"}[k], nil
	}, takes("type", 1, 1, stringType)},
	{"uniq", func(_ handle, args []any) (any, error) {
		r := reflect.ValueOf(args[0])
		if !r.IsValid() || r.Kind() != reflect.Slice {
			return nil, fmt.Errorf("uniq takes a list, not %s", showValue(args[0]))
		}
		out, seen := []any{}, map[string]bool{}
		for i := range r.Len() {
			b, err := appendValue(nil, r.Index(i).Interface())
			if err != nil {
				return nil, err
			}
			if !seen[string(b)] {
				seen[string(b)] = true
				out = append(out, r.Index(i).Interface())
			}
		}
		return out, nil
	}, takes("uniq", 1, 1, listType, listType)},
	{"join", joinTexts, takes("join", 1, 2, stringType, listType, stringType)},
	{"replace", func(h handle, args []any) (any, error) {
		t, err := texts("replace", args)
		if err != nil {
			return nil, err
		}
		n := strings.Count(t[0], t[1])
		if err := h.spend((len(t[0]) + n*max(0, len(t[2])-len(t[1]))) / 16); err != nil {
			return nil, err
		}
		return strings.ReplaceAll(t[0], t[1], t[2]), nil
	}, takes("replace", 3, 3, stringType, stringType, stringType, stringType)},
	{"repeat", func(h handle, args []any) (any, error) {
		text, isText := args[0].(string)
		n, isNumber := args[1].(int)
		if !isText || !isNumber || n < 0 {
			return nil, fmt.Errorf("repeat takes a text and a whole number of at least 0")
		}
		if n > maxCost || h.spend(n*(len(text)/16+1)) != nil {
			return nil, fmt.Errorf("the expression takes too long")
		}
		return strings.Repeat(text, n), nil
	}, takes("repeat", 2, 2, stringType, stringType, intType)},
}

// takes checks the arguments of a function: how many, and those types that
// are known. A missing type, or a nil one, is any.
func takes(name string, least, most int, result reflect.Type, types ...reflect.Type) func([]reflect.Type) (reflect.Type, error) {
	return func(args []reflect.Type) (reflect.Type, error) {
		if len(args) < least || len(args) > most {
			want := strconv.Itoa(least)
			if most > least {
				want += " or " + strconv.Itoa(most)
			}
			if want == "1" {
				return nil, fmt.Errorf("%s takes 1 value, not %d", name, len(args))
			}
			return nil, fmt.Errorf("%s takes %s values, not %d", name, want, len(args))
		}
		for i, arg := range args[:min(len(args), len(types))] {
			got, known := kindOfType(arg)
			if want, _ := kindOfType(types[i]); known && got != want {
				return nil, fmt.Errorf("%s takes %s, not %s", name, want, got)
			}
		}
		return result, nil
	}
}

// texts returns arguments that must be texts.
func texts(name string, args []any) ([]string, error) {
	out := make([]string, len(args))
	for i, a := range args {
		s, ok := a.(string)
		if !ok {
			return nil, fmt.Errorf("%s takes a text, not %s", name, showValue(a))
		}
		out[i] = s
	}
	return out, nil
}

// entries returns a map that may be one of groupBy's.
func entries(name string, v any) (map[string]any, error) {
	if m, ok := v.(map[string]any); ok {
		return m, nil
	}
	r := reflect.ValueOf(v)
	if !r.IsValid() || r.Kind() != reflect.Map {
		return nil, fmt.Errorf("%s takes a map, not %s", name, showValue(v))
	}
	m := make(map[string]any, r.Len())
	for each := r.MapRange(); each.Next(); {
		key, err := textOf(each.Key().Interface())
		if err != nil {
			return nil, err
		}
		m[key] = each.Value().Interface()
	}
	return m, nil
}

// joinTexts joins a list's items, texts as they are and anything else as JSON.
func joinTexts(h handle, args []any) (any, error) {
	between := ""
	if len(args) > 1 {
		t, err := texts("join", args[1:])
		if err != nil {
			return nil, err
		}
		between = t[0]
	}
	r := reflect.ValueOf(args[0])
	if !r.IsValid() || r.Kind() != reflect.Slice {
		return nil, fmt.Errorf("join takes a list, not %s", showValue(args[0]))
	}
	if err := h.spend(r.Len() * (len(between)/16 + 1)); err != nil {
		return nil, err
	}
	words := make([]string, r.Len())
	for i := range words {
		var err error
		if words[i], err = textOf(r.Index(i).Interface()); err != nil {
			return nil, err
		}
	}
	return strings.Join(words, between), nil
}
