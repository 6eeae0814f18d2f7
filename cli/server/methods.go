package server

import (
	"context"
	"strings"

	"gleitzeit/protocols"
)

// Method is one thing that can be asked of a server.
type Method struct {
	Name string
	Role Role // that is needed
	Doc  string
	// Params and Result are zero values of what it takes and gives.
	Params, Result any
	Handler        func(ctx context.Context, s *Server, c *Call) (any, error)
	// read reads what it takes.
	read func(c *Call) (any, error)
}

// Methods returns the table.
func Methods() []Method {
	return append([]Method{
		method(WorkflowSubmit, Submit, "Accepts a run; it is durable when the answer comes. The same key gives the same run.",
			(*Server).submit),
		method(WorkflowRun, Submit, "Submits a run, waits for its end and returns it with its results. A run that takes longer is returned as it stands then, and goes on.",
			(*Server).runNow),
		method(WorkflowWait, Read, "Waits for a run's end, or for the timeout, and returns the run as it stands then.", (*Server).wait),
		method(WorkflowResume, Operate, "Takes a run on after a crash or an interruption; explicitly also out of the park. Answers decide attempts in doubt.",
			(*Server).resume),
		method(WorkflowResumeAll, Operate, "Takes on every unfinished run that nobody holds and that isn't parked.",
			(*Server).resumeAll),
		method(WorkflowInterrupt, Operate, "Lets nothing new of a run start until it is resumed; with force its attempts are stopped and will be tried again. A run that nobody runs is fine.",
			(*Server).interrupt),
		method(WorkflowCancel, Operate, "Asks for a run's early end and doesn't wait for it. A run that has ended gives WORKFLOW_INVALID_STATE.",
			(*Server).cancel),
		method(WorkflowPause, Operate, "Lets nothing new of a run start until it is unpaused; what runs is let finish. Pausing twice is fine.",
			(*Server).pauseRun),
		method(WorkflowUnpause, Operate, "Lets a paused run go on, once somebody runs it. A run that isn't paused is fine.",
			(*Server).unpauseRun),
		method(SecretReferences, Operate, "Says which secrets a run needs, those of the runs that it starts included; without an id, all live runs, for whoever is about to resume them.",
			(*Server).references),
		method(WorkflowRetry, Operate, "Lets a run go on that has ended, but not completed: what failed is tried again, what completed is kept.",
			(*Server).retry),
		method(SignalSend, Submit, "Sends a run a signal. The first task that waits for that name takes it; else it is kept for the one that will.",
			(*Server).signal),
		method(ApprovalDecide, Operate, "Approves or rejects what a task asked for; without a task, the only one that asks. What a running task asks is answered with data.",
			(*Server).decide),
		method(WorkflowStatus, Read, "Returns where a run and its tasks stand; big results are left out.", (*Server).standing),
		method(TaskGet, Read, "Returns a task of a run with its result in full.", (*Server).task),
		method(WorkflowFind, Read, "Returns the run that an id stands for, which may be the beginning of one, or @last.", (*Server).findRun),
		method(WorkflowGet, Read, "Returns a run with its tasks.", (*Server).get),
		method(WorkflowList, Read, "Returns runs without their tasks, the newest first, by pages.", (*Server).list),
		method(WorkflowHistory, Read, "Returns all that happened to a run.", (*Server).history),
		method(ScheduleAdd, Operate, "Adds a schedule: runs that begin by themselves while a server runs.",
			(*Server).addSchedule),
		method(ScheduleList, Read, "Returns all schedules by name, each with its next time and its last run.", (*Server).listSchedules),
		method(ScheduleGet, Read, "Returns a schedule; if asked, with its coming times and the last of what happened to it.",
			(*Server).getSchedule),
		method(SchedulePause, Operate, "Lets no time of a schedule count until it is unpaused. Pausing twice is fine.",
			(*Server).pauseSchedule),
		method(ScheduleUnpause, Operate, "Lets the times of a schedule count again, from now on. One that isn't paused is fine.",
			(*Server).unpauseSchedule),
		method(ScheduleRemove, Operate, "Removes a schedule, which it returns as it was. Its runs go on.",
			(*Server).removeSchedule),
		method(ProviderList, Read, "Returns the providers of the server's configuration, and the workers that are connected.", (*Server).listProviders),
		method(ProviderState, Read, "Returns what runs have found out about providers: the calls that they have, their breakers, and what is left of their rates.", (*Server).providerStates),
		method(ProviderCheck, Operate, "Asks providers whether they could work now.", (*Server).checkProviders),
		method(ProtocolList, "", "Returns the protocols with their methods, and the schemas of parameters and results.", (*Server).listProtocols),
		method(ProtocolGet, "", "Returns a protocol.", (*Server).getProtocol),
		method(LogFollow, Read, "Subscribes to a run's events, or to those of all runs: log/event for each, once and in order; log/progress for signs of life; log/end when the run has ended. After a lost connection, from one more than the seq of the last event goes on without a gap.",
			(*Server).follow),
		method(LogUnfollow, Read, "Ends a subscription.", (*Server).unfollow),
		method(SystemHello, "", "Says who serves the store.", (*Server).hello),
		method(SystemStatus, Read, "Says how the store is, and what runs.", (*Server).status),
		method(SystemHealth, "", "Says whether the server does its work, and takes submissions.", (*Server).health),
		method(SystemConfig, Operate, "Returns the server's configuration without its secrets.", (*Server).settings),
		method(SystemVerify, Operate, "Reads the whole store and reports every disagreement in it.", (*Server).verify),
		method(SystemBackup, Owner, "Writes the whole store, as it is now, into a file.", (*Server).backup),
		method(SystemExport, Owner, "Writes runs, with all that they need and all runs that they started, into a file.", (*Server).export),
		method(SystemImport, Owner, "Brings the runs of a file in, under new numbers. What had not ended waits until it is resumed.", (*Server).importRuns),
		method(SystemGC, Admin, "Removes runs that have ended, the oldest end first. A run stays while one that started it goes on.", (*Server).gc),
		method(SystemCompact, Operate, "Gives back the room of what was removed.", (*Server).compact),
		method(SystemAudit, Operate, "Returns who did what to the store, beside its runs and schedules, whose histories say it themselves.", (*Server).audit),
		method(SystemNote, Owner, "Writes down what the server's own user did to the store from outside, for the audit.", (*Server).noteDown),
		method(Discover, "", "Returns this description of all methods, as an OpenRPC document.", (*Server).discover),
	}, workerMethods()...)
}

// empty is what a method takes or gives that needs nothing.
type empty struct{}

// method makes a row of the table from a function with types.
func method[P, R any](name string, role Role, doc string, f func(s *Server, ctx context.Context, c *Call, p P) (R, error)) Method {
	var params P
	var result R
	read := func(c *Call) (p P, err error) {
		p, given := c.given.(P)
		if !given {
			if err := readParams(c.Params, !c.Peer.trusted, &p); err != nil {
				return p, protocols.Errorf(protocols.InvalidParams, "%s: params: %s", name, strings.TrimPrefix(err.Error(), "json: "))
			}
		}
		if c.vouched {
			return p, nil
		}
		return p, c.Peer.vouch(&p, c.own)
	}
	return Method{Name: name, Role: role, Doc: doc, Params: params, Result: result,
		read: func(c *Call) (any, error) { return read(c) },
		Handler: func(ctx context.Context, s *Server, c *Call) (any, error) {
			p, err := read(c)
			if err != nil {
				return nil, err
			}
			return f(s, ctx, c, p)
		}}
}
