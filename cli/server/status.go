package server

import (
	"context"
	"os"

	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

func (s *Server) hello(ctx context.Context, _ *Call, _ HelloParams) (HelloResult, error) {
	stays := s.o.Scheduler.Policy.Schedules || s.router != nil && s.router.Served(ctx)
	return HelloResult{API: APIVersion, Store: s.o.Dir, ID: s.storeID(), PID: os.Getpid(), Version: s.o.Scheduler.Version,
		Server: stays}, nil
}

func (s *Server) storeID() string {
	if s.router != nil {
		return s.router.ID()
	}
	return s.log.ID()
}

func (s *Server) status(ctx context.Context, _ *Call, _ empty) (StatusResult, error) {
	st := s.log.Stats()
	r := StatusResult{
		Store: s.o.Dir, ID: s.log.ID(), Format: st.Format, Engine: string(st.Engine), Promise: st.Promise.Text, Durability: st.Promise.Class, Last: st.Last, Records: st.Records,
		Values: st.Values, ValueBytes: st.ValueBytes, DiskBytes: st.DiskBytes,
		PID: os.Getpid(), Since: s.since, Version: s.o.Scheduler.Version,
		Server: s.o.Scheduler.Policy.Schedules, Slots: s.o.Scheduler.Policy.Slots, Runs: map[replay.Status]int{},
	}
	if why := s.ReadOnly(); why != nil {
		r.ReadOnly = why.Error()
	}
	if r.Slots == 0 {
		r.Slots = scheduler.DefaultSlots
	}
	s.mu.Lock()
	r.Scheduler, r.Leaving = s.scheduler != nil, s.leaving
	s.mu.Unlock()
	if r.Scheduler {
		err := s.current().Query(ctx, func(state *replay.State) { r.Running, r.Ready = state.Running, state.ReadyTasks() })
		if err != nil {
			return r, err
		}
	}
	err := s.live(ctx, func(_ *replay.Run, status replay.Status) { r.Runs[status]++ })
	return r, err
}

func (s *Server) verify(ctx context.Context, _ *Call, _ empty) (VerifyResult, error) {
	v, err := s.log.Verify(ctx)
	return VerifyResult{Last: v.Last, Streams: v.Streams, Records: v.Records, Deleted: v.Deleted, Values: v.Values,
		ValueBytes: v.ValueBytes, Keys: v.Keys, Checkpoints: v.Checkpoints, Problems: append([]string{}, v.Problems...)}, err
}
