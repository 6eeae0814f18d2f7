package eventlog

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// countingFS counts what a store asks of its file system: bytes read, and
// syncs of files and folders. While a store is made it also leaves out the
// syncs of folders, of which Pebble makes a dozen: see makeStore.
type countingFS struct {
	vfs.FS
	read, syncs atomic.Uint64
	making      atomic.Bool
}

func (c *countingFS) Unwrap() vfs.FS { return c.FS }

func (c *countingFS) Create(name string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	return c.file(c.FS.Create(name, cat))
}

func (c *countingFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return c.file(c.FS.Open(name, opts...))
}

func (c *countingFS) OpenReadWrite(name string, cat vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return c.file(c.FS.OpenReadWrite(name, cat, opts...))
}

func (c *countingFS) OpenDir(name string) (vfs.File, error) {
	d, err := c.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &countingDir{d, c}, nil
}

func (c *countingFS) ReuseForWrite(old, name string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	return c.file(c.FS.ReuseForWrite(old, name, cat))
}

func (c *countingFS) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &countingFile{f, c}, nil
}

type countingFile struct {
	vfs.File
	fs *countingFS
}

func (f *countingFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.fs.read.Add(uint64(n))
	return n, err
}

func (f *countingFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.fs.read.Add(uint64(n))
	return n, err
}

func (f *countingFile) Sync() error {
	f.fs.syncs.Add(1)
	return f.File.Sync()
}

func (f *countingFile) SyncData() error {
	f.fs.syncs.Add(1)
	return f.File.SyncData()
}

type countingDir struct {
	vfs.File
	fs *countingFS
}

func (d *countingDir) Sync() error {
	if d.fs.making.Load() {
		return nil
	}
	d.fs.syncs.Add(1)
	return d.File.Sync()
}
