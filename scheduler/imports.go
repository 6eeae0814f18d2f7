package scheduler

import (
	"cmp"
	"context"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/replay"
)

// Import brings runs in, all of them or none, while others go on. Nobody holds
// them until they are resumed. Nothing else happens meanwhile, so that there
// should not be too much of it.
func (s *Scheduler) Import(ctx context.Context, a *replay.Arrivals) (moved []replay.Moved, err error) {
	var failed error
	err = s.Query(ctx, func(state *replay.State) {
		if s.log.Last() != state.Seq {
			failed = errForeign
			return
		}
		moved, failed = Import(s.log, state, a)
	})
	return moved, cmp.Or(err, failed)
}

// Import is that for a log in which nobody runs anything, and its state.
func Import(log *eventlog.Log, state *replay.State, a *replay.Arrivals) ([]replay.Moved, error) {
	return state.Import(log, a, time.Now().UTC().Round(0))
}
