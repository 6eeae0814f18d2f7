//go:build unix

package providers

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// This file keeps the guard: a small shell, one per Set, that outlives us. We
// tell it through a pipe which groups live; when the pipe closes, because we
// closed it or died, it kills those that are left, and ends.

// guardScript reads "+ GROUP" and "- GROUP" until the pipe closes.
const guardScript = `
trap '' HUP INT TERM
live=
while read -r op group; do
  case $op in
  +) live="$live $group" ;;
  -) rest=
     for g in $live; do [ "$g" = "$group" ] || rest="$rest $g"; done
     live=$rest ;;
  esac
done
for g in $live; do kill -9 "-$g"; done
exit 0`

// guard is the zero value until the first group is added.
type guard struct {
	mu   sync.Mutex
	live map[int]struct{}
	cmd  *exec.Cmd // nil: not running
	pipe *os.File  // our end
}

// add puts a group under guard. Without a shell there is none (see the table
// in child.go).
func (g *guard) add(group group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.live == nil {
		g.live = map[int]struct{}{}
	}
	g.live[group.id] = struct{}{}
	if g.tell("+", group.id) {
		return
	}
	g.stop() // it was killed, or has never run
	if g.start() == nil {
		for id := range g.live {
			g.tell("+", id)
		}
	}
}

// remove tells that nothing is left of the group.
func (g *guard) remove(group group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.live, group.id)
	g.tell("-", group.id)
}

// tell reports whether the guard could be told.
func (g *guard) tell(op string, id int) bool {
	if g.pipe == nil {
		return false
	}
	_ = g.pipe.SetWriteDeadline(time.Now().Add(time.Second)) // a stopped guard must not stop us
	_, err := fmt.Fprintln(g.pipe, op, id)
	return err == nil
}

func (g *guard) start() error {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	cmd := exec.Command("/bin/sh", "-c", guardScript)
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stdin = theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // out of reach of Ctrl-C
	if err := cmd.Start(); err != nil {
		ours.Close()
		return err
	}
	g.cmd, g.pipe = cmd, ours
	return nil
}

// stop ends the guard, which has nothing left to do.
func (g *guard) stop() {
	if g.cmd == nil {
		return
	}
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait()
	g.pipe.Close()
	g.cmd, g.pipe = nil, nil
}

// close ends the guard. No group may live any more.
func (g *guard) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stop()
}
