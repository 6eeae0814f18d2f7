package eventlog

import (
	"context"
	"iter"
	"sync"
)

// Follow gives the durable records from Seq from on, in order, and then waits
// for more until ctx ends; then it stops without an error. When the log is
// closed it yields ErrClosed, and where nothing can come an ErrReadOnly. A slow follower keeps nobody waiting: it reads
// from the store.
func (l *Log) Follow(ctx context.Context, from Seq) iter.Seq2[Record, error] {
	return l.follow(ctx, "", from)
}

// FollowStream is Follow for the records of one stream. It sleeps while other
// streams grow.
func (l *Log) FollowStream(ctx context.Context, stream string, from Seq) iter.Seq2[Record, error] {
	if err := checkStream(stream); err != nil {
		return func(yield func(Record, error) bool) { yield(Record{}, err) }
	}
	return l.follow(ctx, stream, from)
}

func (l *Log) follow(ctx context.Context, stream string, from Seq) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		c := cursor{log: l, next: from, stream: stream}
		alive := func(r Record, err error) bool { return yield(r, err) && ctx.Err() == nil }
		for ctx.Err() == nil {
			rung := l.bells.join(stream)
			if !c.emit(alive) {
				l.bells.leave(stream, rung)
				return
			}
			if l.readOnly != nil {
				l.bells.leave(stream, rung)
				yield(Record{}, l.readOnly)
				return
			}
			select {
			case <-rung:
			case <-ctx.Done():
			case <-l.ended:
			}
			l.bells.leave(stream, rung)
		}
	}
}

// bells wake the followers: one bell for each stream that somebody waits for,
// and one, under "", for the whole log.
type bells struct {
	mu   sync.Mutex
	hung map[string]*bell
}

type bell struct {
	rung    chan struct{} // closed by ring
	waiting int
}

// join returns a channel that is closed at the next ring for the stream.
// Everything that became durable before can be read now.
func (b *bells) join(stream string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.hung[stream]
	if one == nil {
		if b.hung == nil {
			b.hung = make(map[string]*bell)
		}
		one = &bell{rung: make(chan struct{})}
		b.hung[stream] = one
	}
	one.waiting++
	return one.rung
}

// leave must follow each join; the last to leave takes the bell down.
func (b *bells) leave(stream string, rung <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.hung[stream]
	if one == nil || one.rung != rung {
		return // it has been rung
	}
	if one.waiting--; one.waiting == 0 {
		delete(b.hung, stream)
	}
}

// ring wakes those who wait for the streams, or for everything.
func (b *bells) ring(touched []touch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.hung) == 0 {
		return
	}
	b.ringOne("")
	for _, t := range touched {
		b.ringOne(t.stream)
	}
}

// ringAll wakes everybody.
func (b *bells) ringAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for stream := range b.hung {
		b.ringOne(stream)
	}
}

func (b *bells) ringOne(stream string) {
	if one := b.hung[stream]; one != nil {
		close(one.rung)
		delete(b.hung, stream)
	}
}
