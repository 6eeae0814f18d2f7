//go:build unix && !linux

package providers

import (
	"os/exec"
	"syscall"
)

// prepare puts the command into a group of its own.
func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// awaitEnd returns when the process has ended. Here it is reaped as well: the
// number of a group that is not empty is not given away, and that of an empty
// one not within the moment until the group is killed.
func awaitEnd(cmd *exec.Cmd) { _ = cmd.Wait() }
