package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// The conformance suite: what every store must do.

func TestRecordsComeBackWhole(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, reopen func() *Log) {
		var b Batch
		big := bytes.Repeat([]byte("value "), 50_000)
		h, h2 := b.Put(big), b.Put([]byte{})
		b.Add(Record{Stream: "a", Type: "t"})
		b.Add(Record{
			Time:   time.Date(2026, 11, 23, 1, 2, 3, 4, time.FixedZone("", 3600)),
			Stream: "run/ü 1",
			Type:   "task.completed",
			Data:   bytes.Repeat([]byte{0, 255}, MaxData/2),
			Refs:   []Hash{h, h2, h},
			Keys:   []string{"key\x00", "other"},
		})
		b.Add(rec(strings.Repeat("s", MaxName), "x"))
		want := addBatch(t, l, &b)
		for i := range want {
			want[i].Time = want[i].Time.UTC()
		}
		check := func() {
			t.Helper()
			if d := cmp.Diff(want, all(t, l.Read(0))); d != "" {
				t.Errorf("Read: %s", d)
			}
			if d := cmp.Diff(want[1:2], all(t, l.ReadStream("run/ü 1", 0))); d != "" {
				t.Errorf("ReadStream: %s", d)
			}
			if v, err := l.Value(h); err != nil || !bytes.Equal(v, big) {
				t.Errorf("Value: %d bytes, %v", len(v), err)
			}
			if v, err := l.Value(h2); err != nil || len(v) != 0 {
				t.Errorf("empty value: %d bytes, %v", len(v), err)
			}
			r := sound(t, l)
			if r.Records != 3 || r.Values != 2 || r.Keys != 2 || r.Streams != 3 {
				t.Errorf("report: %+v", r)
			}
		}
		check()
		if reopen != nil {
			id := l.ID()
			l = reopen()
			check()
			if l.ID() != id || len(id) < 20 {
				t.Errorf("id was %q and is %q", id, l.ID())
			}
		}
	})
}

func TestReadFromAnywhere(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		var want []Record
		for i := range 700 { // more than a page
			n := i%5 + 1
			var rs []Record
			for j := range n {
				rs = append(rs, rec(fmt.Sprintf("s%d", (i+j*j)%7), fmt.Sprint(i)))
			}
			want = append(want, add(t, l, rs...)...)
		}
		if l.Last() != Seq(len(want)) {
			t.Fatalf("Last is %d, want %d", l.Last(), len(want))
		}
		for from := Seq(0); from < Seq(len(want))+3; from += 97 {
			rest := want[min(max(int(from)-1, 0), len(want)):]
			if d := cmp.Diff(brief(rest), brief(all(t, l.Read(from)))); d != "" {
				t.Fatalf("Read(%d): %s", from, d)
			}
			var mine []Record
			for _, r := range rest {
				if r.Stream == "s3" {
					mine = append(mine, r)
				}
			}
			if d := cmp.Diff(brief(mine), brief(all(t, l.ReadStream("s3", from)))); d != "" {
				t.Fatalf("ReadStream(%d): %s", from, d)
			}
		}
		for _, stream := range []string{"s", "s33", "nobody", "", "s3\x00"} {
			if rs := all(t, l.ReadStream(stream, 0)); len(rs) > 0 {
				t.Errorf("stream %q has %s", stream, brief(rs))
			}
		}
		sound(t, l)
	})
}

func TestABreakEndsReading(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		add(t, l, rec("a", "1"), rec("a", "2"))
		n := 0
		for range l.Read(0) {
			n++
			add(t, l, rec("a", "more")) // the log is free while its reader works
			break
		}
		if n != 1 || l.Last() != 3 {
			t.Errorf("read %d records, Last is %d", n, l.Last())
		}
	})
}

