package eventlog

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// letters collects what comes to a partition.
func letters(t testing.TB, p *Partitions, l *Log) (came <-chan Letter, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	all := make(chan Letter, 100)
	var reading sync.WaitGroup
	reading.Go(func() { p.Inbox(ctx, l, func(l Letter) { all <- l }) })
	return all, func() {
		cancel()
		reading.Wait()
	}
}

func next[T any](t testing.TB, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-soon(t).Done():
		t.Fatalf("%s does not come", what)
	}
	return v
}

func send(t testing.TB, p *Partitions, number int, epoch uint64, id string) {
	t.Helper()
	if err := p.Send(t.Context(), number, epoch, Letter{ID: id, Body: []byte("call " + id)}); err != nil {
		t.Fatalf("send %s: %v", id, err)
	}
}

// TestMail carries calls to an owner, and answers back.
func TestMail(t *testing.T) {
	url := redisURL(t) + "&partitions=2"
	a, b := openParts(t, url), openParts(t, url)
	l := takePart(t, a, 1, newLosses())
	for _, id := range []string{"1", "2", "3"} {
		send(t, b, 1, 1, id)
	}
	came, stop := letters(t, a, l)
	for _, id := range []string{"1", "2", "3"} {
		if got := next(t, "a call", came); got.ID != id || got.From != b.Node() || string(got.Body) != "call "+id || got.Over {
			t.Errorf("it gets %+v", got)
		}
	}
	answers := make(chan Answer, 10)
	ctx, end := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	reading.Go(func() { b.Answers(ctx, func(a Answer) { answers <- a }) })
	for _, id := range []string{"3", "1"} {
		if err := a.Reply(ctx, l, b.Node(), Answer{ID: id, Body: []byte("answer " + id)}); err != nil {
			t.Fatal(err)
		}
		if got := next(t, "an answer", answers); got.ID != id || string(got.Body) != "answer "+id {
			t.Errorf("it gets %+v", got)
		}
	}
	if err := b.Send(ctx, 1, 1, Letter{ID: "3", Over: true}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, "the end of a call", came); got.ID != "3" || !got.Over {
		t.Errorf("it gets %+v", got)
	}
	end()
	reading.Wait()
	stop()
	if n := inboxSize(t, a, 1); n != 0 {
		t.Errorf("%d letters lie there, read", n)
	}
	if err := a.Reply(t.Context(), l, "nobody", Answer{ID: "1"}); err != nil {
		t.Fatal(err)
	}
	if left, err := a.client.PTTL(t.Context(), a.mail("nobody")).Result(); err != nil || left <= 0 || left > mailLife {
		t.Errorf("an answer that nobody fetches stays for %s, %v", left, err)
	}
}

func inboxSize(t testing.TB, p *Partitions, number int) int64 {
	t.Helper()
	n, err := p.client.XLen(t.Context(), p.reader(number).key("inbox")).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestMailOfAnEpoch: a call is for one owner; the next one finds an empty inbox,
// and who was followed neither reads, clears nor answers any more.
func TestMailOfAnEpoch(t *testing.T) {
	url := redisURL(t) + "&partitions=2&lease=1h"
	a, b, c := openParts(t, url), openParts(t, url), openParts(t, url)
	for epoch, want := range map[uint64]error{0: nil, 1: ErrMoved} {
		if err := c.Send(t.Context(), 1, epoch, Letter{ID: "early"}); epoch == 1 && !errors.Is(err, want) {
			t.Errorf("to nobody, in epoch %d: %v", epoch, err)
		}
	}
	first := takePart(t, a, 1, newLosses())
	if n := inboxSize(t, a, 1); n != 0 {
		t.Errorf("an owner that comes finds %d letters", n)
	}
	send(t, c, 1, 1, "old")
	a.expire(t, 1)
	second := takePart(t, b, 1, newLosses())
	if n := inboxSize(t, b, 1); n != 0 {
		t.Errorf("the next owner finds %d letters", n)
	}
	for _, epoch := range []uint64{0, 1, 3, 22} {
		if err := c.Send(t.Context(), 1, epoch, Letter{ID: "wrong"}); !errors.Is(err, ErrMoved) {
			t.Errorf("to epoch %d: %v", epoch, err)
		}
	}
	send(t, c, 1, 2, "new")
	// The first owner doesn't know yet, and reads: that hurts nobody.
	stale, stopStale := letters(t, a, first)
	next(t, "a letter for another", stale)
	stopStale()
	if err := a.Reply(t.Context(), first, c.Node(), Answer{ID: "new", Body: []byte("a lie")}); !errors.Is(err, ErrFenced) {
		t.Errorf("an answer of the one that lost: %v", err)
	}
	came, stop := letters(t, b, second)
	defer stop()
	if got := next(t, "the letter", came); got.ID != "new" {
		t.Errorf("it gets %+v", got)
	}
	if n, err := a.client.Exists(t.Context(), a.mail(c.Node())).Result(); n != 0 || err != nil {
		t.Errorf("there is an answer: %v", err)
	}
	// Once it knows, it reads no more.
	if err := appendOne(first); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Inbox(t.Context(), first, func(l Letter) { t.Errorf("it reads %+v", l) })
	}()
	next(t, "the end of reading", ended)
}

