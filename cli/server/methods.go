package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"gleitzeit/protocols"
)

// Method is one thing that can be asked of a server.
type Method struct {
	Name string
	Doc  string
	// Params and Result are zero values of what it takes and gives.
	Params, Result any
	Handler        func(ctx context.Context, s *Server, c *Call) (any, error)
}

// Call is one call as its handler sees it. ctx is that of the client's
// connection.
type Call struct {
	Params json.RawMessage // an object, or nothing
	Peer   *Peer
	after  []func() // what begins once the answer is out
}

// Methods returns the table.
func Methods() []Method {
	return []Method{
		method(WorkflowSubmit, "Accepts a run; it is durable when the answer comes. The same key gives the same run.",
			(*Server).submit),
		method(WorkflowResume, "Takes a run on after a crash or an interruption; explicitly also out of the park. Answers decide attempts in doubt.",
			(*Server).resume),
		method(WorkflowResumeAll, "Takes on every unfinished run that nobody holds and that isn't parked.",
			(*Server).resumeAll),
		method(WorkflowInterrupt, "Lets nothing new of a run start until it is resumed; with force its attempts are stopped and will be tried again. A run that nobody runs is fine.",
			(*Server).interrupt),
		method(WorkflowCancel, "Asks for a run's early end and doesn't wait for it. A run that has ended gives WORKFLOW_INVALID_STATE.",
			(*Server).cancel),
		method(WorkflowPause, "Lets nothing new of a run start until it is unpaused; what runs is let finish. Pausing twice is fine.",
			(*Server).pauseRun),
		method(WorkflowUnpause, "Lets a paused run go on, once somebody runs it. A run that isn't paused is fine.",
			(*Server).unpauseRun),
		method(SecretReferences, "Says which secrets a run needs, those of the runs that it starts included; without an id, all live runs, for whoever is about to resume them.",
			(*Server).references),
		method(WorkflowRetry, "Lets a run go on that has ended, but not completed: what failed is tried again, what completed is kept.",
			(*Server).retry),
		method(SignalSend, "Sends a run a signal. The first task that waits for that name takes it; else it is kept for the one that will.",
			(*Server).signal),
		method(ApprovalDecide, "Approves or rejects what a task asked for; without a task, the only one that asks.",
			(*Server).decide),
		method(WorkflowGet, "Returns a run with its tasks.", (*Server).get),
		method(WorkflowList, "Returns runs without their tasks, the newest first, by pages.", (*Server).list),
		method(WorkflowHistory, "Returns all that happened to a run.", (*Server).history),
		method(ScheduleAdd, "Adds a schedule: runs that begin by themselves while a server runs.",
			(*Server).addSchedule),
		method(ScheduleList, "Returns all schedules by name, each with its next time and its last run.", (*Server).listSchedules),
		method(ScheduleGet, "Returns a schedule; if asked, with its coming times and the last of what happened to it.",
			(*Server).getSchedule),
		method(SchedulePause, "Lets no time of a schedule count until it is unpaused. Pausing twice is fine.",
			(*Server).pauseSchedule),
		method(ScheduleUnpause, "Lets the times of a schedule count again, from now on. One that isn't paused is fine.",
			(*Server).unpauseSchedule),
		method(ScheduleRemove, "Removes a schedule, which it returns as it was. Its runs go on.",
			(*Server).removeSchedule),
		method(LogFollow, "Subscribes to a run's events: log/event for each, log/progress for signs of life, log/end at the end.",
			(*Server).follow),
		method(LogUnfollow, "Ends a subscription.", (*Server).unfollow),
		method(SystemHello, "Says who serves the store.", (*Server).hello),
		method(SystemStatus, "Says how the store is, and what runs.", (*Server).status),
		method(SystemVerify, "Reads the whole store and reports every disagreement in it.", (*Server).verify),
	}
}

// empty is what a method takes or gives that needs nothing.
type empty struct{}

// method makes a row of the table from a function with types.
func method[P, R any](name, doc string, f func(s *Server, ctx context.Context, c *Call, p P) (R, error)) Method {
	var params P
	var result R
	return Method{Name: name, Doc: doc, Params: params, Result: result,
		Handler: func(ctx context.Context, s *Server, c *Call) (any, error) {
			var p P
			if err := readParams(c.Params, &p); err != nil {
				return nil, protocols.Errorf(protocols.InvalidParams, "%s: params: %s", name, strings.TrimPrefix(err.Error(), "json: "))
			}
			return f(s, ctx, c, p)
		}}
}

// readParams reads an object; what p doesn't have is an error, so that a wish
// of a newer client is refused and not half understood.
func readParams(raw json.RawMessage, p any) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	if raw[0] != '{' {
		return errors.New("not an object")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than an object")
	}
	return nil
}
