package eventlog

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestAckedLines: whatever befalls one line of ACKED, the other is believed, and
// the newer one if both can be read.
func TestAckedLines(t *testing.T) {
	fs := vfs.NewMem()
	f := &folder{fs: fs, dir: "store"}
	if err := fs.MkdirAll("store", 0o700); err != nil {
		t.Fatal(err)
	}
	if a, line := readAcked(f, "id"); a != (acked{}) || line != 0 {
		t.Errorf("no file says %+v in line %d", a, line)
	}
	book := keepAcked(f, "id", 0)
	older, newer := acked{41, 7, 1234}, acked{43, 9, 99}
	book.note(older)
	book.note(newer)
	book.close()
	good, err := readFile(fs, "store/ACKED")
	if err != nil || len(good) != 2*ackedLine || strings.Count(good, "\n") != 2 {
		t.Fatalf("%q, %v", good, err)
	}
	_, at := readAcked(f, "id")
	for i := range good {
		bad := []byte(good)
		bad[i] ^= 1 << (i % 8)
		if err := writeFile(fs, "store/ACKED", string(bad), false); err != nil {
			t.Fatal(err)
		}
		want := newer
		if a, _ := readAcked(f, "id"); int64(i/ackedLine) == at && good[i] != ' ' && good[i] != '\n' {
			want = older
			if a != want {
				t.Errorf("byte %d: %+v", i, a)
			}
		} else if a != newer && a != older || int64(i/ackedLine) != at && a != newer {
			t.Errorf("byte %d: %+v", i, a)
		}
	}
	for size := range good { // it is cut short
		if err := writeFile(fs, "store/ACKED", good[:size], false); err != nil {
			t.Fatal(err)
		}
		if a, _ := readAcked(f, "id"); size < 40 && a != (acked{}) || size > ackedLine && a == (acked{}) {
			t.Errorf("%d bytes say %+v", size, a)
		}
	}
	if err := writeFile(fs, "store/ACKED", good, false); err != nil {
		t.Fatal(err)
	}
	if a, _ := readAcked(f, "another"); a != (acked{}) {
		t.Errorf("another store is told %+v", a)
	}
	if a, _ := readAcked(f, "id"); a != newer {
		t.Errorf("it says %+v", a)
	}
}

// TestAckedGoesOn: the newest note outlives whoever opens the store and appends
// nothing, and what comes after is newer.
func TestAckedGoesOn(t *testing.T) {
	mem := vfs.NewMem()
	for life := range 4 {
		l := openOn(t, mem)
		if life%2 == 0 {
			add(t, l, rec("a", "1"), rec("a", "2"))
		}
		id, last := l.ID(), l.Last()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		a, _ := readAcked(&folder{fs: mem, dir: "store"}, id)
		if a.last != last || a.end == 0 || a.log == 0 {
			t.Errorf("life %d, up to %d: %+v", life, last, a)
		}
	}
}

// TestAckedMissing: a store that lost its write-ahead log is told from one that
// has none, and Repair goes on with what there is.
func TestAckedMissing(t *testing.T) {
	mem := vfs.NewMem()
	l := openOn(t, mem)
	add(t, l, rec("a", "1"), rec("a", "2"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mem.Remove(lastFile(t, mem, ".log")); err != nil {
		t.Fatal(err)
	}
	_, err := Open("store", Options{FS: mem})
	if err == nil || !strings.Contains(err.Error(), "damaged: records 1 to 2 are missing, which were acknowledged") {
		t.Error(err)
	}
	if err := mem.Remove("store/ACKED"); err != nil {
		t.Fatal(err)
	}
	if l := openOn(t, mem); l.Last() != 0 {
		t.Errorf("up to %d", l.Last())
	}
}
