package replay

import (
	"fmt"

	"gleitzeit/protocols"
)

// This file tries out what an archive brings. Apply takes every event for one
// that Decide made: what somebody else wrote is applied to a state of its own
// first, or a store that can't be read any more would be what is left.

// trial is a state that has the runs of an archive and nothing else.
type trial struct{ state *State }

func newTrial() *trial { return &trial{NewState()} }

// apply takes one fact of a run more.
func (t *trial) apply(f Fact) (err error) {
	defer t.caught(&err)
	switch e := f.Event.(type) {
	case *SystemStarted, *SystemAlive, *Acted, *CacheStored, *KeyTaken, *TextStreamed, *BreakerChanged, *RateTaken, *PoolScaled, *WorkersChanged, ScheduleEvent:
		return protocols.Errorf(protocols.InvalidParams, "the archive has an event of no run among those of a run")
	case *WorkflowSubmitted:
		if e.Number != f.Run || f.Run < t.state.NextRun {
			return protocols.Errorf(protocols.InvalidParams, "the archive has a run that is submitted twice, or as another")
		}
	case *WorkflowRetried:
		if e.saved == nil || e.saved.Submitted == nil || e.saved.Submitted.Number != f.Run || len(e.saved.Tasks) < len(e.plan.Workflow.Tasks) {
			return protocols.Errorf(protocols.InvalidParams, "the archive has a run that is tried again as another")
		}
	}
	f.Seq = t.state.Seq + 1
	t.state.Apply(f)
	return nil
}

// end holds the runs that have not ended against the laws of the state.
func (t *trial) end() (err error) {
	defer t.caught(&err)
	for _, r := range t.state.runs {
		for i := range r.Tasks {
			if w := r.Tasks[i].Wait; r.Tasks[i].Status == TaskWaits && w.Kind == WaitChild && w.Child == 0 {
				return protocols.Errorf(protocols.InvalidParams, "the archive lacks the run %s, for which %s waits", w.ChildID, r.ID())
			}
		}
	}
	t.state.Apply(Fact{Seq: t.state.Seq + 1, At: t.state.Time, Event: &SystemStarted{}})
	if err := t.state.CheckIndexes(); err != nil {
		return wrong(err)
	}
	return nil
}

func wrong(err error) error {
	return protocols.Errorf(protocols.PersistenceIntegrityError, "the archive has what no gleitzeit writes: %v", err)
}

// caught makes an error of a panic.
func (*trial) caught(err *error) {
	if p := recover(); p != nil {
		*err = wrong(fmt.Errorf("%v", p))
	}
}

// freeID refuses an id that a run here may get by its number.
func freeID(id string, next uint64) error {
	if partition, n, ok := PlaceOf(id); ok && partition == 0 && n >= next {
		return protocols.Errorf(protocols.WorkflowInvalidState,
			"the id %q was chosen, and ends with a number that another run may get here: import it into a store with more runs", id)
	}
	return nil
}
