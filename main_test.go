package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gleitzeit/cli"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/providers/llmtest"
)

// The command is tested as people use it: testdata/script holds scenarios, and
// gleitzeit is a real process in them, so that it can be killed.

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"gleitzeit": func() { os.Exit(cli.Main(os.Args[1:])) },
	})
}

func TestScript(t *testing.T) {
	python := realPython()
	if python == "" && os.Getenv("CI") != "" {
		t.Fatal("there is no python3, which half of the scenarios need")
	}
	backend := onBackend(t)
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: func(env *testscript.Env) error { return errors.Join(backend(env), setup(env, python)) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exits,
			"signal":    signalWhen,
			"crash":     crash,
			"await":     await,
			"until":     until,
			"gone":      gone,
			"json":      checkJSON,
			"alone":     alone,
			"openai":    openai,
			"models":    serveModels,
			"answer":    answerWith,
			"fault":     failWith,
			"asked":     wasAsked,
			"http":      callHTTP,
			"remote":    useRemote,
			"web":       web,
			"mcp":       mcpServers,
			"collector": collect,
			"spans":     spans,
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "python":
				return python != "", nil
			case "ollama":
				return ollama(), nil
			case "mcp":
				return mcpThere()
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

// realPython returns the interpreter behind whatever shim python3 is.
func realPython() string {
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// setup gives the script a home of its own and nothing of ours.
func setup(env *testscript.Env, python string) error {
	home := filepath.Join(env.WorkDir, "home")
	env.Setenv("HOME", home)
	env.Setenv("USERPROFILE", home)
	env.Setenv("LOCALAPPDATA", filepath.Join(home, "local"))
	env.Setenv("APPDATA", filepath.Join(home, "roaming"))
	env.Setenv("USER", "tester")
	env.Setenv("GLEITZEIT_PORT", "0") // scenarios run side by side
	env.Setenv("EXAMPLES", mustAbs("examples"))
	env.Setenv("OLLAMA_HOST", os.Getenv("OLLAMA_HOST"))
	env.Values["collector"] = &servertest.Collector{}
	env.Values["models"] = &llmtest.Server{Models: []string{"small", "big", "m", "llama3.2", "claude-test"}}
	if python != "" {
		env.Setenv("PATH", filepath.Dir(python)+string(os.PathListSeparator)+env.Getenv("PATH"))
	}
	return os.MkdirAll(home, 0o777)
}

func mustAbs(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		panic(err)
	}
	return abs
}

// patience bounds every wait of the scripts.
const patience = 60 * time.Second

// exits runs gleitzeit and wants that exit code:
//
//	exits 3 run flow.yaml
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARGUMENT...")
	}
	wantCode(ts, ts.Exec("gleitzeit", args[1:]...), args[0])
}

func wantCode(ts *testscript.TestScript, err error, want string) {
	if got := codeOf(err); strconv.Itoa(got) != want {
		ts.Fatalf("exit code %d, want %s", got, want)
	}
}

// codeOf returns how a process ended, -1 if a signal ended it.
func codeOf(err error) int {
	var ended *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ended):
		return ended.ExitCode()
	}
	return -2
}

// start starts gleitzeit without waiting for it. What it says on its standard
// error is in a file as soon as it has said it.
func start(ts *testscript.TestScript, args []string) (cmd *exec.Cmd, stdout *bytes.Buffer, said string) {
	cmd = exec.Command("gleitzeit", args...)
	path, err := lookPath(ts.Getenv("PATH"))
	ts.Check(err)
	cmd.Path, cmd.Err = path, nil
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "USERPROFILE", "LOCALAPPDATA", "APPDATA", "USER", "PATH", "TMPDIR", "EXAMPLES", "WORK",
		"SYSTEMROOT", "GLEITZEIT_STORE", "GLEITZEIT_CONFIG", "GLEITZEIT_PORT", "GLEITZEIT_BACKEND", "GLEITZEIT_REDIS_URL", "TOKEN"} {
		if value := ts.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	said = "said"
	stderr, err := os.Create(ts.MkAbs(said))
	ts.Check(err)
	defer stderr.Close()
	stdout = &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	ts.Check(cmd.Start())
	return cmd, stdout, said
}

func lookPath(path string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		for _, name := range []string{"gleitzeit", "gleitzeit.exe"} {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil && !info.IsDir() {
				return filepath.Join(dir, name), nil
			}
		}
	}
	return "", errors.New("gleitzeit is not in the PATH")
}

