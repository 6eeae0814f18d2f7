package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// This file tests the parts of a store that many nodes share: who may write,
// and who may see it.

// openParts makes a node of the store at a URL, in a folder of its own.
func openParts(t testing.TB, url string) *Partitions {
	t.Helper()
	return openPartsIn(t, t.TempDir(), url)
}

func openPartsIn(t testing.TB, dir, url string) *Partitions {
	t.Helper()
	p, err := OpenPartitions(dir, Options{Engine: Redis, RedisURL: url, Fatal: func(err error) { t.Errorf("the node ends: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p
}

// losses counts how often, and why, a partition was lost.
type losses struct {
	n    atomic.Int64
	told chan error
}

func newLosses() *losses { return &losses{told: make(chan error, 10)} }

func (l *losses) lost(err error) {
	l.n.Add(1)
	l.told <- err
}

func takePart(t testing.TB, p *Partitions, number int, l *losses) *Log {
	t.Helper()
	log, err := p.Take(number, []byte("key of "+p.Node()), l.lost)
	if err != nil {
		t.Fatal(err)
	}
	return closeAtEnd(t, log)
}

func (p *Partitions) do(t testing.TB, words ...any) {
	t.Helper()
	if err := p.client.Do(t.Context(), words...).Err(); err != nil && !absent(err) {
		t.Fatalf("%v: %v", words, err)
	}
}

// expire makes a partition's lease run out, as it does when its owner sleeps.
func (p *Partitions) expire(t testing.TB, number int) { p.do(t, "DEL", p.reader(number).key("lease")) }

func owner(t testing.TB, p *Partitions, number int) Owner {
	t.Helper()
	o, err := p.Owners(t.Context(), number)
	if err != nil {
		t.Fatal(err)
	}
	return o[0]
}

// TestPartitionFenced: of an owner that another one has followed nothing is
// taken any more; it is told once, and lives on.
func TestPartitionFenced(t *testing.T) {
	for _, notices := range []string{"append", "checkpoint", "delete", "lease"} {
		t.Run(notices, func(t *testing.T) {
			url := redisURL(t) + "&partitions=2&lease=1h"
			if notices == "lease" {
				url = strings.Replace(url, "1h", "1s", 1)
			}
			a, b := openParts(t, url), openParts(t, url)
			la := newLosses()
			first := takePart(t, a, 2, la)
			add(t, first, rec("a", "1"))
			var locked *LockedError
			if _, err := b.Take(2, nil, nil); !errors.As(err, &locked) || locked.PID == 0 || locked.Host == "" || !strings.Contains(err.Error(), "partition 2") {
				t.Fatalf("a second taker gets %v", err)
			}
			if o := owner(t, b, 2); o.Node != a.Node() || o.Epoch != 1 || first.Epoch() != 1 || string(o.Key) != "key of "+a.Node() {
				t.Errorf("the owner: %+v", o)
			}
			a.expire(t, 2)
			if o := owner(t, b, 2); notices != "lease" && (o.Node != "" || o.Epoch != 1) {
				t.Errorf("the owner of one that nobody has: %+v", o)
			}
			second := takePart(t, b, 2, newLosses())
			begun := add(t, second, rec("a", "2"))
			var err error
			want := ErrFenced
			switch notices {
			case "append":
				err = appendOne(first)
			case "checkpoint":
				err = first.SaveCheckpoints([]Checkpoint{{Stream: "a", At: 1, Data: []byte("old")}}, nil)
			case "delete":
				err = first.Delete("a")
			case "lease":
				err = want
			}
			if !errors.Is(err, want) {
				t.Fatalf("%s: %v", notices, err)
			}
			select {
			case <-la.told:
			case <-soon(t).Done():
				t.Fatal("nobody is told")
			}
			for range 3 {
				if err := appendOne(first); !errors.Is(err, ErrFenced) {
					t.Errorf("append: %v", err)
				}
				if err := first.SaveCheckpoints([]Checkpoint{{Stream: "a", At: 1}}, nil); !errors.Is(err, ErrFenced) {
					t.Errorf("checkpoint: %v", err)
				}
			}
			if first.Last() >= begun[0].Seq {
				t.Errorf("the one that lost believes in record %d", first.Last())
			}
			if err := first.Close(); err != nil {
				t.Error(err)
			}
			if o := owner(t, a, 2); o.Node != b.Node() {
				t.Errorf("closing gave away what was another's: %+v", o)
			}
			add(t, second, rec("a", "3"))
			if got := brief(all(t, second.Read(0))); got != "1:a=1 2:a=2 3:a=3" {
				t.Errorf("the log: %s", got)
			}
			if _, found, _ := second.Checkpoint("a"); found {
				t.Error("there is a checkpoint of the one that lost")
			}
			sound(t, second)
			if n := la.n.Load(); n != 1 {
				t.Errorf("told %d times", n)
			}
		})
	}
}

func appendOne(l *Log) error {
	var b Batch
	b.Add(rec("a", "late"))
	_, err := l.Append(&b)
	return err
}

// TestPartitionFencedTogether: all who append at that moment get the same
// error, and nothing of theirs is there.
func TestPartitionFencedTogether(t *testing.T) {
	url := redisURL(t) + "&partitions=2&lease=1h"
	a, b := openParts(t, url), openParts(t, url)
	la := newLosses()
	first := takePart(t, a, 1, la)
	var acked atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				err := appendOne(first)
				if err == nil {
					acked.Add(1)
					continue
				}
				if !errors.Is(err, ErrFenced) {
					t.Errorf("append: %v", err)
				}
				return
			}
		})
	}
	for ctx := soon(t); acked.Load() < 50 && ctx.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	a.expire(t, 1)
	second := takePart(t, b, 1, newLosses())
	at := second.Last()
	add(t, second, rec("b", "1"))
	wg.Wait()
	if got := int64(at); got != acked.Load() {
		t.Errorf("%d were acknowledged, %d are there", acked.Load(), got)
	}
	if second.Last() != at+1 {
		t.Errorf("the log ends at %d, want %d", second.Last(), at+1)
	}
	sound(t, second)
}

