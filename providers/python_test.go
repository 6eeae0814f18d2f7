package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// pythonAnswer is the shape of python/execute's result.
type pythonAnswer struct {
	Result        json.RawMessage `json:"result"`
	Output        string          `json:"output"`
	OutputMissing int64           `json:"output_missing"`
	Stderr        string          `json:"stderr"`
	StderrMissing int64           `json:"stderr_missing"`
	Success       bool            `json:"success"`
	ExecutionTime *float64        `json:"execution_time"`
}

// pythonData is the data of its errors.
type pythonData struct {
	Type, Traceback, Stdout, Stderr, Exit string
	Line                                  int
	ExitCode                              int `json:"exit_code"`
}

// execute runs one python/execute.
func execute(t testing.TB, s *Set, call Call, host Host) (pythonAnswer, error) {
	t.Helper()
	call.Method = "python/execute"
	raw, err := s.Call(patience(t, time.Minute), "python", call, host)
	var a pythonAnswer
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatalf("result %.200s: %v", raw, err)
	}
	if !a.Success || a.ExecutionTime == nil {
		t.Errorf("result %.200s: no success or execution_time", raw)
	}
	return a, nil
}

func executeCode(t testing.TB, s *Set, code string, more ...any) (pythonAnswer, error) {
	t.Helper()
	return execute(t, s, Call{Parameters: parameters(t, append([]any{"code", code}, more...)...)}, nil)
}

func failureOf(t testing.TB, err error, code protocols.Code) (*protocols.Error, pythonData) {
	t.Helper()
	e := wantError(t, err, code)
	var d pythonData
	if err := json.Unmarshal(e.Data, &d); err != nil {
		t.Fatalf("data %s: %v", e.Data, err)
	}
	return e, d
}

func TestPythonResultsKeepTheirTypes(t *testing.T) {
	s := pythonSet(t)
	tests := []struct{ code, want string }{
		{`1 + 1`, `2`},
		{`10**60`, `1` + strings.Repeat("0", 60)},
		{`10**6000`, `1` + strings.Repeat("0", 6000)},
		{`-7`, `-7`}, {`2.0`, `2.0`}, {`0.1`, `0.1`}, {`1e300`, `1e+300`}, {`5e-324`, `5e-324`}, {`-0.0`, `-0.0`},
		{`True`, `true`}, {`None`, `null`},
		{`"text"`, `"text"`}, {`""`, `""`}, {`"120"`, `"120"`}, {`"null"`, `"null"`},
		{`"ä€😀\u2028\x00\n\"\\</script>"`, "\"ä€😀\u2028" + `\u0000\n\"\\</script>"`},
		{`[]`, `[]`}, {`{}`, `{}`}, {`()`, `[]`}, {`set()`, `[]`}, {`[[], {}]`, `[[],{}]`},
		{`(1, "a", [2.5, None])`, `[1,"a",[2.5,null]]`},
		{`{"b": 1, "a": {"c": [True]}}`, `{"b":1,"a":{"c":[true]}}`},
		{`{1: "a", 2.5: "b", None: "c", True: "d"}`, `{"1":"d","2.5":"b","null":"c"}`},
		{`{3, 1, 2}`, `[1,2,3]`}, {`frozenset("a")`, `["a"]`}, {`range(3)`, `[0,1,2]`},
		{`b"\x00\xff"`, `{"$base64":"AP8="}`}, {`bytearray(b"a")`, `{"$base64":"YQ=="}`},
		{`__import__("datetime").datetime(2020, 1, 2, 3, 4, 5)`, `"2020-01-02T03:04:05"`},
		{`__import__("datetime").date(2020, 1, 2)`, `"2020-01-02"`},
		{`__import__("datetime").timedelta(minutes=1.5)`, `90.0`},
		{`__import__("decimal").Decimal("1.10")`, `"1.10"`},
		{`__import__("fractions").Fraction(1, 3)`, `"1/3"`},
		{`__import__("pathlib").PurePosixPath("/a/b")`, `"/a/b"`},
		{`__import__("uuid").UUID(int=0)`, `"00000000-0000-0000-0000-000000000000"`},
		{`__import__("collections").deque([1])`, `[1]`},
		{`__import__("collections").OrderedDict(z=1, a=2)`, `{"z":1,"a":2}`},
		{`__import__("collections").Counter("aab")`, `{"a":2,"b":1}`},
		{`__import__("types").MappingProxyType({"a": 1})`, `{"a":1}`},
		{`{"a": 1}.keys()`, `["a"]`},
		{"import enum\nclass E(enum.Enum):\n  A = 'x'\nE.A", `"x"`},
		{"import enum\nclass E(enum.IntEnum):\n  A = 4\n{'e': E.A}", `{"e":4}`},
		{"from dataclasses import dataclass\n@dataclass\nclass P:\n  x: int\n  y: list\nP(1, [P(2, [])])", `{"x":1,"y":[{"x":2,"y":[]}]}`},
		{"x = 5\nx", `5`},
		{"result = 3\n4", `3`},
		{"result = None\n4", `null`},
		{"result = []\nresult.append(1)", `[1]`},
		{"if result is None:\n  result = 'set'", `"set"`},
		{"def f():\n  global result\n  result = 9\nf()", `9`},
		{"import math as result\nresult = result.floor(2.5)", `2`},
		{"for result in [1, 2]: pass\n'other'", `2`},
		{"def f():\n  result = 1\n  return 2\nf()", `2`},
		{"print('only printed')", `null`},
		{"x = 1", `null`},
		{"", `null`},
		{"# nothing but this", `null`},
		{`"a string is a last value too"`, `"a string is a last value too"`},
		{"from __future__ import annotations\n1", `1`},
		{"import sys\nresult = 5\nsys.exit(0)", `5`},
		{"import sys\nsys.exit()", `null`},
		{"if __name__ == '__main__':\n  result = 'main'", `"main"`},
		{"class A:\n  __slots__ = ()\n  def __eq__(self, o): raise ValueError\n[A() is None]", `[false]`},
		{"a = [1]; [a, a]", `[[1],[1]]`},
		{`"\ud800"`, `"\ud800"`},
	}
	var all sync.WaitGroup
	limit := make(chan struct{}, 4)
	for _, test := range tests {
		all.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			a, err := executeCode(t, s, test.code)
			if err != nil {
				t.Errorf("%s: %v", test.code, err)
			} else if got := string(a.Result); got != test.want {
				t.Errorf("%s: result %.200s, want %.200s", test.code, got, test.want)
			}
		})
	}
	all.Wait()
}

