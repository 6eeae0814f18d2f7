package server

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"sync"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file follows all runs of a store that is divided into several logs: each
// log's events in their order, those of different logs as they come. Where a
// subscription stands in all of them is its cursor.

// cursor is the next place of interest in each log.
type cursor struct {
	mu   sync.Mutex
	next []eventlog.Seq
}

func (c *cursor) String() string {
	var raw []byte
	for _, n := range c.next {
		raw = binary.AppendUvarint(raw, uint64(n))
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// parseCursor reads a cursor for so many logs; "" is the beginning of all.
func parseCursor(text string, logs int) (*cursor, error) {
	c := &cursor{next: make([]eventlog.Seq, logs)}
	if text == "" {
		return c, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	for i := range c.next {
		n, size := binary.Uvarint(raw)
		if size <= 0 || err != nil {
			return nil, protocols.Errorf(protocols.InvalidParams, "the cursor isn't one of this store")
		}
		c.next[i], raw = eventlog.Seq(n), raw[size:]
	}
	if len(raw) > 0 {
		return nil, protocols.Errorf(protocols.InvalidParams, "the cursor isn't one of this store")
	}
	return c, nil
}

// Cursor is the one of a subscription that begins behind so many records of
// each log.
func Cursor(last []eventlog.Seq) string {
	c := cursor{}
	for _, n := range last {
		c.next = append(c.next, n+1)
	}
	return c.String()
}

// Follow subscribes a front's client to the events of all runs. Each of the
// servers has one of the logs, always in the same order.
func Follow(ctx context.Context, c *Call, all []*Server, p FollowParams) (r FollowResult, err error) {
	switch {
	case c.Peer.notify == nil:
		return r, errStays
	case p.From != 0:
		return r, protocols.Errorf(protocols.InvalidParams, "the store is divided into partitions, each with places of its own: give the cursor of the last event instead of from")
	}
	at, err := parseCursor(p.Cursor, len(all))
	if err != nil {
		return r, err
	}
	sub, start, err := c.Peer.subscribe(ctx, func(ctx context.Context, sub uint64) {
		var feeding sync.WaitGroup
		for i, s := range all {
			f := s.newFeedAll(c.Peer, max(at.next[i], 1))
			f.sub, f.at, f.place = sub, at, i
			feeding.Go(func() {
				s.figures.followers.Add(1)
				defer s.figures.followers.Add(-1)
				f.pump(ctx)
			})
		}
		feeding.Wait()
	})
	if err != nil {
		return r, err
	}
	c.after = append(c.after, start)
	return FollowResult{Subscription: sub}, nil
}

// send tells the peer of an event, and where that leaves the subscription.
func (f *feedAll) send(ctx context.Context, e replay.Entry) error {
	event := Event{Subscription: f.sub, Entry: e}
	if f.at == nil {
		return unheard(f.peer.notify(ctx, LogEvent, event))
	}
	f.at.mu.Lock()
	defer f.at.mu.Unlock()
	f.at.next[f.place] = e.Seq + 1
	event.Cursor = f.at.String()
	return unheard(f.peer.notify(ctx, LogEvent, event))
}