func TestRefusedBatchesLeaveNothing(t *testing.T) {
	var unlisted, mark, huge, ok Batch
	for data := make([]byte, MaxData); huge.Len() <= MaxBatch/MaxData; {
		huge.Add(Record{Stream: "a", Type: "t", Data: data})
	}
	unlisted.Put([]byte("x"))
	unlisted.Add(rec("a", "1"))
	mark.Add(Record{Stream: "a", Type: StreamDeleted})
	one := func(r Record) *Batch {
		b := new(Batch)
		b.Add(rec("a", "good")) // in front of the bad one
		b.Put([]byte("good"))
		r.Refs = append(r.Refs, Sum([]byte("good")))
		b.Add(r)
		return b
	}
	for _, c := range []struct {
		name, want string
		batch      *Batch
	}{
		{"empty", "no record", new(Batch)},
		{"no stream", "stream must have a name", one(Record{Type: "t"})},
		{"NUL", "NUL byte", one(Record{Stream: "a\x00b", Type: "t"})},
		{"long name", "1025 bytes in its name", one(Record{Stream: strings.Repeat("n", MaxName+1), Type: "t"})},
		{"no type", "must have 1 to", one(Record{Stream: "a"})},
		{"a mark", "only Delete writes", &mark},
		{"too much data", "65537 bytes of data", one(Record{Stream: "a", Type: "t", Data: make([]byte, MaxData+1)})},
		{"empty key", "key", one(Record{Stream: "a", Type: "t", Keys: []string{""}})},
		{"more than a batch", "the limit is 1073741824", &huge},
		{"unlisted value", "lists value", &unlisted},
		{"unknown ref", "neither in the batch nor in the log", one(Record{Stream: "a", Type: "t", Refs: []Hash{{1}}})},
	} {
		t.Run(c.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
				_, err := l.Append(c.batch)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v, want …%s…", err, c.want)
				}
				if l.Last() != 0 || len(all(t, l.Read(0))) != 0 {
					t.Error("something was written")
				}
				ok.Reset()
				ok.Add(rec("a", "good"))
				if first, err := l.Append(&ok); first != 1 || err != nil {
					t.Errorf("the next batch: %d, %v", first, err)
				}
				sound(t, l)
			})
		})
	}
}

func TestConcurrentAppends(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, reopen func() *Log) {
		const writers, batches, size = 16, 25, 3
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				var b Batch
				for i := range batches {
					b.Reset()
					for j := range size {
						r := rec(fmt.Sprintf("w%d", w), fmt.Sprintf("%d.%d.%d", w, i, j))
						r.Refs = []Hash{b.Put([]byte(fmt.Sprintf("shared %d", i)))}
						r.Keys = []string{fmt.Sprintf("key %d", i)}
						b.Add(r)
					}
					b.Add(rec("common", "x"))
					first, err := l.Append(&b)
					if err != nil {
						t.Error(err)
						return
					}
					if l.Last() < first+size {
						t.Errorf("records up to %d are acknowledged, Last is %d", first+size, l.Last())
					}
				}
			})
		}
		wg.Wait()
		// The records of a batch stand together, those of a writer in order.
		var next [writers]int
		rs := all(t, l.Read(0))
		if len(rs) != writers*batches*(size+1) {
			t.Fatalf("%d records", len(rs))
		}
		for i := 0; i < len(rs); i += size + 1 {
			var w, n, j int
			fmt.Sscanf(string(rs[i].Data), "%d.%d.%d", &w, &n, &j)
			for j := range size {
				if want := fmt.Sprintf("%d.%d.%d", w, next[w], j); string(rs[i+j].Data) != want {
					t.Fatalf("record %d is %s, want %s", i+j+1, rs[i+j].Data, want)
				}
			}
			next[w]++
		}
		if s := l.Stats(); s.Values != batches || s.Appends != writers*batches || s.Commits > s.Appends {
			t.Errorf("stats: %+v", s)
		}
		if r := sound(t, l); r.Keys != batches || r.Streams != writers+1 {
			t.Errorf("report: %+v", r)
		}
		if reopen != nil {
			l = reopen()
			if got := all(t, l.Read(0)); brief(got) != brief(rs) {
				t.Error("the order has changed")
			}
		}
	})
}