func TestPythonResultsThatJSONCannotHold(t *testing.T) {
	s := pythonSet(t)
	tests := []struct{ code, want string }{
		{`float("nan")`, "result is nan"},
		{`{"a": [1, float("-inf")]}`, "result['a'][1] is -inf"},
		{`result = object()`, "type object"},
		{`result = {"rows": [1, 2j]}`, "result['rows'][1] is of type complex"},
		{`result = (x for x in [])`, "list(…)"},
		{`result = print`, "meant to be called"},
		{`{(1, 2): 3}`, "a key of type tuple"},
		{`{1: "a", "1": "b"}`, "two keys that are both '1'"},
		{"a = []\na.append(a)\na", "contains itself"},
		{"a = {}\na['x'] = {'y': a}\na", "result['x']['y'] contains itself"},
		{"a = []\nfor _ in range(100000): a = [a]\na", "nested too deeply"},
		{"import dataclasses\n@dataclasses.dataclass\nclass A:\n  x: int = 1\n  @property\n  def y(self): pass\nresult = A", "type type"},
		{"class L(list):\n  def __iter__(self): raise KeyError('evil')\nL([1])", "KeyError"},
		{`"x" * (65 << 20)`, "bytes of JSON, more than"},
	}
	for _, test := range tests {
		_, err := executeCode(t, s, "print('before')\n"+test.code)
		e, data := failureOf(t, err, protocols.TaskResultInvalid)
		if !strings.Contains(e.Message, test.want) || data.Stdout != "before\n" {
			t.Errorf("%s: %s; stdout %q; want %s", test.code, e.Message, data.Stdout, test.want)
		}
	}
}

// A script may end with a call whose value nobody wants.
func TestPythonLastExpressionThatJSONCannotHold(t *testing.T) {
	s := pythonSet(t)
	for _, code := range []string{"object()", "open", "[1, 2j]", "import argparse\nargparse.ArgumentParser()"} {
		raw, err := s.Call(patience(t, time.Minute), "python", Call{Method: "python/execute", Parameters: parameters(t, "code", code)}, nil)
		var a struct{ Result, Note *string }
		if err != nil || json.Unmarshal(raw, &a) != nil || a.Result != nil || a.Note == nil || !strings.Contains(*a.Note, "JSON can't hold") {
			t.Errorf("%s: %s, %v", code, raw, err)
		}
	}
}

