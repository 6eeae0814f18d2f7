package eventlog

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// written is a store of Pebble's in memory whose write-ahead log was never
// flushed, with the places in it up to which it was durable after each append.
type written struct {
	mem  *vfs.MemFS
	name string // of the log
	text []byte
	ends []acked
	want string // what its records are
}

// writeLog appends so many batches, each with a value of so many bytes, and now
// and then saves a checkpoint, which waits for no disk.
func writeLog(t *testing.T, batches, size int) written {
	mem := vfs.NewCrashableMem()
	l := openOn(t, mem)
	w := written{mem: mem}
	for i := range batches {
		var b Batch
		r := rec("a", fmt.Sprint(i))
		r.Refs = []Hash{b.Put(bytes.Repeat([]byte{byte(i)}, size+i))}
		b.Add(r)
		b.Add(rec("b", fmt.Sprint(i)))
		addBatch(t, l, &b)
		at := l.disk.durable.Load()
		w.ends = append(w.ends, acked{l.Last(), at.log, at.end})
		if i%4 == 3 {
			if err := l.SaveCheckpoints([]Checkpoint{{"a", l.Last(), []byte("derived")}}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	var err error
	if w.want, err = state(l); err != nil {
		t.Fatal(err)
	}
	w.name = lastFile(t, mem, ".log")
	text, err := readFile(mem, w.name)
	if err != nil {
		t.Fatal(err)
	}
	w.text = []byte(text)
	return w
}

// number is that of the log.
func (w written) number() uint64 { return logNumber(filepath.Base(w.name)) }

// judged is what the check says of a log with this text.
func (w written) judged(t *testing.T, text []byte) walEnd {
	e, err := readWAL(bytes.NewReader(text), uint32(w.number()))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// batchesIn are the batches that Pebble reads from a log.
func (w written) batchesIn(t *testing.T, text []byte) (all []string) {
	fs := vfs.NewMem()
	if err := writeFile(fs, filepath.Base(w.name), string(text), false); err != nil {
		t.Fatal(err)
	}
	logs, err := wal.Scan(wal.Dir{FS: fs})
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	in := logs[0].OpenForRead()
	defer in.Close()
	for {
		one, _, err := in.NextRecord()
		if err != nil {
			return all
		}
		all = append(all, string(must(io.ReadAll(one))))
	}
}

// TestFlippedLog changes each byte of a write-ahead log. If it is known what was
// acknowledged, that is told, or does no harm; if not, that of all but the end.
func TestFlippedLog(t *testing.T) {
	w := writeLog(t, 12, 2900)
	last := w.ends[len(w.ends)-1]
	if e := w.judged(t, w.text); e.at < last.end || e.beyond {
		t.Fatalf("the log is sound, but: %+v", e)
	}
	whole := w.batchesIn(t, w.text)
	if len(whole) < 12 {
		t.Fatalf("Pebble reads %d batches", len(whole))
	}
	var byOffset, byAcked, harmless int
	bad := bytes.Clone(w.text)
	for at := range int(last.end) {
		bad[at] ^= 1 << (at * 5 / 8 % 8)
		e := w.judged(t, bad)
		known := e.proof(w.number(), last, false) != ""
		if known && (e.at > int64(at) || e.at < int64(at)-walBlock || e.batch > e.at) {
			t.Errorf("byte %d: the place that is named is %+v", at, e)
		}
		switch {
		case e.proof(w.number(), acked{}, false) != "":
			byOffset++
		case known:
			byAcked++
		default:
			harmless++
		}
		if !known || at%997 == 0 { // Pebble takes its time to look for such a flip
			if got := w.batchesIn(t, bad); known != (len(got) < len(whole)) {
				t.Errorf("byte %d: %d of %d batches are read; known: %t", at, len(got), len(whole), known)
			}
		}
		if int64(at) < w.ends[9].end && known && e.proof(w.number(), acked{}, true) == "" {
			t.Errorf("byte %d: that a newer log is there is no proof", at)
		}
		bad[at] = w.text[at]
	}
	t.Logf("%d flips were told by offsets, %d by ACKED alone, %d did no harm", byOffset, byAcked, harmless)
	if byOffset < len(w.text)/2 || byAcked < 1000 || harmless > 50 {
		t.Error("that is not as it should be")
	}
}

// TestTornLog makes of a log what a power cut may leave: all that was synced,
// and of the rest any sectors, in any state. That is never damage, whether ACKED
// is as new as can be, older or lost.
func TestTornLog(t *testing.T) {
	w := writeLog(t, 12, 3000)
	text := w.text
	rng := rand.New(rand.NewPCG(1, 2))
	for k, end := range w.ends {
		next := int64(len(text))
		if k+1 < len(w.ends) {
			next = w.ends[k+1].end // no batch is begun before the one before it is synced
		}
		for range 60 {
			torn := append(bytes.Clone(text[:next]), make([]byte, rng.IntN(2000))...)
			for at := end.end; at < int64(len(torn)); at = at/512*512 + 512 {
				sector := torn[at:min(at/512*512+512, int64(len(torn)))]
				switch rng.IntN(4) {
				case 0:
					clear(sector)
				case 1:
					sector[rng.IntN(len(sector))] ^= 1 << rng.IntN(8)
				}
			}
			torn = torn[:end.end+rng.Int64N(int64(len(torn))-end.end+1)]
			for _, a := range []acked{end, w.ends[k/2], {}} {
				if why := w.judged(t, torn).proof(w.number(), a, false); why != "" {
					t.Fatalf("after append %d, %d bytes of which %d were synced, known %+v: %s", k, len(torn), end.end, a, why)
				}
			}
		}
	}
}

// TestClosedLog kills after batches each of which is large enough for Pebble to
// close the log behind it: ACKED then tells of a log with its trailer.
func TestClosedLog(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l := openOn(t, mem)
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range 6 {
		var b Batch
		r := rec("a", fmt.Sprint(i))
		r.Refs = []Hash{b.Put(bytes.Repeat([]byte{byte(i), 1, 2}, 1<<20))}
		b.Add(r)
		addBatch(t, l, &b)
		killed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
		a, _ := readAcked(&folder{fs: killed, dir: "store"}, l.ID())
		if a.last != l.Last() || a.end < 3<<20 {
			t.Fatalf("after batch %d: %+v", i, a)
		}
		// It may have been flushed by now, so that no Open reads it.
		text, err := readFile(killed, fmt.Sprintf("store/%06d.log", a.log))
		if err != nil {
			t.Fatal(err)
		}
		e, err := readWAL(strings.NewReader(text), uint32(a.log))
		if why := e.proof(a.log, a, true); err != nil || why != "" || e.whole != a.end || e.at == e.whole {
			t.Errorf("after batch %d, known %+v: %+v, %q, %v", i, a, e, why, err)
		}
		bad := bytes.Clone([]byte(text))
		bad[e.at-1] ^= 1
		if e, err := readWAL(bytes.NewReader(bad), uint32(a.log)); err != nil || e.proof(a.log, a, false) == "" {
			t.Errorf("batch %d is damaged: %+v, %v", i, e, err)
		}
		if again, err := Open("store", Options{FS: killed}); err != nil {
			t.Errorf("after batch %d: %v", i, err)
		} else if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDamagedOpen flips bytes all over the write-ahead log that a killed process
// leaves, and that of a store which was closed. Open tells and names the file and
// the place, or everything is there.
func TestDamagedOpen(t *testing.T) {
	for _, how := range []string{"killed", "closed"} {
		t.Run(how, func(t *testing.T) {
			whole := filepath.Join(t.TempDir(), "store")
			killAfter(t, Pebble, whole, 150)
			if how == "closed" {
				l, err := Open(whole, Options{})
				if err != nil {
					t.Fatal(err)
				}
				for i := range 40 {
					add(t, l, rec("run", fmt.Sprint(i)), rec("run", "more"))
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
			m := must(parseMarker(string(must(os.ReadFile(filepath.Join(whole, "STORE"))))))
			known, _ := readAcked(&folder{fs: vfs.Default, dir: whole}, m.id)
			log := newest(t, whole, ".log")
			text := must(os.ReadFile(filepath.Join(whole, log)))
			want, err := openCopy(t, whole, log, text)
			if err != nil {
				t.Fatal(err)
			}
			told := 0
			for at := 0; at < len(text); at += 1 + len(text)/60 {
				bad := bytes.Clone(text)
				bad[at] ^= 1
				got, err := openCopy(t, whole, log, bad)
				switch {
				case err != nil && strings.Contains(err.Error(), "the write-ahead log "+log+" is damaged at byte "):
					told++
				case err != nil:
					t.Errorf("byte %d: %v", at, err)
				case got != want && (int64(at) < known.end || !strings.HasPrefix(want, got)): // a kill may leave more than was acknowledged
					t.Errorf("byte %d of %d, %+v: nobody tells, and the log reads\n%s", at, len(text), known, got)
				}
			}
			t.Logf("%d flips in %d bytes of %s were told", told, len(text), log)
			if told < 30 {
				t.Error("that is too few")
			}
		})
	}
}

// openCopy reads a copy of a store in which a file has another text.
func openCopy(t *testing.T, whole, file string, text []byte) (string, error) {
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(dir, Options{})
	if err != nil {
		return "", err
	}
	defer l.Close()
	sound(t, l)
	return state(l)
}
