package eventlog

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// This file opens a store that can't be written: on a full disk, on one that is
// mounted for reading, in a folder of somebody else's. The log is then read, and
// nothing at all is written: no file of the engine's, no PID, no socket. A lock is
// held that many readers share and that keeps whoever writes away, and which no
// reader gets while somebody writes.

// ErrReadOnly is in the error of everything that would change a log that is open
// for reading only.
var ErrReadOnly = errors.New("the store can only be read")

// scarce is the room below which Options.Looks doesn't write: opening a store
// begins files, and writes what a killed process left into tables.
const scarce = 32 << 20

var errNoStore = errors.New("there is no store")

var errScarce = fmt.Errorf("the disk is full: less than %d MiB are free", scarce>>20)

// isScarce tells whether a disk has too little room to open a store in peace.
func isScarce(dir string, fs vfs.FS) bool {
	usage, err := fs.GetDiskUsage(dir)
	return err == nil && usage.AvailBytes < scarce
}

// ReadOnly returns why the log can only be read, an error that is ErrReadOnly, or
// nil if it can be written.
func (l *Log) ReadOnly() error { return l.readOnly }

// openToRead opens a store that can't be written, as why says.
func openToRead(dir string, fs vfs.FS, o Options, why error) (*Log, error) {
	reading := &readingFS{FS: fs}
	if m, found, err := readMarker(&folder{fs: reading, dir: dir}); err == nil && found {
		reading.whole = m.engine == Redis // where who has the folder takes the owner of before for dead
	}
	f, err := visitFolder(dir, reading)
	if err != nil {
		return nil, err
	}
	l, err := f.read(o)
	if errors.Is(err, errNoStore) {
		err = why
	}
	if err != nil {
		return nil, errors.Join(err, f.release())
	}
	if _, elsewhere := l.store.(troubled); !elsewhere { // a Redis has its own disk
		l.readOnly = fmt.Errorf("%w: %w", ErrReadOnly, why)
	}
	return l, nil
}

// visitFolder takes a share of the lock of a folder, or all of it.
func visitFolder(dir string, fs *readingFS) (*folder, error) {
	lock, err := pebble.LockDirectory(dir, fs)
	switch {
	case err == nil:
		return &folder{fs: fs, dir: dir, lock: lock}, nil
	case isContention(err):
		return nil, &LockedError{Dir: dir, PID: holder(dir, fs)}
	}
	return nil, fmt.Errorf("lock it: %w", err)
}

func (f *folder) read(o Options) (*Log, error) {
	m, found, err := readMarker(f)
	if err == nil && !found {
		err = errNoStore
	}
	if err != nil {
		return nil, err
	}
	engine, err := f.engine(m, found, o.Engine)
	if err != nil {
		return nil, err
	}
	doom := &doom{dir: f.dir, then: o.Fatal}
	switch engine {
	case SQLite:
		return readSQLite(f, doom, m, o)
	case Redis:
		return openRedis(f, doom, m, found, o)
	}
	return readPebble(f, doom, m, o)
}

func readPebble(f *folder, d *doom, m marker, o Options) (*Log, error) {
	known, _ := readAcked(f, m.id)
	options := pebbleOptions(&disk{FS: f.fs, doom: d, acked: known}, f.lock, newPebbleLogger(o.Logger, d))
	options.ReadOnly = true
	db, err := pebble.Open(f.dir, options)
	if err != nil {
		return nil, m.explain(err)
	}
	closeAll := func() error { return errors.Join(db.Close(), f.release()) }
	l, err := newLog(&pebbleStore{db: db, reader: db, release: closeAll}, m.id, d)
	if err == nil {
		err = known.check(l.Last())
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return l, nil
}

// readingFS is a file system through which nothing can be written.
type readingFS struct {
	vfs.FS
	whole bool // locks aren't shared
}

func (r *readingFS) Unwrap() vfs.FS { return r.FS }

// Lock takes a share of a lock, or all of it where there are no shares.
func (r *readingFS) Lock(name string) (io.Closer, error) {
	if r.FS == vfs.Default && !r.whole {
		return shareLock(name)
	}
	return r.FS.Lock(name)
}

func (*readingFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, ErrReadOnly
}

func (*readingFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, ErrReadOnly
}

func (*readingFS) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, ErrReadOnly
}

func (*readingFS) Link(string, string) error          { return ErrReadOnly }
func (*readingFS) Remove(string) error                { return ErrReadOnly }
func (*readingFS) RemoveAll(string) error             { return ErrReadOnly }
func (*readingFS) Rename(string, string) error        { return ErrReadOnly }
func (*readingFS) MkdirAll(string, os.FileMode) error { return ErrReadOnly }
