package server

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file removes runs that have ended, the oldest end first: when somebody
// asks for it, and by itself as the retention says. What goes of a run is all of
// it: its history, its values that no other run has, its idempotency key.

// Retention says which runs are kept that have ended. Zero bounds nothing.
type Retention struct {
	Age   time.Duration // since the end
	Runs  int           // the newest
	Bytes int64         // that the store may take on disk
}

// IsZero tells whether everything is kept.
func (r Retention) IsZero() bool { return r == Retention{} }

// endedRun is one that could go.
type endedRun struct {
	number uint64
	at     time.Time
}

func (s *Server) gc(ctx context.Context, _ *Call, p GCParams) (GCResult, error) {
	keep := Retention{Age: time.Duration(p.OlderThan), Runs: p.Keep, Bytes: p.Bytes}
	if keep.IsZero() {
		return GCResult{}, protocols.Errorf(protocols.InvalidParams, "say what to keep: an age, a number of runs or a number of bytes")
	}
	r, err := s.sweep(ctx, keep, p.Dry)
	if p.Dry {
		return r, err
	}
	return r, s.noted(ctx, err, SystemGC, p.By, "runs removed: %d", r.Runs)
}

// sweep removes what is not to be kept.
func (s *Server) sweep(ctx context.Context, keep Retention, dry bool) (r GCResult, err error) {
	r.Before = s.log.Stats().DiskBytes
	ended, live, err := s.endedRuns(ctx)
	if err != nil {
		return r, err
	}
	excess := surplus(ended, keep, time.Now())
	gone, err := s.removeRuns(ctx, ended[:excess], live, dry)
	r.Runs += gone
	if err == nil && !dry && keep.Bytes > 0 {
		err = s.shrink(ctx, ended[excess:], live, keep.Bytes, &r)
	}
	if err == nil && !dry {
		err = s.removeExpired(ctx)
	}
	if err == nil && !dry {
		err = s.fold(ctx)
	}
	r.After = s.log.Stats().DiskBytes
	return r, err
}

// surplus returns how many of the runs, the oldest end first, are not kept.
func surplus(ended []endedRun, keep Retention, now time.Time) (n int) {
	if keep.Runs > 0 {
		n = max(0, len(ended)-keep.Runs)
	}
	for keep.Age > 0 && n < len(ended) && now.Sub(ended[n].at) > keep.Age {
		n++
	}
	return n
}

// endedRuns returns the runs that have ended, the oldest end first, and those
// that have not.
func (s *Server) endedRuns(ctx context.Context) (ended []endedRun, live map[uint64]bool, err error) {
	live = map[uint64]bool{}
	for name, err := range s.log.Streams(replay.RunPrefix, false, "") {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, nil, err
		}
		n, ok := replay.RunOf(name)
		if !ok {
			continue
		}
		head, found, err := s.log.Head(name)
		switch {
		case err != nil:
			return nil, nil, err
		case found && replay.Ends(head):
			ended = append(ended, endedRun{n, head.Time})
		default:
			live[n] = true
		}
	}
	slices.SortStableFunc(ended, func(a, b endedRun) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.number, b.number)) })
	return ended, live, nil
}

// removeRuns removes those of the runs that no live run needs, and returns how
// many those are.
func (s *Server) removeRuns(ctx context.Context, runs []endedRun, live map[uint64]bool, dry bool) (gone int, err error) {
	for _, one := range runs {
		parent, err := replay.ParentOf(s.log, one.number)
		if err != nil {
			return gone, err
		}
		if live[parent] {
			continue
		}
		if !dry {
			if err := s.removeRun(ctx, one.number); err != nil {
				return gone, err
			}
		}
		gone++
	}
	return gone, nil
}

// removeRun removes one run unless it has come back to life. Whoever carries
// runs out can't retry it meanwhile: that happens in the same loop.
func (s *Server) removeRun(ctx context.Context, number uint64) error {
	return s.tidy(ctx, func(state *replay.State) error {
		if state != nil && state.Run(number) != nil {
			return nil
		}
		return s.delete(replay.TextStream(number), replay.Stream(number)) // a run whose words are gone may stay, not words of none
	})
}

func (s *Server) delete(streams ...string) error {
	for _, name := range streams {
		if err := s.log.Delete(name); err != nil {
			return err
		}
	}
	return nil
}

// tidy removes something from the log, in the loop of whoever carries runs out;
// if nobody does, there is no state.
func (s *Server) tidy(ctx context.Context, remove func(*replay.State) error) error {
	s.making.Lock() // no scheduler comes meanwhile
	running := s.current()
	if running != nil {
		s.making.Unlock()
		return running.Tidy(ctx, remove)
	}
	defer s.making.Unlock()
	return remove(nil)
}

// foldSome is how many marks of deletions are folded at once; a test has fewer.
var foldSome = 1000

// fold has the marks folded that deletions left. Those stay that a start may
// still read, and of the runs' the one with the highest number, so that no
// number is ever given again.
func (s *Server) fold(ctx context.Context) error {
	done, found, err := s.log.Checkpoint(replay.SystemStream)
	if err != nil || !found {
		return err
	}
	marks, err := s.log.Marks(ctx, done.At)
	if err != nil {
		return err
	}
	highest, at := uint64(0), -1
	for i, m := range marks {
		if n, ok := replay.RunOf(m.Stream); ok && n >= highest {
			highest, at = n, i
		}
	}
	if at >= 0 {
		marks = slices.Delete(marks, at, at+1)
	}
	for len(marks) >= foldSome {
		if err := s.tidy(ctx, func(*replay.State) error { return s.log.Fold(marks[:foldSome]) }); err != nil {
			return err
		}
		marks = marks[foldSome:]
	}
	return nil
}

// shrink removes a tenth of the runs again and again, until the store is small
// enough. What deletions leave has to be cleared away in between, or nobody
// could tell.
func (s *Server) shrink(ctx context.Context, runs []endedRun, live map[uint64]bool, most int64, r *GCResult) error {
	for s.log.Stats().DiskBytes > most {
		if err := s.log.Compact(ctx); err != nil {
			return err
		}
		if len(runs) == 0 || s.log.Stats().DiskBytes <= most {
			return nil
		}
		n := (len(runs) + 9) / 10
		gone, err := s.removeRuns(ctx, runs[:n], live, false)
		r.Runs += gone
		if err != nil {
			return err
		}
		runs = runs[n:]
	}
	return nil
}

// removeExpired removes results that stand for no call any more.
func (s *Server) removeExpired(ctx context.Context) error {
	for name, err := range s.log.Streams(replay.CachePrefix, false, "") {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		head, found, err := s.log.Head(name)
		if err != nil {
			return err
		}
		if found && replay.CacheExpired(head, time.Now()) {
			if err := s.tidy(ctx, func(*replay.State) error { return s.delete(name) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// The pauses between two sweeps: a sweep looks at each run, so that the more
// there are the rarer it comes.
const (
	sweepPause = 5 * time.Second
	sweepShare = 20 // a sweep takes at most one part of so many of the time
)

// retain sweeps while runs are carried out here.
func (s *Server) retain(keep Retention) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() {
		<-s.quit
		cancel()
	})
	for pause := sweepPause; ; {
		select {
		case <-s.quit:
			return
		case <-time.After(pause):
		}
		began := time.Now()
		r, err := s.sweep(ctx, keep, false)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.o.Logger.Warn("remove old runs", "error", err)
		case r.Runs > 0:
			s.o.Logger.Info("removed old runs", "runs", r.Runs, "bytes", r.After)
		}
		pause = max(sweepPause, sweepShare*time.Since(began))
	}
}
