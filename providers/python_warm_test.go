//go:build unix

package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// warmPython is a set, and the nursery of its Python.
func warmPython(t *testing.T) (*Set, *nursery) {
	t.Helper()
	s := pythonSet(t)
	p, err := s.provider("python")
	if err != nil {
		t.Fatal(err)
	}
	return s, p.(*python).warm
}

// onlyZygote is the warm interpreter that there must be.
func (n *nursery) onlyZygote(t *testing.T) *zygote {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.warm) != 1 {
		t.Fatalf("%d warm interpreters", len(n.warm))
	}
	for _, z := range n.warm {
		return z
	}
	return nil
}

// parentCode tells whose child it is.
const parentCode = "import os\nresult = os.getppid()"

func parentOf(t *testing.T, s *Set, pairs ...any) int {
	t.Helper()
	a, err := executeCode(t, s, parentCode, pairs...)
	if err != nil {
		t.Fatal(err)
	}
	return pidOf(t, string(a.Result))
}

func TestPythonWarm(t *testing.T) {
	s, n := warmPython(t)
	first := parentOf(t, s)
	if first == os.Getpid() {
		t.Fatal("a new interpreter was started")
	}
	if second := parentOf(t, s); second != first || second != n.onlyZygote(t).kid.cmd.Process.Pid {
		t.Errorf("forked by %d and %d", first, second)
	}
	no := false
	cold := openSet(t, Config{Providers: map[string]ProviderConfig{"python": {Kind: "python", Command: realPython(), Warm: &no}}})
	if parentOf(t, cold) != os.Getpid() {
		t.Error("warm: false, and it was forked all the same")
	}
}

// A call sees nothing of those before it, and what a new interpreter would.
func TestPythonWarmIsLikeNew(t *testing.T) {
	s, _ := warmPython(t)
	dir := t.TempDir()
	dirty := "import os, sys, builtins, decimal\nos.environ['LEFT'] = '1'\nos.chdir('/')\nbuiltins.left = 1\nsys.path.append('left')\nos.umask(0)\nsys.modules['left'] = 1"
	clean := "import os, sys\nmask = os.umask(0)\nresult = ['LEFT' in os.environ, os.getcwd(), hasattr(__builtins__, 'left'), 'left' in sys.path, 'left' in sys.modules, 'decimal' in sys.modules, mask, os.environ['OWN'], os.getpgrp() == os.getpid(), [int(n) for n in os.listdir('/dev/fd') if 2 < int(n) < 200]]"
	if _, err := execute(t, s, Call{Dir: dir, Parameters: parameters(t, "code", dirty)}, nil); err != nil {
		t.Fatal(err)
	}
	real, _ := filepath.EvalSymlinks(dir)
	mask := syscall.Umask(0)
	syscall.Umask(mask)
	a, err := execute(t, s, Call{Dir: dir, Env: map[string]string{"OWN": "x"}, Parameters: parameters(t, "code", clean)}, nil)
	want := fmt.Sprintf(`[false,%q,false,false,false,false,%d,"x",true,[3]]`, real, mask) // 3 is the listing itself
	if err != nil || string(a.Result) != want {
		t.Errorf("%s, %v\nwant %s", a.Result, err, want)
	}
}

// What an interpreter looks at when it starts, a warm one can't be told.
func TestPythonWarmStartupVariables(t *testing.T) {
	s, _ := warmPython(t)
	for name, value := range map[string]string{"PYTHONHASHSEED": "0", "HOME": "/nowhere", "LC_ALL": "C", "ODD": "\xff"} {
		a, err := execute(t, s, Call{Env: map[string]string{name: value}, Parameters: parameters(t, "code",
			"import os\nresult = [os.getppid(), os.fsencode(os.environ["+fmt.Sprintf("%q", name)+"]).hex()]")}, nil)
		if want := fmt.Sprintf(`[%d,"%x"]`, os.Getpid(), value); err != nil || string(a.Result) != want {
			t.Errorf("%s: %s, %v, want %s", name, a.Result, err, want)
		}
	}
	a, err := execute(t, s, Call{Env: map[string]string{"TZ": "Etc/GMT-5"}, Parameters: parameters(t, "code", "import time, os\nresult = [time.timezone, os.getppid() == "+fmt.Sprint(os.Getpid())+"]")}, nil)
	if err != nil || string(a.Result) != `[-18000,false]` {
		t.Errorf("TZ: %s, %v", a.Result, err)
	}
}

// A dead warm interpreter is replaced; those who were at work are told, with
// what they started ended.
func TestPythonWarmDies(t *testing.T) {
	s, n := warmPython(t)
	host := newLines()
	done := make(chan error, 1)
	go func() {
		_, err := s.Call(context.Background(), "python", Call{Method: "python/execute", Parameters: parameters(t, "code", sleeperCode)}, host)
		done <- err
	}()
	pids := []int{pidOf(t, host.next(t)), pidOf(t, host.next(t))}
	old := n.onlyZygote(t).kid.cmd.Process.Pid
	_ = syscall.Kill(old, syscall.SIGKILL)
	select {
	case err := <-done:
		if e := wantError(t, err, protocols.TaskExecutionFailed); !strings.Contains(e.Message, "killed") {
			t.Error(e)
		}
	case <-time.After(tooLong):
		t.Fatal("the call hangs")
	}
	wantGone(t, pids...)
	if now := parentOf(t, s); now == old || now == os.Getpid() {
		t.Errorf("after %d had died %d forked", old, now)
	}
}