func TestHead(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, reopen func() *Log) {
		add(t, l, rec("a", "1"), rec("b", "1"), rec("a", "2"))
		add(t, l, rec("ab", "1"))
		check := func() {
			t.Helper()
			for stream, want := range map[string]string{"a": "3:a=2", "b": "2:b=1", "ab": "4:ab=1"} {
				r, ok, err := l.Head(stream)
				if !ok || err != nil || brief([]Record{r}) != want {
					t.Errorf("head of %s: %s, %v, %v, want %s", stream, brief([]Record{r}), ok, err, want)
				}
			}
			if _, ok, err := l.Head("abc"); ok || err != nil {
				t.Errorf("head of nothing: %v, %v", ok, err)
			}
		}
		check()
		if reopen != nil {
			l = reopen()
			check()
		}
	})
}

func TestStreams(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		var names []string
		for i := range 600 {
			names = append(names, fmt.Sprintf("run-%d", i*7919%1000))
		}
		names = append(names, "a", "run", "run-", "run.", "ä", "\xff\xff", "\x01")
		for _, n := range names {
			add(t, l, rec(n, "1"))
			add(t, l, rec(n, "2"))
		}
		slices.Sort(names)
		for _, c := range []struct{ prefix, after string }{
			{"", ""}, {"run-", ""}, {"run", ""}, {"x", ""}, {"\xff", ""}, {"run-5", ""},
			{"", "run-5"}, {"run-", "run-7"}, {"run-", "a"}, {"run-", "z"}, {"run-", "run-55x"},
		} {
			var fwd, rev []string
			for _, n := range names {
				if strings.HasPrefix(n, c.prefix) && (c.after == "" || n > c.after) {
					fwd = append(fwd, n)
				}
				if strings.HasPrefix(n, c.prefix) && (c.after == "" || n < c.after) {
					rev = append([]string{n}, rev...)
				}
			}
			if d := cmp.Diff(fwd, all(t, l.Streams(c.prefix, false, c.after))); d != "" {
				t.Errorf("%q after %q: %s", c.prefix, c.after, d)
			}
			if d := cmp.Diff(rev, all(t, l.Streams(c.prefix, true, c.after))); d != "" {
				t.Errorf("%q before %q: %s", c.prefix, c.after, d)
			}
		}
		for _, err := range l.Streams("a\x00", false, "") {
			if err == nil {
				t.Error("a NUL byte is no part of a name")
			}
		}
	})
}

func TestValues(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, reopen func() *Log) {
		put := func(stream, v string) Hash {
			var b Batch
			r := rec(stream, "x")
			r.Refs = []Hash{b.Put([]byte(v))}
			b.Add(r)
			addBatch(t, l, &b)
			return r.Refs[0]
		}
		h := put("a", "once")
		put("b", "once")
		if s := l.Stats(); s.Values != 1 || s.ValueBytes != 4 {
			t.Errorf("stats: %+v", s)
		}
		if reopen != nil {
			l = reopen()
		}
		put("c", "once") // known only to the store
		r := rec("d", "x")
		r.Refs = []Hash{h} // nor is it in the batch
		add(t, l, r)
		if s := l.Stats(); s.Values != 1 || s.ValueBytes != 4 {
			t.Errorf("stats: %+v", s)
		}
		if _, err := l.Value(Hash{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("an unknown value: %v", err)
		}
		v, err := l.Value(h)
		if err != nil || string(v) != "once" {
			t.Fatalf("%q, %v", v, err)
		}
		v[0] = 'X' // it is ours
		if v, _ = l.Value(h); string(v) != "once" {
			t.Error("Value gave its own memory away")
		}
		sound(t, l)
	})
}

func TestLookup(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, reopen func() *Log) {
		keyed := func(stream string, keys ...string) Record {
			r := rec(stream, "x")
			r.Keys = keys
			return r
		}
		add(t, l, keyed("a", "k1", "k1", "k2"), keyed("b", "k2", "k3"))
		add(t, l, keyed("c", "k1", "k4"))
		check := func(want map[string]string) {
			t.Helper()
			for key, stream := range want {
				got, ok, err := l.Lookup(key)
				if err != nil || got != stream || ok != (stream != "") {
					t.Errorf("key %s belongs to %q (%v, %v), want %q", key, got, ok, err, stream)
				}
			}
			sound(t, l)
		}
		check(map[string]string{"k1": "a", "k2": "a", "k3": "b", "k4": "c", "k": "", "": ""})
		if reopen != nil {
			l = reopen()
		}
		add(t, l, keyed("d", "k1", "k5"))
		check(map[string]string{"k1": "a", "k2": "a", "k3": "b", "k4": "c", "k5": "d"})
		if err := l.Delete("a"); err != nil {
			t.Fatal(err)
		}
		check(map[string]string{"k1": "", "k2": "", "k3": "b", "k4": "c", "k5": "d"})
		add(t, l, keyed("e", "k1"))
		check(map[string]string{"k1": "e", "k2": "", "k3": "b"})
	})
}

