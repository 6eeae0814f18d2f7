package eventlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// agreed is a Repair whose consent is given, and what was told before.
func agreed(t *testing.T, dir string, o Options) (Repaired, Damage, error) {
	t.Helper()
	var told Damage
	done, err := Repair(t.Context(), dir, o, func(d Damage) bool { told = d; return true })
	return done, told, err
}

// folderSum is all that the files of a store are.
func folderSum(t *testing.T, dir string) string {
	t.Helper()
	var sb strings.Builder
	if err := eachFile(dir, func(name string) error {
		if name == "PID" || name == "LOCK" || strings.HasSuffix(name, "-shm") {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		fmt.Fprintf(&sb, "%s %x\n", name, sha256.Sum256(text))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return sb.String()
}

// TestRepairWAL flips bytes of the write-ahead log of a closed store. The store can't be opened then; what Repair makes of it is the log as it was at
// some moment, and the damaged one lies beside it, byte for byte.
func TestRepairWAL(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "store")
	l, err := Open(whole, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		var b Batch
		r := rec("a", fmt.Sprint(i))
		r.Refs = []Hash{b.Put(bytes.Repeat([]byte{byte(i)}, 5000))}
		b.Add(r)
		b.Add(rec("b", fmt.Sprint(i)))
		addBatch(t, l, &b)
	}
	want, err := state(l)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log := newest(t, whole, ".log")
	text, err := os.ReadFile(filepath.Join(whole, log))
	if err != nil {
		t.Fatal(err)
	}
	repairs, token := 0, filepath.Join("tokens", "1.json")
	for at := 100; at < len(text); at += 30_011 {
		dir := filepath.Join(t.TempDir(), "store")
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(text)
		bad[at] ^= 0x10
		if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, what := range map[string][]byte{log: bad, token: []byte("somebody's")} {
			if err := os.WriteFile(filepath.Join(dir, name), what, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if l, err := Open(dir, Options{}); err == nil {
			l.Close()
			t.Errorf("byte %d: nobody tells", at)
			continue
		}
		repairs++
		before := folderSum(t, dir)
		if _, err := Repair(t.Context(), dir, Options{}, func(Damage) bool { return false }); !errors.Is(err, ErrNotAgreed) || folderSum(t, dir) != before {
			t.Errorf("byte %d: without consent: %v", at, err)
		}
		done, told, err := agreed(t, dir, Options{})
		if err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
		if len(told.Problems) == 0 || told.Bytes == 0 || len(told.Lost) != 2 || told.Lost[0].First <= told.Keep || told.Lost[0].Begin == nil && told.Keep > 0 {
			t.Errorf("byte %d: %+v", at, told)
		}
		// What is damaged can't tell, but all else that is cut off does.
		if n := told.Lost[0].Records; n > 40-int(told.Keep)/2 || n < 39-int(told.Keep)/2-1 {
			t.Errorf("byte %d: %+v", at, told)
		}
		if got := folderSum(t, done.Backup); got != before {
			t.Errorf("byte %d: the backup is\n%s, it was\n%s", at, got, before)
		}
		again, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := state(again)
		if err != nil || !strings.HasPrefix(want, got) || strings.Count(got, ":")%2 != 0 || again.Last() != told.Keep || again.Last() == 80 {
			t.Errorf("byte %d: up to %d of %+v, %v", at, again.Last(), told, err)
		}
		if kept := string(must(os.ReadFile(filepath.Join(dir, token)))); kept != "somebody's" || must(os.Stat(filepath.Join(dir, "tokens"))).Mode().Perm() != 0o700 {
			t.Errorf("tokens: %q", kept)
		}
		add(t, again, rec("a", "goes on"))
		sound(t, again)
		if err := again.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(dir + ".repairing*"); len(left) > 0 {
			t.Errorf("it left %v", left)
		}
	}
	if repairs < 3 {
		t.Errorf("only %d of these flips made the store unreadable", repairs)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newest(t *testing.T, dir, suffix string) (last string) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil || len(names) == 0 {
		t.Fatalf("%v, %v", names, err)
	}
	return filepath.Base(names[len(names)-1])
}

// damages are ways to damage a store whose engine works, by what they are, with
// the last record that stays; 0: it is not repaired.
var damages = []struct {
	what   string
	sqlite string
	pebble func(b *pebble.Batch, last Seq) error
	keep   func(last Seq) Seq
	lost   string // stream: records
}{
	{"the last record is changed", "UPDATE records SET data = 'x' WHERE seq = (SELECT max(seq) FROM records)",
		func(b *pebble.Batch, last Seq) error { return b.Set(appendRecordKey(nil, last), []byte("x"), nil) },
		func(last Seq) Seq { return last - 1 }, "run-2: 1"},
	{"the last two are gone", "DELETE FROM records WHERE seq > (SELECT max(seq) FROM records) - 2",
		func(b *pebble.Batch, last Seq) error {
			return errors.Join(b.Delete(appendRecordKey(nil, last), nil), b.Delete(appendRecordKey(nil, last-1), nil))
		},
		func(last Seq) Seq { return last - 2 }, ""},
	{"who uses a value is forgotten", "DELETE FROM uses",
		func(b *pebble.Batch, _ Seq) error { return b.DeleteRange([]byte{tagUse}, []byte{tagUse + 1}, nil) },
		func(last Seq) Seq { return last }, ""},
	{"the totals are wrong", "UPDATE totals SET records = 3",
		func(b *pebble.Batch, last Seq) error {
			return b.Set([]byte{tagTotals}, appendTotals(nil, &totals{last: last, records: 3}), nil)
		},
		func(last Seq) Seq { return last }, ""},
	{"a record before the others is changed", "UPDATE records SET data = 'x' WHERE seq = 3",
		func(b *pebble.Batch, _ Seq) error { return b.Set(appendRecordKey(nil, 3), []byte("x"), nil) },
		func(Seq) Seq { return 0 }, ""},
	{"a value is changed", "UPDATE content SET bytes = 'x'",
		func(b *pebble.Batch, _ Seq) error {
			h := Sum([]byte(strings.Repeat("0", 30)))
			return b.Set(valueKey(h), []byte("x"), nil)
		},
		func(Seq) Seq { return 0 }, ""},
}

// TestRepairRows: what is damaged at the end is cut off, what can be made anew
// is, and damage that sound records follow is left as it is.
func TestRepairRows(t *testing.T) {
	for _, engine := range []Engine{Pebble, SQLite} {
		for _, d := range damages {
			t.Run(string(engine)+"/"+d.what, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "store")
				l, err := Open(dir, Options{Engine: engine})
				if err != nil {
					t.Fatal(err)
				}
				eventful(t, l)
				marks, err := l.Marks(t.Context(), l.Last())
				if err == nil {
					err = l.Fold(marks)
				}
				if err != nil {
					t.Fatal(err)
				}
				// The mark of run-1 comes last; what is damaged shall be of a run.
				add(t, l, rec("run-2", "more"), rec("run-2", "yet more"), rec("run-2", "the last"))
				last, id := l.Last(), l.ID()
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				harm(t, dir, engine, d.sqlite, func(b *pebble.Batch) error { return d.pebble(b, last) })
				done, told, err := agreed(t, dir, Options{})
				if want := d.keep(last); want == 0 {
					if !errors.Is(err, ErrNotTail) {
						t.Fatalf("%+v, %v", done, err)
					}
					return
				} else if err != nil || done.Keep != want || told.Keep != want {
					t.Fatalf("%+v, %v; want up to %d", done, err, want)
				}
				if said := lostOf(told); said != d.lost && d.lost != "" {
					t.Errorf("lost: %q, want %q", said, d.lost)
				}
				again, err := Open(dir, Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer again.Close()
				if again.ID() != id || again.Last() != d.keep(last) {
					t.Errorf("store %s up to %d", again.ID(), again.Last())
				}
				sound(t, again)
				add(t, again, rec("run-2", "goes on"))
				sound(t, again)
			})
		}
	}
}

func lostOf(d Damage) string {
	var all []string
	for _, l := range d.Lost {
		all = append(all, fmt.Sprintf("%s: %d", l.Stream, l.Records))
	}
	return strings.Join(all, ", ")
}

// harm changes a closed store behind our back.
func harm(t *testing.T, dir string, engine Engine, text string, change func(*pebble.Batch) error) {
	t.Helper()
	if engine == SQLite {
		db, err := sql.Open("sqlite", filepath.Join(dir, sqliteFile))
		if err == nil {
			_, err = db.Exec(text)
		}
		if err = errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		return
	}
	r := repairer{}
	s, err := r.openFolder(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	db := s.(*pebbleStore).db
	b := db.NewBatch()
	if err := errors.Join(change(b), b.Commit(pebble.Sync), s.close()); err != nil {
		t.Fatal(err)
	}
}

// TestRepairRefuses: what isn't there, isn't damaged, is held, or lies elsewhere.
func TestRepairRefuses(t *testing.T) {
	if _, _, err := agreed(t, filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for _, engine := range []Engine{Pebble, SQLite} {
		dir := t.TempDir()
		l, err := Open(dir, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		full(t, l)
		var locked *LockedError
		if _, _, err := agreed(t, dir, Options{}); !errors.As(err, &locked) {
			t.Errorf("%s, held: %v", engine, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := agreed(t, dir, Options{}); !errors.Is(err, ErrSound) {
			t.Errorf("%s, sound: %v", engine, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Repair(ctx, dir, Options{}, func(Damage) bool { return true }); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: %v", engine, err)
		}
		again, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		sound(t, again)
		again.Close()
	}
	dir, url := t.TempDir(), redisURL(t)
	l := openRedisIn(t, dir, url)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := agreed(t, dir, Options{RedisURL: url}); err == nil || !strings.Contains(err.Error(), "kept by Redis") {
		t.Error(err)
	}
	// A SQLite file that is none any more.
	dir = t.TempDir()
	if l, err := Open(dir, Options{Engine: SQLite}); err != nil || l.Close() != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, sqliteFile), bytes.Repeat([]byte("x"), 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := agreed(t, dir, Options{}); !errors.Is(err, ErrNotTail) {
		t.Error(err)
	}
}

// TestRepairElsewhere: SQLite's file may lie outside the folder.
func TestRepairElsewhere(t *testing.T) { repairElsewhere(t, t.TempDir()) }

func repairElsewhere(t *testing.T, where string) {
	dir, o := t.TempDir(), Options{Engine: SQLite, SQLitePath: filepath.Join(where, "my.db")}
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	full(t, l)
	last := l.Last()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", o.SQLitePath)
	if err == nil {
		_, err = db.Exec("UPDATE totals SET bytes = 0")
	}
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	done, _, err := agreed(t, dir, o)
	if err != nil || done.Keep != last || !strings.HasPrefix(done.Backup, o.SQLitePath+".damaged-") {
		t.Fatalf("%+v, %v", done, err)
	}
	again, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	sound(t, again)
}