// A suspended one doesn't hold up those who are told to stop.
func TestPythonWarmIsSuspended(t *testing.T) {
	s, n := warmPython(t)
	host := newLines()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, err := s.Call(ctx, "python", Call{Method: "python/execute", Parameters: parameters(t, "code", sleeperCode)}, host)
		done <- err
	}()
	pids := []int{pidOf(t, host.next(t)), pidOf(t, host.next(t))}
	stopProcess(t, n.onlyZygote(t).kid.cmd.Process.Pid)
	cancel()
	select {
	case err := <-done:
		wantError(t, err, protocols.TaskCancelled)
	case <-time.After(2 * tooLong):
		t.Fatal("the call hangs")
	}
	wantGone(t, pids...)
	if _, err := executeCode(t, s, "1"); err != nil {
		t.Error(err)
	}
}

// One that nobody needs ends, and so does one whose packages have changed.
func TestPythonWarmEnds(t *testing.T) {
	s, n := warmPython(t)
	idle := func(d time.Duration) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.idle = d
	}
	idle(time.Millisecond)
	first := parentOf(t, s)
	wantGone(t, first)
	idle(time.Hour)
	second := parentOf(t, s)
	z := n.onlyZygote(t)
	z.mu.Lock()
	for path := range z.stamps {
		z.stamps[path] = time.Unix(1, 0)
	}
	z.mu.Unlock()
	if third := parentOf(t, s); third == second {
		t.Error("its packages changed, and it forked all the same")
	}
	wantGone(t, second)
}

// An interpreter that can't serve does no harm.
func TestPythonWarmUnfit(t *testing.T) {
	needPython(t)
	dir := t.TempDir()
	odd := filepath.Join(dir, "odd.sh")
	wrapper := "#!/bin/sh\nfor a; do [ \"$a\" = serve ] && exit 3; done\nexec " + realPython() + " \"$@\"\n"
	if err := os.WriteFile(odd, []byte(wrapper), 0o700); err != nil {
		t.Fatal(err)
	}
	n := newNursery(&children{})
	defer n.children.close()
	defer n.close()
	for range 2 {
		if _, err := n.fork(odd, os.Environ()); err == nil {
			t.Fatal("forked")
		}
	}
	if len(n.warm) != 0 || !n.unfit[odd] {
		t.Errorf("warm %v, unfit %v", n.warm, n.unfit)
	}
}

// A thousand calls leave no process and no descriptor.
func TestPythonWarmThousandCalls(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	s, n := warmPython(t)
	if _, err := executeCode(t, s, "1"); err != nil {
		t.Fatal(err)
	}
	descriptors, processes := openDescriptors(t), len(ownChildren(t))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 250 {
				if a, err := executeCode(t, s, "n + 1", "context", map[string]any{"n": i}); err != nil || string(a.Result) != fmt.Sprint(i+1) {
					t.Errorf("%s, %v", a.Result, err)
					return
				}
			}
		})
	}
	all.Wait()
	a, err := executeCode(t, s, "import os\nresult = [os.getppid(), len(os.listdir('/proc/%d/fd' % os.getppid())) if os.path.exists('/proc/self') else 0]")
	var zygote [2]int
	if err != nil || json.Unmarshal(a.Result, &zygote) != nil || zygote[1] > 12 {
		t.Errorf("the warm interpreter and its descriptors: %s, %v", a.Result, err)
	}
	if now := openDescriptors(t); now > descriptors+2 {
		t.Errorf("%d descriptors were open, now %d", descriptors, now)
	}
	if now := ownChildren(t); len(now) > processes {
		t.Errorf("%d children, now %v", processes, now)
	}
	if left := childrenOf(zygote[0]); len(left) > 10 { // the last of them may be on their way out
		t.Errorf("%d processes that the warm interpreter didn't bury: %.200v", len(left), left)
	}
	if z := n.onlyZygote(t); len(z.ends) != 0 || len(z.pids) != 0 {
		t.Errorf("remembered: %v %v", z.ends, z.pids)
	}
}

// What a script leaves unwritten is written when it ends.
func TestPythonWarmEndsLikeAnInterpreter(t *testing.T) {
	s, _ := warmPython(t)
	dir := t.TempDir()
	code := `
import atexit, weakref, threading, time
class Late:
    def __del__(self): print("deleted")
kept = Late()
ring = []; ring.append(ring); ring.append(Late())
file = open("unclosed", "w"); file.write("written")
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
`
	a, err := execute(t, s, Call{Dir: dir, Parameters: parameters(t, "code", code, "write", []string{"."})}, nil)
	if err != nil || a.Output != "thread\nat exit\ndeleted\ndeleted\n" {
		t.Errorf("output %q, %v", a.Output, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "unclosed")); string(text) != "written" {
		t.Errorf("the file has %q, %v", text, err)
	}
}