// TestPartitionGivenUp: a partition that was closed is free at once, and so is
// one of a process that died, for whoever has its folder.
func TestPartitionGivenUp(t *testing.T) {
	url, dir := redisURL(t)+"&partitions=3&lease=1h", t.TempDir()
	a, b := openPartsIn(t, dir, url), openParts(t, url)
	add(t, takePart(t, a, 1, newLosses()), rec("a", "1"))
	l, err := a.Take(2, nil, func(error) { t.Error("lost what was given up") })
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, rec("a", "of 2"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := appendOne(l); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a closed one: %v", err)
	}
	if got := brief(all(t, takePart(t, b, 2, newLosses()).Read(0))); got != "1:a=of 2" {
		t.Errorf("partition 2: %s", got)
	}

	if _, err := OpenPartitions(dir, Options{Engine: Redis, RedisURL: url}); !errors.As(err, new(*LockedError)) {
		t.Errorf("a second node in a folder: %v", err)
	}
	a.closes.Do(func() { // as a crash does
		if err := errors.Join(a.client.Close(), a.folder.release()); err != nil {
			t.Fatal(err)
		}
	})
	again := openPartsIn(t, dir, url)
	if again.Node() == a.Node() || again.ID() != b.ID() {
		t.Errorf("node %s of store %s", again.Node(), again.ID())
	}
	if o := owner(t, b, 1); o.Node != a.Node() {
		t.Errorf("others don't wait for it: %+v", o)
	}
	if o := owner(t, again, 1); o.Node != "" || o.Epoch != 1 {
		t.Errorf("it waits for itself: %+v", o)
	}
	if _, err := b.Take(1, nil, nil); !errors.As(err, new(*LockedError)) {
		t.Errorf("another takes it: %v", err)
	}
	back := takePart(t, again, 1, newLosses())
	if got := brief(all(t, back.Read(0))); got != "1:a=1" || back.Epoch() != 2 {
		t.Errorf("partition 1: %s in epoch %d", got, back.Epoch())
	}
	if n := owner(t, b, 1); n.Node != again.Node() {
		t.Errorf("the owner: %+v", n)
	}
}

// TestPartitionMirror: who owns nothing sees all records in order while they
// are written, by one owner and by the next.
func TestPartitionMirror(t *testing.T) {
	url := redisURL(t) + "&partitions=2&lease=1h"
	a, b, c := openParts(t, url), openParts(t, url), openParts(t, url)
	m := c.OpenMirror(1)
	if c.OpenMirror(1) != m {
		t.Error("there are two mirrors of one partition")
	}
	ctx, stop := context.WithCancel(soon(t))
	defer stop()
	const n = 200
	var watching, following sync.WaitGroup
	follow := func(what string, from Seq, records func() func(func(Record, error) bool)) {
		following.Go(func() {
			next := from
			for r, err := range records() {
				if err != nil || r.Seq != next {
					t.Errorf("%s: record %d, %v; want %d", what, r.Seq, err, next)
					return
				}
				if next++; next == 2*n+1 {
					return
				}
			}
			t.Errorf("%s: it ends before record %d", what, next)
		})
	}
	follow("all", 1, func() func(func(Record, error) bool) { return m.Follow(ctx, 0) })
	follow("one stream", 1, func() func(func(Record, error) bool) { return m.FollowStream(ctx, "a", 0) })
	follow("from inside", n-3, func() func(func(Record, error) bool) { return m.FollowStream(ctx, "a", n-3) })
	watching.Go(func() { m.Watch(ctx) })
	first := takePart(t, a, 1, newLosses())
	for i := range n {
		add(t, first, rec("a", fmt.Sprint(i)))
	}
	a.expire(t, 1)
	second := takePart(t, b, 1, newLosses())
	_ = appendOne(first)
	for i := range n {
		add(t, second, rec("a", fmt.Sprint(i)))
	}
	following.Wait()
	stop()
	watching.Wait()
	if err := appendOne(m); !errors.Is(err, ErrFenced) {
		t.Errorf("append to a mirror: %v", err)
	}
	if err := m.SaveCheckpoints([]Checkpoint{{Stream: "a", At: 1}}, nil); !errors.Is(err, ErrFenced) {
		t.Errorf("a mirror's checkpoint: %v", err)
	}
	if err := m.Delete("a"); !errors.Is(err, ErrFenced) {
		t.Errorf("a mirror's deletion: %v", err)
	}
	if r := sound(t, m); r.Records != 2*n {
		t.Errorf("a mirror counts %d records", r.Records)
	}
	if empty := c.OpenMirror(2); empty.Refresh() != nil || empty.Last() != 0 {
		t.Errorf("a partition in which nothing was: %d", empty.Last())
	}
}

