package providers

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// prepare puts the command into a group of its own, and has the kernel kill
// it when we die.
func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitEnd returns when the process has ended; it isn't reaped yet, so its
// number, which is its group's too, can't be given to another one.
func awaitEnd(cmd *exec.Cmd) {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}
