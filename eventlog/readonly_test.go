package eventlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fullFS is a disk on which nothing new has room.
type fullFS struct{ vfs.FS }

var errNoRoom = &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}

func (f fullFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, errNoRoom }
func (f fullFS) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errNoRoom
}

// scarceFS has some room, but not enough to open a store in peace.
type scarceFS struct{ vfs.FS }

func (scarceFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: scarce - 1}, nil
}

// TestLooks opens a store that can't be written, after a kill, so that its last
// records are in the write-ahead log alone.
func TestLooks(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l := openOn(t, mem)
	hundred(t, l)
	killed := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		fs   vfs.FS
	}{{"full", fullFS{killed}}, {"scarce", scarceFS{killed}}} {
		t.Run(c.name, func(t *testing.T) {
			before := namesIn(t, killed)
			if c.name == "full" {
				if _, err := Open("store", Options{FS: c.fs}); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("whoever wants to write gets %v", err)
				}
			}
			l, err := Open("store", Options{FS: c.fs, Looks: true})
			if err != nil {
				t.Fatal(err)
			}
			looksOnly(t, l)
			if _, err := Open("store", Options{FS: c.fs, Looks: true}); !errors.As(err, new(*LockedError)) {
				t.Errorf("a second one gets %v", err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if after := namesIn(t, killed); !slices.Equal(before, after) {
				t.Errorf("the folder has %q now, it had %q", after, before)
			}
		})
	}
	t.Run("writable again", func(t *testing.T) {
		l := openOn(t, killed)
		add(t, l, rec("a", "goes on"))
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestLooksAtNothing: where no store is, the disk is what is wrong.
func TestLooksAtNothing(t *testing.T) {
	mem := vfs.NewMem()
	if err := mem.MkdirAll("store", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("store", Options{FS: fullFS{mem}, Looks: true}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	l, err := Open("store", Options{FS: scarceFS{mem}, Looks: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.ReadOnly() != nil {
		t.Error("a new store can't be written")
	}
}

// TestSpend: a log that is open gives up what was set aside when the disk is full,
// and not before.
func TestSpend(t *testing.T) {
	mem := vfs.NewMem()
	for _, fs := range []vfs.FS{mem, scarceFS{mem}} {
		l := openOn(t, fs)
		if err := writeFile(mem, "store/"+reserveFile, "", false); err != nil {
			t.Fatal(err)
		}
		l.Spend()
		if _, err := mem.Stat("store/" + reserveFile); (err == nil) != (fs == mem) {
			t.Errorf("%T: %v", fs, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l.Spend()
	}
}

func namesIn(t *testing.T, fs vfs.FS) []string {
	t.Helper()
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return slices.DeleteFunc(names, func(name string) bool { return name == "LOCK" || name == "PID" })
}

// hundred adds records that a table and the write-ahead log have.
func hundred(t *testing.T, l *Log) {
	t.Helper()
	for i := range 100 {
		var b Batch
		r := rec("a", fmt.Sprint(i))
		r.Refs = []Hash{b.Put(fmt.Append(nil, "value ", i))}
		b.Add(r)
		addBatch(t, l, &b)
	}
}

// looksOnly holds a log that hundred filled to what it must and mustn't do.
func looksOnly(t *testing.T, l *Log) {
	t.Helper()
	if err := l.ReadOnly(); !errors.Is(err, ErrReadOnly) {
		t.Errorf("why the log can only be read: %v", err)
	}
	rs := all(t, l.ReadStream("a", 0))
	if len(rs) != 100 || string(rs[99].Data) != "99" {
		t.Fatalf("%d records: %s", len(rs), brief(rs))
	}
	if v, err := l.Value(rs[99].Refs[0]); string(v) != "value 99" {
		t.Errorf("%q, %v", v, err)
	}
	if r := sound(t, l); r.Records != 100 {
		t.Errorf("verify: %+v", r)
	}
	if _, err := l.Backup(t.Context(), io.Discard); err != nil {
		t.Errorf("backup: %v", err)
	}
	if st := l.Stats(); st.Records != 100 || st.DiskBytes == 0 {
		t.Errorf("figures: %+v", st)
	}
	var b Batch
	b.Add(rec("a", "more"))
	_, appended := l.Append(&b)
	for what, err := range map[string]error{
		"append": appended, "delete": l.Delete("a"), "compact": l.Compact(t.Context()),
		"checkpoint": l.SaveCheckpoints([]Checkpoint{{Stream: "a", At: 1}}, nil),
	} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	followed, last := 0, error(nil)
	for _, err := range l.FollowStream(soon(t), "a", 0) {
		if last = err; err == nil {
			followed++
		}
	}
	if followed != 100 || !errors.Is(last, ErrReadOnly) {
		t.Errorf("a follower gets %d records, then %v", followed, last)
	}
}

// TestLooksDamaged: whoever only looks is told as well that what was acknowledged
// is missing, and where, and changes nothing: not even a log of which nothing can
// be read.
func TestLooksDamaged(t *testing.T) {
	for _, c := range []struct {
		engine Engine
		file   string
		place  func(size int) int
	}{
		{Pebble, "0*.log", func(size int) int { return size * 3 / 4 }},
		{Pebble, "0*.log", func(int) int { return 0 }},
		{SQLite, "log.db-wal", func(size int) int { return size * 3 / 4 }},
		{SQLite, "log.db-wal", func(int) int { return 20 }},  // its header
		{SQLite, "log.db-wal", func(int) int { return 100 }}, // the first frame
	} {
		live, dir := t.TempDir(), t.TempDir()
		l, err := Open(live, Options{Engine: c.engine})
		if err != nil {
			t.Fatal(err)
		}
		hundred(t, closeAtEnd(t, l))
		if err := os.CopyFS(dir, os.DirFS(live)); err != nil { // what a kill leaves
			t.Fatal(err)
		}
		os.Remove(filepath.Join(dir, "log.db-shm"))
		log := newest(t, dir, c.file)
		text := must(os.ReadFile(filepath.Join(dir, log)))
		text[c.place(len(text))] ^= 1
		if err := os.WriteFile(filepath.Join(dir, log), text, 0o600); err != nil {
			t.Fatal(err)
		}
		before := folderSum(t, dir)
		_, err = openToRead(dir, vfs.Default, Options{}, errScarce)
		if err == nil || !strings.Contains(err.Error(), "it is damaged") || !strings.Contains(err.Error(), "the write-ahead log "+log+" is damaged at byte ") {
			t.Errorf("%s, byte %d: %v", c.engine, c.place(len(text)), err)
		}
		if folderSum(t, dir) != before {
			t.Errorf("%s, byte %d: the folder has changed", c.engine, c.place(len(text)))
		}
	}
}
