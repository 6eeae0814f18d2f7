package providers

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// callFunction runs one python/call.
func callFunction(t testing.TB, s *Set, dir string, pairs ...any) (pythonAnswer, error) {
	t.Helper()
	raw, err := s.Call(patience(t, time.Minute), "python", Call{Method: "python/call", Dir: dir, Parameters: parameters(t, pairs...)}, nil)
	var a pythonAnswer
	if err == nil {
		err = json.Unmarshal(raw, &a)
	}
	return a, err
}

// writeFiles makes files below a new folder.
func writeFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPythonCallsFunctions(t *testing.T) {
	s := pythonSet(t)
	dir := writeFiles(t, map[string]string{
		"tools.py": `
import sys, dataclasses, decimal, asyncio
def add(a, b=10, *rest, **more): print("adding", a); return [a, b, rest, more]
class Greeter:
    @staticmethod
    def greet(name): return "hello " + name
@dataclasses.dataclass
class Point:
    x: int
    y: decimal.Decimal
def point(): return Point(1, decimal.Decimal("2.50"))
async def later(x): await asyncio.sleep(0); return x * 2
def leave(code=0): sys.exit(code)
def fail(x):
    raise ValueError("bad " + x)
def unfit(): return print
number = 5
`,
		"pkg/__init__.py": "", "pkg/deep.py": "from . import other\ndef f(): return other.value", "pkg/other.py": "value = 'other'",
		"lib/json.py": "import helper\ndef f(): return [helper.value, __name__]", "lib/helper.py": "value = 'beside'",
	})
	list := func(v ...any) []any { return v }
	tests := []struct {
		pairs []any
		want  string
	}{
		{list("function", "tools:add", "args", list(1)), `[1,10,[],{}]`},
		{list("function", "tools:add", "args", list(1, 2, 3), "kwargs", map[string]any{"k": nil}), `[1,2,[3],{"k":null}]`},
		{list("function", "tools:add", "kwargs", map[string]any{"a": "x", "b": []int{}}), `["x",[],[],{}]`},
		{list("function", "tools:Greeter.greet", "args", list("you")), `"hello you"`},
		{list("function", "tools:point"), `{"x":1,"y":"2.50"}`},
		{list("function", "tools:later", "args", list(21)), `42`},
		{list("function", "tools:leave"), `null`},
		{list("function", "pkg.deep:f"), `"other"`},
		{list("function", "lib/json.py:f"), `["beside","json"]`},
		{list("function", "./tools.py:Greeter.greet", "args", list("file")), `"hello file"`},
		{list("function", "math:floor", "args", list(2.5)), `2`},
	}
	for _, test := range tests {
		if a, err := callFunction(t, s, dir, test.pairs...); err != nil || string(a.Result) != test.want {
			t.Errorf("%v: %s, %v, want %s", test.pairs, a.Result, err, test.want)
		}
	}
	if a, err := callFunction(t, s, dir, "function", "tools:add", "args", list(7)); err != nil || a.Output != "adding 7\n" {
		t.Errorf("output %q, %v", a.Output, err)
	}
	failures := []struct {
		pairs []any
		code  protocols.Code
		want  string
		line  int
	}{
		{list("function", "tools:fail", "args", list("x")), protocols.TaskExecutionFailed, "ValueError: bad x (line 15)", 15},
		{list("function", "tools:add"), protocols.TaskExecutionFailed, "TypeError: add() missing 1 required positional argument: 'a'", 0},
		{list("function", "tools:nothing"), protocols.TaskExecutionFailed, "AttributeError: module 'tools' has no attribute 'nothing'", 0},
		{list("function", "tools:number"), protocols.TaskExecutionFailed, "TypeError: 'int' object is not callable", 0},
		{list("function", "absent:f"), protocols.TaskExecutionFailed, "ModuleNotFoundError: No module named 'absent'", 0},
		{list("function", "tools:leave", "args", list(3)), protocols.TaskExecutionFailed, "sys.exit(3)", 0},
		{list("function", "tools:unfit"), protocols.TaskResultInvalid, "JSON can't hold", 0},
		{list("function", "missing.py:f"), protocols.TaskParameterError, "missing.py", 0},
		{list("function", "../../etc/x.py:f"), protocols.AuthorizationFailed, "", 0},
		{list("function", "tools"), protocols.TaskParameterError, "not of the form module:function", 0},
		{list("function", "a:b:c"), protocols.TaskParameterError, "not of the form module:function", 0},
	}
	for _, test := range failures {
		_, err := callFunction(t, s, dir, test.pairs...)
		e, is := err.(*protocols.Error)
		if !is || !strings.Contains(e.Message, test.want) || e.Code != test.code && test.code != protocols.AuthorizationFailed {
			t.Errorf("%v: %v, want %v %s", test.pairs, err, test.code, test.want)
			continue
		}
		var data pythonData
		_ = json.Unmarshal(e.Data, &data)
		if data.Line != test.line || strings.Contains(data.Traceback, "gleitzeit>") {
			t.Errorf("%v: line %d, %s", test.pairs, data.Line, data.Traceback)
		}
	}
}

