//go:build amd64 || arm64

package providers

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gleitzeit/protocols"
)

// This file attacks the sandbox of shell/run: with the same program in Python as
// in the sandbox of Python, which is just any program here, and with a shell.

// cell is a prison for programs.
func newCell(t *testing.T, box SandboxConfig) *prison {
	t.Helper()
	p := newPrison(t, true, SandboxConfig{})
	box.Read = append(box.Read, filepath.Dir(filepath.Dir(realPython()))) // where its library is
	s, err := Open(Config{Providers: map[string]ProviderConfig{"shell": {Kind: "shell", Sandbox: box}}}, Options{Env: func(name string) string {
		if name == "HOME" {
			return p.home
		}
		return os.Getenv(name)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	p.set = s
	return p
}

// python runs an attack as a program, and returns all that it says.
func (p *prison) python(t *testing.T, code string) (said string, err error) {
	t.Helper()
	names, _ := json.Marshal(map[string]any{"home": p.home, "outside": p.outside, "parent": os.Getpid()})
	argv := []string{realPython(), "-c", "import json, sys\nglobals().update(json.loads(sys.argv[1]))\n" + code, string(names)}
	return p.shell(t, "argv", argv)
}

func (p *prison) shell(t *testing.T, pairs ...any) (said string, err error) {
	t.Helper()
	a, err := shellRunIn(t, p.set, Call{Dir: p.dir, Parameters: parameters(t, pairs...)}, nil)
	if e, is := err.(*protocols.Error); is {
		return e.Message + string(e.Data), err
	}
	return a.Stdout + a.Stderr, err
}

// inShellToo are the attacks that any program is put to: the others are the
// same rules, too.
var inShellToo = []string{"read the home folder", "write outside", "write the workflow's folder", "open a TCP socket", "open a UDP socket",
	"open a Unix socket", "eat memory", "fill the disk", "fork for ever, all of them", "signal the parent", "trace the parent", "lift a limit"}

// inShell is what an attack of the table comes to when nobody knows Python.
func inShell(want string) string {
	for _, pair := range [][2]string{
		{"outside of the sandbox", "Permission denied"}, {"only be read", "Permission denied"}, {"no network", "Permission denied"},
		{"MemoryError", "MemoryError"}, {"File too large", "the sandbox's `file_size`"}, {"computing time", "it used up its 1s of computing time"},
		{"16 processes", "it was ended, for it had more than 16 processes"}, {"Operation not permitted", "Operation not permitted"},
		{"[Errno 1]", "[Errno 1]"}, {"Errno 1", "Errno 1"}, {"raise maximum limit", "raise maximum limit"}, {"non-zero exit", "non-zero exit"},
	} {
		if strings.Contains(want, pair[0]) {
			return pair[1]
		}
	}
	return "Permission denied"
}

func TestShellSandboxHolds(t *testing.T) {
	p := newCell(t, SandboxConfig{Memory: "512MiB", FileSize: "8MiB", CPU: "1s", Processes: "16"})
	for _, attack := range attacks {
		if !slices.Contains(inShellToo, attack.name) {
			continue
		}
		t.Run(attack.name, func(t *testing.T) {
			code := attack.code
			if strings.HasPrefix(attack.name, "fill the disk") {
				code = "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n" + code // Python would not be told otherwise
			}
			if said, err := p.python(t, code); err == nil || !strings.Contains(said, inShell(attack.want)) {
				t.Errorf("%v: %s, want %q", err, said, inShell(attack.want))
			}
		})
	}
	for name, attack := range map[string][2]string{
		"read the home folder":  {"cat ~/secret", "Permission denied"},
		"write outside":         {"echo x > " + p.outside + "/file", "Permission denied"},
		"write its own folder":  {"echo x > own.txt", "Permission denied"},
		"fork for ever":         {"f() { f | f & }; f; sleep 1000", "it was ended, for it had more than 16 processes"},
		"fork for ever, slowly": {"while :; do sleep 1000 & done", "it was ended, for it had more than 16 processes"},
		"compute for ever":      {"while :; do :; done", "it used up its 1s of computing time"},
		"fill the disk":         {"head -c 10000000 /dev/zero > \"$TMPDIR/big\"", "the sandbox's `file_size`"},
		"signal the parent":     {"kill $PPID", "ot permitted"},
		"lift a limit":          {"ulimit -v unlimited", "ulimit"},
		"be less nice":          {"renice -n -5 $$", "ot permitted"},
	} {
		t.Run("sh: "+name, func(t *testing.T) {
			if said, err := p.shell(t, "script", attack[0]); err == nil || !strings.Contains(said, attack[1]) {
				t.Errorf("%v: %s, want %q", err, said, attack[1])
			}
		})
	}
	if text, err := os.ReadFile(p.outside + "/file"); string(text) != "as it was" {
		t.Errorf("the file outside has %q, %v", text, err)
	}
}

// The same attacks succeed without a sandbox: it is what stops them.
func TestShellSandboxIsWhatHolds(t *testing.T) {
	no := false
	p := newCell(t, SandboxConfig{Enabled: &no})
	for _, script := range []string{"cat ~/secret", "echo x > own.txt", "echo x > " + p.outside + "/other", "kill -0 $PPID"} {
		if said, err := p.shell(t, "script", script); err != nil {
			t.Errorf("%s: %v: %s", script, err, said)
		}
	}
	if said, err := p.python(t, "import socket\nsocket.socket()"); err != nil {
		t.Errorf("%v: %s", err, said)
	}
}

// A task may have less than the configuration allows, and never more.
func TestShellLimits(t *testing.T) {
	p := newCell(t, SandboxConfig{Processes: "16", CPU: "1h"})
	for name, test := range map[string]struct {
		limits map[string]any
		script string
		want   string
	}{
		"fewer":       {map[string]any{"processes": 4}, "for i in 1 2 3 4 5 6; do sleep 1000 & done; wait", "more than 4 processes"},
		"more":        {map[string]any{"processes": 1000}, "for i in $(seq 40); do sleep 1000 & done; wait", "more than 16 processes"},
		"files":       {map[string]any{"file_size": "1MiB"}, "head -c 2000000 /dev/zero > $TMPDIR/f", "file of more than 1MiB"},
		"memory":      {map[string]any{"memory": "64MiB"}, "ulimit -v; false", "65536"},
		"more memory": {map[string]any{"memory": "1TiB"}, "ulimit -v; false", "4194304"},
	} {
		if said, err := p.shell(t, "script", test.script, "limits", test.limits); err == nil || !strings.Contains(said, test.want) {
			t.Errorf("%s: %v: %s, want %q", name, err, said, test.want)
		}
	}
}

// What is granted works.
func TestShellSandboxLetsWork(t *testing.T) {
	p := newCell(t, SandboxConfig{Processes: "16"})
	for script, want := range map[string]string{
		"cat own.txt":                     "own",
		"mktemp > /dev/null && echo made": "made",
		"sleep 1000 & kill $!; wait $! 2> /dev/null || echo killed": "killed",
		"sh -c 'echo a | cat | cat'":                                "a",
		"echo x > /dev/null; head -c 3 /dev/zero | wc -c":           "3",
	} {
		if said, err := p.shell(t, "script", script); err != nil || strings.TrimSpace(said) != want {
			t.Errorf("%s: %v: %s, want %q", script, err, said, want)
		}
	}
	if said, err := p.shell(t, "script", "echo x > out/deep/f; cat out/deep/f", "write", []string{"out/deep"}); err != nil || said != "x\n" {
		t.Errorf("%v: %s", err, said)
	}
	for range 50 {
		if said, err := p.shell(t, "script", "echo a | cat"); err != nil || said != "a\n" {
			t.Errorf("a pipeline: %v: %s", err, said)
		}
	}
}

// What tries to outlive the call by leaving its group ends with it.
func TestShellNothingOutlivesItsTimeout(t *testing.T) {
	p := newCell(t, SandboxConfig{})
	runaway := "trap '' TERM HUP INT\n(setsid sh -c 'echo $$; exec sleep 1000' &)\n"
	for name, end := range map[string]string{"timeout": "sleep 1000", "success": "sleep 0.5"} {
		t.Run(name, func(t *testing.T) {
			host := newLines()
			_, err := shellRunIn(t, p.set, Call{Dir: p.dir, Parameters: parameters(t, "script", runaway+end, "timeout", 2)}, host)
			if name == "timeout" {
				wantError(t, err, protocols.TaskTimeout)
			} else if err != nil {
				t.Fatal(err)
			}
			wantGone(t, pidOf(t, host.next(t)))
		})
	}
}

// A program that can't be run, and a sandbox that can't be taken on, are told
// apart, and nothing runs.
func TestLaunchRefuses(t *testing.T) {
	p := newCell(t, SandboxConfig{})
	secret := p.home + "/tool"
	if err := os.WriteFile(secret, []byte("#!"+p.home+"/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.home+"/interpreter", []byte("\x7fELF"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := p.shell(t, "argv", []string{secret})
	if e := wantError(t, err, protocols.TaskParameterError); !strings.Contains(e.Message, "may lie outside of the sandbox") {
		t.Error(e)
	}
	kids := &children{}
	defer kids.close()
	ready, err := (&sandbox{Limits: defaultLimits}).confine()
	if err != nil {
		t.Fatal(err)
	}
	ready.Filter = []byte{1, 2, 3, 4, 5, 6, 7, 8} // no program
	kid, err := (&confiner{kids}).launch(command{Path: "/bin/echo", Args: []string{"it ran"}}, ready)
	if err != nil {
		t.Fatal(err)
	}
	c := &confined{child: kid, box: ready}
	var out excerpt
	out.First = 100
	copyLines(&out, kid.Out, silent{}, "")
	c.listen()
	kid.await(patience(t, tooLong), 0)
	kid.closePipes()
	c.close()
	if c.refused == nil || c.refused.Program || !strings.Contains(c.refused.Text, "seccomp") || out.String() != "" {
		t.Errorf("%+v, %q", c.refused, out.String())
	}
}