func TestCheckpoints(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, reopen func() *Log) {
		add(t, l, rec("a", "1"), rec("b", "1"))
		var want []Checkpoint
		for i := range 300 {
			want = append(want, Checkpoint{Stream: fmt.Sprintf("run-%03d", i), At: 2, Data: []byte(fmt.Sprint(i))})
		}
		if err := l.SaveCheckpoints(want, nil); err != nil {
			t.Fatal(err)
		}
		save := []Checkpoint{{"run-005", 1, []byte("newer")}, {"a", 0, nil}}
		if err := l.SaveCheckpoints(save, []string{"run-007", "never there"}); err != nil {
			t.Fatal(err)
		}
		want[5] = save[0]
		want = slices.Delete(want, 7, 8)
		check := func() {
			t.Helper()
			if d := cmp.Diff(want, all(t, l.Checkpoints("run-"))); d != "" {
				t.Error(d)
			}
			if n := len(all(t, l.Checkpoints(""))); n != len(want)+1 {
				t.Errorf("%d checkpoints in all", n)
			}
			c, ok, err := l.Checkpoint("run-005")
			if d := cmp.Diff(save[0], c); d != "" || !ok || err != nil {
				t.Errorf("%v, %v: %s", ok, err, d)
			}
			if _, ok, err := l.Checkpoint("run-007"); ok || err != nil {
				t.Errorf("a dropped checkpoint: %v, %v", ok, err)
			}
			sound(t, l)
		}
		check()
		if reopen != nil {
			l = reopen()
			check()
		}
		if err := l.SaveCheckpoints([]Checkpoint{{"a", 3, nil}}, nil); err == nil {
			t.Error("a checkpoint of records that don't exist was taken")
		}
		if err := l.SaveCheckpoints([]Checkpoint{{"", 1, nil}}, nil); err == nil {
			t.Error("a checkpoint of no stream was taken")
		}
	})
}

// Checkpoints are saved beside appends.
func TestCheckpointsBesideAppends(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		add(t, l, rec("a", "0"))
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range 30 {
					var b Batch
					b.Add(rec("a", "x"))
					_, err := l.Append(&b)
					if w%2 == 0 {
						err = l.SaveCheckpoints([]Checkpoint{{fmt.Sprint(w), 1, []byte(fmt.Sprint(i))}}, nil)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if c, _, err := l.Checkpoint("2"); err != nil || string(c.Data) != "29" {
			t.Errorf("%s, %v", c.Data, err)
		}
		if r := sound(t, l); r.Records != 121 {
			t.Errorf("%d records", r.Records)
		}
	})
}