// signalWhen starts gleitzeit, sends it signals once the file is there, the
// second when it has told of the first, and wants that exit code (killed: -1).
// What it says on its standard error is in the file "said" at once, which may be
// waited for, too:
//
//	signal INT started 130 run flow.yaml
//	signal INT,INT started 130 run flow.yaml
//	signal KILL started -1 run flow.yaml
//	signal KILL 'said task nap: waits' -1 run flow.yaml
func signalWhen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: signal SIGNAL[,SIGNAL...] 'FILE [PATTERN]' CODE ARGUMENT...")
	}
	cmd, stdout, said := start(ts, args[3:])
	await(ts, false, strings.SplitN(args[1], " ", 2))
	for i, name := range strings.Split(args[0], ",") {
		if i > 0 {
			await(ts, false, []string{said, "Ctrl-C again stops them"})
		}
		ts.Check(cmd.Process.Signal(signals[name]))
	}
	err := waitFor(ts, cmd)
	fmt.Fprint(ts.Stdout(), stdout)
	fmt.Fprint(ts.Stderr(), ts.ReadFile(said))
	wantCode(ts, err, args[2])
}

var signals = map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "KILL": os.Kill}

// waitFor waits for the process, but not for ever.
func waitFor(ts *testscript.TestScript, cmd *exec.Cmd) error {
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !late.Stop() {
		ts.Fatalf("%v had not ended after %v", cmd.Args, patience)
	}
	return err
}

// await waits until a file is there, with at least so many lines or a match:
//
//	await lines.txt 3
//	await said.txt 'flow-\d paused'
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: await FILE [LINES|PATTERN]")
	}
	want, pattern := 0, regexp.MustCompile("")
	if len(args) > 1 {
		n, err := strconv.Atoi(args[1])
		if want = n; err != nil {
			pattern, err = regexp.Compile("(?m)" + args[1])
			ts.Check(err)
		}
	}
	deadline := time.Now().Add(patience)
	for {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && bytes.Count(data, []byte("\n")) >= want && pattern.Match(data) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s has not come within %v", args[0], patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// until runs gleitzeit again and again until its output matches:
//
//	until '^flow-1 +waiting' workflow list
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN ARGUMENT...")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		ts.Check(ts.Exec("gleitzeit", args[1:]...))
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("no match for %s within %v", args[0], patience)
}

// gone wants that the process whose id the file holds is no more.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: gone PIDFILE")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if !alive(pid) {
			return
		}
	}
	ts.Fatalf("process %d is still there", pid)
}

// crash runs a workflow and kills it at random moments, that many times,
// resuming it each time; when it has ended before that, it is run again. The
// moments lie within the time that the first run takes, which is left alone:
//
//	crash 50 run flow.yaml
func crash(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: crash TIMES ARGUMENT...")
	}
	times, err := strconv.Atoi(args[0])
	ts.Check(err)
	seed := uint64(time.Now().UnixNano())
	ts.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	begin, goOn := args[1:], []string{"resume"}
	began := time.Now()
	cmd, _, _ := start(ts, begin)
	wantCode(ts, waitFor(ts, cmd), "0")
	most := int(time.Since(began))
	command, kills := begin, 0
	for {
		cmd, stdout, said := start(ts, command)
		if kills == times {
			err := waitFor(ts, cmd)
			fmt.Fprint(ts.Stdout(), stdout)
			fmt.Fprint(ts.Stderr(), ts.ReadFile(said))
			wantCode(ts, err, "0")
			return
		}
		killer := time.AfterFunc(time.Duration(dice.IntN(most)), func() { cmd.Process.Kill() })
		err := cmd.Wait()
		killed := !killer.Stop()
		switch code := codeOf(err); {
		case killed && code == -1:
			kills++
			command = goOn
		case code == 0:
			command = begin
		default:
			ts.Fatalf("exit code %d after %d kills:\n%s", code, kills, ts.ReadFile(said))
		}
	}
}

// checkJSON wants that value at that path of a JSON file, stdout or stderr:
//
//	json stdout tasks.0.status '"completed"'
func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: json FILE PATH VALUE")
	}
	var v, want any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	ts.Check(json.Unmarshal([]byte(args[2]), &want))
	for _, step := range strings.Split(args[1], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(at) {
				ts.Fatalf("%s: no item %s among %d", args[1], step, len(at))
			}
			v = at[i]
		default:
			if step != "" {
				ts.Fatalf("%s: nothing at %q", args[1], step)
			}
		}
	}
	if reflect.DeepEqual(v, want) == neg {
		ts.Fatalf("%s is %v, want %s", args[1], v, args[2])
	}
}
