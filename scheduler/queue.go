package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file bounds the queues: how many runs may wait in one, and how many
// attempts it may have running.

// Queue is a queue's limits. The zero value of each is none.
type Queue struct {
	Slots int // attempts at once of its runs
	Size  int // runs that wait for their first task to start; 0: Policy.QueueSize
}

// DefaultQueueSize is how many runs may wait in a queue unless told otherwise.
const DefaultQueueSize = 100_000

// room tells whether one more attempt of the queue's runs may start.
func (p Policy) room(s *replay.State) func(queue string) bool {
	return func(queue string) bool {
		most := p.Queues[queue].Slots
		return most == 0 || s.Queue(queue).Running < most
	}
}

// bounds are those of the policy of which the log knows nothing.
func (p Policy) bounds() replay.Bounds {
	b := replay.Bounds{Slots: p.Slots, Queues: map[string]int{}, Shared: p.Permits != nil}
	for name, q := range p.Queues {
		b.Queues[name] = q.Slots
	}
	return b
}

// accepts refuses a run whose queue there isn't, or is full. It says when to
// come again: after as long as the one that is next has waited.
func (p Policy) accepts(s *replay.State, now time.Time, queue string) error {
	limits, known := p.Queues[queue]
	if queue != "" && !known {
		names := slices.Sorted(maps.Keys(p.Queues))
		hint := "the configuration names none"
		if len(names) > 0 {
			hint = fmt.Sprintf("there are: %q", names)
		}
		return protocols.Errorf(protocols.QueueNotFound, "no queue %q: %s", queue, hint)
	}
	most := limits.Size
	if most == 0 {
		most = p.QueueSize
	}
	if most == 0 || s.Queue(queue).Pending() < most {
		return nil
	}
	after := min(max(now.Sub(s.OldestPending(queue).At), time.Second), time.Minute)
	name := "the queue"
	if queue != "" {
		name = fmt.Sprintf("the queue %q", queue)
	}
	return protocols.Errorf(protocols.QueueFull, "%s is full: its size is %d; try again in %s",
		name, most, after.Round(time.Second)).With(map[string]any{"queue": queue, "retry_after": after.Seconds()})
}
