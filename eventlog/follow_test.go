package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Twenty followers of everything and twenty of one stream each, some there
// from the start and some late, all see what they should, in order.
func TestManyFollowers(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		const streams, rounds = 20, 60
		ctx := soon(t)
		var wg sync.WaitGroup
		everything := func(from Seq) {
			next := max(from, 1)
			for r, err := range l.Follow(ctx, from) {
				if err != nil || r.Seq != next || r.Seq > l.Last() {
					t.Errorf("record %d, want %d: %v", r.Seq, next, err)
					return
				}
				if next++; next > streams*rounds {
					return
				}
			}
			t.Errorf("stopped at %d", next)
		}
		one := func(stream string) {
			n := 0
			for r, err := range l.FollowStream(ctx, stream, 0) {
				if err != nil || r.Stream != stream || string(r.Data) != fmt.Sprint(n) {
					t.Errorf("%s: got %s=%s, want %d: %v", stream, r.Stream, r.Data, n, err)
					return
				}
				if n++; n == rounds {
					return
				}
			}
			t.Errorf("%s stopped at %d", stream, n)
		}
		for i := range streams / 2 {
			wg.Go(func() { everything(Seq(i)) })
			wg.Go(func() { one(fmt.Sprintf("s%d", i)) })
		}
		var b Batch
		for round := range rounds {
			if round == rounds/2 {
				for i := streams / 2; i < streams; i++ {
					wg.Go(func() { everything(Seq(i * rounds / 2)) })
					wg.Go(func() { one(fmt.Sprintf("s%d", i)) })
				}
			}
			b.Reset()
			for i := range streams {
				b.Add(rec(fmt.Sprintf("s%d", i), fmt.Sprint(round)))
			}
			addBatch(t, l, &b)
		}
		wg.Wait()
		if n := len(l.bells.hung); n > 0 {
			t.Errorf("%d bells are still hung", n)
		}
	})
}

// A follower sleeps while there is nothing for it: in the bubble all
// goroutines stand still, which a follower that polls would never do.
func TestFollowersSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := OpenMemory(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		var got []Record
		wakes := 0
		go func() {
			for r, err := range l.FollowStream(ctx, "mine", 0) {
				if err != nil {
					t.Error(err)
				}
				got = append(got, r)
			}
			wakes = -1
		}()
		synctest.Wait()
		rung := l.bells.join("mine")
		add(t, l, rec("other", "1"))
		add(t, l, rec("mine2", "1"))
		synctest.Wait()
		select {
		case <-rung:
			t.Error("the traffic of other streams rings the bell")
		default:
		}
		add(t, l, rec("mine", "1"), rec("other", "2"), rec("mine", "2"))
		synctest.Wait()
		if s := brief(got); s != "3:mine=1 5:mine=2" {
			t.Errorf("got %s", s)
		}
		cancel()
		synctest.Wait()
		if wakes != -1 {
			t.Error("the end of ctx does not end the follower")
		}
		if n := len(l.bells.hung); n > 0 {
			t.Errorf("%d bells are still hung", n)
		}
	})
}

func TestFollowEnds(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		add(t, l, rec("a", "1"), rec("a", "2"))

		// With a context that has ended there is nothing to do.
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for r, err := range l.Follow(ended, 0) {
			t.Errorf("got %v, %v", r, err)
		}

		// A context that ends in the loop's body ends the loop, with records left.
		ctx, stop := context.WithCancel(soon(t))
		defer stop()
		n := 0
		for _, err := range l.Follow(ctx, 0) {
			if err != nil {
				t.Error(err)
			}
			n++
			stop()
		}
		if n != 1 {
			t.Errorf("%d records", n)
		}

		// A deletion is seen by those who follow the stream.
		for r, err := range l.FollowStream(soon(t), "a", 2) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Type == StreamDeleted {
				break
			}
			if err := l.Delete("a"); err != nil {
				t.Fatal(err)
			}
		}

		for _, err := range l.FollowStream(soon(t), "", 0) {
			if err == nil {
				t.Error("a stream without a name can be followed")
			}
		}

		// Closing the log ends followers with ErrClosed, even those that wait.
		var wg sync.WaitGroup
		started := make(chan struct{}, 2)
		wg.Go(func() {
			var last error
			for _, err := range l.Follow(soon(t), 0) {
				last = err
				started <- struct{}{}
			}
			if !errors.Is(last, ErrClosed) {
				t.Errorf("the follower ends with %v", last)
			}
		})
		<-started
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}

