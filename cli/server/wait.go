package server

import (
	"context"

	"gleitzeit/protocols"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// This file holds the wishes about runs that wait: for a signal, for a
// decision, or because somebody paused them. None of them takes a run on: what
// follows from them happens when somebody runs it.

func (s *Server) pauseRun(ctx context.Context, c *Call, p PauseParams) (RunResult, error) {
	return s.act(c.Peer, p.ID, func(running *scheduler.Scheduler, ref runRef) error {
		return running.Pause(ctx, ref.number, p.By)
	})
}

func (s *Server) unpauseRun(ctx context.Context, c *Call, p UnpauseParams) (RunResult, error) {
	return s.act(c.Peer, p.ID, func(running *scheduler.Scheduler, ref runRef) error {
		return running.Unpause(ctx, scheduler.Unpause{Run: ref.number, By: p.By, Granted: p.usage()})
	})
}

func (s *Server) signal(ctx context.Context, c *Call, p SignalParams) (RunResult, error) {
	if p.Name == "" {
		return RunResult{}, protocols.Errorf(protocols.InvalidParams, "the signal's name is missing")
	}
	if r, had, err := s.had(p.ID, p.Key); had || err != nil {
		return r, err
	}
	return s.act(c.Peer, p.ID, func(running *scheduler.Scheduler, ref runRef) error {
		return running.Signal(ctx, scheduler.Signal{Run: ref.number, Name: p.Name, Data: replay.NewValue(p.Data), By: p.By, Key: p.Key})
	})
}

func (s *Server) decide(ctx context.Context, c *Call, p ApprovalParams) (RunResult, error) {
	if r, had, err := s.had(p.ID, p.Key); had || err != nil {
		return r, err
	}
	return s.act(c.Peer, p.ID, func(running *scheduler.Scheduler, ref runRef) error {
		task := -1
		if p.Task != "" {
			places, err := s.places(ctx, running, ref, p.Task)
			if err != nil {
				return err
			}
			task = places[0]
		}
		return running.Approve(ctx, scheduler.Approve{Run: ref.number, Task: task, Approved: p.Approved, Comment: p.Comment, By: p.By, Key: p.Key,
			Question: p.Question, Data: p.Data, Fields: p.Fields})
	})
}

// had tells whether the run has had already what was sent under the key, which
// may have ended it: then whoever sent it didn't get the answer.
func (s *Server) had(id, key string) (r RunResult, had bool, err error) {
	if key == "" {
		return r, false, nil
	}
	if err := replay.CheckKey(key); err != nil {
		return r, false, protocols.Errorf(protocols.InvalidParams, "%v", err)
	}
	stream, found, err := s.log.Lookup(replay.SentKey(key))
	if err != nil || !found {
		return r, false, err
	}
	ref, err := s.find(id)
	if err == nil && replay.Stream(ref.number) != stream {
		err = protocols.Errorf(protocols.InvalidParams, "the key %q was used for another run", key)
	}
	return RunResult{ref.id}, true, err
}

// act does something to a live run. It takes the scheduler that is there, even
// one that is on its way out, or else makes one.
func (s *Server) act(p *Peer, id string, do func(*scheduler.Scheduler, runRef) error) (RunResult, error) {
	ref, err := s.findLive(id)
	if err != nil {
		return RunResult{}, err
	}
	running := s.current()
	if running == nil {
		if running, err = s.wish(p); err != nil {
			return RunResult{}, err
		}
	}
	return RunResult{ref.id}, s.unlessEnded(ref, do(running, ref))
}

// places turns names of tasks into their places in the run.
func (s *Server) places(ctx context.Context, running *scheduler.Scheduler, ref runRef, tasks ...string) ([]int, error) {
	found := make([]int, len(tasks))
	lives := false
	err := running.Query(ctx, func(state *replay.State) {
		r := state.Run(ref.number)
		if lives = r != nil; !lives {
			return
		}
		for i, t := range tasks {
			found[i] = r.Place(t)
		}
	})
	if err == nil && !lives {
		err = notFound(ref.id)
	}
	for i, place := range found {
		if err == nil && place < 0 {
			err = protocols.Errorf(protocols.TaskNotFound, "run %s has no task %q", ref.id, tasks[i])
		}
	}
	return found, err
}
