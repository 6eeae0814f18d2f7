//go:build unix

package providers

import (
	"context"
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// Neither a timeout nor a cancel leaves a process, however unwilling it is,
// and what it had printed is not lost.
func TestPythonStopsEverything(t *testing.T) {
	s := pythonSet(t)
	codes := map[string]string{
		"willing": sleeperCode,
		"unwilling": `
import signal, subprocess, os
for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)
p = subprocess.Popen(["sleep", "1000"])
print(os.getpid()); print(p.pid)
while True: pass
`,
		"forked": `
import os, time
pid = os.fork()
if pid == 0: time.sleep(1000)
print(os.getpid()); print(pid)
time.sleep(1000)
`,
	}
	for name, code := range codes {
		t.Run("timeout "+name, func(t *testing.T) {
			host := newLines()
			started := time.Now()
			_, err := execute(t, s, Call{Parameters: parameters(t, "code", code, "timeout", 1.5)}, host)
			took := time.Since(started)
			_, data := failureOf(t, err, protocols.TaskTimeout)
			if took > tooLong || strings.Count(data.Stdout, "\n") != 2 {
				t.Errorf("took %v, stdout %q", took, data.Stdout)
			}
			wantGone(t, pidOf(t, host.next(t)), pidOf(t, host.next(t)))
		})
		t.Run("cancel "+name, func(t *testing.T) {
			host := newLines()
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			call := Call{Method: "python/execute", Parameters: parameters(t, "code", code)}
			go func() {
				_, err := s.Call(ctx, "python", call, host)
				done <- err
			}()
			first, second := pidOf(t, host.next(t)), pidOf(t, host.next(t))
			started := time.Now()
			cancel()
			failureOf(t, <-done, protocols.TaskCancelled)
			if took := time.Since(started); took > tooLong {
				t.Errorf("took %v", took)
			}
			wantGone(t, first, second)
		})
	}
}

// Whatever a script leaves running ends with it.
func TestPythonLeavesNothingBehind(t *testing.T) {
	s := pythonSet(t)
	a, err := executeCode(t, s, `
import subprocess
p = subprocess.Popen(["sh", "-c", "trap '' TERM HUP; sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE)
result = [p.pid, int(p.stdout.readline())]`)
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	if err := json.Unmarshal(a.Result, &pids); err != nil || len(pids) != 2 {
		t.Fatalf("%s: %v", a.Result, err)
	}
	wantGone(t, pids...)
}

// A process that runs away can't be ended, but holds nobody up.
func TestPythonRunaway(t *testing.T) {
	s := pythonSet(t)
	started := time.Now()
	a, err := executeCode(t, s, `
import subprocess
result = subprocess.Popen(["sleep", "1000"], start_new_session=True).pid`)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took > tooLong {
		t.Errorf("took %v", took)
	}
	_ = syscall.Kill(pidOf(t, string(a.Result)), syscall.SIGKILL)
}

func TestPythonDeadlineOfTheCaller(t *testing.T) {
	s := pythonSet(t)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	call := Call{Method: "python/execute", Parameters: parameters(t, "code", "while True: pass", "timeout", 100)}
	_, err := s.Call(ctx, "python", call, nil)
	wantError(t, err, protocols.TaskTimeout)
	if _, err := s.Call(ctx, "python", call, nil); err == nil {
		t.Error("ran with a context that had ended")
	}
}
