package server

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

var errStays = protocols.Errorf(protocols.InvalidRequest, "%s needs a connection that stays: a WebSocket, or GET /log/follow", LogFollow)

func (s *Server) follow(ctx context.Context, c *Call, p FollowParams) (r FollowResult, err error) {
	if c.Peer.notify == nil {
		return r, errStays
	}
	if p.ID == "" {
		return s.followAll(ctx, c, p)
	}
	ref, err := s.find(p.ID)
	if err != nil {
		return r, err
	}
	from := min(max(p.From, 1), s.log.Last()+1) // nobody waits for an end that lies before
	f := &feed{server: s, peer: c.Peer, run: ref.number, id: ref.id, next: from, codec: replay.NewCodec(s.log.Value)}
	if f.narrator, err = s.narrator(ref, f.codec, f.next); err != nil {
		return r, err
	}
	sub, start, err := c.Peer.subscribe(ctx, func(ctx context.Context, sub uint64) {
		f.sub = sub
		s.figures.followers.Add(1)
		defer s.figures.followers.Add(-1)
		f.pump(ctx, p.Progress)
	})
	if err != nil {
		return r, err
	}
	c.after = append(c.after, start)
	return FollowResult{Subscription: sub, ID: ref.id}, nil
}

func (s *Server) unfollow(_ context.Context, c *Call, p UnfollowParams) (empty, error) {
	c.Peer.unsubscribe(p.Subscription)
	return empty{}, nil
}

// narrator returns one that knows all that happened to the run before next.
func (s *Server) narrator(ref runRef, codec *replay.Codec, next eventlog.Seq) (n *replay.Narrator, err error) {
	for rec, err := range s.log.ReadStream(replay.Stream(ref.number), 1) {
		if err != nil {
			return nil, err
		}
		fact, found, err := codec.Decode(rec)
		if err != nil {
			return nil, err
		}
		if first, ok := fact.Event.(*replay.WorkflowSubmitted); ok {
			n = replay.NewNarrator(ref.id, first.Plan().Workflow)
		}
		if !found || n == nil {
			break
		}
		if rec.Seq >= next {
			return n, nil
		}
		n.Describe(fact)
	}
	if n == nil {
		return nil, notFound(ref.id)
	}
	return n, nil
}

// feed brings a run's events to a peer: each once, in order, and only what is
// durable, as fast as the peer takes it.
type feed struct {
	server   *Server
	peer     *Peer
	sub      uint64
	run      uint64
	id       string
	narrator *replay.Narrator
	codec    *replay.Codec
	next     eventlog.Seq
}

// pump brings all there is and will be, until the run has ended or ctx has.
// When we leave, it still brings what is there.
func (f *feed) pump(ctx context.Context, progress bool) {
	done, err := f.passed()
	if err == nil && !done {
		stop := func() {}
		if progress {
			stop = f.startProgress(ctx)
		}
		done, err = f.bring(ctx, f.server.log.FollowStream(ctx, replay.Stream(f.run), f.next))
		stop()
	}
	if errors.Is(context.Cause(ctx), errLeaving) && !done && err == nil {
		ctx = context.WithoutCancel(ctx)
		done, err = f.bring(ctx, f.server.log.ReadStream(replay.Stream(f.run), f.next))
	}
	switch {
	case errors.Is(err, eventlog.ErrClosed), errors.Is(err, errUnheard):
	case err != nil:
		f.peer.notify(ctx, LogEnd, End{Subscription: f.sub, Error: asError(err)})
	case done:
		f.peer.notify(ctx, LogEnd, End{Subscription: f.sub})
	}
}

// errUnheard says that the peer is gone.
var errUnheard = errors.New("nobody listens any more")

// unheard is the error of a notification that could not be sent.
func unheard(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("an event: %w", err)
	}
	return errUnheard
}

// passed tells whether the run ended before the first place of interest.
func (f *feed) passed() (bool, error) {
	head, _, err := f.server.log.Head(replay.Stream(f.run))
	return err == nil && replay.Ends(head) && head.Seq < f.next, err
}

// bring sends the records' events, up to the last that there can be.
func (f *feed) bring(ctx context.Context, records iter.Seq2[eventlog.Record, error]) (done bool, err error) {
	for rec, err := range records {
		if err != nil {
			return false, err
		}
		if rec.Type == eventlog.StreamDeleted {
			return false, protocols.Errorf(protocols.WorkflowNotFound, "run %s has been deleted", f.id)
		}
		fact, _, err := f.codec.Decode(rec)
		if err != nil {
			return false, err
		}
		event := Event{Subscription: f.sub, Entry: f.narrator.Describe(fact)}
		if err := f.peer.notify(ctx, LogEvent, event); err != nil {
			return false, unheard(err)
		}
		if f.next = rec.Seq + 1; !replay.Ends(rec) {
			continue
		}
		if over, err := f.passed(); over || err != nil {
			return over, err
		}
	}
	return false, nil
}

// startProgress passes signs of life on until stop, which waits for the last
// to be out. A peer that doesn't keep up misses some.
func (f *feed) startProgress(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	working.Go(func() { f.progress(ctx) })
	return func() {
		cancel()
		working.Wait()
	}
}

func (f *feed) progress(ctx context.Context) {
	select {
	case <-f.server.born:
	case <-ctx.Done():
		return
	}
	signs, cancel := f.server.current().Watch(f.id)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-signs:
			if f.peer.notify(ctx, LogProgress, Progress{f.sub, p}) != nil {
				return
			}
		}
	}
}
