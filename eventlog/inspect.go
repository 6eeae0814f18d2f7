package eventlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Inspection is what can be said of a store without opening it.
type Inspection struct {
	Found  bool // there is a store; else the rest says what would be made
	Engine Engine
	Format int
	ID     string
	Writer string // the program that made it
	// Held tells whether a process of this machine has it, and PID which, 0 if
	// that isn't known.
	Held bool
	PID  int
	// Path is where the bytes lie, a folder or a file; "" for a Redis.
	Path string
	// Bytes are those of its files, and Newest is when the last of them was
	// written.
	Bytes  int64
	Newest time.Time
	// Promise is that of the engine; of a disk that keeps what it has synced.
	Promise Promise
	Redis   *RedisState // nil unless it lies in one
}

// Inspect looks at the store in the folder dir and changes nothing: it opens
// and locks none. An error says why the store could not be opened either.
func Inspect(ctx context.Context, dir string, o Options) (in Inspection, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return in, fmt.Errorf("look at store %s: %w", dir, err)
	}
	f := &folder{fs: vfs.Default, dir: dir}
	m, found, err := readMarker(f)
	in.Found, in.Format, in.ID, in.Writer = found, m.format, m.id, m.writer
	if err != nil {
		return in, fmt.Errorf("look at store %s: %w", dir, err)
	}
	if in.Engine, err = f.engine(m, found, o.Engine); err != nil {
		return in, fmt.Errorf("look at store %s: %w", dir, err)
	}
	in.Held, in.PID = f.held()
	in.Promise = onDisk
	switch in.Engine {
	case Redis:
		in.Redis, err = inspectRedis(ctx, m, found, o.RedisURL)
		if err != nil {
			return in, fmt.Errorf("look at store %s: %w", dir, err)
		}
		in.Promise = in.Redis.Promise
	case SQLite:
		in.Path = firstText(o.SQLitePath, f.path(sqliteFile))
		in.weigh(in.Path, in.Path+"-wal")
	default:
		in.Path = dir
		files, _ := filepath.Glob(filepath.Join(dir, "*")) // the pattern is well formed
		for _, name := range files {
			if isPebbles(filepath.Base(name)) {
				in.weigh(name)
			}
		}
	}
	return in, nil
}

// weigh counts files that are there.
func (in *Inspection) weigh(names ...string) {
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		in.Bytes += info.Size()
		if info.ModTime().After(in.Newest) {
			in.Newest = info.ModTime()
		}
	}
}

// held tells whether somebody has the folder's lock. It has it itself for a
// moment; whoever wants it just then tries again.
func (f *folder) held() (bool, int) {
	if _, err := f.fs.Stat(f.path("LOCK")); errors.Is(err, os.ErrNotExist) {
		return false, 0
	}
	lock, err := pebble.LockDirectory(f.dir, f.fs)
	if err == nil {
		return lock.Close() != nil, 0
	}
	return isContention(err), holder(f.dir, f.fs)
}
