package server

import (
	"context"
	"fmt"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// This file writes down who did what to the store, beside its runs and
// schedules, and tells it.

// The most that the audit shows at once, and what it shows unless told otherwise.
const (
	maxAudit     = 10_000
	defaultAudit = 100
)

func (s *Server) audit(_ context.Context, _ *Call, p AuditParams) (r AuditResult, err error) {
	switch {
	case p.Limit == 0:
		p.Limit = defaultAudit
	case p.Limit < 0 || p.Limit > maxAudit:
		return r, protocols.Errorf(protocols.InvalidParams, "limit must be between 1 and %d", maxAudit)
	}
	r.Entries, err = replay.Audit(s.log, p.Limit)
	return r, err
}

func (s *Server) noteDown(ctx context.Context, _ *Call, p NoteParams) (empty, error) {
	return empty{}, s.note(ctx, scheduler.Note{Method: p.Method, By: p.By, Text: p.Text})
}

// noted writes down what was done, unless it went wrong, and returns what did. What
// a store that can only be read lets be done isn't written down.
func (s *Server) noted(ctx context.Context, err error, method, by, format string, args ...any) error {
	if err != nil || s.ReadOnly() != nil {
		return err
	}
	return s.note(ctx, scheduler.Note{Method: method, By: by, Text: fmt.Sprintf(format, args...)})
}

// note writes it down: in the loop of whoever carries runs out, if there is one.
func (s *Server) note(ctx context.Context, n scheduler.Note) error {
	s.making.Lock() // no scheduler comes meanwhile
	if running := s.current(); running != nil {
		s.making.Unlock()
		return running.Note(ctx, n)
	}
	defer s.making.Unlock()
	return s.write(ctx, n)
}

// write writes it into the log. No scheduler may be there, or come.
func (s *Server) write(ctx context.Context, n scheduler.Note) error {
	facts, err := scheduler.Decide(nil, scheduler.Policy{}, time.Now().UTC().Round(0), n)
	if err != nil {
		return err
	}
	var b eventlog.Batch
	for _, f := range facts {
		f.Call = scheduler.CallOf(ctx)
		if err := replay.Encode(f, &b); err != nil {
			return err
		}
	}
	_, err = s.log.Append(&b)
	return err
}
