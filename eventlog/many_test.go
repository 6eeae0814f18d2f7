package eventlog

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestManyRecords fills each store, to a size at which what isn't proportional
// shows: every record is read back in order, once over the log and once by
// streams; streams go, their marks are folded, and what is left is sound, also
// after opening it again. GLEITZEIT_RECORDS says how many (.ci/soak: 1,000,000).
func TestManyRecords(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("GLEITZEIT_RECORDS"))
	if err != nil {
		n = 10_000
	}
	onEach(t, func(t *testing.T, l *Log, reopen func() *Log) {
		m := many{T: t, n: n, streams: n / 10, began: time.Now()}
		m.fill(l)
		m.check(l, 0)
		if reopen != nil {
			l = reopen()
			m.said("opened again")
		}
		m.check(l, 0)
		gone := m.streams * 9 / 10
		m.remove(l, gone)
		m.check(l, gone)
		if r := sound(t, l); int(r.Streams) != m.streams-gone+1 || int(r.Deleted) != n/10*9+gone+(gone-1)/1000 {
			t.Errorf("report: %+v", r)
		}
		m.said("verified")
	})
}

type many struct {
	*testing.T
	n, streams int
	began      time.Time
}

func (m *many) said(what string) {
	m.Logf("%8.1f s  %s", time.Since(m.began).Seconds(), what)
}

func (m *many) stream(i int) string { return fmt.Sprintf("s%07d", i) }

// fill appends ten records to each stream, a hundred streams at a time, with a
// value of each stream's own and one of a hundred.
func (m *many) fill(l *Log) {
	for first := 0; first < m.streams; first += 100 {
		var b Batch
		for round := range 10 {
			for i := first; i < min(first+100, m.streams); i++ {
				r := rec(m.stream(i), fmt.Sprint(i, ".", round))
				if round == 0 {
					r.Refs = []Hash{b.Put(fmt.Append(nil, "own ", i)), b.Put(fmt.Append(nil, "shared ", first))}
					r.Keys = []string{m.stream(i)}
				}
				b.Add(r)
			}
		}
		addBatch(m.T, l, &b)
	}
	m.said("filled")
}

// check reads what is there from the stream from on.
func (m *many) check(l *Log, from int) {
	m.Helper()
	records, last := 0, Seq(0)
	for r, err := range l.Read(0) {
		if err != nil || r.Seq <= last {
			m.Fatalf("record %d after %d: %v", r.Seq, last, err)
		}
		if last = r.Seq; r.Stream != Folded {
			records++
		}
	}
	if want := 10 * (m.streams - from); records != want {
		m.Errorf("%d records, want %d", records, want)
	}
	m.said("read")
	for i := from; i < m.streams; i += 7 {
		rs := all(m.T, l.ReadStream(m.stream(i), 0))
		if len(rs) != 10 || string(rs[9].Data) != fmt.Sprint(i, ".", 9) {
			m.Fatalf("stream %d: %s", i, brief(rs))
		}
		if v, err := l.Value(rs[0].Refs[0]); err != nil || string(v) != fmt.Sprint("own ", i) {
			m.Fatalf("stream %d: %q, %v", i, v, err)
		}
		if s, ok, err := l.Lookup(m.stream(i)); s != m.stream(i) || !ok || err != nil {
			m.Fatalf("stream %d: its key is %q's, %v", i, s, err)
		}
	}
	names := 0
	for _, err := range l.Streams("s", true, "") {
		if err != nil {
			m.Fatal(err)
		}
		names++
	}
	if names != m.streams-from {
		m.Errorf("%d streams are listed", names)
	}
	m.said("read by streams")
}

// remove removes the first streams, and folds their marks.
func (m *many) remove(l *Log, gone int) {
	for first := 0; first < gone; first += 100 {
		var names []string
		for i := first; i < min(first+100, gone); i++ {
			names = append(names, m.stream(i))
		}
		if err := l.Delete(names...); err != nil {
			m.Fatal(err)
		}
	}
	m.said("removed")
	marks, err := l.Marks(m.Context(), l.Last())
	if err != nil || len(marks) != gone {
		m.Fatalf("%d marks, %v", len(marks), err)
	}
	for len(marks) > 0 {
		some := min(1000, len(marks))
		if err := l.Fold(marks[:some]); err != nil {
			m.Fatal(err)
		}
		marks = marks[some:]
	}
	m.said("folded")
}
