package eventlog

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// disk stands between Pebble and the file system.
//
// It counts the bytes read and the syncs.
//
// Once the log is open, a write that fails ends the log here and now. Left to
// itself Pebble answers some failures with Fatalf, some with an error, and some
// with a panic under a lock that ends the process without a word of ours. While
// the log is being opened only the sync of a folder is of that last kind.
//
// Before a marker names a new manifest, it makes sure that the manifest's own
// name is on disk; Pebble syncs the folder only after both, so that a file system
// that doesn't keep the order could be left with a marker that points nowhere.
//
// It also knows how far Pebble's write-ahead log is on disk, and looks at such a
// log before Pebble reads it: see walcheck.go.
//
// And while a store is made, it leaves out the syncs of folders, of which
// Pebble makes a dozen: see makeStore.
type disk struct {
	vfs.FS
	read, syncs atomic.Uint64
	making      atomic.Bool
	doom        *doom       // what befalls the log
	running     atomic.Bool // between Open and Close
	acked       acked       // what was acknowledged before Open
	durable     atomic.Pointer[logEnd]
}

// logEnd is how far a write-ahead log of Pebble's is on disk.
type logEnd struct {
	log uint64
	end int64
}

// logNumber returns the number of a write-ahead log of Pebble's, 0 for any other
// file.
func logNumber(name string) uint64 {
	n, _, _ := wal.ParseLogFilename(name)
	return uint64(n)
}

func (d *disk) Unwrap() vfs.FS { return d.FS }

// failed ends the log if the write of a file did fail.
func (d *disk) failed(what, name string, err error) error {
	if err != nil && d.running.Load() {
		d.doom.fail(fmt.Errorf("%s %s: %w", what, d.PathBase(name), err))
	}
	return err
}

func (d *disk) Create(name string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(d.PathBase(name), "marker.manifest.") {
		if err := syncFolder(d.PathDir(name), d); err != nil {
			return nil, err
		}
	}
	f, err := d.FS.Create(name, cat)
	return d.file(f, name, d.failed("create", name, err))
}

func (d *disk) ReuseForWrite(old, name string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(old, name, cat)
	return d.file(f, name, d.failed("create", name, err))
}

func (d *disk) Rename(old, name string) error {
	return d.failed("rename", name, d.FS.Rename(old, name))
}

func (d *disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.Open(name, opts...)
	if number := logNumber(d.PathBase(name)); number != 0 && err == nil && !d.running.Load() {
		if err = d.checkWAL(f, name, number); err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return d.file(f, name, err)
}

func (d *disk) OpenReadWrite(name string, cat vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, cat, opts...)
	return d.file(f, name, err)
}

func (d *disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &diskFolder{f, d, name}, nil
}

func (d *disk) file(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, disk: d, name: name, log: logNumber(d.PathBase(name))}, nil
}

type diskFile struct {
	vfs.File
	disk    *disk
	name    string
	log     uint64 // its number, of a write-ahead log
	written int64  // to it, from its begin on
}

func (f *diskFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.disk.read.Add(uint64(n))
	return n, err
}

func (f *diskFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.disk.read.Add(uint64(n))
	return n, err
}

func (f *diskFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.written += int64(n)
	return n, f.disk.failed("write", f.name, err)
}

func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, f.disk.failed("write", f.name, err)
}

func (f *diskFile) Sync() error {
	f.disk.syncs.Add(1)
	return f.synced(f.File.Sync())
}

func (f *diskFile) SyncData() error {
	f.disk.syncs.Add(1)
	return f.synced(f.File.SyncData())
}

func (f *diskFile) synced(err error) error {
	if err == nil && f.log != 0 {
		f.disk.durable.Store(&logEnd{f.log, f.written})
	}
	return f.disk.failed("sync", f.name, err)
}

func (f *diskFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.disk.failed("sync", f.name, err)
}

func (f *diskFile) Close() error {
	return f.disk.failed("close", f.name, f.File.Close())
}

type diskFolder struct {
	vfs.File
	disk *disk
	name string
}

func (f *diskFolder) Sync() error {
	if f.disk.making.Load() {
		return nil
	}
	f.disk.syncs.Add(1)
	err := f.File.Sync()
	if err != nil {
		f.disk.doom.fail(fmt.Errorf("sync the folder: %w", err))
	}
	return err
}
