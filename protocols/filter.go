package protocols

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/itchyny/gojq"
)

// This file is jq: filters that data/jq runs. A filter sees its input and its
// variables and nothing else: no environment, no files, no other inputs.

// Filter is a jq filter that has been compiled.
type Filter struct {
	code *gojq.Code
	vars []string // in the order that the code has them
}

// maxFilter is how long a filter's text may be, in bytes.
const maxFilter = 64 << 10

// barred are functions that look outside of the filter or end more than it,
// and what to do instead.
var barred = map[string]string{
	"env":               "give what it needs as vars",
	"$ENV":              "give what it needs as vars",
	"input":             "there is one input, which is .",
	"inputs":            "there is one input, which is .",
	"debug":             "there is nobody to read it",
	"stderr":            "there is nobody to read it",
	"halt":              "a filter ends with its results; error fails",
	"halt_error":        "error fails",
	"input_filename":    "there is no file",
	"input_line_number": "there is no file",
	"modulemeta":        "there are no modules",
	"get_search_list":   "there are no modules",
	"$__prog_args":      "give what it needs as vars",
	"$__loc__":          "there is no file",
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// CompileFilter compiles a filter that may use the variables named, without
// their dollar signs. The error says where in the text, if that is known.
func CompileFilter(text string, vars []string) (*Filter, error) {
	query, err := parseFilter(text)
	if err != nil {
		return nil, err
	}
	f := &Filter{vars: slices.Sorted(slices.Values(vars))}
	var dollars []string
	for _, name := range f.vars {
		if !variableName.MatchString(name) {
			return nil, fmt.Errorf("%s can't be the name of a variable: letters, digits and _ can", quoted(name))
		}
		dollars = append(dollars, "$"+name)
	}
	if f.code, err = gojq.Compile(query, gojq.WithVariables(dollars)); err != nil {
		return nil, compileFault(err, f.vars)
	}
	return f, nil
}

// parseFilter reads a filter whose variables need not be known.
func parseFilter(text string) (*gojq.Query, error) {
	if len(text) > maxFilter {
		return nil, fmt.Errorf("it is longer than %d KiB", maxFilter>>10)
	}
	query, err := gojq.Parse(text)
	var wrong *gojq.ParseError
	if errors.As(err, &wrong) {
		return nil, fmt.Errorf("%v at %s", err, placeIn(text, wrong))
	}
	if err != nil {
		return nil, err
	}
	if query.Meta != nil || len(query.Imports) > 0 {
		return nil, errors.New("there are no modules")
	}
	if name := barredIn(reflect.ValueOf(query)); name != "" {
		return nil, fmt.Errorf("%s isn't there for a filter of a task (%s)", name, barred[name])
	}
	return query, nil
}

// placeIn is where a filter's text goes wrong, line:column.
func placeIn(text string, wrong *gojq.ParseError) string {
	before := text[:max(0, min(len(text), wrong.Offset-len(wrong.Token)))]
	if wrong.Offset > len(text) || strings.HasPrefix(wrong.Error(), "unexpected EOF") {
		return "its end"
	}
	start := strings.LastIndexByte(before, '\n') + 1
	return fmt.Sprintf("line %d, column %d of it", 1+strings.Count(before, "\n"), 1+len([]rune(before[start:])))
}

// barredIn finds a name in the tree of a filter that it may not use.
func barredIn(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer:
		if f, is := v.Interface().(*gojq.Func); is && f != nil && barred[f.Name] != "" {
			return f.Name
		}
		return barredIn(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if name := barredIn(v.Field(i)); name != "" {
				return name
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if name := barredIn(v.Index(i)); name != "" {
				return name
			}
		}
	}
	return ""
}

// compileFault adds what there is to an error about an unknown name.
func compileFault(err error, vars []string) error {
	if name, is := strings.CutPrefix(err.Error(), "variable not defined: $"); is {
		hint := Suggest(name, vars)
		if hint == "" {
			hint = fmt.Sprintf("vars: {%s: …} defines it", name)
		}
		return fmt.Errorf("$%s is not defined (%s)", name, hint)
	}
	return err
}

// Run returns the filter's one result as JSON, null if it has none. The
// variables are a JSON object with a member for each that was compiled.
// A filter that has several results fails. Its time is bounded by ctx, between
// two steps of it; its memory isn't.
func (f *Filter) Run(ctx context.Context, input json.RawMessage, vars map[string]json.RawMessage) (json.RawMessage, error) {
	value, err := filterValue(input)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	values := make([]any, len(f.vars))
	for i, name := range f.vars {
		if values[i], err = filterValue(vars[name]); err != nil {
			return nil, fmt.Errorf("vars.%s: %w", name, err)
		}
	}
	result, err := one(f.code.RunWithContext(ctx, value, values...))
	if err != nil {
		return nil, err
	}
	return gojq.Marshal(result)
}

// one returns the only result.
func one(results gojq.Iter) (any, error) {
	result, some := results.Next()
	if err, failed := result.(error); failed {
		return nil, err
	}
	if !some {
		return nil, nil
	}
	next, more := results.Next()
	if err, failed := next.(error); failed {
		return nil, err
	}
	if more {
		return nil, errors.New("it has more than one result: [ ] around it makes a list of them, first( ) takes the first")
	}
	return result, nil
}

// filterValue reads JSON with all its digits.
func filterValue(raw json.RawMessage) (v any, err error) {
	if len(raw) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is more after the JSON")
	}
	return v, nil
}

// filter checks a parameter that is a filter, as far as it is literal; vars is
// the parameter of that name.
func (c *compiler) filter(d *draft, v, vars *node) {
	if v.kind != stringKind {
		return // its type is wrong, which has been said
	}
	if some, whole := unknown(v.text, c.namesFor(d)); some {
		if !whole {
			c.problem(v, "a reference can't stand inside of a filter", `give it a name in vars, {x: "${…}"}, and write $x`)
		}
		return
	}
	text, err := unescape(v.text), error(nil)
	if names, known := varNames(vars); known {
		_, err = CompileFilter(text, names)
	} else {
		_, err = parseFilter(text)
	}
	if err != nil {
		c.problem(v, "the filter is wrong: "+err.Error(), "")
	}
}

// varNames are the names of variables, if they are known.
func varNames(vars *node) (names []string, known bool) {
	if vars == nil {
		return nil, true
	}
	for _, m := range vars.members {
		names = append(names, unescape(m.key))
	}
	return names, vars.kind == mapKind
}

// FilterVariables are the names of variables given as a JSON object.
func FilterVariables(vars map[string]json.RawMessage) []string { return slices.Sorted(maps.Keys(vars)) }
