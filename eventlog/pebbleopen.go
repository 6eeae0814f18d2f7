package eventlog

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Open opens the store in the folder dir, which it makes if it isn't there, for
// this process alone. It reads what a killed process left and a few blocks, not
// the records: opening takes as long with a million runs as with one. An error
// is a *LockedError if another process has the store; it is not one if a later
// version has written the store, if the folder holds another database, or if the
// disk fails.
func Open(dir string, o Options) (*Log, error) {
	fs := o.FS
	if fs == nil {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("open store %s: %w", dir, err)
		}
		dir, fs = abs, vfs.Default
	}
	l, err := open(dir, &disk{FS: fs, doom: &doom{dir: dir, then: o.Fatal}}, o)
	var locked *LockedError
	switch {
	case !o.Looks:
	case errors.Is(err, errScarce) || cantWrite(err):
		l, err = openToRead(dir, fs, o, err)
	case errors.As(err, &locked) && isScarce(dir, fs):
		l, err = openToRead(dir, fs, o, errScarce) // who has it may only read, too
	}
	if err != nil {
		if errors.As(err, &locked) {
			return nil, err
		}
		err = fmt.Errorf("open store %s: %w", dir, err)
		if vfs.IsNoSpaceError(err) {
			err = fmt.Errorf("%w: the disk is full; nothing that was acknowledged is lost: free some space", err)
		}
		return nil, err
	}
	return l, nil
}

func open(dir string, disk *disk, o Options) (*Log, error) {
	folder, err := claimFolderThen(dir, disk, func() {
		if o.Spend {
			spend(dir, disk)
		}
	})
	if err != nil {
		return nil, err
	}
	if o.Looks && isScarce(dir, disk) {
		if m, found, err := readMarker(folder); found && err == nil && m.engine != Redis {
			return nil, errors.Join(errScarce, folder.release())
		}
	}
	l, err := openIn(folder, disk, o)
	if err != nil {
		return nil, errors.Join(err, folder.release())
	}
	if _, elsewhere := l.store.(troubled); o.Reserve && !elsewhere {
		reserve(dir, disk.FS)
	}
	return l, nil
}

func openIn(f *folder, disk *disk, o Options) (*Log, error) {
	m, found, err := readMarker(f)
	if err != nil {
		return nil, err
	}
	engine, err := f.engine(m, found, o.Engine)
	if err != nil {
		return nil, err
	}
	switch engine {
	case SQLite:
		return openSQLite(f, disk.doom, m, found, o)
	case Redis:
		return openRedis(f, disk.doom, m, found, o)
	}
	return openPebble(f, disk, m, found, o)
}

func openPebble(f *folder, disk *disk, m marker, found bool, o Options) (l *Log, err error) {
	options := pebbleOptions(disk, f.lock, newPebbleLogger(o.Logger, disk.doom))
	var db *pebble.DB
	var line int64
	if found {
		disk.acked, line = readAcked(f, m.id)
		db, err = pebble.Open(f.dir, options)
	} else {
		m, db, err = makeStore(f, disk, options, o)
	}
	if err != nil {
		return nil, m.explain(err)
	}
	s := &pebbleStore{db: db, reader: db, disk: disk}
	if l, err = newLog(s, m.id, disk.doom); err == nil {
		err = disk.acked.check(l.Last())
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.acked = keepAcked(f, m.id, line)
	s.release = func() error {
		defer s.acked.close()
		return errors.Join(db.Close(), f.release())
	}
	l.disk, l.readByOpen = disk, disk.read.Load()
	disk.running.Store(true)
	return l, nil
}

// makeStore makes a new store in an empty folder. The marker gets its name
// last, when all else is durable: whatever a crash leaves before is no store,
// and nobody has been told that there is one. So Pebble need not make each of
// its steps durable.
func makeStore(f *folder, disk *disk, options *pebble.Options, o Options) (marker, *pebble.DB, error) {
	m := newMarker(o, Pebble)
	if err := beginMarker(f, m); err != nil {
		return m, nil, err
	}
	disk.making.Store(true)
	db, err := pebble.Open(f.dir, options)
	if err != nil {
		return m, nil, err
	}
	// The first write-ahead log is in Pebble's oldest format, in which damage
	// can't be told from an unfinished write; Flush begins a new one.
	disk.running.Store(true)
	err = db.Flush()
	disk.making.Store(false)
	if err == nil {
		err = finishMarker(f)
	}
	if err != nil {
		return m, nil, errors.Join(err, db.Close())
	}
	return m, db, nil
}

// pebbleFormat is Pebble's own format of files. It can only be raised, and
// whoever raises it must raise Format too: earlier versions of this program
// can't read such a store.
const pebbleFormat = pebble.FormatValueSeparation

// pebbleOptions are chosen for quick opening (a small memtable, nothing done
// that isn't asked for) and for writes that go on while the background is busy.
func pebbleOptions(fs vfs.FS, lock *pebble.Lock, logger *pebbleLogger) *pebble.Options {
	p := &pebble.Options{
		FS:                          fs,
		Lock:                        lock,
		FormatMajorVersion:          pebbleFormat,
		Logger:                      logger,
		EventListener:               logger.listener(),
		MemTableSize:                4 << 20, // what a kill leaves to be replayed
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       1000,
		CacheSize:                   16 << 20,
		MaxOpenFiles:                500,
		DisableTableStats:           true,
	}
	p.Experimental.FileCacheShards = 1
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return p
}