// What was deleted takes no room any more, and nothing else is gone.
func TestCompact(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		for i := range 20 {
			var b Batch
			r := rec(fmt.Sprint("s", i), "x")
			r.Refs = []Hash{b.Put(bytes.Repeat([]byte(fmt.Sprintf("%06x", i*7919)), 20_000))}
			b.Add(r)
			addBatch(t, l, &b)
		}
		before := l.Stats().DiskBytes
		for i := range 19 {
			if err := l.Delete(fmt.Sprint("s", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after := l.Stats(); after.Engine != Pebble && after.DiskBytes > before/4 { // Pebble gives its log back later
			t.Errorf("%d bytes of %d are left", after.DiskBytes, before)
		}
		sound(t, l)
		add(t, l, rec("s19", "goes on"))
	})
}

func TestDelete(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, reopen func() *Log) {
		var b Batch
		mine, shared := b.Put([]byte("mine")), b.Put([]byte("shared"))
		for i := range 3 {
			r := rec("a", fmt.Sprint(i))
			r.Refs = []Hash{mine, shared}
			b.Add(r)
			r.Stream, r.Refs = "b", []Hash{shared}
			b.Add(r)
		}
		addBatch(t, l, &b)
		if err := l.SaveCheckpoints([]Checkpoint{{"a", 6, nil}, {"b", 6, nil}}, nil); err != nil {
			t.Fatal(err)
		}
		if err := l.Delete("a"); err != nil {
			t.Fatal(err)
		}
		check := func() {
			t.Helper()
			if got, want := brief(all(t, l.Read(0))), "2:b=0 4:b=1 6:b=2 7:a deleted"; got != want {
				t.Errorf("the log: %s, want %s", got, want)
			}
			if got := brief(all(t, l.ReadStream("a", 0))); got != "7:a deleted" {
				t.Errorf("the stream: %s", got)
			}
			if got := all(t, l.Streams("", false, "")); !slices.Equal(got, []string{"b"}) {
				t.Errorf("streams: %q", got)
			}
			if got := all(t, l.Streams("", true, "")); !slices.Equal(got, []string{"b"}) {
				t.Errorf("streams: %q", got)
			}
			if _, err := l.Value(mine); !errors.Is(err, ErrNotFound) {
				t.Errorf("the stream's own value: %v", err)
			}
			if _, err := l.Value(shared); err != nil {
				t.Errorf("the shared value: %v", err)
			}
			if _, ok, _ := l.Checkpoint("a"); ok {
				t.Error("its checkpoint is still there")
			}
			if _, ok, _ := l.Checkpoint("b"); !ok {
				t.Error("the other checkpoint is gone")
			}
			r := sound(t, l)
			if r.Records != 4 || r.Deleted != 3 || r.Values != 1 || l.Last() != 7 {
				t.Errorf("last %d, report %+v", l.Last(), r)
			}
		}
		check()
		for _, again := range []string{"a", "nobody"} {
			if err := l.Delete(again); err != nil {
				t.Errorf("delete %s: %v", again, err)
			}
		}
		check()
		if reopen != nil {
			l = reopen()
			check()
		}
		mark, _, _ := l.Head("a")
		if d, err := ParseDeletion(mark); err != nil || d.Last != 5 || d.Records != 3 || d.Sum.IsZero() {
			t.Errorf("the mark says %+v, %v", d, err)
		}

		// A deleted stream may live again, and be deleted again.
		add(t, l, rec("a", "new"))
		if got := all(t, l.Streams("", true, "")); !slices.Equal(got, []string{"b", "a"}) {
			t.Errorf("streams: %q", got)
		}
		sound(t, l)
		if err := l.Delete("a"); err != nil {
			t.Fatal(err)
		}
		if got, want := brief(all(t, l.Read(0))), "2:b=0 4:b=1 6:b=2 9:a deleted"; got != want {
			t.Errorf("the log: %s, want %s", got, want)
		}
		if r := sound(t, l); r.Deleted != 5 {
			t.Errorf("report: %+v", r)
		}
		if err := l.Delete("b"); err != nil {
			t.Fatal(err)
		}
		if r := sound(t, l); r.Records != 2 || r.Values != 0 || r.Deleted != 8 {
			t.Errorf("report: %+v", r)
		}
	})
}

