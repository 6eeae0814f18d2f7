//go:build unix

package providers

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// This file looks at processes from outside.

// alive tells whether a process runs; a zombie doesn't.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !os.IsNotExist(err) || !linux()
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

func linux() bool {
	_, err := os.Stat("/proc/self/stat")
	return err == nil
}

// wantGone fails the test unless the processes end soon.
func wantGone(t testing.TB, pids ...int) {
	t.Helper()
	deadline := time.Now().Add(tooLong)
	for _, pid := range pids {
		for alive(pid) {
			if time.Now().After(deadline) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				t.Errorf("process %d is still there", pid)
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func pidOf(t testing.TB, line string) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid < 2 {
		t.Fatalf("%q is no process id", line)
	}
	return pid
}

// children of this process, zombies included.
func ownChildren(t testing.TB) []string {
	t.Helper()
	return childrenOf(os.Getpid())
}

// childrenOf a process, zombies included.
func childrenOf(parent int) []string {
	if !linux() {
		return nil
	}
	var found []string
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		head, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			found = append(found, head+") "+fields[0])
		}
	}
	return found
}

// startParent starts this binary as a parent and returns it with the ids that
// it printed.
func startParent(t *testing.T, kind string) (*exec.Cmd, []int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=parent-"+kind, "TEST_PYTHON="+realPython())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for scanner := bufio.NewScanner(out); len(pids) < 2 && scanner.Scan(); {
		pids = append(pids, pidOf(t, scanner.Text()[strings.LastIndex(scanner.Text(), " ")+1:]))
	}
	if len(pids) < 2 {
		t.Fatal("the parent did not say who its children are")
	}
	return cmd, pids
}

// stopProcess suspends a process: it lives, and does nothing.
func stopProcess(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}
