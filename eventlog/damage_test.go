package eventlog

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// full makes a log with something in each table.
func full(t testing.TB, l *Log) {
	t.Helper()
	for i := range 4 {
		var b Batch
		for j := range 3 {
			r := rec(fmt.Sprintf("run-%d", j), fmt.Sprintf("%d.%d", i, j))
			r.Keys = []string{fmt.Sprintf("key-%d", j)}
			r.Refs = []Hash{b.Put([]byte(strings.Repeat(fmt.Sprint(j), 30)))}
			b.Add(r)
		}
		addBatch(t, l, &b)
	}
	if err := l.Delete("run-1"); err != nil {
		t.Fatal(err)
	}
	if err := l.SaveCheckpoints([]Checkpoint{{"run-0", 3, []byte("derived")}}, nil); err != nil {
		t.Fatal(err)
	}
	sound(t, l)
}

// TestEachRowCounts changes a bit of each row of the database, and takes each
// row away: Verify must tell and name the place.
func TestEachRowCounts(t *testing.T) {
	l, _ := storeKinds[1].open(t)
	full(t, l)
	db := l.store.(*pebbleStore).db
	rows := 0
	for _, row := range allRows(t, db) {
		if row.key[0] == tagCheckpoint {
			continue // derived data: the log doesn't know what should be there
		}
		rows++
		set := func(val []byte) {
			if err := db.Set(row.key, val, pebble.NoSync); err != nil {
				t.Fatal(err)
			}
		}
		for at := range row.val {
			bad := bytes.Clone(row.val)
			bad[at] ^= 1 << (at % 2 * 7)
			set(bad)
			blamed(t, l, row, fmt.Sprintf("byte %d is %x", at, bad[at]))
		}
		if len(row.val) > 0 {
			set(row.val[:len(row.val)-1])
			blamed(t, l, row, "the last byte is gone")
		}
		if err := db.Delete(row.key, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		blamed(t, l, row, "the row is gone")
		set(row.val)
		sound(t, l)
	}
	// 9 records, 4+4+1 entries, 2 values, 2 uses, 2 keys, the totals
	if rows != 25 {
		t.Errorf("%d rows", rows)
	}
}

type dbRow struct{ key, val []byte }

func allRows(t *testing.T, db *pebble.DB) (out []dbRow) {
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		out = append(out, dbRow{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
	}
	return out
}

// blamed checks that Verify finds a problem and names what the row belongs to,
// and that reading it all doesn't panic.
func blamed(t *testing.T, l *Log, row dbRow, what string) {
	t.Helper()
	_, _ = state(l)
	for range l.Streams("", true, "") {
	}
	r, err := l.Verify(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	name := ""
	switch row.key[0] {
	case tagRecord:
		seq, _, _ := splitPlace(row.key[1:])
		name = fmt.Sprintf("record %d", seq)
	case tagStream:
		stream, _, _ := splitStreamKey(row.key)
		name = string(stream)
	case tagValue:
		name = hex.EncodeToString(row.key[1:])
	case tagUse:
		name = hex.EncodeToString(row.key[1:33])
	case tagClaim:
		name = string(row.key[1:])
	case tagTotals:
		name = "totals"
	}
	said := strings.Join(r.Problems, "\n")
	if !strings.Contains(said, name) {
		t.Errorf("row %q, %s: want %s to be named in:\n%s", row.key, what, name, said)
	}
}

// TestDamagedTable flips bytes all over a table of Pebble's. Either somebody
// tells, Open or Verify, or what is read is right all the same.
func TestDamagedTable(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l := openOn(t, mem)
	full(t, l)
	if err := l.store.(*pebbleStore).db.Flush(); err != nil {
		t.Fatal(err)
	}
	told, harmless, _ := flipAll(t, mem, l, ".sst", 13, 0)
	if told < 100 || harmless > told/4 {
		t.Error("that is not as it should be")
	}
}

// TestDamageInBrief: a damaged file is named once in the program's log, and each
// problem is one line, whatever Pebble's errors have to say about themselves.
func TestDamageInBrief(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l := openOn(t, mem)
	var b Batch
	for i := range 1000 { // so that what opening reads lies elsewhere
		b.Add(rec(fmt.Sprintf("run-%d", i), strings.Repeat(fmt.Sprint(i), 10)))
	}
	addBatch(t, l, &b)
	if err := l.store.(*pebbleStore).db.Flush(); err != nil {
		t.Fatal(err)
	}
	clone, table := mem.CrashClone(vfs.CrashCloneCfg{}), lastFile(t, mem, ".sst")
	flip(t, clone, table, fileSize(t, clone, table)/2)
	var said strings.Builder
	damaged, err := Open("store", Options{FS: clone, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer damaged.Close()
	r, err := damaged.Verify(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if len(lines) != 1 || !strings.Contains(lines[0], "a file is damaged") || len(lines[0]) > 500 {
		t.Errorf("the program's log has %d lines:\n%s", len(lines), said.String())
	}
	for _, p := range r.Problems {
		if strings.Contains(p, "\n") {
			t.Errorf("more than a line: %s", p)
		}
	}
	if len(r.Problems) < 2 {
		t.Errorf("the problems are %q", r.Problems)
	}
}

// TestDamagedWAL does so in the write-ahead log. Where a process was killed it is
// told, wherever it is. After a power cut, that took the evidence of what was
// acknowledged along, the last batches before it may be lost: that can't be told
// from a write that was cut short. It is never half a batch.
func TestDamagedWAL(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l := openOn(t, mem)
	for i := range 40 {
		var b Batch
		r := rec("a", fmt.Sprint(i))
		r.Refs = []Hash{b.Put(bytes.Repeat([]byte{byte(i)}, 5000))}
		b.Add(r)
		b.Add(rec("b", fmt.Sprint(i)))
		addBatch(t, l, &b)
	}
	if told, _, cut := flipAll(t, mem, l, ".log", 997, 100); told < 100 || cut > 0 {
		t.Error("that is not as it should be, when it was killed")
	}
	if told, _, cut := flipAll(t, mem, l, ".log", 1997, 0); told < 50 || cut > told/3 {
		t.Error("that is not as it should be, after a power cut")
	}
}

// flipAll flips each step'th byte of the newest file with this suffix, opens
// what a kill would leave, or a power cut that keeps so much of what isn't
// synced, and says how often somebody told, it did no harm, or the log was cut
// short at the end of a batch.
func flipAll(t *testing.T, mem *vfs.MemFS, l *Log, suffix string, step, percent int) (told, harmless, cut int) {
	want, err := state(l)
	if err != nil {
		t.Fatal(err)
	}
	file := lastFile(t, mem, suffix)
	for at := 0; at < fileSize(t, mem, file); at += step {
		clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 1))})
		flip(t, clone, file, at)
		got, err := readDamaged(clone)
		switch {
		case err != nil:
			told++
		case got == want:
			harmless++
		case strings.HasPrefix(want, got) && suffix == ".log" && strings.Count(got, ":")%2 == 0:
			cut++
		default:
			t.Errorf("byte %d of %s: nobody tells, and the log reads\n%s", at, file, got)
		}
	}
	t.Logf("%d flips were told, %d did no harm, %d cut the log short", told, harmless, cut)
	return told, harmless, cut
}

// readDamaged returns what can be read of a store, or what is wrong with it.
func readDamaged(fs vfs.FS) (string, error) {
	l, err := Open("store", Options{FS: fs})
	if err != nil {
		return "", err
	}
	defer l.Close()
	r, err := l.Verify(context.Background())
	if err != nil {
		return "", err
	}
	if len(r.Problems) > 0 {
		return "", errors.New(strings.Join(r.Problems, "\n"))
	}
	return state(l)
}

func lastFile(t *testing.T, fs vfs.FS, suffix string) (last string) {
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, suffix) && n > last {
			last = n
		}
	}
	return "store/" + last
}

