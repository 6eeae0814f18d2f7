package eventlog

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// changePlaces puts the folder made where old is, and old where aside says. At
// no moment is there neither.
func changePlaces(made, old, aside string) error {
	err := unix.Renameat2(unix.AT_FDCWD, made, unix.AT_FDCWD, old, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not every file system can
		return renameBoth(made, old, aside)
	}
	if err != nil {
		return err
	}
	return os.Rename(made, aside)
}
