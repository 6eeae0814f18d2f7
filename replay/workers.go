package replay

import (
	"fmt"
	"strings"
	"time"

	"gleitzeit/eventlog"
)

// This file holds what workers offer: processes elsewhere that carry out the
// calls of remote providers. Who is connected is nobody's fact but the
// process's that they are connected to; how many calls they would take is one,
// for it decides what starts.

// Offer is how many calls at once workers take, of one provider or of all that
// speak a protocol.
type Offer struct {
	Provider string `json:"provider,omitempty"` // by name; "": all of the protocol
	Protocol string `json:"protocol"`
	Slots    int    `json:"slots"`
	Workers  int    `json:"workers,omitempty"` // that are connected
}

// WorkersChanged: workers came or went. It says all that they offer from now
// on, until the process that they are connected to has gone.
type WorkersChanged struct {
	Offers []Offer `json:"offers,omitempty"`
}

// Type is the event's name on disk.
func (*WorkersChanged) Type() string { return "workers.changed" }

// workersStream is where what workers offer lies: the last record says it.
const workersStream = providerPrefix + "workers"

// TaskReattached: the process that ran attempts died, but they were at workers
// elsewhere. They go on there, and the outcome of each is waited for again.
type TaskReattached struct {
	Tasks []int `json:"tasks"`
}

// Type is the event's name on disk.
func (*TaskReattached) Type() string { return "task.reattached" }

// workforce is what workers offer now.
type workforce struct {
	seq    eventlog.Seq
	since  time.Time // when that changed
	offers []Offer
}

// employs applies what workers offer.
func (s *State) employs(f Fact, e *WorkersChanged) {
	if f.Seq > s.workers.seq && f.Seq > s.Life {
		s.workers.seq, s.workers.since, s.workers.offers = f.Seq, f.At, e.Offers
	}
}

// Offers returns what workers offer now.
func (s *State) Offers() []Offer { return s.workers.offers }

// of sums up what is offered of a provider.
func (w *workforce) of(p *ProviderSlots) (slots, workers int) {
	for _, o := range w.offers {
		if o.Protocol == p.Protocol && (o.Provider == "" || o.Provider == p.Name) {
			slots, workers = slots+o.Slots, workers+o.Workers
		}
	}
	return slots, workers
}

// unmanned tells whether no worker could take a call of the provider.
func (g *Group) unmanned() bool { return g.Provider.Remote && g.Slots() == 0 }

// reattached takes the run's attempts out of doubt: they hold their slots again.
func (s *State) reattached(r *Run, tasks []int) {
	if !r.Doubt {
		return
	}
	r.Doubt = false
	for _, task := range tasks {
		s.grab(r, task)
	}
	r.offerAll()
}

// describe says what is offered.
func (e *WorkersChanged) describe() string {
	if len(e.Offers) == 0 {
		return "no workers are connected"
	}
	texts := make([]string, len(e.Offers))
	for i, o := range e.Offers {
		name := o.Protocol
		if o.Provider != "" {
			name += " of " + o.Provider
		}
		texts[i] = fmt.Sprintf("%d workers with %d slots for %s", o.Workers, o.Slots, name)
	}
	return strings.Join(texts, ", ")
}

// describe says why nobody knows what became of an attempt.
func (e *TaskInDoubt) describe() string {
	if e.Worker != "" {
		return fmt.Sprintf("in doubt: the worker %s was lost while attempt %d ran; on_crash: %s", e.Worker, e.Attempt, e.Action)
	}
	return fmt.Sprintf("in doubt: the process died while attempt %d ran; on_crash: %s", e.Attempt, e.Action)
}

// Remote tells whether the running attempt of a task is at a worker, if anybody
// carries it out, and may stay there: its permit, if it had one, went with the
// process.
func (r *Run) Remote(task int) bool {
	n := r.Tasks[task].Provider
	return n > 0 && r.Plan.Setup.Providers[n-1].Remote && !r.Plan.Setup.Providers[n-1].Cluster
}