// Whatever the code prints, writes or lets others write, its result is its own.
func TestPythonResultCannotBeForged(t *testing.T) {
	s := pythonSet(t)
	flood := `
import os
for fd in range(3, 400):
    try: os.write(fd, b'{"result": "forged"}')
    except OSError: pass
`
	tests := []struct{ name, code, want, fails string }{
		{"printed", `print('{"result": "forged"}'); result = "true"`, `"true"`, ""},
		{"printed only", `print('{"result": "forged", "success": true}')`, `null`, ""},
		{"number 3", "import os\ntry: os.write(3, b'forged')\nexcept OSError: pass\nresult = 'true'", `"true"`, ""},
		{"by a child", "import subprocess, sys\nsubprocess.run([sys.executable, '-c', " + fmt.Sprintf("%q", flood) + "], close_fds=False)\nresult = 'true'", `"true"`, ""},
		{"by a fork", "import os\npid = os.fork()\nresult = 'child' if pid == 0 else 'parent'\nif pid: os.waitpid(pid, 0)", `"parent"`, ""},
		{"by a failing fork", "import os\npid = os.fork()\nif pid == 0: raise ValueError('child')\nos.waitpid(pid, 0)\nresult = 'parent'", `"parent"`, ""},
		{"noise on every descriptor", flood + "result = 'true'", "", "something else wrote"},
		{"every descriptor closed", "import os\nos.closerange(3, 1024)\nresult = 'true'", "", "without handing back a result"},
		{"left early", "import os\nos._exit(0)", "", "exited with status 0 without handing back"},
		{"became another", "import os\nos.execv('/bin/echo', ['echo', '{\"result\": 1}'])", "", "without handing back"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, err := executeCode(t, s, test.code)
			if test.fails != "" {
				if e, _ := failureOf(t, err, protocols.TaskExecutionFailed); !strings.Contains(e.Message, test.fails) {
					t.Errorf("%s, want %s", e.Message, test.fails)
				}
			} else if err != nil || string(a.Result) != test.want {
				t.Errorf("result %s, %v, want %s", a.Result, err, test.want)
			}
		})
	}
}

