//go:build unix

package providers

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gleitzeit/protocols"
)

// shellSet is a set that may run programs.
func shellSet(t testing.TB, box SandboxConfig) *Set {
	t.Helper()
	return openSet(t, Config{Providers: map[string]ProviderConfig{"shell": {Kind: "shell", Sandbox: box}}})
}

type shellAnswer struct {
	Result        json.RawMessage
	ExitCode      int `json:"exit_code"`
	Stdout        string
	StdoutMissing int64 `json:"stdout_missing"`
	Stderr        string
	Note          string
}

func shellRunIn(t testing.TB, s *Set, call Call, host Host) (a shellAnswer, err error) {
	t.Helper()
	call.Method = "shell/run"
	raw, err := s.Call(patience(t, 4*tooLong), "shell", call, host)
	if err == nil {
		if wrong := protocols.NewRegistry().CheckResult("shell/run", raw); wrong != nil {
			t.Error(wrong)
		}
		err = json.Unmarshal(raw, &a)
	}
	return a, err
}

func TestShellRun(t *testing.T) {
	s := shellSet(t, SandboxConfig{})
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/sub", 0o777); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		params []any
		want   string
	}{
		"a program":         {[]any{"argv", []string{"echo", "a  b", "$HOME", "*"}}, `"a  b $HOME *"`},
		"a script":          {[]any{"script", "x=1\necho $((x + 1))\n"}, `"2"`},
		"arguments":         {[]any{"script", `printf '%s|' "$0" "$@"`, "args", []any{"a b", 5}}, `"sh|a b|5|"`},
		"bash":              {[]any{"script", `a=(1 2 3); echo ${#a[@]}`, "shell", "bash"}, `"3"`},
		"an input":          {[]any{"argv", []string{"cat"}, "stdin", "text\n\n"}, `"text"`},
		"JSON as input":     {[]any{"argv", []string{"cat"}, "stdin", map[string]any{"a": []int{1}}, "parse", "json"}, `{"a":[1]}`},
		"no input":          {[]any{"argv", []string{"cat"}}, `""`},
		"variables":         {[]any{"script", `echo $A $B`, "env", map[string]any{"A": "1", "B": true}}, `"1 true"`},
		"a folder":          {[]any{"script", `basename "$PWD"`, "cwd", "sub"}, `"sub"`},
		"lines":             {[]any{"script", `printf 'a\r\n\nb'`, "parse", "lines"}, `["a","","b"]`},
		"no lines":          {[]any{"script", `true`, "parse", "lines"}, `[]`},
		"lines of JSON":     {[]any{"script", `echo '{"a": 1}'; echo; echo 2`, "parse", "jsonl"}, `[{"a":1},2]`},
		"digits":            {[]any{"script", `echo 12345678901234567890.50`, "parse", "json"}, `12345678901234567890.50`},
		"its own scratch":   {[]any{"script", `echo x > "$TMPDIR/f"; cat "$TMPDIR/f"`}, `"x"`},
		"fine exit codes":   {[]any{"script", `echo x; exit 3`, "ok_codes", []int{0, 3}}, `"x"`},
		"a pipeline":        {[]any{"script", `echo a | cat | cat`}, `"a"`},
		"a duration":        {[]any{"script", `echo a`, "timeout", "1m"}, `"a"`},
		"who it is":         {[]any{"script", `echo $GLEITZEIT_RUN $GLEITZEIT_TASK $GLEITZEIT_ATTEMPT $GLEITZEIT_KEY`}, `"run-1 task 2 key"`},
		"what is in a path": {[]any{"argv", []string{"/bin/echo", "x"}}, `"x"`},
	} {
		t.Run(name, func(t *testing.T) {
			call := Call{Dir: dir, Parameters: parameters(t, test.params...), Run: "run-1", Task: "task", Attempt: 2, Key: "key"}
			a, err := shellRunIn(t, s, call, nil)
			if err != nil || string(a.Result) != test.want {
				t.Errorf("%s, %v, want %s", a.Result, err, test.want)
			}
		})
	}
}

