package scheduler

import (
	"encoding/json"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file decides what an idempotency key stands for.

// DefaultKeyLife is how long a key stands for its run unless told otherwise.
const DefaultKeyLife = 7 * 24 * time.Hour

// holder is the run that was submitted last under the command's key, live or
// not, or nil. The log doesn't know yet what this turn brought, and State not
// any more what has ended: the younger of the two is right.
func holder(s *replay.State, c Submit) *replay.KeyHolder {
	if c.Key == "" {
		return nil
	}
	if r := s.ByKey(c.Key); r != nil && (c.Earlier == nil || c.Earlier.Submitted.Number < r.Number) {
		return &replay.KeyHolder{Submitted: r.Submitted, At: r.At}
	}
	return c.Earlier
}

// expired tells whether the key stands for that run no more.
func expired(p Policy, now time.Time, h *replay.KeyHolder) bool {
	return p.KeyLife > 0 && !now.Before(h.At.Add(p.KeyLife))
}

// sameSubmission tells whether a key used twice stands for the same wish: the
// same document, inputs and, if it was chosen, id. From where it is submitted
// and what the files hold doesn't matter.
func sameSubmission(e *replay.WorkflowSubmitted, c Submit) error {
	same := e.Inputs == c.Inputs
	if e.Inputs.IsZero() { // of a store that is older than the field
		same = e.Context.Same(c.Context)
	}
	switch {
	case e.Document != c.Plan.Document || !same:
		return protocols.Errorf(protocols.InvalidRequest,
			"the idempotency key %q belongs to the run %s of another document or other inputs", c.Key, e.ID)
	case e.Mocked != c.Plan.Mocked():
		return protocols.Errorf(protocols.InvalidRequest,
			"the idempotency key %q belongs to the run %s, which %s; this one %s", c.Key, e.ID, mocked(e.Mocked), mocked(c.Plan.Mocked()))
	case c.ID != "" && c.ID != e.ID:
		return protocols.Errorf(protocols.InvalidRequest,
			"the idempotency key %q belongs to the run %s, not to %s", c.Key, e.ID, c.ID)
	}
	return nil
}

// mocked says whether a run is real.
func mocked(by string) string {
	if by == "" {
		return "is real"
	}
	return "is mocked by " + by
}

// inputsHash names the inputs; none at all has a name, too.
func inputsHash(inputs map[string]json.RawMessage) (eventlog.Hash, error) {
	if len(inputs) == 0 {
		return eventlog.Sum([]byte("{}")), nil
	}
	raw, err := json.Marshal(inputs)
	return eventlog.Sum(raw), err
}

// lookBack adds to a submission what the log knows of its key and id.
func lookBack(log *eventlog.Log, c *Submit) (err error) {
	if c.Key != "" {
		if c.Earlier, err = replay.FindKey(log, c.Key); err != nil {
			return err
		}
	}
	if c.ID != "" {
		c.IDTaken, err = replay.IDTaken(log, c.ID)
	}
	return err
}
