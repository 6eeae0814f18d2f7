//go:build unix

package providers

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// group is a process group, named by its leader's process id.
type group struct{ id int }

func groupOf(p *os.Process) group { return group{p.Pid} }

func (g group) terminate() { _ = unix.Kill(-g.id, unix.SIGTERM) }

// kill ends every process of the group; a group that is gone is no matter.
func (g group) kill() { _ = unix.Kill(-g.id, unix.SIGKILL) }

func (g group) release() {}

// inherit hands f to the child and returns its descriptor there.
func inherit(cmd *exec.Cmd, f *os.File) (int, error) {
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	return 2 + len(cmd.ExtraFiles), nil
}

// exitText says in words how a process ended.
func exitText(state *os.ProcessState) string {
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return killedText(status.Signal())
	}
	return fmt.Sprintf("exited with status %d", state.ExitCode())
}

func killedText(by syscall.Signal) string {
	return fmt.Sprintf("killed by signal %d (%s)", int(by), unix.SignalName(by))
}