// pythonEnvironment is a virtual environment in dir/.venv with a package "demo".
func pythonEnvironment(t *testing.T, version string) (dir, venv string) {
	t.Helper()
	needPython(t)
	if runtime.GOOS == "windows" {
		t.Skip("written for Unix")
	}
	dir = t.TempDir()
	venv = filepath.Join(dir, ".venv")
	if out, err := exec.Command(realPython(), "-m", "venv", "--without-pip", venv).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	installDemo(t, venv, version)
	return dir, venv
}

func installDemo(t *testing.T, venv, version string) {
	t.Helper()
	packages, err := filepath.Glob(filepath.Join(venv, "lib", "python3*", "site-packages"))
	if err != nil || len(packages) != 1 {
		t.Fatal(packages, err)
	}
	old, _ := filepath.Glob(packages[0] + "/demo*")
	for _, path := range old {
		os.RemoveAll(path)
	}
	info := fmt.Sprintf("%s/demo-%s.dist-info", packages[0], version)
	if err := os.Mkdir(info, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		info + "/METADATA":       "Metadata-Version: 2.1\nName: demo\nVersion: " + version + "\n",
		packages[0] + "/demo.py": "version = '" + version + "'\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPythonVirtualEnvironment(t *testing.T) {
	dir, venv := pythonEnvironment(t, "1.2")
	s := pythonSet(t)
	code := "import demo, sys\nresult = [demo.version, sys.prefix]"
	want := fmt.Sprintf(`["1.2",%q]`, venv)
	for _, name := range []string{".venv", venv, ".venv/bin/python"} {
		a, err := execute(t, s, Call{Dir: dir, Parameters: parameters(t, "code", code, "python", name)}, nil)
		if name == ".venv/bin/python" { // it is a link to an interpreter elsewhere
			wantError(t, err, protocols.AuthorizationFailed)
		} else if err != nil || string(a.Result) != want {
			t.Errorf("%s: %s, %v, want %s", name, a.Result, err, want)
		}
	}
	if a, err := callFunction(t, s, dir, "function", "demo:version.upper", "python", ".venv"); err != nil || string(a.Result) != `"1.2"` {
		t.Errorf("%s, %v", a.Result, err)
	}
	installDemo(t, venv, "1.3") // a warm interpreter must not be the last to know
	if a, err := execute(t, s, Call{Dir: dir, Parameters: parameters(t, "code", "import demo\ndemo.version", "python", ".venv")}, nil); err != nil || string(a.Result) != `"1.3"` {
		t.Errorf("%s, %v", a.Result, err)
	}
	for _, warm := range []bool{true, false} {
		configured := openSet(t, Config{Providers: map[string]ProviderConfig{"python": {Kind: "python", Python: venv, Warm: &warm}}})
		if a, err := executeCode(t, configured, code); err != nil || string(a.Result) != fmt.Sprintf(`["1.3",%q]`, venv) {
			t.Errorf("%s, %v", a.Result, err)
		}
		if h := configured.Check(patience(t, time.Minute), "python"); h.Status != "healthy" || !strings.Contains(h.Message, venv) {
			t.Errorf("health %+v", h)
		}
	}
	_, err := execute(t, s, Call{Dir: dir, Parameters: parameters(t, "code", "1", "python", "nothing")}, nil)
	if e := wantError(t, err, protocols.TaskParameterError); !strings.Contains(e.Message, "python3 -m venv "+filepath.Join(dir, "nothing")) {
		t.Error(e)
	}
	_, err = execute(t, s, Call{Dir: t.TempDir(), Parameters: parameters(t, "code", "1", "python", venv)}, nil)
	wantError(t, err, protocols.AuthorizationFailed)
	absent := openSet(t, Config{Providers: map[string]ProviderConfig{"python": {Kind: "python", Python: dir + "/absent"}}})
	_, err = executeCode(t, absent, "1")
	wantError(t, err, protocols.ProviderNotAvailable)
	if h := absent.Check(patience(t, time.Minute), "python"); h.Status != "unhealthy" {
		t.Errorf("health %+v", h)
	}
}

func TestPythonRequirements(t *testing.T) {
	dir, venv := pythonEnvironment(t, "1.2")
	s := pythonSet(t)
	if err := os.WriteFile(dir+"/needs.txt", []byte("# what we need\n--index-url https://example.com\ndemo>=1.2,<2  # this\n\nnosuch-package[fast] == 3 \\\n  --hash=sha256:00\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(venv, "bin/python3")
	tests := []struct {
		requirements any
		want         string // "" is met
	}{
		{[]string{"demo"}, ""}, {"demo", ""}, {"Demo==1.2", ""}, {[]string{"demo>=1.2,<2", "demo~=1.1"}, ""}, {"demo==1.*", ""}, {"demo!=1.3", ""},
		{"demo>=2", fmt.Sprintf("Python at %[1]s lacks demo>=2 (1.2 is installed): run %[1]s -m pip install 'demo>=2'", program)},
		{[]string{"demo", "nosuch", "demo<1.2"}, fmt.Sprintf("Python at %[1]s lacks nosuch, demo<1.2 (1.2 is installed): run %[1]s -m pip install nosuch 'demo<1.2'", program)},
		{"demo~=1.3", "lacks demo~=1.3"}, {"demo==1.3.*", "lacks demo==1.3.*"}, {"demo!=1.2", "lacks demo!=1.2"}, {"demo>1.2", "lacks demo>1.2"},
		{"needs.txt", "lacks nosuch-package[fast] == 3: run"},
		{[]string{"demo is nice"}, "requirements: demo is nice: "},
	}
	for _, test := range tests {
		_, err := execute(t, s, Call{Dir: dir, Parameters: parameters(t, "code", "1", "python", ".venv", "requirements", test.requirements)}, nil)
		if test.want == "" {
			if err != nil {
				t.Errorf("%v: %v", test.requirements, err)
			}
		} else if e := wantError(t, err, protocols.ConfigurationError); !strings.Contains(e.Message, test.want) {
			t.Errorf("%v: %s, want %s", test.requirements, e.Message, test.want)
		}
	}
	_, err := execute(t, s, Call{Dir: dir, Parameters: parameters(t, "code", "1", "requirements", "missing.txt")}, nil)
	wantError(t, err, protocols.TaskParameterError)
	configured := openSet(t, Config{Providers: map[string]ProviderConfig{"python": {Kind: "python", Python: venv, Requirements: []string{dir + "/needs.txt"}}}})
	_, err = executeCode(t, configured, "1")
	e := wantError(t, err, protocols.ConfigurationError)
	if h := configured.Check(patience(t, time.Minute), "python"); h.Status != "unhealthy" || h.Message != e.Error() {
		t.Errorf("health %+v, want %s", h, e)
	}
	if err := (Config{Providers: map[string]ProviderConfig{"p": {Kind: "python", Python: "a", Command: "b"}}}).Validate(); err == nil {
		t.Error("both python and command")
	}
}
