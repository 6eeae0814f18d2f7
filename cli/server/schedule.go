package server

import (
	"cmp"
	"context"
	"slices"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// This file holds the methods about schedules.

func (s *Server) addSchedule(ctx context.Context, c *Call, p ScheduleAddParams) (v ScheduleView, err error) {
	sub, err := s.submitted(&p.Run)
	if err != nil {
		return v, err
	}
	running, err := s.wish(c.Peer)
	if err != nil {
		return v, err
	}
	name, err := running.AddSchedule(ctx, scheduler.Recurrence{Submission: sub, Name: p.Name, Schedule: p.Schedule, Key: p.Key, By: p.By})
	if err != nil {
		return v, err
	}
	return s.getSchedule(ctx, c, ScheduleGetParams{Name: name})
}

func (s *Server) pauseSchedule(ctx context.Context, c *Call, p ScheduleParams) (ScheduleView, error) {
	return s.changeSchedule(ctx, c, p.Name, scheduler.PauseSchedule{Name: p.Name, By: p.By})
}

func (s *Server) unpauseSchedule(ctx context.Context, c *Call, p ScheduleParams) (ScheduleView, error) {
	return s.changeSchedule(ctx, c, p.Name, scheduler.UnpauseSchedule{Name: p.Name, By: p.By})
}

func (s *Server) changeSchedule(ctx context.Context, c *Call, name string, change scheduler.Command) (v ScheduleView, err error) {
	running, err := s.wish(c.Peer)
	if err != nil {
		return v, err
	}
	if err := running.ChangeSchedule(ctx, change); err != nil {
		return v, err
	}
	return s.getSchedule(ctx, c, ScheduleGetParams{Name: name})
}

// removeSchedule returns the schedule as it was.
func (s *Server) removeSchedule(ctx context.Context, c *Call, p ScheduleParams) (v ScheduleView, err error) {
	running, err := s.wish(c.Peer)
	if err != nil {
		return v, err
	}
	if v, err = s.getSchedule(ctx, c, ScheduleGetParams{Name: p.Name}); err != nil {
		return v, err
	}
	return v, running.ChangeSchedule(ctx, scheduler.RemoveSchedule{Name: p.Name, By: p.By})
}

func (s *Server) listSchedules(ctx context.Context, _ *Call, _ empty) (r ScheduleListResult, err error) {
	r.Schedules, r.Server = []ScheduleView{}, s.o.Scheduler.Policy.Schedules
	var runs []uint64
	err = s.state(ctx, func(state *replay.State, _ bool) {
		state.EachSchedule(func(c *replay.Schedule) {
			r.Schedules = append(r.Schedules, viewOfSchedule(c))
			runs = append(runs, c.Run)
		})
	})
	for i, n := range runs {
		if err == nil {
			err = s.fillRun(ctx, &r.Schedules[i], n)
		}
	}
	slices.SortFunc(r.Schedules, func(a, b ScheduleView) int { return cmp.Compare(a.Name, b.Name) })
	return r, err
}

// maxUpcoming and maxHistory bound what one call is told.
const (
	maxUpcoming = 1000
	maxHistory  = 10_000
)

func (s *Server) getSchedule(ctx context.Context, _ *Call, p ScheduleGetParams) (v ScheduleView, err error) {
	if p.Upcoming < 0 || p.Upcoming > maxUpcoming || p.History < 0 || p.History > maxHistory {
		return v, protocols.Errorf(protocols.InvalidParams, "upcoming may be 0 to %d, history 0 to %d", maxUpcoming, maxHistory)
	}
	var unknown error
	var run uint64
	err = s.state(ctx, func(state *replay.State, _ bool) {
		c := state.Schedule(p.Name)
		if c == nil {
			unknown = scheduler.NoSchedule(p.Name, state)
			return
		}
		v, run = viewOfSchedule(c), c.Run
		v.Upcoming = scheduler.Upcoming(c, time.Now(), p.Upcoming)
	})
	if err = cmp.Or(err, unknown); err == nil {
		err = s.fillRun(ctx, &v, run)
	}
	if err == nil && p.History > 0 {
		v.History, err = replay.ScheduleHistory(s.log, p.Name, p.History)
	}
	return v, err
}

// viewOfSchedule is a schedule without what the log has to be asked for.
func viewOfSchedule(c *replay.Schedule) ScheduleView {
	a := c.Added
	v := ScheduleView{Name: a.Name, Workflow: a.Workflow, Source: a.Source, Cron: a.Schedule.Cron, Timezone: a.Schedule.Timezone,
		Overlap: a.Schedule.Overlap, CatchUp: a.Schedule.CatchUp, Added: c.At, By: a.By, Paused: c.Paused, Queued: c.Queued, Last: c.Last}
	if next := scheduler.Upcoming(c, time.Now(), 1); len(next) > 0 && !c.Paused {
		v.Next = next[0]
	}
	if c.Run != 0 {
		v.Run = &ScheduledRun{ID: c.RunID, At: c.RunAt}
	}
	return v
}

// fillRun says how the last run stands, if there is one, and still.
func (s *Server) fillRun(ctx context.Context, v *ScheduleView, number uint64) error {
	if v.Run == nil {
		return nil
	}
	views, err := s.summaries(ctx, []uint64{number})
	for _, r := range views {
		v.Run.Status = r.Status
	}
	return err
}
