package eventlog

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Random operations on every store, against a model that is too simple to be
// wrong. A failure prints the seed and the shortest way to it.
func TestAgainstModel(t *testing.T) {
	for _, kind := range storeKinds {
		t.Run(kind.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				l, reopen := kind.open(t)
				m := &model{T: rt, l: l, reopen: reopen}
				m.l.writer.heads.limit, m.l.writer.known.limit = 6, 4
				rt.Repeat(map[string]func(*rapid.T){
					"append": m.append,
					"delete": m.delete,
					"fold":   m.fold,
					"reopen": m.openAgain,
					"save":   m.save,
					"":       m.check,
				})
				if r, err := m.l.Verify(t.Context()); err != nil || len(r.Problems) > 0 {
					rt.Fatalf("verify: %v\n%s", err, strings.Join(r.Problems, "\n"))
				}
				if err := m.l.Close(); err != nil {
					rt.Fatal(err)
				}
			})
		})
	}
}

type model struct {
	*rapid.T
	l      *Log
	reopen func() *Log

	records []Record // all that are there
	last    Seq
	keys    map[string]string
	points  map[string]Seq
}

var (
	someStreams = rapid.SampledFrom([]string{"a", "ab", "b", "run-1", "run-10", "run-2", "z\xff"})
	someValues  = rapid.SampledFrom([]string{"", "one", "two", strings.Repeat("big", 5000)})
	someKeys    = rapid.SampledFrom([]string{"k", "l", "m", "n"})
)

func (m *model) append(t *rapid.T) {
	var b Batch
	for range rapid.IntRange(1, 6).Draw(t, "records") {
		r := rec(someStreams.Draw(t, "stream"), rapid.StringN(0, 5, -1).Draw(t, "data"))
		for _, v := range rapid.SliceOfN(someValues, 0, 2).Draw(t, "values") {
			r.Refs = append(r.Refs, b.Put([]byte(v)))
		}
		r.Keys = rapid.SliceOfN(someKeys, 0, 2).Draw(t, "keys")
		b.Add(r)
	}
	first, err := m.l.Append(&b)
	if err != nil || first != m.last+1 {
		t.Fatalf("append: %d after %d, %v", first, m.last, err)
	}
	for _, r := range b.records {
		m.last++
		r.Seq = m.last
		m.records = append(m.records, r)
		for _, k := range r.Keys {
			if m.keys == nil {
				m.keys = make(map[string]string)
			}
			if m.keys[k] == "" {
				m.keys[k] = r.Stream
			}
		}
	}
}

func (m *model) delete(t *rapid.T) {
	streams := rapid.SliceOfN(someStreams, 1, 3).Draw(t, "streams")
	if err := m.l.Delete(streams...); err != nil {
		t.Fatalf("delete: %v", err)
	}
	for _, stream := range streams {
		m.deleted(stream)
	}
}

func (m *model) deleted(stream string) {
	mine := func(r Record) bool { return r.Stream == stream }
	if !slices.ContainsFunc(m.records, func(r Record) bool { return mine(r) && r.Type != StreamDeleted }) {
		return
	}
	m.records = slices.DeleteFunc(m.records, mine)
	m.last++
	m.records = append(m.records, Record{Seq: m.last, Stream: stream, Type: StreamDeleted})
	for k, s := range m.keys {
		if s == stream {
			delete(m.keys, k)
		}
	}
	delete(m.points, stream)
}

// fold folds some of the marks.
func (m *model) fold(t *rapid.T) {
	marks, err := m.l.Marks(t.Context(), Seq(rapid.Uint64Range(0, uint64(m.last)).Draw(t, "to")))
	if err != nil {
		t.Fatalf("marks: %v", err)
	}
	some := marks[:rapid.IntRange(0, len(marks)).Draw(t, "marks")]
	going := func(r Record) bool { return slices.ContainsFunc(some, func(k Mark) bool { return k.seq == r.Seq }) }
	for _, k := range some {
		alone := func(r Record) bool { return r.Stream == k.Stream && (r.Seq != k.seq || r.Type != StreamDeleted) }
		if !slices.ContainsFunc(m.records, going) || slices.ContainsFunc(m.records, alone) {
			t.Fatalf("stream %q is no mark alone", k.Stream)
		}
		delete(m.points, k.Stream)
	}
	for range 2 { // the second time there is nothing to do
		if err := m.l.Fold(some); err != nil {
			t.Fatalf("fold: %v", err)
		}
	}
	if len(some) == 0 {
		return
	}
	m.records = slices.DeleteFunc(m.records, func(r Record) bool { return going(r) || r.Stream == Folded })
	m.last++
	m.records = append(m.records, Record{Seq: m.last, Stream: Folded, Type: StreamDeleted})
}

func (m *model) save(t *rapid.T) {
	c := Checkpoint{Stream: someStreams.Draw(t, "stream"), At: Seq(rapid.Uint64Range(0, uint64(m.last)).Draw(t, "at"))}
	drop := someStreams.Draw(t, "drop")
	if drop == c.Stream {
		t.Skip()
	}
	if err := m.l.SaveCheckpoints([]Checkpoint{c}, []string{drop}); err != nil {
		t.Fatal(err)
	}
	if m.points == nil {
		m.points = make(map[string]Seq)
	}
	m.points[c.Stream] = c.At
	delete(m.points, drop)
}

func (m *model) openAgain(t *rapid.T) {
	if m.reopen == nil {
		t.Skip()
	}
	m.l = m.reopen()
}

func (m *model) check(t *rapid.T) {
	expect := func(what string, got, want any) {
		if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
			t.Fatalf("%s\n got %s\nwant %s", what, g, w)
		}
	}
	expect("Last", m.l.Last(), m.last)
	expect("the log", brief(m.read(t, "", 0)), brief(m.records))
	from := Seq(rapid.Uint64Range(0, uint64(m.last)+1).Draw(t, "from"))
	stream := someStreams.Draw(t, "stream")
	mine := slices.DeleteFunc(slices.Clone(m.records), func(r Record) bool { return r.Stream != stream || r.Seq < from })
	expect("stream "+stream, brief(m.read(t, stream, from)), brief(mine))

	var names []string
	used := make(map[Hash]bool)
	for _, r := range m.records {
		if r.Type != StreamDeleted {
			names = append(names, r.Stream)
		}
		for _, h := range r.Refs {
			used[h] = true
		}
	}
	slices.Sort(names)
	var listed []string
	for name, err := range m.l.Streams("", false, "") {
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, name)
	}
	expect("streams", listed, slices.Compact(names))
	for _, v := range []string{"", "one", "two", strings.Repeat("big", 5000)} {
		_, err := m.l.Value(Sum([]byte(v)))
		expect("value "+v[:min(len(v), 3)], err == nil, used[Sum([]byte(v))])
	}
	for _, k := range []string{"k", "l", "m", "n"} {
		owner, _, _ := m.l.Lookup(k)
		expect("key "+k, owner, m.keys[k])
	}
	points := make(map[string]Seq)
	for c, err := range m.l.Checkpoints("") {
		if err != nil {
			t.Fatal(err)
		}
		points[c.Stream] = c.At
	}
	expect("checkpoints", points, m.points)
}

func (m *model) read(t *rapid.T, stream string, from Seq) (out []Record) {
	it := m.l.Read(from)
	if stream != "" {
		it = m.l.ReadStream(stream, from)
	}
	for r, err := range it {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}
