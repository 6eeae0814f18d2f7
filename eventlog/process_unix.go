//go:build unix

package eventlog

import (
	"errors"
	"syscall"
)

// isAlive tells whether the process exists.
func isAlive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// isContention tells whether LOCK could not be taken because somebody has it.
// Only the locking call itself returns a bare error number; a missing
// permission comes with the file's path.
func isContention(err error) bool {
	return err == syscall.EAGAIN || err == syscall.EACCES || err.Error() == "lock held by current process"
}