func TestPythonFailures(t *testing.T) {
	s := pythonSet(t)
	tests := []struct {
		name, code, message, kind string
		line, exit                int
		traceback                 []string
	}{
		{"exception", "x = 1\n\nraise ValueError('no')", "ValueError: no (line 3)", "ValueError", 3, 1,
			[]string{"Traceback (most recent call last):\n  File \"<code>\", line 3, in <module>\n    raise ValueError('no')\nValueError: no\n"}},
		{"in a function", "def f():\n  1/0\nf()", "ZeroDivisionError: division by zero (line 2)", "ZeroDivisionError", 2, 1,
			[]string{"line 3, in <module>\n    f()\n", "line 2, in f\n    1/0\n"}},
		{"in a library", "import json\njson.loads('x')", "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0) (line 2)", "json.decoder.JSONDecodeError", 2, 1,
			[]string{"json/decoder.py"}},
		{"with a cause", "try:\n  1/0\nexcept Exception as e:\n  raise KeyError('k') from e", "KeyError: 'k' (line 4)", "KeyError", 4, 1,
			[]string{"line 2", "direct cause", "line 4"}},
		{"syntax", "x = 1\nif x\n  pass", "SyntaxError: ", "SyntaxError", 2, 1, []string{"line 2", "if x"}},
		{"indentation", "  x = 1\n y = 2", "IndentationError", "IndentationError", 1, 1, nil},
		{"prose", "Here is the code:\n\nfor i in range(3):\n  print(i)", "SyntaxError: invalid syntax (line 1)", "SyntaxError", 1, 1, []string{"Here is the code"}},
		{"null byte", "x = 1\x00", "null bytes", "", 0, 1, nil},
		{"exit 3", "import sys\nsys.exit(3)", "sys.exit(3)", "SystemExit", 0, 3, nil},
		{"exit with a text", "import sys\nsys.exit('bad')", "sys.exit('bad')", "SystemExit", 0, 1, nil},
		{"interrupt", "raise KeyboardInterrupt", "KeyboardInterrupt (line 1)", "KeyboardInterrupt", 1, 1, nil},
		{"own exception", "class Mine(Exception): pass\nraise Mine('x')", "Mine: x (line 2)", "Mine", 2, 1, nil},
		{"unspeakable", "class E(Exception):\n  def __str__(self): raise ValueError\nraise E", "E", "E", 0, 1, nil},
		{"endless recursion", "def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded (line 1)", "RecursionError", 1, 1, []string{"repeated"}},
		{"at exit", "import atexit, os\natexit.register(lambda: os._exit(4))", "Python exited with status 4 after the code had ended", "", 0, 4, nil},
		{"killed", "import os\nos.kill(os.getpid(), 11)", "Python was killed by signal 11 (SIGSEGV)", "", 0, -1, nil},
		{"aborted", "import os\nos.abort()", "Python was killed by signal 6 (SIGABRT)", "", 0, -1, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := executeCode(t, s, test.code)
			e, data := failureOf(t, err, protocols.TaskExecutionFailed)
			if !strings.Contains(e.Message, test.message) {
				t.Errorf("message %q, want %q", e.Message, test.message)
			}
			if test.kind != "" && data.Type != test.kind || data.Line != test.line || data.ExitCode != test.exit {
				t.Errorf("data %s: want type %q, line %d, exit code %d", e.Data, test.kind, test.line, test.exit)
			}
			for _, part := range test.traceback {
				if !strings.Contains(data.Traceback, part) {
					t.Errorf("traceback %s\nlacks %q", data.Traceback, part)
				}
			}
			if strings.Contains(data.Traceback, "gleitzeit") {
				t.Errorf("traceback shows our own frames: %s", data.Traceback)
			}
		})
	}
}

func TestPythonFailureKeepsOutputApart(t *testing.T) {
	s := pythonSet(t)
	_, err := executeCode(t, s, "import sys\nprint('out')\nprint('err', file=sys.stderr)\nraise ValueError('x')")
	_, data := failureOf(t, err, protocols.TaskExecutionFailed)
	if data.Stdout != "out\n" || data.Stderr != "err\n" || !strings.Contains(data.Traceback, "ValueError: x") {
		t.Errorf("stdout %q, stderr %q, traceback %q", data.Stdout, data.Stderr, data.Traceback)
	}
}

func TestPythonInputs(t *testing.T) {
	s := pythonSet(t)
	a, err := executeCode(t, s, "import sys\nresult = [context, args, x, n, big, sys.argv, __name__, 'odd key' in globals()]",
		"context", map[string]any{"x": "text", "n": 2.0, "odd key": 1, "__builtins__": nil, "big": json.RawMessage("123456789012345678901234567890")},
		"args", []any{"a", 1, nil})
	want := `[{"__builtins__":null,"big":123456789012345678901234567890,"n":2,"odd key":1,"x":"text"},["a",1,null],"text",2,` +
		`123456789012345678901234567890,["-c","a","1","null"],"__main__",false]`
	if err != nil || string(a.Result) != want {
		t.Errorf("result %s, %v\nwant %s", a.Result, err, want)
	}
	a, err = executeCode(t, s, "[context, args, input() if False else __import__('sys').stdin.read()]")
	if err != nil || string(a.Result) != `[{},[],""]` {
		t.Errorf("result %s, %v", a.Result, err)
	}
	a, err = executeCode(t, s, "args['who'] + context['result']", "args", map[string]any{"who": "me "}, "context", map[string]any{"result": "too"})
	if err != nil || string(a.Result) != `"me too"` {
		t.Errorf("result %s, %v", a.Result, err)
	}
}