// TestPartitionRefreshWakes: who waits for a stream of a mirror is woken by a
// Refresh, too.
func TestPartitionRefreshWakes(t *testing.T) {
	url := redisURL(t) + "&partitions=2"
	a, b := openParts(t, url), openParts(t, url)
	l, m := takePart(t, a, 1, newLosses()), b.OpenMirror(1)
	came := make(chan Record)
	go func() {
		defer close(came)
		for r, err := range m.FollowStream(soon(t), "a", 0) {
			if err == nil {
				came <- r
			}
			return
		}
	}()
	for ctx := soon(t); ctx.Err() == nil; time.Sleep(time.Millisecond) {
		m.bells.mu.Lock()
		waits := m.bells.hung["a"] != nil
		m.bells.mu.Unlock()
		if waits {
			break
		}
	}
	add(t, l, rec("a", "1"))
	if err := m.Refresh(); err != nil {
		t.Fatal(err)
	}
	if r, ok := <-came; !ok || string(r.Data) != "1" {
		t.Errorf("it gets %s, %v", r.Data, ok)
	}
}

// TestPartitionsOpen: a divided store is opened as one, and no other is.
func TestPartitionsOpen(t *testing.T) {
	url := redisURL(t)
	a := openParts(t, url+"&partitions=3")
	if a.Count() != 3 || a.Lease() != leaseTime {
		t.Errorf("%d partitions, lease %s", a.Count(), a.Lease())
	}
	if b := openParts(t, url+"&partitions=3&lease=2s"); b.ID() != a.ID() || b.Node() == a.Node() || b.Lease() != 2*time.Second {
		t.Errorf("a second node: %s %s %s", b.ID(), b.Node(), b.Lease())
	}
	if b := openParts(t, url); b.Count() != 3 {
		t.Errorf("who doesn't say gets %d partitions", b.Count())
	}
	refused := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want …%s…", what, err, want)
		}
	}
	_, err := OpenPartitions(t.TempDir(), Options{Engine: Redis, RedisURL: url + "&partitions=4"})
	refused("another number", err, "it has 3 partitions, not 4: their number was fixed when it was made")
	_, err = OpenPartitions(t.TempDir(), Options{Engine: Redis, RedisURL: url + "&partitions=1"})
	refused("no partitions", err, "it has 3 partitions, not 1")
	_, err = OpenPartitions(t.TempDir(), Options{Engine: Redis, RedisURL: redisURL(t)})
	refused("an undivided store", err, "it is not divided into partitions")
	_, err = OpenPartitions(t.TempDir(), Options{Engine: SQLite})
	refused("another engine", err, "a store of sqlite has no partitions")
	_, err = Open(t.TempDir(), Options{Engine: Redis, RedisURL: url})
	var divided *PartitionedError
	if !errors.As(err, &divided) || divided.Partitions != 3 {
		t.Errorf("as one log: %v", err)
	}

	whole := redisURL(t)
	l := openRedisIn(t, t.TempDir(), whole)
	_ = l.Close()
	_, err = Open(t.TempDir(), Options{Engine: Redis, RedisURL: whole + "&partitions=4"})
	refused("dividing it later", err, "it has 1 partitions, not 4")
}

