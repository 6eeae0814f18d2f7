package eventlog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSQLiteLogKilled flips bytes all over the log.db-wal that a killed process
// leaves. Open tells, names the place and changes nothing, or all is there that
// was acknowledged; and Repair makes of it what there is, beside the store as it was.
func TestSQLiteLogKilled(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "store")
	first := openSQLiteIn(t, whole)
	add(t, first, rec("before", "it all"))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	acked := killAfter(t, SQLite, whole, 40)
	text := must(os.ReadFile(filepath.Join(whole, "log.db-wal")))
	var seen string
	told, repaired := 0, 0
	for at := 0; at < len(text); at += 1 + len(text)/60 {
		dir := filepath.Join(t.TempDir(), "store")
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(text)
		bad[at] ^= 1 << (at % 8)
		if err := os.WriteFile(filepath.Join(dir, "log.db-wal"), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		before := folderSum(t, dir)
		l, err := Open(dir, Options{})
		if err == nil {
			for stream, n := range acked {
				if records := all(t, l.ReadStream(stream, 0)); len(records) < 2*n {
					t.Errorf("byte %d of %d: nobody tells, and stream %s has %d records of %d batches", at, len(text), stream, len(records), n)
				}
			}
			sound(t, l)
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		told++
		if seen = err.Error(); !strings.Contains(seen, "it is damaged: the write-ahead log log.db-wal is damaged at byte ") || folderSum(t, dir) != before {
			t.Fatalf("byte %d: %v", at, err)
		}
		if told%10 != 1 {
			continue
		}
		if _, err := Repair(t.Context(), dir, Options{}, func(Damage) bool { return false }); err == nil || folderSum(t, dir) != before {
			t.Errorf("byte %d: without consent: %v", at, err)
		}
		done, damage, err := agreed(t, dir, Options{})
		if err != nil || len(damage.Problems) < 2 || !bytes.Equal(must(os.ReadFile(done.Backup+"-wal")), bad) {
			t.Fatalf("byte %d: %+v, %v", at, damage, err)
		}
		again, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if again.Last() != damage.Keep {
			t.Errorf("byte %d: up to %d, not %d", at, again.Last(), damage.Keep)
		}
		add(t, again, rec("a", "goes on"))
		sound(t, again)
		if err := again.Close(); err != nil {
			t.Error(err)
		}
		repaired++
	}
	// Where nothing stands before the log, nothing can stay.
	dir := filepath.Join(t.TempDir(), "store")
	killAfter(t, SQLite, dir, 5)
	log := filepath.Join(dir, "log.db-wal")
	bad := must(os.ReadFile(log))
	bad[20] ^= 1
	if err := os.WriteFile(log, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "log.db-wal is damaged at byte 0: records 1 to ") {
		t.Error(err)
	}
	if _, _, err := agreed(t, dir, Options{}); err == nil || !strings.Contains(err.Error(), "nothing stands before that: restore a backup") {
		t.Error(err)
	}
	t.Logf("%d flips in %d bytes were told, such as: %s", told, len(text), seen)
	if told < 20 || repaired < 2 {
		t.Error("that is too few")
	}
}

// TestSQLiteLogTorn makes of a log what a power cut may leave: all that was
// synced, and of the rest any sectors, in any state. That is never damage.
func TestSQLiteLogTorn(t *testing.T) {
	dir, copies := t.TempDir(), t.TempDir()
	l := openSQLiteIn(t, dir)
	var lives []string
	for i := range 6 {
		var b Batch
		r := rec("a", fmt.Sprint(i))
		r.Refs = []Hash{b.Put(bytes.Repeat([]byte{byte(i)}, 6000))}
		b.Add(r)
		addBatch(t, l, &b)
		life := filepath.Join(copies, fmt.Sprint(i))
		if err := os.CopyFS(life, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		lives = append(lives, life)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for i, life := range lives[:len(lives)-1] {
		synced := must(os.ReadFile(filepath.Join(life, "log.db-wal")))
		next := must(os.ReadFile(filepath.Join(lives[i+1], "log.db-wal")))
		for range 8 {
			torn := bytes.Clone(next)
			for at := len(synced); at < len(torn); at += 512 {
				sector := torn[at:min(at+512, len(torn))]
				switch rng.IntN(3) {
				case 0:
					clear(sector)
				case 1:
					sector[rng.IntN(len(sector))] ^= 1 << rng.IntN(8)
				}
			}
			torn = torn[:len(synced)+rng.IntN(len(torn)-len(synced)+1)]
			cut := filepath.Join(t.TempDir(), "store")
			if err := os.CopyFS(cut, os.DirFS(life)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(cut, "log.db-wal"), torn, 0o600); err != nil {
				t.Fatal(err)
			}
			if after, err := Open(cut, Options{}); err != nil {
				t.Errorf("after append %d: %v", i, err)
			} else if after.Last() < Seq(i+1) || after.Close() != nil {
				t.Errorf("after append %d: up to %d", i, after.Last())
			}
		}
	}
}

// TestSQLiteLogGoes: a Close leaves no write-ahead log, in which anything could
// be damaged.
func TestSQLiteLogGoes(t *testing.T) {
	dir := t.TempDir()
	l := openSQLiteIn(t, dir)
	full(t, l)
	if info, err := os.Stat(filepath.Join(dir, "log.db-wal")); err != nil || info.Size() == 0 {
		t.Errorf("there is no log to begin with: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "log.db-wal")); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
