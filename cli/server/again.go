package server

import (
	"context"

	"gleitzeit/protocols"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// This file knows calls that come again. A front that doesn't know whether a
// call was carried out, because who had to do it is gone, passes it on once more
// under the same name. What it changed is in the log under that name; then it
// gets the answer that it would have got.
//
// Methods that are missing here bear to be repeated: what would count twice has
// a key of its own, and all else comes to the same.

// repeated says what is answered to calls that were carried out.
var repeated = map[string]func(s *Server, ctx context.Context, c *Call, params any) (any, error){
	WorkflowCancel:    sameRun[CancelParams],
	WorkflowPause:     sameRun[PauseParams],
	WorkflowUnpause:   sameRun[UnpauseParams],
	WorkflowInterrupt: sameRun[InterruptParams],
	WorkflowResume:    resumedAgain,
	SchedulePause:     sameSchedule,
	ScheduleUnpause:   sameSchedule,
	ScheduleRemove:    sameSchedule,
	SystemNote:        func(*Server, context.Context, *Call, any) (any, error) { return empty{}, nil },
}

// once is the method for a call with that name: if the call has been carried
// out already, nothing happens.
func (m Method) once(name string) Method {
	answer := repeated[m.Name]
	if name == "" || answer == nil {
		return m
	}
	do := m.Handler
	m.Handler = func(ctx context.Context, s *Server, c *Call) (any, error) {
		_, done, err := s.log.Lookup(replay.CallKey(name))
		switch {
		case err != nil:
			return nil, err
		case done:
			return answer(s, ctx, c, c.given)
		}
		return do(scheduler.Called(ctx, name), s, c)
	}
	return m
}

// sameRun names the run.
func sameRun[P interface{ of() string }](s *Server, _ context.Context, _ *Call, params any) (any, error) {
	ref, err := s.find(params.(P).of())
	return RunResult{ref.id}, err
}

func (p CancelParams) of() string    { return p.ID }
func (p PauseParams) of() string     { return p.ID }
func (p UnpauseParams) of() string   { return p.ID }
func (p InterruptParams) of() string { return p.ID }
func (p ResumeParams) of() string    { return p.ID }

// resumedAgain takes the run on once more, for whoever had it is gone; but what
// a person decided with it was decided, and the run may have ended.
func resumedAgain(s *Server, ctx context.Context, c *Call, params any) (any, error) {
	p := params.(ResumeParams)
	p.Answers, p.Explicit = nil, false
	if r, err := s.resume(ctx, c, p); !isCode(err, protocols.WorkflowInvalidState) {
		return r, err
	}
	return sameRun[ResumeParams](s, ctx, c, params)
}

// sameSchedule is the schedule as it is, or was when it was removed.
func sameSchedule(s *Server, ctx context.Context, c *Call, params any) (any, error) {
	p := params.(ScheduleParams)
	v, err := s.getSchedule(ctx, c, ScheduleGetParams{Name: p.Name})
	if !isCode(err, protocols.QueueNotFound) {
		return v, err
	}
	was, err := replay.LastSchedule(s.log, p.Name)
	if err != nil || was == nil {
		return v, err
	}
	v = viewOfSchedule(was)
	return v, s.fillRun(ctx, &v, was.Run)
}
