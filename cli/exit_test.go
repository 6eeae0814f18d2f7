package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

func TestExitCode(t *testing.T) {
	for want, errs := range map[int][]error{
		exitOK:          {nil, silently(0)},
		exitInternal:    {errors.New("x"), protocols.Errorf(protocols.InternalError, "x")},
		exitUsage:       {usage(errors.New("x")), protocols.Problems{{Text: "x"}}, protocols.Errorf(protocols.InvalidParams, "x")},
		exitFailed:      {silently(exitFailed)},
		exitNotFound:    {protocols.Errorf(protocols.WorkflowNotFound, "x")},
		exitUnreachable: {protocols.Errorf(protocols.AuthorizationFailed, "x")},
		exitStore:       {&eventlog.LockedError{}, protocols.Errorf(protocols.PersistenceWriteFailed, "x")},
		exitInterrupted: {errAsked, fmt.Errorf("x: %w", context.Canceled)},
	} {
		for _, err := range errs {
			if got := exitCode(err); got != want {
				t.Errorf("%v: exit code %d, want %d", err, got, want)
			}
		}
	}
}

func TestWorse(t *testing.T) {
	for _, c := range []struct{ a, b, want int }{
		{0, 0, 0}, {0, 6, 6}, {6, 3, 3}, {3, 6, 3}, {4, 5, 4}, {3, 130, 130}, {1, 3, 1}, {130, 0, 130},
	} {
		if got := worse(c.a, c.b); got != c.want {
			t.Errorf("worse(%d, %d) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