// TestFold: many marks become one, in several steps, over which the store may be
// opened again; what got company since stays.
func TestFold(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, reopen func() *Log) {
		const streams = 600 // more than two pages
		var b Batch
		for i := range streams {
			b.Add(rec(fmt.Sprintf("s%03d", i), "x"))
			b.Add(rec(fmt.Sprintf("s%03d", i), "x"))
			if i%100 == 0 {
				b.Add(rec("stays", "x"))
			}
		}
		addBatch(t, l, &b)
		marksTo := func(to Seq, want int) []Mark {
			t.Helper()
			marks, err := l.Marks(t.Context(), to)
			if err != nil || len(marks) != want {
				t.Fatalf("%d marks, %v, want %d", len(marks), err, want)
			}
			return marks
		}
		marksTo(l.Last(), 0)
		before := l.Last()
		for i := range streams {
			if err := l.Delete(fmt.Sprintf("s%03d", i)); err != nil {
				t.Fatal(err)
			}
		}
		marksTo(before, 0)
		marksTo(before+10, 10)
		marks := marksTo(l.Last(), streams)
		add(t, l, rec("s007", "again"))
		for i := 0; i < streams; i += 200 {
			if err := l.Fold(marks[i : i+200]); err != nil {
				t.Fatal(err)
			}
			sound(t, l)
		}
		last := l.Last()
		if err := l.Fold(marks); err != nil || l.Last() != last {
			t.Errorf("folding the same again: %v, %d records after %d", err, l.Last(), last)
		}
		if reopen != nil {
			l = reopen()
		}
		marksTo(l.Last(), 0)
		r := sound(t, l)
		if r.Records != 6+2+1 || r.Streams != 3 || r.Deleted != 2*streams+streams-1+2 || r.Values != 0 {
			t.Errorf("report: %+v", r)
		}
		if got := brief(all(t, l.ReadStream("s007", 0))); got != fmt.Sprintf("%d:s007 deleted %d:s007=again", marks[7].seq, marks[len(marks)-1].seq+1) {
			t.Errorf("what got company: %s", got)
		}
		if _, found, err := l.Head("s008"); found || err != nil {
			t.Errorf("a folded stream: %v, %v", found, err)
		}
		for _, err := range []error{l.Delete("s008"), l.Delete(Folded)} {
			if err != nil || l.Last() != last {
				t.Errorf("deleting what is folded: %v, %d", err, l.Last())
			}
		}
		b.Reset()
		b.Add(rec(Folded, "x"))
		if _, err := l.Append(&b); err == nil {
			t.Error("anybody may write to the folded marks")
		}
		add(t, l, rec("s008", "new")) // nobody should, but it is no harm
		sound(t, l)
	})
}

// To open a store to which nothing was written since it was last opened, Pebble
// flushes nothing, and reports that as if it were an error.
func TestReopenUnused(t *testing.T) {
	fs := vfs.NewMem()
	for range 3 {
		if err := openOn(t, fs).Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A stream that was written in many pieces leaves a list of them that is too
// long for a record, and that list goes when the stream is deleted once more.
func TestDeleteManyPieces(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, reopen func() *Log) {
		var b Batch
		for range 2000 {
			b.Add(rec("a", "x"))
			b.Add(rec("b", "x"))
		}
		addBatch(t, l, &b)
		for _, stream := range []string{"a", "b"} {
			if err := l.Delete(stream); err != nil {
				t.Fatal(err)
			}
		}
		r := sound(t, l)
		if r.Records != 2 || r.Deleted != 4000 || r.Values != 2 {
			t.Errorf("report: %+v", r)
		}
		if reopen != nil {
			l = reopen()
		}
		add(t, l, rec("a", "again"))
		if err := l.Delete("a"); err != nil {
			t.Fatal(err)
		}
		if r := sound(t, l); r.Records != 2 || r.Deleted != 4002 || r.Values != 2 {
			t.Errorf("report: %+v", r)
		}
	})
}

// The writer forgets the ends of streams; the chain must go on all the same.
func TestForgottenHeads(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		l.writer.heads.limit = 4
		for i := range 200 {
			add(t, l, rec(fmt.Sprintf("s%d", i*i%17), "x"), rec(fmt.Sprintf("s%d", i%5), "y"))
		}
		if n := len(l.writer.heads.now) + len(l.writer.heads.old); n > 6 {
			t.Errorf("%d heads are remembered", n)
		}
		sound(t, l)
	})
}

// What is used stays, what isn't goes.
func TestRecent(t *testing.T) {
	r := newRecent[int, string](10)
	r.put(-1, "used")
	r.put(-2, "not used")
	for i := range 100 {
		r.put(i, "new")
		if _, ok := r.get(-1); !ok {
			t.Fatalf("what is used is gone after %d", i)
		}
		r.age()
	}
	if _, ok := r.get(-2); ok {
		t.Error("what isn't used is still there")
	}
	if n := len(r.now) + len(r.old); n > 10 {
		t.Errorf("%d are kept", n)
	}
}
