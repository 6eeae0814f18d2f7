package server

import (
	"context"
	"errors"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file waits for the ends of runs, and looks at single tasks.

// defaultWait and maxWait are how long a call waits for a run's end.
const (
	defaultWait = time.Minute
	maxWait     = time.Hour
)

func (s *Server) runNow(ctx context.Context, c *Call, p RunNowParams) (*replay.RunView, error) {
	patience, err := seconds(p.Timeout, defaultWait, maxWait)
	if err != nil {
		return nil, err
	}
	r, err := s.submit(ctx, c, p.SubmitParams)
	if err != nil {
		return nil, err
	}
	return s.awaitEnd(ctx, c, r.ID, patience, true)
}

func (s *Server) wait(ctx context.Context, c *Call, p WaitParams) (*replay.RunView, error) {
	patience, err := seconds(p.Timeout, defaultWait, maxWait)
	if err != nil {
		return nil, err
	}
	return s.awaitEnd(ctx, c, p.ID, patience, p.Values)
}

// seconds reads a number of seconds.
func seconds(n float64, unless, most time.Duration) (time.Duration, error) {
	switch {
	case n == 0:
		return unless, nil
	case !(n > 0) || n > most.Seconds():
		return 0, protocols.Errorf(protocols.InvalidParams, "the timeout must be more than 0 and at most %g seconds", most.Seconds())
	}
	return time.Duration(n * float64(time.Second)), nil
}

// awaitEnd waits until the run has ended, and returns it as it stands then; or
// when the patience is over, or the peer has gone.
func (s *Server) awaitEnd(ctx context.Context, c *Call, id string, patience time.Duration, values bool) (*replay.RunView, error) {
	ref, err := s.find(id)
	if err != nil {
		return nil, err
	}
	waiting, enough := context.WithTimeout(ctx, patience)
	defer enough()
	go func() {
		select {
		case <-c.Peer.left():
			enough()
		case <-waiting.Done():
		}
	}()
	if err := s.untilEnded(waiting, ref); err != nil {
		return nil, err
	}
	return s.get(ctx, c, GetParams{ID: ref.id, Values: values})
}

// EndOf is the place in the log of a run's end, 0 of one that goes on.
func (s *Server) EndOf(id string) (eventlog.Seq, error) {
	ref, err := s.find(id)
	if err != nil || !replay.Ends(ref.head) {
		return 0, err
	}
	return ref.head.Seq, nil
}

// untilEnded returns when the run has ended or ctx has.
func (s *Server) untilEnded(ctx context.Context, ref runRef) error {
	for _, err := range s.log.FollowStream(ctx, replay.Stream(ref.number), ref.head.Seq) {
		if errors.Is(err, eventlog.ErrClosed) {
			return errLeaving
		}
		if err != nil {
			return err
		}
		head, _, err := s.log.Head(replay.Stream(ref.number))
		if err != nil || replay.Ends(head) || head.Type == eventlog.StreamDeleted {
			return err
		}
	}
	return nil
}

func (s *Server) standing(ctx context.Context, c *Call, p RunParams) (*replay.RunView, error) {
	return s.get(ctx, c, GetParams{ID: p.ID})
}

func (s *Server) task(ctx context.Context, c *Call, p TaskParams) (*replay.TaskView, error) {
	v, err := s.get(ctx, c, GetParams{ID: p.ID, Values: true})
	if err != nil {
		return nil, err
	}
	var ids []string
	for i, t := range v.Tasks {
		if t.ID == p.Task {
			return &v.Tasks[i], nil
		}
		ids = append(ids, t.ID)
	}
	failure := protocols.Errorf(protocols.TaskNotFound, "run %s has no task %q", v.ID, p.Task)
	if hint := protocols.Suggest(p.Task, ids); hint != "" {
		failure.Message += " (" + hint + ")"
	}
	return nil, failure
}
