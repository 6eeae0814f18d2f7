package server

import (
	"context"
	"slices"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// DefaultPage is how many runs a page has unless told otherwise.
const DefaultPage = 50

const (
	maxPage = 1000
	// maxSeen bounds the runs that one call looks at, however few it wants.
	maxSeen = 5000
)

// list returns a page. Runs that have ended are found by going back through
// the runs, one record each; when only live ones are wanted, through those.
func (s *Server) list(ctx context.Context, _ *Call, p ListParams) (r ListResult, err error) {
	if err := checkStatuses(p.Status); err != nil {
		return r, err
	}
	if p.Limit < 0 {
		return r, protocols.Errorf(protocols.InvalidParams, "the limit is negative")
	}
	if p.Limit == 0 {
		p.Limit = DefaultPage
	}
	p.Limit = min(p.Limit, maxPage)
	r.Runs = []*replay.RunView{}
	if onlyLive(p.Status) {
		err = s.listLive(ctx, p, &r)
	} else {
		err = s.listAll(ctx, p, &r)
	}
	return r, err
}

func checkStatuses(wanted []replay.Status) error {
	known := []replay.Status{replay.Pending, replay.Running, replay.Waiting, replay.Paused, replay.Parked,
		replay.Completed, replay.Failed, replay.Cancelled, replay.TimedOut}
	for _, w := range wanted {
		if !slices.Contains(known, w) {
			return protocols.Errorf(protocols.InvalidParams, "%q is no status of a run: it is one of %v", w, known)
		}
	}
	return nil
}

// onlyLive tells whether no run that has ended can be meant.
func onlyLive(wanted []replay.Status) bool {
	return len(wanted) > 0 && !slices.ContainsFunc(wanted, replay.Status.Ended)
}

// matches tells whether a run is among those wanted.
func (p *ListParams) matches(status replay.Status, name string, tags []string, at time.Time) bool {
	return (len(p.Status) == 0 || slices.Contains(p.Status, status)) &&
		(p.Name == "" || p.Name == name) &&
		(p.Tag == "" || slices.Contains(tags, p.Tag)) &&
		(p.Since.IsZero() || !at.Before(p.Since)) &&
		(p.Until.IsZero() || at.Before(p.Until))
}

// listAll goes back through all runs.
func (s *Server) listAll(ctx context.Context, p ListParams, r *ListResult) error {
	var chunk []uint64
	seen := 0
	for n, err := range s.numbers(p.Before) {
		if err != nil {
			return err
		}
		if len(r.Runs) == p.Limit || seen >= maxSeen {
			return nil // and Next says that there is more
		}
		chunk = append(chunk, n)
		seen++
		r.Next = n
		if len(chunk) >= p.Limit-len(r.Runs) || seen == maxSeen {
			if err := s.listChunk(ctx, p, chunk, r); err != nil {
				return err
			}
			chunk = chunk[:0]
		}
	}
	r.Next = 0
	return s.listChunk(ctx, p, chunk, r)
}

// listChunk adds those of some runs that are wanted.
func (s *Server) listChunk(ctx context.Context, p ListParams, numbers []uint64, r *ListResult) error {
	views, err := s.summaries(ctx, numbers)
	for _, v := range views {
		if p.matches(v.Status, v.Name, v.Tags, v.Submitted) {
			r.Runs = append(r.Runs, v)
		}
	}
	return err
}

// listLive goes through the live runs alone.
func (s *Server) listLive(ctx context.Context, p ListParams, r *ListResult) error {
	var numbers []uint64
	err := s.live(ctx, func(run *replay.Run, status replay.Status) {
		if (p.Before == 0 || run.Number < p.Before) && p.matches(status, run.Plan.Workflow.Name, run.Plan.Workflow.Tags, run.At) {
			numbers = append(numbers, run.Number)
		}
	})
	if err != nil {
		return err
	}
	slices.Sort(numbers)
	slices.Reverse(numbers)
	if len(numbers) > p.Limit {
		numbers = numbers[:p.Limit]
		r.Next = numbers[p.Limit-1]
	}
	return s.listChunk(ctx, p, numbers, r)
}