func fileSize(t *testing.T, fs vfs.FS, name string) int {
	info, err := fs.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Size())
}

func flip(t *testing.T, fs vfs.FS, name string, at int) {
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], int64(at)); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], int64(at)); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedSmallFiles flips each byte of the other files of a store of Pebble:
// the manifest, the options and our own STORE. Either Open tells, or nothing of
// the log is lost. (A changed id is told by nobody: it is the store's name.)
func TestDamagedSmallFiles(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l := openOn(t, mem)
	full(t, l)
	if err := l.store.(*pebbleStore).db.Flush(); err != nil {
		t.Fatal(err)
	}
	add(t, l, rec("run-0", "in the write-ahead log"))
	want, err := state(l)
	if err != nil {
		t.Fatal(err)
	}
	names, err := mem.List("store")
	if err != nil {
		t.Fatal(err)
	}
	told, harmless := map[string]int{}, map[string]int{}
	for _, name := range names {
		kind, _, _ := strings.Cut(name, "-")
		if kind != "MANIFEST" && kind != "OPTIONS" && kind != "STORE" {
			continue
		}
		for at := 0; at < fileSize(t, mem, "store/"+name); at += 3 {
			clone := mem.CrashClone(vfs.CrashCloneCfg{})
			flip(t, clone, "store/"+name, at)
			switch got, err := readDamaged(clone); {
			case err != nil:
				told[kind]++
			case got == want:
				harmless[kind]++
			default:
				t.Errorf("byte %d of %s: nobody tells, and the log reads\n%s", at, name, got)
			}
		}
	}
	t.Logf("told: %v, harmless: %v", told, harmless)
	if told["MANIFEST"] == 0 || told["STORE"] == 0 || told["OPTIONS"]+harmless["OPTIONS"] == 0 {
		t.Error("that is not as it should be")
	}
}
