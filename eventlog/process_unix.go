//go:build unix

package eventlog

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// isAlive tells whether the process exists.
func isAlive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// cantWrite tells whether the disk or a folder doesn't let itself be written,
// though it may be read.
func cantWrite(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) || errors.Is(err, os.ErrPermission)
}

// shareLock takes a share of the lock that vfs.FS.Lock takes as a whole. A file
// that isn't there nobody has locked.
func shareLock(path string) (io.Closer, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return io.NopCloser(nil), nil
	}
	if err != nil {
		return nil, err
	}
	whole := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &whole); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sqliteUnlocked is SQLite's own way to a file without locks.
const sqliteUnlocked = "unix-none"

// isContention tells whether LOCK could not be taken because somebody has it.
// Only the locking call itself returns a bare error number; a missing
// permission comes with the file's path.
func isContention(err error) bool {
	return err == syscall.EAGAIN || err == syscall.EACCES || err.Error() == "lock held by current process"
}