// TestMailFull bounds what lies there unread.
func TestMailFull(t *testing.T) {
	defer func(n int) { maxInbox = n }(maxInbox)
	maxInbox = 3
	url := redisURL(t) + "&partitions=2"
	a := openParts(t, url)
	l := takePart(t, a, 1, newLosses())
	for _, id := range []string{"1", "2", "3"} {
		send(t, a, 1, 1, id)
	}
	if err := a.Send(t.Context(), 1, 1, Letter{ID: "4"}); !errors.Is(err, ErrFull) {
		t.Errorf("the fourth of three: %v", err)
	}
	came, stop := letters(t, a, l)
	defer stop()
	for range 3 {
		next(t, "a letter", came)
	}
	for ctx := soon(t); inboxSize(t, a, 1) > 0 && ctx.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	send(t, a, 1, 1, "5")
	if got := next(t, "a letter after them", came); got.ID != "5" {
		t.Errorf("it gets %+v", got)
	}
}

// TestMailThatIsNone: what isn't of ours is passed over.
func TestMailThatIsNone(t *testing.T) {
	a := openParts(t, redisURL(t)+"&partitions=2")
	l := takePart(t, a, 1, newLosses())
	key := a.reader(1).key("inbox")
	a.do(t, "XADD", key, "*", "l", "no JSON")
	a.do(t, "XADD", key, "*", "other", strings.Repeat("x", 1000))
	a.do(t, "RPUSH", a.mail(a.Node()), "no JSON")
	send(t, a, 1, 1, "1")
	if err := a.Reply(t.Context(), l, a.Node(), Answer{ID: "1"}); err != nil {
		t.Fatal(err)
	}
	came, stop := letters(t, a, l)
	defer stop()
	if got := next(t, "a letter", came); got.ID != "1" {
		t.Errorf("it gets %+v", got)
	}
	answers := make(chan Answer, 1)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	go a.Answers(ctx, func(a Answer) { answers <- a })
	if got := next(t, "an answer", answers); got.ID != "1" {
		t.Errorf("it gets %+v", got)
	}
}

// TestMailEnds: who waits for calls or answers ends when told to, not when its
// patience is over.
func TestMailEnds(t *testing.T) {
	defer func(d time.Duration) { watchPause = d }(watchPause)
	watchPause = time.Hour
	a := openParts(t, redisURL(t)+"&partitions=2")
	l := takePart(t, a, 1, newLosses())
	ctx, cancel := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	reading.Go(func() { a.Inbox(ctx, l, func(l Letter) { t.Errorf("it reads %+v", l) }) })
	reading.Go(func() { a.Answers(ctx, func(a Answer) { t.Errorf("it gets %+v", a) }) })
	for ctx := soon(t); ; time.Sleep(time.Millisecond) {
		if clients := a.client.Info(ctx, "clients").Val(); strings.Contains(clients, "blocked_clients:2") {
			break
		} else if ctx.Err() != nil {
			t.Fatalf("they don't wait: %s", clients)
		}
	}
	cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		reading.Wait()
	}()
	next(t, "the end of reading", ended)
}
