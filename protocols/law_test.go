package protocols

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// jsonValues draws JSON values, and texts in them that look like references.
func jsonValues() *rapid.Generator[any] {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"${a.x}", "$${a}", "${", "}", "$", `"`, "\\", "a${a.y}b", "${a}${a}", "\u2028", "é"}))
	leaf := rapid.OneOf(
		rapid.Map(text, func(s string) any { return s }),
		rapid.Map(rapid.Int64(), func(i int64) any { return json.Number(fmt.Sprint(i)) }),
		rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Just[any](nil),
	)
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		if depth == 0 {
			return leaf
		}
		return rapid.OneOf(leaf,
			rapid.Map(rapid.SliceOfN(value(depth-1), 0, 4), func(v []any) any { return v }),
			rapid.Map(rapid.MapOfN(text, value(depth-1), 0, 4), func(v map[string]any) any { return v }))
	}
	return value(3)
}

func encoded(t *rapid.T, v any) json.RawMessage {
	b, err := marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOnePass: whatever a task returns goes in as it is, is never looked at
// again, and changes nothing around it.
func TestOnePass(t *testing.T) {
	w := compileText(t, `
tasks:
  - {name: a, method: echo/echo}
  - {name: u, method: echo/echo, params: {whole: "${a.x}", in: "<${a.x}|${a.x}>", list: [1, "${a.x}"], odd: "$${a.x}", after: 1}}
`)
	rapid.Check(t, func(t *rapid.T) {
		x := encoded(t, jsonValues().Draw(t, "x"))
		got, err := Substitute(w, 1, &Scope{Workflow: w, Tasks: map[int]TaskValue{0: completed(`{"x":` + string(x) + `}`)}}, registry)
		if err != nil {
			t.Fatal(err)
		}
		text := string(x)
		if kindOf(x) == stringKind {
			text = rawText(x)
		}
		want := encoded(t, map[string]any{"whole": x, "in": "<" + text + "|" + text + ">", "list": []any{1, x}, "odd": "${a.x}", "after": 1})
		if !sameJSON(want, got.Parameters) {
			t.Fatalf("got  %s\nwant %s", got.Parameters, want)
		}
		if whole, _ := rawMember(got.Parameters, "whole"); string(whole) != string(x) {
			t.Fatalf("whole: got %s, want %s", whole, x)
		}
	})
}

// TestValuesPassThroughExpressions: an expression that does nothing to a value
// changes nothing but how its numbers are written.
func TestValuesPassThroughExpressions(t *testing.T) {
	w := compileText(t, `
tasks:
  - {name: a, method: echo/echo}
  - {name: u, method: echo/echo, params: {list: "${[a.x][0]}", json: "${fromJSON(toJSON(a.x))}", map: "${ {k: a.x}.k }", or: "${a.x ?? a.x}", text: "${string([a.x])}", same: "${a.x == fromJSON(toJSON(a.x))}"}}
`)
	rapid.Check(t, func(t *rapid.T) {
		x := encoded(t, jsonValues().Draw(t, "x"))
		got, err := Substitute(w, 1, &Scope{Workflow: w, Tasks: map[int]TaskValue{0: completed(`{"x":` + string(x) + `}`)}}, registry)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := rawMember(got.Parameters, "text")
		want := encoded(t, map[string]any{"list": x, "json": x, "map": x, "or": x, "text": text, "same": true})
		if !sameJSON(want, got.Parameters) {
			t.Fatalf("got  %s\nwant %s", got.Parameters, want)
		}
		if inner := raw(rawText(text)); !sameJSON(encoded(t, []any{x}), inner) {
			t.Fatalf("text: got %s, want [%s]", inner, x)
		}
	})
}

// TestRawAgreesWithDecoding: looking into JSON text finds what decoding it finds.
func TestRawAgreesWithDecoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := jsonValues().Draw(t, "v")
		b := []byte(encoded(t, v))
		if rapid.Bool().Draw(t, "indent") {
			indented, err := json.MarshalIndent(v, " ", "\t")
			if err != nil {
				t.Fatal(err)
			}
			b = indented
		}
		compare(t, v, b)
	})
}

func compare(t *rapid.T, v any, b []byte) {
	switch v := v.(type) {
	case map[string]any:
		if got := rawKeys(b, 100); len(got) != len(v) {
			t.Fatalf("%s: keys %q", b, got)
		}
		for k, inner := range v {
			m, ok := rawMember(b, k)
			if !ok {
				t.Fatalf("%s: no %q", b, k)
			}
			compare(t, inner, m)
		}
	case []any:
		if rawLen(b) != len(v) {
			t.Fatalf("%s: %d items", b, rawLen(b))
		}
		for i, inner := range v {
			m, ok := rawItem(b, i)
			n, okToo := rawItem(b, i-len(v))
			if !ok || !okToo || string(m) != string(n) {
				t.Fatalf("%s: no item %d", b, i)
			}
			compare(t, inner, m)
		}
	case string:
		if rawText([]byte(strings.TrimSpace(string(b)))) != v {
			t.Fatalf("%s: not %q", b, v)
		}
	case json.Number:
		if strings.TrimSpace(string(b)) != string(v) {
			t.Fatalf("%s: not %s", b, v)
		}
	}
}

// TestParametersKeepTheirValue: what a file says arrives at the provider,
// whether written as YAML flow (JSON is YAML), as JSON, or encoded and decoded.
func TestParametersKeepTheirValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := jsonValues().Draw(t, "x")
		escaped := escapeAll(x)
		file := encoded(t, map[string]any{"tasks": []any{map[string]any{"name": "a", "method": "echo/echo", "params": map[string]any{"x": escaped}}}})
		d, _ := Parse("f.json", file)
		w, ps := registry.Compile(d)
		if w == nil {
			t.Fatalf("%s: %v", file, ps)
		}
		w, err := Decode(w.Encode())
		if err != nil {
			t.Fatal(err)
		}
		got, failed := Substitute(w, 0, &Scope{Workflow: w}, registry)
		if failed != nil {
			t.Fatal(failed)
		}
		if want := encoded(t, map[string]any{"x": x}); !sameJSON(want, got.Parameters) {
			t.Fatalf("got  %s\nwant %s\nfile %s", got.Parameters, want, file)
		}
	})
}

// escapeAll writes ${ as $${ wherever references are looked for.
func escapeAll(v any) any {
	switch v := v.(type) {
	case string:
		return escape(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = escapeAll(v[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k := range v {
			out[escape(k)] = escapeAll(v[k])
		}
		return out
	}
	return v
}
