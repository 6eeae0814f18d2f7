package eventlog

import (
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	queryLimitedInformation = 0x1000
	stillActive             = 259
	sharingViolation        = syscall.Errno(32)
)

// isAlive tells whether the process exists.
func isAlive(pid int) bool {
	p, err := syscall.OpenProcess(queryLimitedInformation, false, uint32(pid))
	if err != nil {
		return err == syscall.ERROR_ACCESS_DENIED
	}
	defer syscall.CloseHandle(p)
	var code uint32
	return syscall.GetExitCodeProcess(p, &code) == nil && code == stillActive
}

// cantWrite tells whether the disk or a folder doesn't let itself be written,
// though it may be read.
func cantWrite(err error) bool {
	return vfs.IsNoSpaceError(err) || errors.Is(err, os.ErrPermission)
}

// shareLock takes the whole lock, for there are no shares here.
func shareLock(path string) (io.Closer, error) { return vfs.Default.Lock(path) }

// sqliteUnlocked is SQLite's own way to a file without locks.
const sqliteUnlocked = "win32-none"

// isContention tells whether LOCK could not be taken because somebody has it.
func isContention(err error) bool { return err == sharingViolation }
