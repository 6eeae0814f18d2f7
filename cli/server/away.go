package server

import (
	"context"
	"runtime/debug"
	"time"

	"gleitzeit/protocols"
)

// This file answers while what keeps the log can't be reached. Nothing can be
// written then, and nothing read; what runs waits, and who asks is told to ask
// again.

// retryAfter is when to ask again, in seconds.
const retryAfter = 5

// awayGrace is how long a call waits for what has gone away, counted in looks.
const awayGrace = time.Second

// away refuses a call; begun tells that it had got further than the door.
func away(why error, begun bool) error {
	what := "nothing can be read or written just now, so nothing can be accepted; try again in a few seconds"
	if begun {
		what = "nothing can be written just now; what was asked for may still happen: try again in a few seconds, a submission with the same key"
	}
	return protocols.Errorf(protocols.PersistenceConnectionFailed, "%s: %v", what, why).With(map[string]int{"retry_after": retryAfter})
}

// withoutLog are the calls that need nothing of the log.
func withoutLog(m Method) bool {
	return m.Role == "" || m.Name == LogUnfollow || m.Name == SystemConfig
}

// waiting are the calls that take as long as they take.
func waiting(m Method) bool {
	switch m.Name {
	case WorkflowRun, WorkflowWait, LogFollow, SystemVerify, SystemBackup:
		return true
	}
	return false
}

// run carries a call out. Where the log may be away nobody waits long for it: a
// call that waits then is answered, and its handler left behind.
func (s *Server) run(ctx context.Context, m Method, c *Call) (any, error) {
	if !s.log.MayWait() || withoutLog(m) {
		return s.safely(ctx, m, c)
	}
	if why := s.log.Trouble(); why != nil {
		return nil, away(why, false)
	}
	if waiting(m) {
		return s.safely(ctx, m, c)
	}
	type outcome struct {
		result any
		err    error
		call   Call
	}
	came := make(chan outcome, 1)
	go func() {
		mine := *c
		result, err := s.safely(ctx, m, &mine)
		came <- outcome{result, err, mine}
	}()
	look := time.NewTicker(awayGrace)
	defer look.Stop()
	for was := false; ; {
		select {
		case o := <-came:
			*c = o.call
			return o.result, o.err
		case <-look.C:
		}
		why := s.log.Trouble()
		if why != nil && was {
			return nil, away(why, true)
		}
		was = why != nil
	}
}

// safely runs a handler. One that panics harms its own call alone.
func (s *Server) safely(ctx context.Context, m Method, c *Call) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.o.Logger.Error("a method panicked", "method", m.Name, "panic", p, "stack", string(debug.Stack()))
			err = protocols.Errorf(protocols.InternalError, "%s panicked: %v", m.Name, p)
		}
	}()
	return m.Handler(ctx, s, c)
}
