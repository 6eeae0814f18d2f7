package server

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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
	if p.Dry {
		return s.sweep(ctx, keep, true)
	}
	s.log.Spend()
	r, err := s.sweep(ctx, keep, false)
	return r, s.noted(ctx, err, SystemGC, p.By, "runs removed: %d", r.Runs)
}

// sweep removes what is not to be kept.
func (s *Server) sweep(ctx context.Context, keep Retention, dry bool) (GCResult, error) {
	known := map[uint64]time.Time{}
	ended, _, err := s.endedRuns(ctx, known)
	if err != nil {
		return GCResult{}, err
	}
	return s.removeOld(ctx, keep, ended, known, dry)
}

// removeOld removes what is not to be kept of what has ended.
func (s *Server) removeOld(ctx context.Context, keep Retention, ended []endedRun, known map[uint64]time.Time, dry bool) (r GCResult, err error) {
	r.Before = s.log.Stats().DiskBytes
	excess := surplus(ended, keep, time.Now())
	gone, err := s.removeRuns(ctx, ended[:excess], known, dry)
	r.Runs += gone
	if err == nil && !dry && keep.Bytes > 0 {
		err = s.shrink(ctx, ended[excess:], known, keep.Bytes, &r)
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

// endedRuns returns the runs that have ended, the oldest end first. It looks only
// at runs whose end isn't known yet; whether one that is known has gone on since,
// removeRuns looks. It says how long it took, without what new runs cost.
func (s *Server) endedRuns(ctx context.Context, known map[uint64]time.Time) (ended []endedRun, took time.Duration, err error) {
	began := time.Now()
	before := maps.Clone(known)
	clear(known)
	var news []uint64
	for name, err := range s.log.Streams(replay.RunPrefix, false, "") {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, 0, err
		}
		n, ok := replay.RunOf(name)
		if !ok {
			continue
		}
		if at, found := before[n]; found {
			ended, known[n] = append(ended, endedRun{n, at}), at
		} else {
			news = append(news, n)
		}
	}
	took = time.Since(began)
	ends := make([]time.Time, len(news))
	if err := abreast(len(news), func(i int) error {
		at, found, err := s.endOf(news[i])
		if found {
			ends[i] = at
		}
		return cmp.Or(err, ctx.Err())
	}); err != nil {
		return nil, 0, err
	}
	for i, at := range ends {
		if !at.IsZero() {
			ended, known[news[i]] = append(ended, endedRun{news[i], at}), at
		}
	}
	slices.SortStableFunc(ended, func(a, b endedRun) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.number, b.number)) })
	return ended, took, nil
}

// endOf returns when a run ended, if it has.
func (s *Server) endOf(number uint64) (at time.Time, found bool, err error) {
	head, found, err := s.log.Head(replay.Stream(number))
	return head.Time, found && replay.Ends(head), err
}

// removeRuns removes those of the runs that no live run needs and that haven't
// gone on since, and returns how many those are.
func (s *Server) removeRuns(ctx context.Context, runs []endedRun, known map[uint64]time.Time, dry bool) (gone int, err error) {
	for some := range slices.Chunk(runs, removeSome) {
		goes := make([]bool, len(some))
		back := make([]bool, len(some))
		if err := abreast(len(some), func(i int) error {
			at, found, err := s.endOf(some[i].number)
			if back[i] = err == nil && (!found || !at.Equal(some[i].at)); back[i] || err != nil {
				return err
			}
			needed, err := s.needed(some[i].number)
			goes[i] = !needed
			return err
		}); err != nil {
			return gone, err
		}
		var numbers []uint64
		for i, one := range some {
			if back[i] {
				delete(known, one.number)
			}
			if goes[i] {
				numbers = append(numbers, one.number)
			}
		}
		if !dry {
			if err := s.removeTogether(ctx, numbers); err != nil {
				return gone, err
			}
		}
		gone += len(numbers)
	}
	return gone, nil
}

// abreast does something for each number below n, several at a time: a store in
// another process answers many questions in little more time than one.
func abreast(n int, do func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(16)
	for i := range n {
		g.Go(func() error { return do(i) })
	}
	return g.Wait()
}

// needed tells whether the run that started this one goes on.
func (s *Server) needed(number uint64) (bool, error) {
	parent, err := replay.ParentOf(s.log, number)
	if err != nil || parent == 0 {
		return false, err
	}
	head, found, err := s.log.Head(replay.Stream(parent))
	return found && !replay.IsEnd(head.Type), err
}

// removeSome is how many runs go with one sync: the loop waits for it.
const removeSome = 32

// removeTogether removes runs but for those that have come back to life. Whoever
// carries runs out can't retry one meanwhile: that happens in the same loop.
func (s *Server) removeTogether(ctx context.Context, numbers []uint64) error {
	return s.tidy(ctx, func(state *replay.State) error {
		var streams []string
		for _, n := range numbers {
			if state == nil || state.Run(n) == nil {
				streams = append(streams, replay.TextStream(n), replay.Stream(n))
			}
		}
		return s.log.Delete(streams...)
	})
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
func (s *Server) shrink(ctx context.Context, runs []endedRun, known map[uint64]time.Time, most int64, r *GCResult) error {
	for s.log.Stats().DiskBytes > most {
		if err := s.log.Compact(ctx); err != nil {
			return err
		}
		if len(runs) == 0 || s.log.Stats().DiskBytes <= most {
			return nil
		}
		n := (len(runs) + 9) / 10
		gone, err := s.removeRuns(ctx, runs[:n], known, false)
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
			if err := s.tidy(ctx, func(*replay.State) error { return s.log.Delete(name) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// The pauses between two sweeps: a sweep goes through the list of all runs, so that
// the more there are the rarer it comes.
const (
	sweepPause = 5 * time.Second
	sweepShare = 20 // that takes at most one part of so many of the time; what is new and what goes, as long as it takes
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
	known := map[uint64]time.Time{}
	for pause := sweepPause; ; {
		select {
		case <-s.quit:
			return
		case <-time.After(pause):
		}
		began := time.Now()
		ended, looked, err := s.endedRuns(ctx, known)
		var r GCResult
		if err == nil {
			r, err = s.removeOld(ctx, keep, ended, known, false)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			known = map[uint64]time.Time{}
			s.o.Logger.Warn("remove old runs", "error", err)
		case r.Runs > 0:
			s.o.Logger.Info("removed old runs", "runs", r.Runs, "bytes", r.After)
		}
		if keep.Bytes > 0 { // then much is cleared away to see how much that is
			looked = time.Since(began)
		}
		pause = max(sweepPause, sweepShare*looked)
	}
}