// The cost of following one stream must not grow with the traffic of others.
func TestFollowStreamReadsNothingElse(t *testing.T) {
	cost := func(noise int) uint64 {
		l, _ := storeKinds[1].open(t)
		for i := range noise {
			add(t, l, rec(fmt.Sprintf("noise-%d", i%50), "x"))
		}
		add(t, l, rec("mine", "1"))
		reads := &countingStore{store: l.store}
		l.store = reads
		for range l.FollowStream(soon(t), "mine", 0) {
			break
		}
		return reads.rows
	}
	if few, many := cost(10), cost(2000); few != 1 || many != 1 {
		t.Errorf("%d rows are read with little noise, %d with much", few, many)
	}
}

// countingStore counts the rows that reads bring in.
type countingStore struct {
	store
	rows uint64
}

func (c *countingStore) records(from, to Seq, p *page) error {
	err := c.store.records(from, to, p)
	c.rows += uint64(len(p.rows))
	return err
}

func (c *countingStore) stream(name string, from, to Seq, p *page) error {
	err := c.store.stream(name, from, to, p)
	c.rows += uint64(len(p.rows))
	return err
}

// A record is not shown to anybody before it is durable: a store whose commit
// hangs shows it to its own readers already, but the log does not.
func TestNothingIsSeenBeforeItIsDurable(t *testing.T) {
	for _, kind := range storeKinds {
		t.Run(kind.name, func(t *testing.T) {
			l, _ := kind.open(t)
			r := rec("a", "1")
			add(t, l, r)
			slow := &slowStore{store: l.store, inside: make(chan struct{}), goOn: make(chan struct{})}
			l.store, l.writer.store = slow, slow
			var wg sync.WaitGroup
			wg.Go(func() {
				r := rec("a", "2")
				r.Keys = []string{"k"}
				add(t, l, r, rec("new", "3"))
			})
			<-slow.inside
			if l.Last() != 1 {
				t.Errorf("Last is %d", l.Last())
			}
			if s := brief(all(t, l.Read(0))); s != "1:a=1" {
				t.Errorf("Read: %s", s)
			}
			if s := brief(all(t, l.ReadStream("a", 0))); s != "1:a=1" {
				t.Errorf("ReadStream: %s", s)
			}
			if h, _, err := l.Head("a"); h.Seq != 1 || err != nil {
				t.Errorf("Head: %d, %v", h.Seq, err)
			}
			if h, ok, err := l.Head("new"); ok || err != nil {
				t.Errorf("Head: %d, %v", h.Seq, err)
			}
			if s := all(t, l.Streams("", false, "")); len(s) != 1 {
				t.Errorf("Streams: %q", s)
			}
			if s := all(t, l.Streams("", true, "")); len(s) != 1 {
				t.Errorf("Streams: %q", s)
			}
			if _, ok, err := l.Lookup("k"); ok || err != nil {
				t.Errorf("Lookup: %v, %v", ok, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			for r := range l.Follow(ctx, 2) {
				t.Errorf("Follow: %d", r.Seq)
			}
			close(slow.goOn)
			wg.Wait()
			if s := brief(all(t, l.Read(0))); s != "1:a=1 2:a=2 3:new=3" {
				t.Errorf("Read: %s", s)
			}
		})
	}
}

// slowStore has applied a commit, but says so only later.
type slowStore struct {
	store
	inside, goOn chan struct{}
}

func (s *slowStore) commit(c *change, sync bool) error {
	err := s.store.commit(c, sync)
	close(s.inside)
	<-s.goOn
	return err
}