func TestShellErrors(t *testing.T) {
	s := shellSet(t, SandboxConfig{})
	for name, test := range map[string]struct {
		params []any
		code   protocols.Code
		want   string
	}{
		"an exit code":         {[]any{"script", "echo out; echo why >&2; exit 7"}, protocols.TaskExecutionFailed, "it exited with status 7: why"},
		"a failing line":       {[]any{"script", "false; echo never"}, protocols.TaskExecutionFailed, "exited with status 1"},
		"a failing pipeline":   {[]any{"script", "false | cat; echo never", "shell", "bash"}, protocols.TaskExecutionFailed, "exited with status 1"},
		"a class":              {[]any{"script", "exit 75", "error_classes", map[string]string{"75": "server"}}, protocols.ProviderUnhealthy, "status 75"},
		"a signal":             {[]any{"script", "kill -9 $$"}, protocols.TaskExecutionFailed, "it was killed by signal 9"},
		"no such program":      {[]any{"argv", []string{"nosuch"}}, protocols.TaskParameterError, `there is no program "nosuch"`},
		"both":                 {[]any{"argv", []string{"true"}, "script", "true"}, protocols.TaskParameterError, "not both"},
		"neither":              {nil, protocols.TaskParameterError, "needs argv or script"},
		"no JSON":              {[]any{"script", "echo x", "parse", "json"}, protocols.TaskResultInvalid, "stdout is not JSON"},
		"no JSON in a line":    {[]any{"script", "echo 1; echo x", "parse", "jsonl"}, protocols.TaskResultInvalid, "line 2 of stdout is not JSON"},
		"empty JSON":           {[]any{"script", "true", "parse", "json"}, protocols.TaskResultInvalid, "it is empty"},
		"too slow":             {[]any{"argv", []string{"sleep", "100"}, "timeout", 0.2}, protocols.TaskTimeout, "longer than 200ms"},
		"a bad timeout":        {[]any{"argv", []string{"true"}, "timeout", "soon"}, protocols.TaskParameterError, "timeout"},
		"a folder outside":     {[]any{"argv", []string{"pwd"}, "cwd", "/var"}, protocols.AuthorizationFailed, "cwd"},
		"a folder to write":    {[]any{"argv", []string{"pwd"}, "write", []string{"/var"}}, protocols.AuthorizationFailed, "write"},
		"an argument too long": {[]any{"argv", []string{"echo", strings.Repeat("x", 1<<17)}}, protocols.TaskParameterError, "give it as stdin"},
		"a NUL":                {[]any{"argv", []string{"echo", "a\x00b"}}, protocols.TaskParameterError, "NUL"},
		"a bad variable":       {[]any{"argv", []string{"true"}, "env", map[string]string{"A=B": "1"}}, protocols.TaskParameterError, "variable"},
		"a bad limit":          {[]any{"argv", []string{"true"}, "limits", map[string]string{"memory": "much"}}, protocols.TaskParameterError, "limits.memory"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := shellRunIn(t, s, Call{Dir: t.TempDir(), Parameters: parameters(t, test.params...)}, nil)
			if e := wantError(t, err, test.code); !strings.Contains(e.Message, test.want) {
				t.Errorf("message %q, want %q", e.Message, test.want)
			}
		})
	}
}

// What is left of a failure says what was printed.
func TestShellFailureData(t *testing.T) {
	_, err := shellRunIn(t, shellSet(t, SandboxConfig{}), Call{Dir: t.TempDir(), Parameters: parameters(t, "script", "echo out; echo err >&2; exit 9")}, nil)
	e := wantError(t, err, protocols.TaskExecutionFailed)
	var data struct {
		Stdout, Stderr, Exit string
		ExitCode             int `json:"exit_code"`
	}
	if json.Unmarshal(e.Data, &data) != nil || data.Stdout != "out\n" || data.Stderr != "err\n" || data.ExitCode != 9 {
		t.Errorf("data %s", e.Data)
	}
}

