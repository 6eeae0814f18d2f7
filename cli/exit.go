package cli

import (
	"context"
	"errors"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file is the one place for exit codes. They are part of the interface.
const (
	exitOK          = 0
	exitInternal    = 1 // internal or I/O error
	exitUsage       = 2 // usage, or an invalid workflow or configuration
	exitFailed      = 3 // the run failed
	exitCancelled   = 4
	exitTimedOut    = 5
	exitWaiting     = 6 // the run waits for a person or a signal, is paused or parked
	exitNotFound    = 7
	exitUnreachable = 8  // server unreachable, or not authorised
	exitMismatch    = 9  // what was found is not what was asked for: fmt --check
	exitStore       = 10 // store locked, damaged or not writable
	exitInterrupted = 130
)

// exit is an error that knows its exit code. Without err everything has been
// said already.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// silently ends the command with the code; what is to be said has been said.
func silently(code int) error {
	if code == exitOK {
		return nil
	}
	return &exit{code: code}
}

// usage makes an error of what was asked for.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &exit{exitUsage, err}
}

// exitCode says how the command ends after err.
func exitCode(err error) int {
	var known *exit
	var problems protocols.Problems
	var failure *protocols.Error
	var locked *eventlog.LockedError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &known):
		return known.code
	case errors.As(err, &problems):
		return exitUsage
	case errors.As(err, &locked):
		return exitStore
	case errors.As(err, &failure):
		return exitOfCode(failure.Code)
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitInternal
}

// exitOfCode says how a command ends that was refused with the code.
func exitOfCode(c protocols.Code) int {
	switch c {
	case protocols.WorkflowNotFound, protocols.TaskNotFound, protocols.QueueNotFound:
		return exitNotFound
	case protocols.PersistenceConnectionFailed, protocols.PersistenceWriteFailed, protocols.PersistenceReadFailed,
		protocols.PersistenceTransactionFailed, protocols.PersistenceIntegrityError:
		return exitStore
	case protocols.NetworkUnreachable, protocols.ConnectionRefused, protocols.ConnectionTimeout, protocols.ConnectionLost,
		protocols.AuthenticationFailed, protocols.AuthorizationFailed, protocols.QueueFull:
		return exitUnreachable
	case protocols.InternalError, protocols.SystemShutdown, protocols.SystemNotInitialized:
		return exitInternal
	}
	return exitUsage
}

// exitOfStatus says how run and resume end when the run stands so.
func exitOfStatus(s replay.Status) int {
	switch s {
	case replay.Completed:
		return exitOK
	case replay.Failed:
		return exitFailed
	case replay.Cancelled:
		return exitCancelled
	case replay.TimedOut:
		return exitTimedOut
	}
	return exitWaiting
}

// worse returns what a command on many runs ends with: the lowest of the
// codes 3 to 6 that any had, but an interrupt or an error beats them.
func worse(a, b int) int {
	rank := func(code int) int {
		switch code {
		case exitOK:
			return 100
		case exitFailed, exitCancelled, exitTimedOut, exitWaiting:
			return code
		}
		return -code
	}
	if rank(b) < rank(a) {
		return b
	}
	return a
}
