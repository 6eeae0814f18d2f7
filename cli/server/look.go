package server

import (
	"context"
	"iter"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/replay"
)

// This file holds what looks at one run, and the ways to look at many. None of
// it starts anything.

func (s *Server) get(ctx context.Context, _ *Call, p GetParams) (*replay.RunView, error) {
	h, _, err := s.load(p.ID)
	if err != nil {
		return nil, err
	}
	get := s.log.Value
	if !p.Values {
		get = nil
	}
	v, err := h.View(get)
	if err != nil || h.Ended() {
		return v, err
	}
	return v, s.explain(ctx, v)
}

// explain adds to a view what the scheduler knows beside the run's own history.
func (s *Server) explain(ctx context.Context, v *replay.RunView) error {
	started, err := s.started()
	if err != nil || !started {
		return err
	}
	now, by := time.Now(), s.current()
	return by.Query(ctx, func(state *replay.State) {
		if r := state.Run(v.Number); r != nil {
			state.Explain(r, now, by.Bounds(), v)
		}
	})
}

func (s *Server) history(_ context.Context, _ *Call, p RunParams) (r HistoryResult, err error) {
	h, ref, err := s.load(p.ID)
	if err != nil {
		return r, err
	}
	return HistoryResult{ID: ref.id, Entries: h.Timeline()}, nil
}

// load folds all that happened to a run.
func (s *Server) load(id string) (*replay.History, runRef, error) {
	ref, err := s.find(id)
	if err != nil {
		return nil, ref, err
	}
	h, err := replay.LoadHistory(s.log, ref.number)
	if err != nil {
		return nil, ref, err
	}
	if h == nil {
		return nil, ref, notFound(id) // deleted since
	}
	started, err := s.started()
	if err == nil && !started && !h.Ended() {
		h.Run().Abandon()
	}
	return h, ref, err
}

// numbers gives the runs' numbers, the newest first, below before unless that
// is 0.
func (s *Server) numbers(before uint64) iter.Seq2[uint64, error] {
	after := ""
	if before > 0 {
		after = replay.Stream(before)
	}
	return func(yield func(uint64, error) bool) {
		for name, err := range s.log.Streams(replay.RunPrefix, true, after) {
			n, ok := replay.RunOf(name)
			if err == nil && !ok {
				continue
			}
			if !yield(n, err) || err != nil {
				return
			}
		}
	}
}

// live calls f for every live run with its status, in no order: inside the
// scheduler's loop if there is one, or else on the state that the log gives. f
// must be quick and must not keep what it sees.
func (s *Server) live(ctx context.Context, f func(*replay.Run, replay.Status)) error {
	now := time.Now()
	return s.state(ctx, func(state *replay.State, started bool) {
		state.Each(func(r *replay.Run) {
			if !started {
				r.Abandon()
			}
			status, _, _ := state.Stand(r, now, replay.Bounds{}) // they only give reasons
			f(r, status)
		})
	})
}

// state calls f with the scheduler's state inside its loop, if this process
// has started one, or else with what the log gives. f must be quick and must
// not keep what it sees.
func (s *Server) state(ctx context.Context, f func(state *replay.State, started bool)) error {
	started, err := s.started()
	if err != nil {
		return err
	}
	if started {
		return s.current().Query(ctx, func(state *replay.State) { f(state, true) })
	}
	state, err := replay.Load(s.log)
	if err != nil {
		return err
	}
	f(state, false)
	return nil
}

// summaries returns the runs of those numbers, in their order, without those
// that have been deleted.
func (s *Server) summaries(ctx context.Context, numbers []uint64) ([]*replay.RunView, error) {
	views := make([]*replay.RunView, len(numbers))
	var lively []int
	for i, n := range numbers {
		v, lives, err := s.endedView(n)
		if err != nil {
			return nil, err
		}
		if views[i] = v; lives {
			lively = append(lively, i)
		}
	}
	if err := s.liveViews(ctx, numbers, lively, views); err != nil {
		return nil, err
	}
	all := views[:0]
	for _, v := range views {
		if v != nil {
			all = append(all, v)
		}
	}
	return all, nil
}

// endedView returns a run that has ended, from its last record alone, and
// whether it lives instead. Neither: it doesn't exist.
func (s *Server) endedView(number uint64) (v *replay.RunView, lives bool, err error) {
	head, found, err := s.log.Head(replay.Stream(number))
	switch {
	case err != nil || !found || head.Type == eventlog.StreamDeleted:
		return nil, false, err
	case !replay.Ends(head):
		return nil, true, nil
	}
	v, err = replay.EndedView(head)
	return v, false, err
}

// liveViews fills in the views at the places which.
func (s *Server) liveViews(ctx context.Context, numbers []uint64, which []int, views []*replay.RunView) error {
	if len(which) == 0 {
		return nil
	}
	started, err := s.started()
	if err != nil {
		return err
	}
	if !started {
		return s.loadViews(numbers, which, views)
	}
	now, by := time.Now(), s.current()
	err = by.Query(ctx, func(state *replay.State) {
		bounds := by.Bounds()
		for _, i := range which {
			if r := state.Run(numbers[i]); r != nil {
				views[i] = state.Summary(r, now, bounds)
			}
		}
	})
	for _, i := range which {
		if err == nil && views[i] == nil { // it has ended since
			views[i], _, err = s.endedView(numbers[i])
		}
	}
	return err
}

func (s *Server) loadViews(numbers []uint64, which []int, views []*replay.RunView) error {
	codec := replay.NewCodec(s.log.Value)
	for _, i := range which {
		r, err := replay.LoadRun(s.log, codec, numbers[i])
		if err != nil {
			return err
		}
		if r != nil {
			r.Abandon()
			views[i] = r.Summary()
		}
	}
	return nil
}
