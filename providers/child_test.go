//go:build unix

package providers

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startShell starts a shell script as a child, with its stdout line by line.
func startShell(t *testing.T, kids *children, script string) (*child, lines, *sync.WaitGroup) {
	t.Helper()
	kid, err := kids.start(command{Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}})
	if err != nil {
		t.Fatal(err)
	}
	out := newLines()
	users := &sync.WaitGroup{}
	users.Go(func() { copyLines(&excerpt{}, kid.Out, out, "stdout") })
	users.Go(func() { _, _ = io.Copy(io.Discard, kid.Err) })
	return kid, out, users
}

func TestChildEndsWithItsGroup(t *testing.T) {
	stopping := map[string]func(kids *children, kid *child){
		"by itself":   func(_ *children, kid *child) { kid.In.Close() },
		"stopped":     func(_ *children, kid *child) { kid.stop(5 * time.Second) },
		"no patience": func(_ *children, kid *child) { kid.stop(0) },
		"closed":      func(kids *children, _ *child) { kids.close() },
		"cancelled": func(_ *children, kid *child) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			kid.await(ctx, time.Second)
		},
	}
	scripts := map[string]string{
		"polite":   `sleep 1000 & echo $!; read x`,
		"stubborn": `trap "" TERM HUP INT; sleep 1000 & echo $!; read x; exit 0`,
	}
	for how, stop := range stopping {
		for who, script := range scripts {
			if how == "stopped" && who == "stubborn" {
				continue // that is what patience means
			}
			t.Run(how+" "+who, func(t *testing.T) {
				kids := &children{}
				defer kids.close()
				kid, out, users := startShell(t, kids, script)
				grandchild := pidOf(t, out.next(t))
				stop(kids, kid)
				<-kid.ended
				kid.drain(users)
				wantGone(t, kid.cmd.Process.Pid, grandchild)
			})
		}
	}
}

func TestChildStubbornIsKilledAfterGrace(t *testing.T) {
	kids := &children{}
	defer kids.close()
	kid, out, users := startShell(t, kids, `trap "" TERM; echo ready; while :; do sleep 1; done`)
	out.next(t)
	started := time.Now()
	kid.stop(100 * time.Millisecond)
	if took := time.Since(started); took < 100*time.Millisecond || took > tooLong {
		t.Errorf("stop took %v", took)
	}
	kid.drain(users)
	if kid.code() != -1 || !strings.Contains(kid.exit(), "signal 9 (SIGKILL)") {
		t.Errorf("ended with %d: %s", kid.code(), kid.exit())
	}
}

func TestChildEnvironmentIsExact(t *testing.T) {
	t.Setenv("GLEITZEIT_SECRET", "hidden")
	kids := &children{}
	defer kids.close()
	for _, env := range [][]string{nil, {"A=b"}} {
		kid, err := kids.start(command{Path: "/usr/bin/env", Env: env})
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(kid.Out)
		if err != nil {
			t.Fatal(err)
		}
		<-kid.ended
		kid.drain(&sync.WaitGroup{})
		if got, want := strings.TrimSpace(string(out)), strings.Join(env, "\n"); got != want {
			t.Errorf("environment %q, want %q", got, want)
		}
	}
}

func TestChildThatCannotStartLeavesNothing(t *testing.T) {
	kids := &children{}
	before := openDescriptors(t)
	for range 10 {
		if _, err := kids.start(command{Path: "/nonexistent/program", Back: true}); err == nil {
			t.Fatal("started")
		}
	}
	kids.close()
	if after := openDescriptors(t); after > before+2 {
		t.Errorf("%d descriptors were open, now %d", before, after)
	}
	if _, err := kids.start(command{Path: "/bin/true"}); err == nil {
		t.Error("started after close")
	}
	kids.close() // twice is fine
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Skip("no /dev/fd")
	}
	return len(entries)
}

// A process that leaves the group can't be ended, but it can't hold up those
// who wait for the child either.
func TestChildRunawayHoldsNobodyUp(t *testing.T) {
	if _, err := os.Stat("/usr/bin/setsid"); err != nil {
		t.Skip("no setsid here")
	}
	kids := &children{}
	defer kids.close()
	kid, out, users := startShell(t, kids, `setsid sh -c 'echo $$; exec sleep 1000'`)
	runaway := pidOf(t, out.next(t))
	defer syscall.Kill(runaway, syscall.SIGKILL)
	started := time.Now()
	kid.stop(time.Second)
	kid.drain(users)
	if took := time.Since(started); took > tooLong {
		t.Errorf("took %v", took)
	}
}

func TestGuardOutlivesItsOwnDeath(t *testing.T) {
	kids := &children{}
	defer kids.close()
	kid, out, users := startShell(t, kids, `echo ready; read x`)
	out.next(t)
	first := kids.guard.cmd.Process.Pid
	_ = syscall.Kill(first, syscall.SIGKILL)
	wantGone(t, first)
	kid2, out2, users2 := startShell(t, kids, `echo ready; read x`)
	out2.next(t)
	if second := kids.guard.cmd.Process.Pid; second == first || !alive(second) {
		t.Errorf("no new guard: %d after %d", second, first)
	}
	if len(kids.guard.live) != 2 {
		t.Errorf("guard knows %v", kids.guard.live)
	}
	for kid, users := range map[*child]*sync.WaitGroup{kid: users, kid2: users2} {
		kid.stop(time.Second)
		kid.drain(users)
	}
}

// Whatever kills us, nothing that we started stays.
func TestNoOrphansAfterSIGKILL(t *testing.T) {
	needPython(t)
	for _, kind := range []string{"python", "mcp", "shell"} {
		t.Run(kind, func(t *testing.T) {
			parent, pids := startParent(t, kind)
			for _, pid := range pids {
				if !alive(pid) {
					t.Fatalf("process %d doesn't run", pid)
				}
			}
			_ = parent.Process.Kill()
			_ = parent.Wait()
			wantGone(t, pids...)
		})
	}
}

func TestManyChildrenAtOnce(t *testing.T) {
	kids := &children{}
	defer kids.close()
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			kid, err := kids.start(command{Path: "/bin/sh", Args: []string{"-c", fmt.Sprintf("exit %d", i)}, Env: os.Environ()})
			if err != nil {
				t.Error(err)
				return
			}
			<-kid.ended
			kid.drain(&sync.WaitGroup{})
			if kid.code() != i {
				t.Errorf("child %d %s", i, kid.exit())
			}
		})
	}
	all.Wait()
	kids.guard.mu.Lock()
	defer kids.guard.mu.Unlock()
	if len(kids.guard.live) != 0 {
		t.Errorf("guard still knows %v", kids.guard.live)
	}
}
