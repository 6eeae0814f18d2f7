package eventlog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// eventful fills a log with all that a backup must keep: gaps, marks, streams
// that live again, keys, values and checkpoints.
func eventful(t *testing.T, l *Log) {
	full(t, l)
	for i, step := range life() {
		if err := step(l); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	add(t, l, rec("run-1", "lives again"), rec("x", "y"))
	if err := l.Delete("run-1"); err != nil {
		t.Fatal(err)
	}
	add(t, l, rec("run-1", "and again"))
	if err := l.SaveCheckpoints([]Checkpoint{{"x", 3, []byte("some")}, {"empty", 0, nil}}, nil); err != nil {
		t.Fatal(err)
	}
	sound(t, l)
}

// everything is all that can be asked of a log.
func everything(t *testing.T, l *Log) string {
	t.Helper()
	text, err := state(l)
	if err != nil {
		t.Fatal(err)
	}
	stats := l.Stats()
	points := all(t, l.Checkpoints(""))
	key, _, _ := l.Lookup("key-0")
	return fmt.Sprint(l.ID(), text, stats.Last, stats.Records, stats.Values, stats.ValueBytes, points, key, all(t, l.Streams("", false, "")))
}

// TestRestoreEverywhere: what was backed up from any store comes back in each
// engine as it was, and can be written on.
func TestRestoreEverywhere(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		eventful(t, l)
		want := everything(t, l)
		var archive bytes.Buffer
		made, err := l.Backup(t.Context(), &archive)
		if err != nil || made.Bytes != int64(archive.Len()) {
			t.Fatalf("%+v of %d bytes: %v", made, archive.Len(), err)
		}
		for _, engine := range engines {
			dir, options := filepath.Join(t.TempDir(), "store"), onEngine(t, engine)
			info, err := Restore(t.Context(), bytes.NewReader(archive.Bytes()), dir, options)
			if d := cmp.Diff(made, info); d != "" || err != nil {
				t.Fatalf("%s: %v, %s", engine, err, d)
			}
			again, err := Open(dir, options)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, everything(t, again)); d != "" {
				t.Errorf("%s: %s", engine, d)
			}
			sound(t, again)
			add(t, again, rec("a", "goes on"), rec("run-1", "goes on"))
			sound(t, again)
			if _, err := Restore(t.Context(), bytes.NewReader(archive.Bytes()), dir, options); err == nil || !strings.Contains(err.Error(), "is not empty") {
				t.Errorf("over a store: %v", err)
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestBackupUnderLoad: a backup is the log of one moment.
func TestBackupUnderLoad(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				var b Batch
				r := rec(fmt.Sprint("s", i%5), fmt.Sprint(i))
				r.Refs = []Hash{b.Put([]byte{byte(i % 7)})}
				b.Add(r)
				b.Add(rec("pairs", fmt.Sprint(i)))
				if _, err := l.Append(&b); err != nil {
					t.Error(err)
				}
				if i%9 == 0 {
					if err := l.Delete(r.Stream); err != nil {
						t.Error(err)
					}
				}
			}
		}()
		defer func() { close(stop); <-done }()
		for range 3 {
			for before := l.Last(); l.Last() < before+20; {
			}
			var archive bytes.Buffer
			if _, err := l.Backup(t.Context(), &archive); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "store")
			if _, err := Restore(t.Context(), bytes.NewReader(archive.Bytes()), dir, Options{}); err != nil {
				t.Fatal(err)
			}
			again, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			sound(t, again)
			again.Close()
		}
	})
}

// TestDamagedArchive flips bytes of an archive and cuts it off: it is told, what
// is damaged is named, and no store is made.
func TestDamagedArchive(t *testing.T) {
	l := openSQLiteIn(t, t.TempDir())
	full(t, l)
	var archive bytes.Buffer
	if _, err := l.Backup(t.Context(), &archive); err != nil {
		t.Fatal(err)
	}
	good := archive.Bytes()
	dir := filepath.Join(t.TempDir(), "store")
	refused := func(what string, bad []byte) string {
		t.Helper()
		_, err := Restore(t.Context(), bytes.NewReader(bad), dir, Options{})
		if err == nil {
			t.Fatalf("%s: nobody tells", what)
		}
		if some, _ := os.ReadDir(filepath.Dir(dir)); len(some) > 0 {
			t.Fatalf("%s: it leaves %v (%v)", what, some, err)
		}
		return err.Error()
	}
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		refused(fmt.Sprintf("byte %d of %d", at, len(good)), bad)
	}
	for n := 0; n < len(good); n += 11 {
		refused(fmt.Sprintf("the first %d bytes", n), good[:n])
	}
	refused("one more byte", append(bytes.Clone(good), 0))
	if said := refused("a later one", []byte("gleitzeit archive 3\nxxx")); !strings.Contains(said, "later format") {
		t.Error(said)
	}
	at := bytes.Index(good, []byte("test.2.0"))
	bad := bytes.Clone(good)
	bad[at] ^= 1
	if said := refused("a record", bad); !strings.Contains(said, `of stream "run-0" does not match its sum`) {
		t.Error(said)
	}
}

// TestExport: single streams come out whole, with their values.
func TestExport(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		full(t, l)
		var archive bytes.Buffer
		info, err := l.Export(t.Context(), &archive, []string{"run-0", "run-2"}, l.Last())
		if err != nil || info.Records != 8 || info.Values != 2 || info.Kind != SomeStream {
			t.Fatalf("%+v, %v", info, err)
		}
		var got []Record
		values := map[Hash]bool{}
		if _, err := ReadArchive(&archive, func(_ ArchiveHeader, it ArchiveItem) error {
			if it.Record == nil {
				values[it.Hash] = true
				return nil
			}
			for _, h := range it.Record.Refs {
				if !values[h] {
					t.Errorf("record %d comes before its value", it.Record.Seq)
				}
			}
			got = append(got, *it.Record)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		want := append(all(t, l.ReadStream("run-0", 0)), all(t, l.ReadStream("run-2", 0))...)
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		for _, gone := range []string{"run-1", "nobody"} {
			if _, err := l.Export(t.Context(), &archive, []string{gone}, l.Last()); err == nil || !strings.Contains(err.Error(), gone) {
				t.Errorf("%s: %v", gone, err)
			}
		}
		if _, err := Restore(t.Context(), bytes.NewReader(nil), t.TempDir(), Options{}); err == nil {
			t.Error("nothing was restored")
		}
	})
}