func TestPythonParametersThatMakeNoSense(t *testing.T) {
	s := pythonSet(t)
	for _, raw := range []string{`{}`, `[]`, `"x"`, `{"code": 5}`, `{"code": "1", "file": "a.py"}`, `{"code": "1", "timeout": 0}`,
		`{"code": "1", "timeout": -1}`, `{"code": "1", "timeout": "x"}`, `{"file": "missing.py"}`, `{"file": ""}`, `{"code"`, `{"file": "/etc/passwd"}`} {
		_, err := execute(t, s, Call{Parameters: json.RawMessage(raw), Dir: t.TempDir()}, nil)
		if e, is := err.(*protocols.Error); !is || !slices.Contains([]protocols.Class{protocols.ClassParameters, protocols.ClassAuth}, e.Code.Class()) {
			t.Errorf("%s: %v", raw, err)
		}
	}
	_, err := s.Call(context.Background(), "python", Call{Method: "python/eval"}, nil)
	wantError(t, err, protocols.MethodNotSupported)
}

func TestPythonFiles(t *testing.T) {
	s := pythonSet(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	show := "import os, sys\nresult = [__file__, __name__, sys.argv, os.getcwd(), sys.path[0]]"
	write("scripts/show.py", show)
	write("scripts/helper.py", "answer = 42")
	write("scripts/uses.py", "import helper\nresult = helper.answer")
	odd := write(`odd "name" '); import os; #.py`, "result = 'ran'")
	write("latin.py", "# -*- coding: latin-1 -*-\nresult = '\xe4'")
	write("bom.py", "\ufeffresult = 'bom'")
	write("json.py", "raise Exception('a file of the workflow posed as the module json')")
	write("fails.py", "def f():\n    raise ValueError('from a file')\nf()")
	outside := filepath.Join(t.TempDir(), "outside.py")
	if err := os.WriteFile(outside, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "scripts/show.py")
	tests := []struct{ file, want string }{
		{"scripts/show.py", fmt.Sprintf(`[%q,"__main__",[%q,"a"],%q,%q]`, path, path, real, filepath.Dir(path))},
		{path, fmt.Sprintf(`[%q,"__main__",[%q,"a"],%q,%q]`, path, path, real, filepath.Dir(path))},
		{"scripts/uses.py", "42"}, {odd, `"ran"`}, {"latin.py", `"ä"`}, {"bom.py", `"bom"`},
	}
	for _, test := range tests {
		a, err := execute(t, s, Call{Dir: dir, Parameters: parameters(t, "file", test.file, "args", []string{"a"})}, nil)
		if err != nil || string(a.Result) != test.want {
			t.Errorf("%s: %s, %v\nwant %s", test.file, a.Result, err, test.want)
		}
	}
	_, err = execute(t, s, Call{Dir: dir, Parameters: parameters(t, "file", "fails.py")}, nil)
	if _, data := failureOf(t, err, protocols.TaskExecutionFailed); data.Line != 2 || !strings.Contains(data.Traceback, "fails.py\", line 2, in f") {
		t.Errorf("traceback %s", data.Traceback)
	}
	_, err = execute(t, s, Call{Dir: dir, Parameters: parameters(t, "file", outside)}, nil)
	wantError(t, err, protocols.AuthorizationFailed)
	if _, err := execute(t, s, Call{Dir: dir, Roots: []string{filepath.Dir(outside)}, Parameters: parameters(t, "file", outside)}, nil); err != nil {
		t.Error(err)
	}
}

// A run is resumed with the code that it started with, wherever that is.
func TestPythonCapturedFile(t *testing.T) {
	s := pythonSet(t)
	captured := func(text string) func(string) ([]byte, bool, error) {
		return func(name string) ([]byte, bool, error) { return []byte(text), name == "sub/a.py", nil }
	}
	code := "import os\nresult = [os.path.basename(__file__), os.path.exists(__file__), os.getcwd() == os.path.dirname(__file__)]"
	a, err := execute(t, s, Call{File: captured(code), Parameters: parameters(t, "file", "sub/a.py")}, nil)
	if err != nil || string(a.Result) != `["a.py",true,true]` {
		t.Errorf("%s, %v", a.Result, err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub/a.py"), []byte("result = 'changed since'"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err = execute(t, s, Call{Dir: dir, File: captured("result = ['as it was', __file__]"), Parameters: parameters(t, "file", "sub/a.py")}, nil)
	if want := fmt.Sprintf(`["as it was",%q]`, filepath.Join(dir, "sub/a.py")); err != nil || string(a.Result) != want {
		t.Errorf("%s, %v, want %s", a.Result, err, want)
	}
}

func TestPythonScratchFolderIsRemoved(t *testing.T) {
	s := pythonSet(t)
	a, err := executeCode(t, s, "import os\nopen('left behind', 'w').close()\nresult = os.getcwd()")
	if err != nil {
		t.Fatal(err)
	}
	var dir string
	_ = json.Unmarshal(a.Result, &dir)
	if _, err := os.Stat(dir); !os.IsNotExist(err) || dir == "" {
		t.Errorf("scratch folder %q: %v", dir, err)
	}
}

func TestPythonEnvironment(t *testing.T) {
	needPython(t)
	values := map[string]string{"PATH": os.Getenv("PATH"), "HOME": "/home/someone", "SECRET": "hidden", "PASSED": "yes", "BOTH": "ours"}
	s, err := Open(Config{Providers: map[string]ProviderConfig{"python": {
		Kind: "python", Command: realPython(), PassEnv: []string{"PASSED", "BOTH", "ABSENT"},
	}}}, Options{Env: func(name string) string { return values[name] }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, err := execute(t, s, Call{
		Run: "run-1", Task: "task", Attempt: 2, Key: "key",
		Env:        map[string]string{"OWN": "ä", "BOTH": "the task's", "GLEITZEIT_KEY": "forged"},
		Parameters: parameters(t, "code", "import os\nresult = {k: v for k, v in os.environ.items() if k not in ('PATH', 'TMPDIR', 'TEMP', 'TMP', 'LC_CTYPE', '__CF_USER_TEXT_ENCODING')}"),
	}, nil)
	want := `{"BOTH":"the task's","GLEITZEIT_ATTEMPT":"2","GLEITZEIT_KEY":"key","GLEITZEIT_RUN":"run-1","GLEITZEIT_TASK":"task","HOME":"/home/someone","OWN":"ä","PASSED":"yes"}`
	if err != nil || string(a.Result) != want {
		t.Errorf("%s, %v\nwant %s", a.Result, err, want)
	}
}

func TestPythonMissing(t *testing.T) {
	for _, c := range []ProviderConfig{{Kind: "python"}, {Kind: "python", Command: "/no/such/python"}, {Kind: "python", Command: "nopython"}} {
		s, err := Open(Config{Providers: map[string]ProviderConfig{"python": c}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = execute(t, s, Call{Parameters: parameters(t, "code", "1")}, nil)
		e := wantError(t, err, protocols.ProviderNotAvailable)
		if !strings.Contains(e.Message, "install Python") && !strings.Contains(e.Message, "`command`") {
			t.Errorf("no advice in: %s", e.Message)
		}
		if h := s.Check(context.Background(), "python"); h.Status != "unhealthy" || h.Message != e.Message {
			t.Errorf("health %+v", h)
		}
		s.Close()
	}
}

func TestPythonCheck(t *testing.T) {
	s := pythonSet(t)
	h := s.Check(patience(t, time.Minute), "python")
	if h.Status != "healthy" || !strings.Contains(h.Message, "CPython 3.") {
		t.Errorf("health %+v", h)
	}
}

// A shim is asked once for the interpreter that it stands for.
func TestPythonShimIsAskedOnce(t *testing.T) {
	needPython(t)
	dir := t.TempDir()
	shim := "#!/bin/sh\necho asked >> " + dir + "/log\nexec " + realPython() + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "python3"), []byte(shim), 0o700); err != nil {
		t.Fatal(err)
	}
	s := openSet(t, Config{Providers: map[string]ProviderConfig{"python": {Kind: "python", Command: filepath.Join(dir, "python3")}}})
	for range 3 {
		if a, err := execute(t, s, Call{Dir: dir, Parameters: parameters(t, "code", "6*7")}, nil); err != nil || string(a.Result) != "42" {
			t.Fatal(a, err)
		}
	}
	if log, _ := os.ReadFile(dir + "/log"); string(log) != "asked\n" {
		t.Errorf("the shim ran: %q", log)
	}
}

func TestPythonShowsOutputLive(t *testing.T) {
	s := pythonSet(t)
	host := newLines()
	dir := t.TempDir()
	done := make(chan error, 1)
	call := Call{Method: "python/execute", Dir: dir, Parameters: parameters(t, "code",
		"import os, time\nprint('first')\nwhile not os.path.exists('go on'): time.sleep(0.01)\nprint('second', end='')")}
	ctx := patience(t, time.Minute)
	go func() {
		_, err := s.Call(ctx, "python", call, host)
		done <- err
	}()
	if line := host.next(t); line != "first" {
		t.Errorf("first line %q", line)
	}
	if err := os.WriteFile(filepath.Join(dir, "go on"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if line := host.next(t); line != "second" {
		t.Errorf("second line %q", line)
	}
}

func TestPythonOutputOfAnySize(t *testing.T) {
	s := pythonSet(t)
	tests := []struct {
		name, code string
		check      func(a pythonAnswer) bool
	}{
		{"much", "for i in range(400000): print('line', i)", func(a pythonAnswer) bool {
			return len(a.Output) < pythonOutput+100 && strings.HasPrefix(a.Output, "line 0\n") &&
				strings.HasSuffix(a.Output, "line 399999\n") && a.OutputMissing > 0 && strings.Contains(a.Output, "bytes left out")
		}},
		{"both at once", `
import sys, threading
def fill(stream):
    for _ in range(200): stream.write("x" * 40000)
t = threading.Thread(target=fill, args=(sys.stderr,)); t.start(); fill(sys.stdout); t.join()`,
			func(a pythonAnswer) bool {
				return a.OutputMissing == 8_000_000-pythonOutput && a.StderrMissing == 8_000_000-pythonStderr
			}},
		{"garbage", "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 1000)",
			func(a pythonAnswer) bool { return strings.HasPrefix(a.Output, "\x00\x01") && a.OutputMissing == 0 }},
		{"after the end", "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()",
			func(a pythonAnswer) bool { return a.Output == "late\n" }},
		{"closed", "import sys\nsys.stdout.close()\nsys.stderr.close()", func(a pythonAnswer) bool { return a.Output == "" }},
		{"surrogates", `print("\ud800")`, func(a pythonAnswer) bool { return a.Output == "\\ud800\n" }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, err := executeCode(t, s, test.code)
			if err != nil || !test.check(a) {
				t.Errorf("%v; output %.100q … (%d, %d missing), stderr %d, %d missing", err, a.Output, len(a.Output), a.OutputMissing, len(a.Stderr), a.StderrMissing)
			}
		})
	}
}

func TestPythonLargeRequest(t *testing.T) {
	s := pythonSet(t)
	a, err := executeCode(t, s, "len(context['text'])", "context", map[string]any{"text": strings.Repeat("ä", 8<<20)})
	if err != nil || string(a.Result) != "8388608" {
		t.Errorf("%s, %v", a.Result, err)
	}
}

func TestPythonHundredAtOnce(t *testing.T) {
	s := pythonSet(t)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			a, err := executeCode(t, s, "print(n)\nn * 2", "context", map[string]any{"n": i})
			if err != nil || string(a.Result) != fmt.Sprint(2*i) || a.Output != fmt.Sprintln(i) {
				t.Errorf("call %d: %s, %q, %v", i, a.Result, a.Output, err)
			}
		})
	}
	all.Wait()
}

// BenchmarkPythonCall: one call through the provider; "open" has no sandbox.
func BenchmarkPythonCall(b *testing.B) {
	needPython(b)
	yes, no := true, false
	for _, row := range []struct {
		name          string
		warm, sandbox *bool
	}{{"warm", &yes, &yes}, {"warm open", &yes, &no}, {"cold", &no, &yes}, {"cold open", &no, &no}} {
		b.Run(row.name, func(b *testing.B) {
			s := openSet(b, Config{Providers: map[string]ProviderConfig{"python": {
				Kind: "python", Command: realPython(), Warm: row.warm, Sandbox: SandboxConfig{Enabled: row.sandbox},
			}}})
			call := Call{Method: "python/execute", Parameters: parameters(b, "code", "1 + 1")}
			for b.Loop() {
				if _, err := s.Call(context.Background(), "python", call, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPythonBare is what there is to compare with: an interpreter that
// starts and does nothing.
func BenchmarkPythonBare(b *testing.B) {
	needPython(b)
	for b.Loop() {
		if err := exec.Command(realPython(), "-c", "pass").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEchoCall(b *testing.B) {
	s := openSet(b, Config{})
	call := Call{Method: "echo/echo", Parameters: json.RawMessage(`{"message":"hello"}`)}
	for b.Loop() {
		if _, err := s.Call(context.Background(), "echo", call, nil); err != nil {
			b.Fatal(err)
		}
	}
}