// TestPartitionsOfTwoCreators: of two who make a store at once, with different
// numbers, one makes it and the other is refused.
func TestPartitionsOfTwoCreators(t *testing.T) {
	for range 5 {
		url := redisURL(t)
		counts, errs := make([]int, 4), make([]error, 4)
		var making sync.WaitGroup
		for i := range counts {
			making.Go(func() {
				p, err := OpenPartitions(t.TempDir(), Options{Engine: Redis, RedisURL: fmt.Sprint(url, "&partitions=", 2+i%2)})
				if errs[i] = err; err == nil {
					counts[i] = p.Count()
					errs[i] = p.Close()
				}
			})
		}
		making.Wait()
		is := openParts(t, url).Count()
		for i, err := range errs {
			if made := 2 + i%2; made == is && (err != nil || counts[i] != is) {
				t.Errorf("who wants %d partitions gets %d, %v", made, counts[i], err)
			} else if made != is && (err == nil || !strings.Contains(err.Error(), "fixed when it was made")) {
				t.Errorf("of %d partitions who wants %d gets %d, %v", is, made, counts[i], err)
			}
		}
	}
}

func TestPartitionsURL(t *testing.T) {
	r, err := parseRedis("redis://h?store=a&partitions=16&lease=1500ms")
	if err != nil || r.name != "a" || r.partitions != 16 || r.lease != 1500*time.Millisecond {
		t.Errorf("%+v, %v", r, err)
	}
	for text, want := range map[string]string{
		"partitions=0": "a store has 1 to 1024", "partitions=-1": "1 to 1024", "partitions=1025": "1 to 1024", "partitions=many": "1 to 1024", "partitions=1.5": "1 to 1024",
		"lease=": "a time from 1s to 1h", "lease=5": "a time from", "lease=999ms": "a time from", "lease=2h": "a time from", "lease=-3s": "a time from",
	} {
		for _, scheme := range []string{"redis://u:geheim@h/0?", "redis+cluster://u:geheim@h?", "unix:///s?"} {
			_, err := ParseRedisURL(scheme + text)
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
				t.Errorf("%s%s: %v, want …%s…", scheme, text, err, want)
			}
		}
	}
}

// TestPartitionsNames: an id that somebody chose is in one partition.
func TestPartitionsNames(t *testing.T) {
	url := redisURL(t) + "&partitions=8"
	a, b := openParts(t, url), openParts(t, url)
	ctx := soon(t)
	if n, err := a.Named(ctx, "x"); n != 0 || err != nil {
		t.Errorf("nobody's name: %d, %v", n, err)
	}
	var fresh, first atomic.Int64
	var naming sync.WaitGroup
	for i := range 8 {
		naming.Go(func() {
			p := []*Partitions{a, b}[i%2]
			has, is, err := p.Name(ctx, "x", i+1)
			if err != nil {
				t.Error(err)
			}
			if is {
				fresh.Add(1)
				if has != i+1 {
					t.Errorf("fresh in %d, and it is %d", i+1, has)
				}
			}
			if old := first.Swap(int64(has)); old != 0 && old != int64(has) {
				t.Errorf("it is in %d and in %d", old, has)
			}
		})
	}
	naming.Wait()
	has := int(first.Load())
	if n, err := b.Named(ctx, "x"); fresh.Load() != 1 || n != has || err != nil {
		t.Errorf("%d were first; it is in %d, %v; want %d", fresh.Load(), n, err, has)
	}
	if err := a.Unname(ctx, "x", has%8+1); err != nil {
		t.Error(err)
	}
	if n, _ := a.Named(ctx, "x"); n != has {
		t.Errorf("taken back for another partition: it is in %d", n)
	}
	if err := a.Unname(ctx, "x", has); err != nil {
		t.Error(err)
	}
	if n, _ := a.Named(ctx, "x"); n != 0 {
		t.Errorf("taken back: it is in %d", n)
	}
	a.do(t, "HSET", a.whole()+":named", "x", "9")
	if _, err := a.Named(ctx, "x"); err == nil {
		t.Error("a partition that there isn't is taken")
	}
}

// TestPartitionsJoin: servers are known until they leave, or say nothing for a
// lease.
func TestPartitionsJoin(t *testing.T) {
	url := redisURL(t) + "&partitions=2"
	a, b := openParts(t, url+"&lease=1s"), openParts(t, url+"&lease=1h")
	ctx := soon(t)
	joined := func(p *Partitions, want ...string) {
		t.Helper()
		nodes, err := p.Join(ctx)
		slices.Sort(nodes)
		slices.Sort(want)
		if err != nil || !slices.Equal(nodes, want) {
			t.Errorf("the nodes are %v, %v; want %v", nodes, err, want)
		}
	}
	joined(a, a.Node())
	joined(b, a.Node(), b.Node())
	joined(a, a.Node(), b.Node())
	if err := a.Leave(ctx); err != nil {
		t.Error(err)
	}
	joined(b, b.Node())
	joined(a, a.Node(), b.Node())
	for ctx := soon(t); ; time.Sleep(50 * time.Millisecond) {
		nodes, err := b.Join(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(nodes) == 1 && nodes[0] == b.Node() {
			break
		}
	}
}
