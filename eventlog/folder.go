package eventlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// LockedError is returned by Open if another process (or another Log of this
// one) has the store.
type LockedError struct {
	Dir string
	PID int // 0 if it isn't known
	// Host is the process's machine, "" for this one.
	Host string
}

func (e *LockedError) Error() string {
	if e.Host != "" {
		return fmt.Sprintf("store %s is locked by process %d on %s", e.Dir, e.PID, e.Host)
	}
	if e.PID == 0 {
		return fmt.Sprintf("store %s is locked by another process", e.Dir)
	}
	return fmt.Sprintf("store %s is locked by process %d", e.Dir, e.PID)
}

// folder is a store's folder that this process holds. Pebble's file LOCK does
// the locking; the file PID beside it says who, for people. It may be stale, so
// it is believed only while LOCK is held and only if that process lives.
type folder struct {
	fs   vfs.FS
	dir  string
	lock *pebble.Lock
}

// claimFolder makes the folder if need be and locks it.
func claimFolder(dir string, fs vfs.FS) (*folder, error) { return claimFolderThen(dir, fs, nil) }

// claimFolderThen does something with the folder once it is locked, before anything
// is written.
func claimFolderThen(dir string, fs vfs.FS, then func()) (*folder, error) {
	if err := makeFolder(dir, fs); err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(dir, fs)
	if err != nil {
		if isContention(err) {
			return nil, &LockedError{Dir: dir, PID: holder(dir, fs)}
		}
		return nil, fmt.Errorf("lock it: %w", err)
	}
	if then != nil {
		then()
	}
	f := &folder{fs: fs, dir: dir, lock: lock}
	if err := f.writePID(); err != nil {
		return nil, errors.Join(fmt.Errorf("write the file PID: %w", err), f.release())
	}
	return f, nil
}

// makeFolder makes dir and what lies above it, for good.
func makeFolder(dir string, fs vfs.FS) error {
	_, err := fs.Stat(dir)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	above := fs.PathDir(dir)
	if above != dir {
		if err := makeFolder(above, fs); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncFolder(above, fs)
}

func syncFolder(dir string, fs vfs.FS) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *folder) path(name string) string { return f.fs.PathJoin(f.dir, name) }

func (f *folder) writePID() error {
	return writeFile(f.fs, f.path("PID"), strconv.Itoa(os.Getpid())+"\n", false)
}

// release gives the folder up.
func (f *folder) release() error {
	_ = f.fs.Remove(f.path("PID")) // a stale one does no harm
	return f.lock.Close()
}

// holder returns the living process that says it has the store, or 0.
func holder(dir string, fs vfs.FS) int {
	text, err := readFile(fs, fs.PathJoin(dir, "PID"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || pid <= 0 || !isAlive(pid) {
		return 0
	}
	return pid
}

func readFile(fs vfs.FS, path string) (string, error) {
	f, err := fs.Open(path)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(f)
	return string(text), errors.Join(err, f.Close())
}

// writeFile makes the file anew; with sync its bytes are durable, though not
// yet its name.
func writeFile(fs vfs.FS, path, text string, sync bool) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(text))
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