// References in a script are values, whatever is in them.
func TestShellBindings(t *testing.T) {
	call := Call{Dir: t.TempDir(), Parameters: parameters(t, "script", `printf '%s|' __gz_ref_0__ "x __gz_ref_0__" 'y __gz_ref_1__'`),
		Bindings: map[string]json.RawMessage{"__gz_ref_0__": json.RawMessage(`"$(id) '\" \\ *"`), "__gz_ref_1__": json.RawMessage(`{"a": [1]}`)}}
	s := shellSet(t, SandboxConfig{})
	a, err := shellRunIn(t, s, call, nil)
	if want := `$(id) '" \ *|x $(id) '" \ *|y {"a": [1]}|`; err != nil || a.Stdout != want {
		t.Errorf("%s, %v, want %s", a.Stdout, err, want)
	}
	call.Bindings["__gz_ref_0__"], _ = json.Marshal(strings.Repeat("x", 1<<18))
	_, err = shellRunIn(t, s, call, nil)
	if e := wantError(t, err, protocols.TaskParameterError); !strings.Contains(e.Message, "the value of a reference in the script is") {
		t.Error(e)
	}
}

// Much output is cut in the middle, and said to be.
func TestShellMuchOutput(t *testing.T) {
	s, dir := shellSet(t, SandboxConfig{}), t.TempDir()
	much := `i=0; while [ $i -lt 3000 ]; do printf '%01000d\n' $i; i=$((i + 1)); done`
	a, err := shellRunIn(t, s, Call{Dir: dir, Parameters: parameters(t, "script", much)}, nil)
	if err != nil || string(a.Result) != "null" || a.StdoutMissing == 0 || !strings.Contains(a.Note, "1MiB") || !strings.Contains(a.Stdout, "bytes left out") {
		t.Errorf("%s, %d missing, %s, %v", a.Result, a.StdoutMissing, a.Note, err)
	}
	a, err = shellRunIn(t, s, Call{Dir: dir, Parameters: parameters(t, "script", much, "parse", "lines")}, nil)
	var lines []string
	if err != nil || json.Unmarshal(a.Result, &lines) != nil || len(lines) != 3000 || a.StdoutMissing == 0 {
		t.Errorf("%d lines, %d missing, %v", len(lines), a.StdoutMissing, err)
	}
}

// Lines are shown while it runs.
func TestShellLive(t *testing.T) {
	host := newLines()
	if _, err := shellRunIn(t, shellSet(t, SandboxConfig{}), Call{Dir: t.TempDir(), Parameters: parameters(t, "script", "echo one; echo two >&2; sleep 0.1; echo three")}, host); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{host.next(t): true, host.next(t): true, host.next(t): true}
	if !seen["one"] || !seen["two"] || !seen["three"] {
		t.Errorf("lines %v", seen)
	}
}

// Without a word in the configuration no program runs, and the error says which.
func TestShellMustBeAllowed(t *testing.T) {
	_, err := Config{}.Route("shell/v1", "")
	if e := wantError(t, err, protocols.ProtocolNotFound); !strings.Contains(e.Message, "`providers: {shell: {kind: shell}}`") {
		t.Error(e)
	}
	_, err = openSet(t, Config{}).Call(patience(t, tooLong), "shell", Call{Method: "shell/run", Parameters: parameters(t, "argv", []string{"true"})}, nil)
	wantError(t, err, protocols.ProviderNotFound)
}

// BenchmarkShellCall is what it takes to run a program that does nothing, and
// what there is to compare with.
func BenchmarkShellCall(b *testing.B) {
	no := false
	for name, box := range map[string]SandboxConfig{"sandbox": {}, "open": {Enabled: &no}} {
		b.Run(name, func(b *testing.B) {
			s, call := shellSet(b, box), Call{Method: "shell/run", Parameters: parameters(b, "argv", []string{"/bin/true"})}
			for b.Loop() {
				if _, err := s.Call(b.Context(), "shell", call, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("/bin/true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
