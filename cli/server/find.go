package server

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// maxPrefixed is among how many of the newest runs the beginning of an id is
// looked for: there is no index of ids, for their numbers are one.
const maxPrefixed = 10_000

// maxCandidates is how many runs an ambiguous id is answered with.
const maxCandidates = 8

// runRef is a run that exists.
type runRef struct {
	number uint64
	id     string
	head   eventlog.Record // its last record
}

// ended returns how the run ended, if it has.
func (r runRef) ended() (*replay.RunView, error) {
	if !replay.Ends(r.head) {
		return nil, nil
	}
	return replay.EndedView(r.head)
}

// find returns the run that an id stands for; see RunParams.
func (s *Server) find(id string) (runRef, error) {
	if id == "" {
		return runRef{}, protocols.Errorf(protocols.InvalidParams, "the id of a run is missing")
	}
	if id == "@last" {
		return s.findLast()
	}
	if stream, named, err := s.log.Lookup(replay.IDKey(id)); err != nil {
		return runRef{}, err
	} else if named {
		if n, ok := replay.RunOf(stream); ok {
			if ref, found, err := s.ref(n); found || err != nil {
				return ref, err
			}
		}
	}
	if n, err := strconv.ParseUint(id, 10, 64); err == nil {
		if ref, found, err := s.ref(n); found || err != nil {
			return ref, err
		}
	} else if part, n, ok := replay.PlaceOf(id); ok {
		alone := part == s.o.Scheduler.Partition && !strings.Contains(id, "-") // 3x7
		if ref, found, err := s.ref(n); err != nil || found && (alone || ref.id == id) {
			return ref, err
		}
	}
	return s.findPrefix(id)
}

// findLive is find for a run that has not ended.
func (s *Server) findLive(id string) (runRef, error) {
	ref, err := s.find(id)
	if err != nil {
		return ref, err
	}
	v, err := ref.ended()
	if err != nil || v == nil {
		return ref, err
	}
	return ref, protocols.Errorf(protocols.WorkflowInvalidState, "run %s has ended already: %s", v.ID, v.Status).With(
		map[string]any{"id": v.ID, "status": v.Status})
}

func notFound(id string) *protocols.Error {
	return protocols.Errorf(protocols.WorkflowNotFound, "no run %q (see: gleitzeit workflow list)", id)
}

// ref returns the run of that number.
func (s *Server) ref(number uint64) (ref runRef, found bool, err error) {
	head, found, err := s.log.Head(replay.Stream(number))
	if err != nil || !found || head.Type == eventlog.StreamDeleted {
		return ref, false, err
	}
	ref = runRef{number: number, head: head}
	if v, err := ref.ended(); err != nil {
		return ref, false, err
	} else if v != nil {
		ref.id = v.ID
		return ref, true, nil
	}
	ref.id, found, err = s.idOf(number)
	return ref, found, err
}

// idOf reads a run's id where it was given, in its first record.
func (s *Server) idOf(number uint64) (id string, found bool, err error) {
	for rec, err := range s.log.ReadStream(replay.Stream(number), 1) {
		if err != nil {
			return "", false, err
		}
		var first struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(rec.Data, &first); err != nil {
			return "", false, fmt.Errorf("record %d (%s): %w", rec.Seq, rec.Type, err)
		}
		return first.ID, first.ID != "", nil
	}
	return "", false, nil
}

func (s *Server) findLast() (runRef, error) {
	for n, err := range s.numbers(0) {
		if err != nil {
			return runRef{}, err
		}
		if ref, found, err := s.ref(n); found || err != nil {
			return ref, err
		}
	}
	return runRef{}, protocols.Errorf(protocols.WorkflowNotFound, "there is no run yet")
}

func (s *Server) findPrefix(prefix string) (runRef, error) {
	var found []runRef
	seen := 0
	for n, err := range s.numbers(0) {
		if err != nil {
			return runRef{}, err
		}
		ref, ok, err := s.ref(n)
		if err != nil {
			return runRef{}, err
		}
		if ok && strings.HasPrefix(ref.id, prefix) {
			found = append(found, ref)
		}
		if seen++; seen == maxPrefixed || len(found) > maxCandidates {
			break
		}
	}
	switch len(found) {
	case 0:
		return runRef{}, notFound(prefix)
	case 1:
		return found[0], nil
	}
	return runRef{}, ambiguous(prefix, found)
}

func ambiguous(prefix string, found []runRef) *protocols.Error {
	var ids []string
	for _, r := range found {
		ids = append(ids, r.id)
	}
	return Ambiguous(prefix, ids)
}

// Ambiguous says that the beginning of an id may stand for several runs.
func Ambiguous(prefix string, ids []string) *protocols.Error {
	more := ""
	if len(ids) > maxCandidates {
		ids, more = ids[:maxCandidates], " and others"
	}
	return protocols.Errorf(protocols.InvalidParams, "%q is the beginning of %s%s: give more of it", prefix, strings.Join(ids, ", "), more).With(
		map[string]any{"candidates": ids})
}
