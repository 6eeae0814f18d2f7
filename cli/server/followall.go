package server

import (
	"context"
	"errors"
	"iter"

	"gleitzeit/eventlog"
	"gleitzeit/replay"
)

// maxNarrators is how many runs a subscription to all of them keeps in mind. The
// story of one more is read again from its beginning.
const maxNarrators = 1000

// followAll subscribes to the events of all runs.
func (s *Server) followAll(ctx context.Context, c *Call, p FollowParams) (r FollowResult, err error) {
	f := s.newFeedAll(c.Peer, max(p.From, 1))
	sub, start, err := c.Peer.subscribe(ctx, func(ctx context.Context, sub uint64) {
		f.sub = sub
		s.figures.followers.Add(1)
		defer s.figures.followers.Add(-1)
		f.pump(ctx)
	})
	if err != nil {
		return r, err
	}
	c.after = append(c.after, start)
	return FollowResult{Subscription: sub}, nil
}

func (s *Server) newFeedAll(p *Peer, from eventlog.Seq) *feedAll {
	return &feedAll{server: s, peer: p, codec: replay.NewCodec(s.log.Value), next: from, narrators: map[uint64]*replay.Narrator{}}
}

// feedAll brings the events of all runs to a peer: each once, in order, and
// only what is durable, as fast as the peer takes it.
type feedAll struct {
	server    *Server
	peer      *Peer
	sub       uint64
	at        *cursor // of a subscription to several logs, and
	place     int     // which of them this is
	codec     *replay.Codec
	next      eventlog.Seq
	narrators map[uint64]*replay.Narrator // of runs that have not ended
}

// pump brings all there is and will be, until ctx ends. When we leave, it still
// brings what is there.
func (f *feedAll) pump(ctx context.Context) {
	err := f.bring(ctx, f.server.log.Follow(ctx, f.next))
	if errors.Is(context.Cause(ctx), errLeaving) && err == nil {
		ctx = context.WithoutCancel(ctx)
		err = f.bring(ctx, f.server.log.Read(f.next))
	}
	if err != nil && !errors.Is(err, eventlog.ErrClosed) && !errors.Is(err, errUnheard) {
		f.peer.notify(ctx, LogEnd, End{Subscription: f.sub, Error: asError(err)})
	}
}

func (f *feedAll) bring(ctx context.Context, records iter.Seq2[eventlog.Record, error]) error {
	for rec, err := range records {
		if err != nil {
			return err
		}
		if err := f.tell(ctx, rec); err != nil {
			return err
		}
		f.next = rec.Seq + 1
	}
	return nil
}

// tell sends the record's event, if it is one of a run. Events of a run that has
// been removed meanwhile are left out; that it was comes in its place.
func (f *feedAll) tell(ctx context.Context, rec eventlog.Record) error {
	if gone, ok, err := replay.Removal(rec); ok || err != nil {
		number, _ := replay.RunOf(rec.Stream)
		delete(f.narrators, number)
		return errors.Join(err, f.send(ctx, gone))
	}
	number, ok := replay.RunOf(rec.Stream)
	if !ok {
		return nil
	}
	e, known, err := f.entry(number, rec)
	if err != nil && f.gone(number) {
		return nil // in the middle of reading it
	}
	if err != nil || !known {
		return err
	}
	if replay.Ends(rec) {
		delete(f.narrators, number)
	}
	return f.send(ctx, e)
}

// entry puts a run's event into words.
func (f *feedAll) entry(number uint64, rec eventlog.Record) (e replay.Entry, known bool, err error) {
	n, err := f.narrator(number, rec.Seq)
	if n == nil || err != nil {
		return e, false, err
	}
	fact, known, err := f.codec.Decode(rec)
	if err != nil || !known {
		return e, false, err
	}
	return n.Describe(fact), true, nil
}

// gone tells whether a run has been removed.
func (f *feedAll) gone(number uint64) bool {
	_, found, err := f.server.ref(number)
	return err == nil && !found
}

// narrator returns one that knows what happened to the run before that place,
// nil if the run has been deleted since.
func (f *feedAll) narrator(number uint64, before eventlog.Seq) (*replay.Narrator, error) {
	if n := f.narrators[number]; n != nil {
		return n, nil
	}
	ref, found, err := f.server.ref(number)
	if err != nil || !found {
		return nil, err
	}
	n, err := f.server.narrator(ref, f.codec, before)
	if err != nil {
		return nil, err
	}
	if len(f.narrators) >= maxNarrators {
		clear(f.narrators)
	}
	f.narrators[number] = n
	return n, nil
}
