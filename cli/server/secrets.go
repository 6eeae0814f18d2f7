package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// This file says which secrets runs need, so that a client can look for them
// and offer them. The log knows where they are, never what they are.

func (s *Server) references(ctx context.Context, c *Call, p ReferencesParams) (r ReferencesResult, err error) {
	numbers, err := s.needy(ctx, c, p.ID)
	all := map[string]bool{}
	for _, n := range numbers {
		if err == nil {
			err = s.addReferences(n, all)
		}
	}
	r.References = slices.AppendSeq([]string{}, maps.Keys(all))
	slices.Sort(r.References)
	return r, err
}

// needy returns the runs that are asked about. Whoever asks about all of them
// is about to resume them: that is a wish already, so that the state is read
// once.
func (s *Server) needy(ctx context.Context, c *Call, id string) (numbers []uint64, err error) {
	if id != "" {
		ref, err := s.find(id)
		return []uint64{ref.number}, err
	}
	running, err := s.wish(c.Peer)
	if err != nil {
		return nil, err
	}
	err = running.Query(ctx, func(state *replay.State) {
		state.Each(func(run *replay.Run) {
			if run.Submitted.Parent == nil && run.Plan.MayNeedSecrets() {
				numbers = append(numbers, run.Number)
			}
		})
	})
	return numbers, err
}

// addReferences adds those of one run, from what it was submitted with.
func (s *Server) addReferences(run uint64, all map[string]bool) error {
	e, c, err := s.submission(run)
	if err != nil || e == nil {
		return err
	}
	if mentioned, err := s.mentions(e, c); err != nil || !mentioned {
		return err
	}
	plan, err := replay.NewCodec(s.log.Value).Plan(e.Document, e.Setup)
	if err != nil {
		return err
	}
	refs, err := scheduler.References(plan, c, func(child replay.Child) (*protocols.Workflow, error) {
		raw, err := s.log.Value(child.Document)
		if err != nil {
			return nil, err
		}
		return protocols.Decode(raw)
	})
	for _, ref := range refs {
		all[ref] = true
	}
	return err
}

// submission reads a run's first record. It returns nil if there is none any
// more.
func (s *Server) submission(run uint64) (e *replay.WorkflowSubmitted, c replay.Context, err error) {
	for rec, err := range s.log.ReadStream(replay.Stream(run), 1) {
		if err != nil || rec.Type == eventlog.StreamDeleted {
			return nil, c, err
		}
		e = &replay.WorkflowSubmitted{}
		if err := json.Unmarshal(rec.Data, e); err != nil {
			return nil, c, fmt.Errorf("record %d (%s): %w", rec.Seq, rec.Type, err)
		}
		raw, err := e.Context.Load(s.log.Value)
		if err == nil && raw != nil {
			err = json.Unmarshal(raw, &c)
		}
		return e, c, err
	}
	return nil, c, nil
}

// mentions tells whether what the run was submitted with has the word in it.
// That is quick, and most runs need no secrets.
func (s *Server) mentions(e *replay.WorkflowSubmitted, c replay.Context) (bool, error) {
	values := []eventlog.Hash{e.Document, e.Setup}
	for _, child := range c.Children {
		values = append(values, child.Document)
	}
	for _, h := range values {
		raw, err := s.log.Value(h)
		if err != nil || bytes.Contains(raw, []byte("secret")) {
			return err == nil, err
		}
	}
	return false, nil
}
