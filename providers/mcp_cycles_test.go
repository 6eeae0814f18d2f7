//go:build unix

package providers

import (
	"context"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// This file starts and ends MCP servers over and over, in every way there is.

// cycles are how many rounds are made: GLEITZEIT_CYCLES, or few.
func cycles(t *testing.T) int {
	t.Helper()
	text := os.Getenv("GLEITZEIT_CYCLES")
	if text == "" {
		return 12
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("GLEITZEIT_CYCLES: %q is no number", text)
	}
	return n
}

// cycleEnds are the ways a server's life may end. Each returns the processes
// that there were.
var cycleEnds = []struct {
	name string
	live func(t *testing.T) []int
}{
	{"closed after a call", func(t *testing.T) []int {
		s := cycleSet(t, "good")
		defer s.Close()
		return []int{serverPID(t, s)}
	}},
	{"killed, started again, closed", func(t *testing.T) []int {
		s := cycleSet(t, "good")
		defer s.Close()
		first := serverPID(t, s)
		if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		for deadline := time.Now().Add(tooLong); ; {
			raw, err := callMCP(t, s, "s", "mcp/tool.pid", `{}`)
			var second struct{ Result int }
			if err == nil && json.Unmarshal(raw, &second) == nil && second.Result != first {
				return []int{first, second.Result}
			}
			if time.Now().After(deadline) {
				t.Error("it was not started again")
				return []int{first}
			}
		}
	}},
	{"closed while it starts", func(t *testing.T) []int {
		s := cycleSet(t, "slow")
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		_, _ = s.Call(ctx, "s", Call{Method: "mcp/ping"}, nil) // nobody waits that long
		s.Close()
		return nil
	}},
	{"closed with a call cut short, and a process of its own", func(t *testing.T) []int {
		s := cycleSet(t, "good")
		defer s.Close()
		ctx, cancel := context.WithCancel(context.Background())
		host, done := newLines(), make(chan struct{})
		go func() {
			defer close(done)
			_, _ = s.Call(ctx, "s", Call{Method: "mcp/tool.sleeper"}, host)
		}()
		pids := twoPIDs(t, host)
		cancel()
		<-done
		return pids
	}},
	{"dead in the middle of a call", func(t *testing.T) []int {
		s := cycleSet(t, "good")
		defer s.Close()
		pid := serverPID(t, s)
		if _, err := callMCP(t, s, "s", "mcp/tool.die", `{}`); err == nil {
			t.Error("it did not die")
		}
		return []int{pid}
	}},
	{"left by us, killed", func(t *testing.T) []int {
		parent, pids := startParent(t, "mcp")
		_ = parent.Process.Kill()
		_ = parent.Wait()
		return pids
	}},
}

// TestMCPCycles: whatever ends, nothing is left of it.
func TestMCPCycles(t *testing.T) {
	children, files := len(ownChildren(t)), openFiles()
	n := cycles(t)
	for i := range n {
		wantGone(t, cycleEnds[i%len(cycleEnds)].live(t)...)
		if t.Failed() {
			t.Fatalf("cycle %d: %s", i, cycleEnds[i%len(cycleEnds)].name)
		}
	}
	if after := ownChildren(t); len(after) > children {
		t.Errorf("children: %v", after)
	}
	if after := openFiles(); after > files+4 { // the runtime's own may have come
		t.Errorf("%d files are open, %d were before", after, files)
	}
	t.Logf("made %d cycles", n)
}

func cycleSet(t *testing.T, role string) *Set {
	t.Helper()
	s, err := Open(Config{MCPServers: map[string]MCPServer{"s": serverRole(role)}}, Options{Env: os.Getenv})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func serverPID(t *testing.T, s *Set) int {
	t.Helper()
	raw, err := callMCP(t, s, "s", "mcp/tool.pid", `{}`)
	var answer struct{ Result int }
	if err != nil || json.Unmarshal(raw, &answer) != nil {
		t.Fatal(string(raw), err)
	}
	return answer.Result
}

// twoPIDs are those that the sleeper tells.
func twoPIDs(t *testing.T, host lines) (pids []int) {
	t.Helper()
	for range 2 {
		_, pid, _ := strings.Cut(host.next(t), " ")
		pids = append(pids, pidOf(t, pid))
	}
	return pids
}

// openFiles counts the descriptors of this process, 0 where that isn't known.
func openFiles() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(all)
}
