package eventlog

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
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
// And while a store is made, it leaves out the syncs of folders, of which
// Pebble makes a dozen: see makeStore.
type disk struct {
	vfs.FS
	read, syncs atomic.Uint64
	making      atomic.Bool
	doom        *doom       // what befalls the log
	running     atomic.Bool // between Open and Close
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
	return &diskFile{f, d, name}, nil
}

type diskFile struct {
	vfs.File
	disk *disk
	name string
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
	return n, f.disk.failed("write", f.name, err)
}

func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, f.disk.failed("write", f.name, err)
}

func (f *diskFile) Sync() error {
	f.disk.syncs.Add(1)
	return f.disk.failed("sync", f.name, f.File.Sync())
}

func (f *diskFile) SyncData() error {
	f.disk.syncs.Add(1)
	return f.disk.failed("sync", f.name, f.File.SyncData())
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
