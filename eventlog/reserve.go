package eventlog

import (
	"errors"
	"runtime"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// This file keeps some room in a store's folder for the day on which the disk is
// full: to remove anything one has to write first, for what is removed is written
// down, and the engine merges files before it deletes them.

// reserveFile has the room, of which its length tells nothing.
const (
	reserveFile  = "RESERVE"
	reserveBytes = 2 * scarce
)

// reserve sets room aside, if there is plenty, and where that can be done without
// writing: on Linux. A disk that can't is no reason to fail.
func reserve(dir string, fs vfs.FS) {
	usage, err := fs.GetDiskUsage(dir)
	if err != nil || usage.AvailBytes < 4*reserveBytes || runtime.GOOS != "linux" {
		return
	}
	path := fs.PathJoin(dir, reserveFile)
	file, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified) // a copied one may have no room
	if err != nil {
		return
	}
	if err := errors.Join(file.Preallocate(0, reserveBytes), file.Close()); err != nil {
		_ = fs.Remove(path)
	}
}
