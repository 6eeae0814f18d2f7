package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gleitzeit/protocols"
)

// roleVariable makes the test binary something else than the tests: a process
// whose death is watched, or an MCP server with a fault.
const roleVariable = "GLEITZEIT_TEST_ROLE"

// tooLong is what tells something that hangs from a machine that is slow: what
// is waited for sleeps or is silent for far longer. How fast a cancel is
// obeyed is measured by the benchmarks.
const tooLong = 15 * time.Second

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == filterRole()[1] {
		actAsFilters(os.Args[2])
		return
	}
	role := os.Getenv(roleVariable)
	if role == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if kind, is := strings.CutPrefix(role, "parent-"); is {
		actAsParent(kind)
		return
	}
	if role == "conformance" {
		if err := conformanceClient(os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	actAsServer(role)
}

// filterRole is the command that makes this binary serve filters.
func filterRole() []string { return []string{os.Args[0], "serve-filters"} }

func actAsFilters(memory string) {
	n, err := strconv.ParseInt(memory, 10, 64)
	if err == nil {
		err = ServeFilters(os.Stdin, os.Stdout, n)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// openSet opens a set that the test closes, with the machine's environment.
func openSet(t testing.TB, c Config) *Set {
	t.Helper()
	s, err := Open(c, Options{Env: os.Getenv, Self: filterRole()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// needPython skips a test where there is no Python, but never in CI.
func needPython(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("python3 is missing; CI must have it")
	}
	t.Skip("SKIPPED: python3 is not installed")
}

// pythonSet is a set whose Python is found without a shim, once for all
// tests: a shim takes a tenth of a second.
func pythonSet(t testing.TB) *Set {
	t.Helper()
	needPython(t)
	return openSet(t, Config{Providers: map[string]ProviderConfig{"python": {Kind: "python", Command: realPython()}}})
}

var realPython = sync.OnceValue(func() string {
	out, err := exec.Command("python3", "-c", "import sys;print(sys.executable)").Output()
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(out))
})

// patience is a context that ends the test's waiting, not the work that it
// tests.
func patience(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// parameters is a JSON object made of pairs.
func parameters(t testing.TB, pairs ...any) json.RawMessage {
	t.Helper()
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wantError fails the test unless err is a protocols.Error of the code, and
// returns it.
func wantError(t testing.TB, err error, code protocols.Code) *protocols.Error {
	t.Helper()
	e, is := err.(*protocols.Error)
	if !is || e.Code != code {
		t.Fatalf("error %T %v, want one of code %v", err, err, code)
	}
	return e
}

// lines is a host that hands over each message, as many as it is asked for.
type lines struct {
	silent
	c chan string
}

func newLines() lines { return lines{c: make(chan string, 10_000)} }

func (l lines) Progress(p Progress) {
	select {
	case l.c <- p.Message:
	default:
	}
}

func (l lines) next(t testing.TB) string {
	t.Helper()
	select {
	case line := <-l.c:
		return line
	case <-time.After(20 * time.Second):
		t.Fatal("no line within 20 s")
		return ""
	}
}

// sleeperCode starts a process that would sleep for long, says who is who,
// and sleeps too.
const sleeperCode = `
import subprocess, os, time
p = subprocess.Popen(["sleep", "1000"])
print(os.getpid()); print(p.pid)
time.sleep(1000)
`

// actAsParent is a process of ours that is killed while it has children: it
// prints their process ids and waits.
func actAsParent(kind string) {
	s, err := Open(Config{
		Providers:  map[string]ProviderConfig{"python": {Kind: "python", Command: os.Getenv("TEST_PYTHON")}, "shell": {Kind: "shell"}},
		MCPServers: map[string]MCPServer{"s": serverRole("sleeper")},
	}, Options{Env: os.Getenv, Self: filterRole()})
	if err != nil {
		panic(err)
	}
	call := Call{Method: "mcp/tool.sleeper"}
	name := "s"
	if kind == "python" {
		code, _ := json.Marshal(map[string]string{"code": sleeperCode})
		name, call = "python", Call{Method: "python/execute", Parameters: code}
	}
	if kind == "shell" {
		script, _ := json.Marshal(map[string]string{"script": "sleep 1000 & echo $$; echo $!; wait"})
		name, call = "shell", Call{Method: "shell/run", Parameters: script}
	}
	_, err = s.Call(context.Background(), name, call, stdoutHost{})
	panic(fmt.Sprint("the call ended: ", err))
}

type stdoutHost struct{ silent }

func (stdoutHost) Progress(p Progress) { fmt.Println(p.Message) }

// garbage is what a schema would have stopped, and a provider must stand.
var garbage = []string{
	``, `null`, `[]`, `{}`, `"text"`, `5`, `true`, `{`, `{"`, "\x00\xff", `{"code":{}}`, `{"code":"1","context":[],"args":5}`,
	`{"code":"1","bindings":{"x":1}}`, `{"file":{}}`, `{"file":"../../etc/passwd"}`, `{"file":"/"}`, `{"file":"."}`,
	`{"messages":{}}`, `{"messages":[null,5,"x",{}]}`, `{"model":5}`, `{"prompt":{"a":[]}}`, `{"images":"x"}`, `{"image_path":[]}`,
	`{"input":{}}`, `{"temperature":"hot"}`, `{"name":5}`, `{"name":""}`, `{"name":"say","arguments":[]}`, `{"name":"nosuch"}`,
	`{"arguments":5}`, `{"server":5}`, `{"server":"nosuch"}`, `{"seconds":"x"}`, `{"seconds":-1}`, `{"a":{},"b":[]}`, `{"times":"x"}`,
}
