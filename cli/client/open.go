package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// This file finds out who holds the store, through all that may happen at that
// moment:
//
//	lock free                           we hold it and serve
//	lock held, socket answers           we are a guest
//	lock held, nobody answers           the holder is just coming, or just
//	                                    going: try both again, soon
//	the same holder doesn't answer      give up when Patience has run out
//	after a kill: a stale socket        nobody answers there; whoever gets the
//	                                    lock clears it away
//
// The lock alone decides who holds the store; a socket is only where to ask.

// courtesy is how long somebody to whom we just left the store has to take it.
const courtesy = 2 * time.Second

// open makes a session. Its caller has the turn.
func (c *Client) open(ctx context.Context) (*session, error) {
	if c.o.Server != "" {
		return c.reach(ctx)
	}
	if c.o.Memory {
		return c.hold(server.New(eventlog.OpenMemory(c.o.Log), c.serving())), nil
	}
	ctx, stop := c.untilClosed(ctx)
	defer stop()
	if c.o.Hold {
		return c.openHolding(ctx)
	}
	w := wait{patience: c.o.Patience}
	polite := c.yielded
	c.yielded = false
	for began := time.Now(); ; {
		if !polite || time.Since(began) > courtesy {
			s, err := c.tryLock(&w)
			if s != nil || err != nil {
				return s, err
			}
		}
		s, err := c.visit(ctx, w.left())
		if s != nil || errors.As(err, new(*StoreError)) {
			return s, err
		}
		if err := w.next(ctx); err != nil {
			return nil, c.explain(ctx, err, w.pid, w.where())
		}
	}
}

// leaving is how long a command that is about to end has to give the store up
// to a client that wants to hold it.
const leaving = 2 * time.Second

// elsewhere is how long that may take when the holder is no process that we can
// see, so that it may be dead: the lease of a Redis runs out after ten seconds.
const elsewhere = 13 * time.Second

// openHolding takes the store itself.
func (c *Client) openHolding(ctx context.Context) (*session, error) {
	w := wait{patience: leaving}
	for {
		s, err := c.tryLock(&w)
		if s != nil || err != nil {
			return s, err
		}
		if w.host != "" {
			w.patience = elsewhere
		}
		switch err := w.next(ctx); {
		case errors.Is(err, errPatience):
			return nil, &StoreError{Store: c.o.Store, PID: w.pid,
				Err: fmt.Errorf("store %s is locked by process %d%s", c.o.Store, w.pid, w.where())}
		case err != nil:
			return nil, c.explain(ctx, err, w.pid, w.where())
		}
	}
}

// untilClosed ends a context when the client is closed, too.
func (c *Client) untilClosed(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-c.closing:
			cancel(errClosed)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}

// tryLock takes the store if nobody has it. Neither a session nor an error
// means that somebody has.
func (c *Client) tryLock(w *wait) (*session, error) {
	log, err := eventlog.Open(c.o.Store, c.o.Log)
	var locked *eventlog.LockedError
	switch {
	case errors.As(err, &locked):
		w.saw(locked.PID)
		w.host = locked.Host
		return nil, nil
	case errors.As(err, new(*eventlog.PartitionedError)):
		return c.tryJoin(w)
	case err != nil:
		return nil, &StoreError{Store: c.o.Store, Err: err}
	}
	if why := log.ReadOnly(); why != nil {
		c.o.Logger.Warn("this command can only look", "store", c.o.Store, "error", why)
	}
	return c.hold(server.New(log, c.serving())), nil
}

// serving says how this process serves the store.
func (c *Client) serving() server.Options {
	return server.Options{Dir: c.o.Store, Retention: c.o.Retention, Traces: c.o.Traces, Scheduler: c.o.Scheduler, Local: c.o.Local, Logger: c.o.Logger, Passive: c.o.Passive, Workers: c.o.Workers}
}

// hold serves the store, which is ours.
func (c *Client) hold(srv *server.Server) *session {
	if !c.o.Memory && srv.ReadOnly() == nil {
		if err := srv.Listen(); err != nil {
			c.o.Logger.Warn("no other process can use the store now", "store", c.o.Store, "error", err)
		}
	}
	s := newSession(c.o.Store, srv)
	s.calls = server.NewConn(context.Background(), srv.Pipe(), nobody{})
	if c.o.Passive {
		c.working.Go(func() { c.yieldWhenWanted(s) })
	}
	return s
}

// yieldWhenWanted lets somebody have the store who wishes what we may not do.
func (c *Client) yieldWhenWanted(s *session) {
	select {
	case <-c.closing:
		return
	case <-s.server.Wanted():
	}
	select {
	case <-c.closing:
		return
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	}
	if c.isClosed() {
		return // Close does it
	}
	if err := s.close(context.Background()); err != nil {
		c.o.Logger.Warn("give the store up", "error", err)
	}
	c.yielded = true
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = nil
}

// visit makes a session with whoever serves the store. A *StoreError says that
// this can't work; any other error, that it didn't now.
func (c *Client) visit(ctx context.Context, patience time.Duration) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s := newSession(c.o.Store, nil)
	conn, hello, err := s.connect(ctx, nobody{})
	if err != nil {
		return nil, c.refused(err)
	}
	if hello.API != server.APIVersion {
		hangUp(conn)
		return nil, &StoreError{Store: c.o.Store, PID: hello.PID, Err: fmt.Errorf(
			"store %s is held by process %d of another version of gleitzeit (%s): wait for it, or use the same version",
			c.o.Store, hello.PID, hello.Version)}
	}
	s.calls = conn
	return s, nil
}

// refused tells a holder that will never talk to us from one that won't now:
// that is leaving, or whose token was renewed while we knocked.
func (c *Client) refused(err error) error {
	var e *protocols.Error
	if !errors.As(err, &e) || e.Code == protocols.SystemShutdown || e.Code == protocols.AuthenticationFailed {
		return err
	}
	return &StoreError{Store: c.o.Store, Err: fmt.Errorf("store %s: the process that holds it doesn't understand us: %w", c.o.Store, err)}
}

// explain says why there is no way to the store.
func (c *Client) explain(ctx context.Context, err error, pid int, where string) error {
	switch {
	case context.Cause(ctx) == errClosed:
		return errClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errPatience):
		who := "another process"
		if pid != 0 {
			who = fmt.Sprintf("process %d%s", pid, where)
		}
		return &StoreError{Store: c.o.Store, PID: pid, Err: fmt.Errorf(
			"store %s is held by %s, which has not answered for %s: is it stopped? end it, or use another --store",
			c.o.Store, who, c.o.Patience)}
	}
	return protocols.Errorf(protocols.ConnectionLost, "%v", err)
}
