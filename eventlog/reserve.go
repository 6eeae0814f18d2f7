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

// Spend gives up what Options.Reserve set aside, if the disk is full by now: for
// whoever is about to remove something.
func (l *Log) Spend() {
	if l.enter() != nil {
		return
	}
	defer l.leave()
	fs := vfs.Default
	if l.disk != nil {
		fs = l.disk.FS
	}
	if l.readOnly == nil {
		spend(l.doom.dir, fs)
	}
}

func spend(dir string, fs vfs.FS) {
	if isScarce(dir, fs) {
		_ = fs.Remove(fs.PathJoin(dir, reserveFile)) // there may be none
	}
}
