package protocols

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestFilter(t *testing.T) {
	for _, test := range []struct{ filter, input, want string }{
		{".", "12345678901234567890.10", "12345678901234567890.10"}, // every digit
		{".a + 1", `{"a":9007199254740993}`, "9007199254740994"},
		{"[.[] | select(.n > $least) | .name]", `[{"n":1,"name":"a"},{"n":2,"name":"b"}]`, `["b"]`},
		{`{"x": $least, text: "\(.)!"}`, `[1]`, `{"text":"[1]!","x":1}`},
		{".[] | select(. > 5)", "[1,2]", "null"}, // no result
		{"def env: 3; 4", "null", "4"},
	} {
		f, err := CompileFilter(test.filter, []string{"least"})
		if err != nil {
			t.Errorf("%s: %v", test.filter, err)
			continue
		}
		got, err := f.Run(t.Context(), json.RawMessage(test.input), map[string]json.RawMessage{"least": json.RawMessage("1")})
		if string(got) != test.want || err != nil {
			t.Errorf("%s: %s, %v, want %s", test.filter, got, err, test.want)
		}
	}
}

// TestFilterFails: what a filter may not say, and what goes wrong with it.
func TestFilterFails(t *testing.T) {
	for filter, want := range map[string]string{
		".a | }":                          `unexpected token "}" at line 1, column 6 of it`,
		".a |\n  .b c":                    `unexpected token "c" at line 2, column 6 of it`,
		"\"ä\" | }":                       `at line 1, column 7 of it`,
		".a | ":                           "unexpected EOF at its end",
		"nosuch(1)":                       "function not defined: nosuch/1",
		"$leats":                          "$leats is not defined (did you mean least?)",
		"$other":                          "$other is not defined (vars: {other: …} defines it)",
		"env.HOME":                        "env isn't there for a filter of a task (give what it needs as vars)",
		"$ENV.HOME":                       "$ENV isn't there",
		"[inputs]":                        "inputs isn't there",
		"if . then 1 else halt end":       "halt isn't there",
		`def f: "\(halt_error)"; f`:       "halt_error isn't there",
		`import "a" as a; a::f`:           "there are no modules",
		`include "a"; f`:                  "there are no modules",
		strings.Repeat("1+", 40000) + "1": "longer than 64 KiB",
	} {
		if _, err := CompileFilter(filter, []string{"least"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %s", filter, err, want)
		}
	}
	for filter, want := range map[string]string{
		".[]":           "more than one result: [ ] around it",
		".a":            "expected an object but got: array ([1,2])",
		`error("mine")`: "error: mine",
		`., error("x")`: "error: x",
	} {
		f, err := CompileFilter(filter, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Run(t.Context(), json.RawMessage("[1,2]"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", filter, err, want)
		}
	}
	if _, err := CompileFilter(".", []string{"a b"}); err == nil {
		t.Error("a variable with a blank in its name")
	}
}

// TestFilterEnds: one that goes on for ever ends with its context.
func TestFilterEnds(t *testing.T) {
	for _, filter := range []string{"repeat(.)", "last(repeat(1))", "def f: f; f", "[range(infinite)] | length"} {
		f, err := CompileFilter(filter, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := f.Run(ctx, nil, nil); err == nil {
			t.Errorf("%s ended well", filter)
		}
		cancel()
	}
}
