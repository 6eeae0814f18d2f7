package providers

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gleitzeit/protocols"
)

// Nothing in a value can turn into code, wherever its reference stands.
func TestPythonReferencesInCode(t *testing.T) {
	s := pythonSet(t)
	const a, b = "__gz_ref_0__", "__gz_ref_1__"
	evil := `"); open('owned','w'); ("''' """ \ {context} \n ` + b + ` #`
	quoted, _ := json.Marshal(evil)
	tests := []struct{ name, code, a, b, want string }{
		{"bare", `x = ` + a + "\nx", `[1,{"k":null},2.5,true]`, ``, `[1,{"k":null},2.5,true]`},
		{"bare text", a, string(quoted), ``, string(quoted)},
		{"in a text", `"<" + "see ` + a + `!" + ">"`, `"it"`, ``, `"<see it!>"`},
		{"evil in a text", `"` + a + `"`, string(quoted), `"B"`, string(quoted)},
		{"evil in '''", `'''` + a + `'''`, string(quoted), ``, string(quoted)},
		{"evil in a raw text", `r'` + a + `'`, string(quoted), ``, string(quoted)},
		{"a map in a text", `"` + a + `"`, `{"a":[1,"x"]}`, ``, `"{\"a\":[1,\"x\"]}"`},
		{"numbers in a text", `"` + a + ` ` + b + `"`, `10`, `null`, `"10 null"`},
		{"f-string, text", `f"{1+1} ` + a + `"`, string(quoted), ``, `"2 ` + string(quoted)[1:]},
		{"f-string, value", `f"{` + a + `}|{` + b + `:>4}"`, `"{1+1}"`, `7`, `"{1+1}|   7"`},
		{"f-string, nested", `f"{'` + a + `'!r}"`, `"x"`, ``, `"'x'"`},
		{"twice", a + ` + ` + a, `2`, ``, `4`},
		{"two", `[` + a + `, ` + b + `]`, `"` + b + `"`, `"b"`, `["__gz_ref_1__","b"]`},
		{"comment", "# " + a + "\n1", string(quoted), ``, `1`},
		{"docstring", "def f():\n  '''" + a + "'''\nf.__doc__", `"d"`, ``, `"d"`},
		{"default", "def f(x=" + a + "): return x\nf()", `3`, ``, `3`},
		{"in a class", "class C:\n  x = " + a + "\n  def f(self): return " + a + ", '" + a + "'\n[C.x, C().f()]", `"v"`, ``, `["v",["v","v"]]`},
		{"nested scopes", "def f():\n  return [(lambda: " + a + " + i)() for i in range(2)]\nf()", `5`, ``, `[5,6]`},
		{"key", `{` + a + `: 1, "` + b + `": 2}`, `"x"`, `"y"`, `{"x":1,"y":2}`},
		{"argument", `dict(k=` + a + `)`, `[]`, ``, `{"k":[]}`},
		{"subscript", `{"x": 1}[` + a + `]`, `"x"`, ``, `1`},
		{"adjacent texts", `"a" "` + a + `" 'c'`, `"b"`, ``, `"abc"`},
		{"big number", a, `123456789012345678901234567890`, ``, `123456789012345678901234567890`},
		{"hidden from the code", `[n for n in globals() if 'gz' in n and not n.startswith('<')]`, `1`, ``, `[]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			call := Call{Dir: dir, Parameters: parameters(t, "code", test.code), Bindings: map[string]json.RawMessage{a: json.RawMessage(test.a)}}
			if test.b != "" {
				call.Bindings[b] = json.RawMessage(test.b)
			}
			answer, err := execute(t, s, call, nil)
			if err != nil || !sameJSON(t, string(answer.Result), test.want) {
				t.Errorf("%s\nresult %s, %v, want %s", test.code, answer.Result, err, test.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "owned")); err == nil {
				t.Error("the value ran as code")
			}
		})
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	m, _ := json.Marshal(x)
	n, _ := json.Marshal(y)
	return string(m) == string(n)
}

func TestPythonReferencesWhereNoneCanStand(t *testing.T) {
	s := pythonSet(t)
	const a = "__gz_ref_0__"
	tests := []struct{ name, code, want string }{
		{"assigned", "\n" + a + " = 1", "can't be assigned to"},
		{"deleted", "\ndel " + a, "can't be assigned to"},
		{"walrus", "\n(" + a + " := 1)", "can't be assigned to"},
		{"loop variable", "\nfor " + a + " in []: pass", "can't be assigned to"},
		{"attribute", "\nx = 1\nx." + a, "part of a name"},
		{"keyword", "\ndict(" + a + "=1)", "part of a name: ${…}"},
		{"parameter", "\ndef f(" + a + "): pass", "part of a name"},
		{"function", "\ndef " + a + "(): pass", "part of a name"},
		{"import", "\nimport " + a, "part of a name"},
		{"import as", "\nimport os as " + a, "part of a name"},
		{"global", "\ndef f():\n  global " + a, "part of a name"},
		{"end of a name", "\nx" + a, "part of a name: x${…}"},
		{"two in a row", "\n" + a + a, "part of a name"},
		{"exception", "\ntry: pass\nexcept Exception as " + a + ": pass", "part of a name"},
		{"pattern", "\nmatch 1:\n  case " + a + ": pass", "SyntaxError: "},
		{"bytes", "\nb'" + a + "'", "bytes literal"},
		{"after a number", "\n1" + a, "invalid"},
		{"broken code", "\nx = = '" + a + "'", "invalid syntax"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := execute(t, s, Call{Parameters: parameters(t, "code", test.code), Bindings: map[string]json.RawMessage{a: json.RawMessage(`"v"`)}}, nil)
			e, data := failureOf(t, err, protocols.TaskExecutionFailed)
			if data.Type != "SyntaxError" || data.Line < 2 || !strings.Contains(e.Message, test.want) {
				t.Errorf("%s (line %d): %s, want %s", data.Type, data.Line, e.Message, test.want)
			}
			if strings.Contains(string(e.Data)+e.Message, a) {
				t.Errorf("the placeholder shows: %s %s", e.Message, e.Data)
			}
		})
	}
}

func TestPythonTracebackShowsReferences(t *testing.T) {
	s := pythonSet(t)
	const a = "__gz_ref_0__"
	code := "def f(x):\n    return x['" + a + "'] + " + a + "  # why\nf({})"
	_, err := execute(t, s, Call{Parameters: parameters(t, "code", code), Bindings: map[string]json.RawMessage{a: json.RawMessage(`"key"`)}}, nil)
	e, data := failureOf(t, err, protocols.TaskExecutionFailed)
	if e.Message != "KeyError: 'key' (line 2)" || !strings.Contains(data.Traceback, "    return x['${…}'] + ${…}  # why\n") {
		t.Errorf("%s\n%s", e.Message, data.Traceback)
	}
}
