package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// maxTries bounds how often a call, or a connection that brings nothing, is
// repeated. It takes a few changes of hands to get an answer on a busy store;
// what takes this many will never get one.
const maxTries = 1000

// Call calls a method of package server (server.WorkflowSubmit and so on) and
// reads its answer into result, which may be nil. When whoever holds the store
// dies or leaves, the call is repeated with the next one; every method bears
// that, and server.SubmitParams get a random key if they have none. An error
// that the method answered with is a *protocols.Error.
//
// A run that was interrupted through this client, by its full id, is not
// resumed by this client's Follow any more, until it is resumed by a call.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	params = withKey(params)
	c.remember(params)
	var w wait
	for try := 0; try < maxTries; try++ {
		s, err := c.session(ctx)
		if err != nil {
			return err
		}
		conn, err := s.call(ctx, method, params, result)
		switch {
		case err == errLost:
		case isLeaving(err) && !c.isClosed():
			c.o.Logger.Info("the process that holds the store is about to leave; waiting for it", "method", method)
			if err := c.untilGone(ctx, conn); err != nil {
				return err
			}
		case try > 0 && method == server.WorkflowCancel && isCancelled(err):
			return nil // by our own first try, whose answer was lost
		case try > 0 && method == server.WorkflowUnpause && isUnpaused(err):
			return nil
		case try > 0 && method == server.ScheduleRemove && isNoSchedule(err):
			return nil
		default:
			return err
		}
		if err := c.between(ctx, &w); err != nil {
			return err
		}
	}
	return errGivenUp(method)
}

func errGivenUp(what string) error {
	return protocols.Errorf(protocols.ConnectionLost, "%s: whoever held the store was gone before the answer, %d times", what, maxTries)
}

// withKey gives what would count twice the name that makes repeating it safe.
func withKey(params any) any {
	switch p := params.(type) {
	case server.SubmitParams:
		if p.Key == "" {
			p.Key = rand.Text()
		}
		return p
	case *server.SubmitParams:
		return withKey(*p)
	case server.SignalParams:
		p.Key = cmp.Or(p.Key, rand.Text())
		return p
	case server.ApprovalParams:
		p.Key = cmp.Or(p.Key, rand.Text())
		return p
	case server.ImportParams:
		p.Key = cmp.Or(p.Key, rand.Text())
		return p
	case server.ScheduleAddParams:
		if p.Key == "" {
			p.Key = rand.Text()
		}
		return p
	}
	return params
}

// remember notes which runs this client wants to rest.
func (c *Client) remember(params any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch p := params.(type) {
	case server.InterruptParams:
		c.resting[p.ID] = true
	case server.ResumeParams:
		delete(c.resting, p.ID)
	}
}

// rests tells whether this client wants the run to rest.
func (c *Client) rests(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resting[id]
}

// isLeaving tells whether the error means: ask whoever holds the store next.
func isLeaving(err error) bool {
	var e *protocols.Error
	return errors.As(err, &e) && e.Code == protocols.SystemShutdown
}

// isCancelled tells whether the error means: the run was cancelled already.
func isCancelled(err error) bool {
	var e *protocols.Error
	return errors.As(err, &e) && e.Code == protocols.WorkflowInvalidState && endedAs(e) == replay.Cancelled
}

// isUnpaused tells whether the error means: the run isn't paused any more, so
// that it can't be given more.
func isUnpaused(err error) bool {
	var e *protocols.Error
	return errors.As(err, &e) && e.Code == protocols.WorkflowInvalidState
}

// isNoSchedule tells whether the error means: there is no such schedule.
func isNoSchedule(err error) bool {
	var e *protocols.Error
	return errors.As(err, &e) && e.Code == protocols.QueueNotFound
}

// untilGone waits until a holder that leaves has left.
func (c *Client) untilGone(ctx context.Context, conn *server.Conn) error {
	select {
	case <-conn.DisconnectNotify():
		return nil
	case <-c.closing:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// between waits before the next try.
func (c *Client) between(ctx context.Context, w *wait) error {
	ctx, stop := c.untilClosed(ctx)
	defer stop()
	if err := w.next(ctx); err != nil {
		return context.Cause(ctx)
	}
	return nil
}
