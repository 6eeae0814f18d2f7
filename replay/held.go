package replay

import (
	"fmt"
	"strings"
	"time"
)

// This file says in words what holds a ready task back.

// HeldBack says what a task has waited for that starts now on the provider:
// "" if that isn't known.
func (s *State) HeldBack(r *Run, task int, g *Group) string {
	ready := r.Tasks[task].ReadyAt
	var why []string
	note := func(held bool, format string, args ...any) {
		if held {
			why = append(why, fmt.Sprintf(format, args...))
		}
	}
	for _, g := range s.choices(r, task) {
		h := g.Health
		note(h.Until.After(ready), "the breaker of %s", g.Provider.Name)
	}
	note(g.allowed().After(ready), "the rate of %s", g.Provider.Name)
	if r.bounded() {
		at, _ := r.admits(task, g, ready)
		note(!at.IsZero(), "the rate limit of the run")
		note(r.freed.After(ready) || r.freed.Equal(ready), "the limits of the run")
	}
	note(g.Provider.Remote && s.workers.since.After(ready), "a worker of %s", g.Provider.Name)
	note(!g.freed.Before(ready) && !g.freed.IsZero(), "a slot of %s", g.Provider.Name)
	if queue := r.Submitted.Queue; len(why) == 0 && queue != "" {
		return fmt.Sprintf("a slot of the queue %q", queue)
	}
	if len(why) == 0 && g.Provider.Cluster { // as far as this log knows
		return fmt.Sprintf("a slot of %s", g.Provider.Name)
	}
	if len(why) == 0 {
		return "a slot"
	}
	return strings.Join(why, ", ")
}

// choices returns the providers that would do for a task, without those that it
// avoids.
func (s *State) choices(r *Run, task int) (all []*Group) {
	p := &r.Plan.paths[r.Form(task)]
	for _, tier := range p.tiers {
		for _, n := range tier {
			all = append(all, s.setups[r.Plan.SetupHash].groups[n])
		}
	}
	return all
}

// Bounds are those of whoever carries runs out, of which the log knows nothing.
// The zero value has none.
type Bounds struct {
	Slots  int            // attempts at once
	Queues map[string]int // attempts at once of a queue's runs
	Shared bool           // providers whose bounds all partitions share give permits
}

// Stand is Run.Stand for a run of the state, which knows what ready tasks wait
// for: a breaker, a rate or a slot.
func (s *State) Stand(r *Run, now time.Time, b Bounds) (status Status, kind, reason string) {
	status, kind, reason = r.Stand()
	if r.Running > 0 || status != Pending && status != Running || !r.Active() {
		return status, kind, reason
	}
	for i := range r.Tasks {
		if r.Tasks[i].Status != TaskReady {
			continue
		}
		if kind, why := s.Blocked(r, i, now, b); why != "" {
			if kind == "slot" {
				return status, "", fmt.Sprintf("%q waits for %s", r.TaskID(i), why)
			}
			return Waiting, kind, fmt.Sprintf("%q waits for %s", r.TaskID(i), why)
		}
	}
	return status, kind, reason
}

// Blocked says what keeps a ready task from starting now: the kind (breaker,
// limit, slot, worker) and the same in words; "" if nothing does.
func (s *State) Blocked(r *Run, task int, now time.Time, b Bounds) (kind, reason string) {
	if len(r.Plan.paths[r.Form(task)].tiers) == 0 {
		return s.crowded(r, s.self, b)
	}
	q := s.route(r, task)
	if g, _ := s.choose(q, r, task, now, nil); g != nil {
		return s.crowded(r, g, b)
	}
	kind = "breaker"
	var why []string
	for _, tier := range q.tiers {
		for _, g := range tier {
			is, text := s.blockedBy(r, task, g, q.model, now)
			if is != "breaker" {
				kind = is
			}
			why = append(why, text)
		}
	}
	return kind, strings.Join(why, "; ")
}

// crowded says what keeps a task from starting though nothing of its provider
// does, as far as this log knows.
func (s *State) crowded(r *Run, g *Group, b Bounds) (kind, reason string) {
	queue := r.Submitted.Queue
	most := r.Plan.Workflow.MaxParallel
	switch slots := b.Queues[queue]; {
	case most > 0 && r.Running >= most:
		return "slot", fmt.Sprintf("the run's own tasks: max_parallel is %d", most)
	case slots > 0 && s.Queue(queue).Running >= slots && queue == "":
		return "slot", fmt.Sprintf("a slot of the queue of runs that name none (all %d are in use)", slots)
	case slots > 0 && s.Queue(queue).Running >= slots:
		return "slot", fmt.Sprintf("a slot of the queue %q (all %d are in use)", queue, slots)
	case b.Slots > 0 && s.Running >= b.Slots:
		return "slot", fmt.Sprintf("a slot (all %d are in use)", b.Slots)
	case g.Provider.Cluster && b.Shared:
		return "slot", fmt.Sprintf("a slot of %s, which all servers share", g.Provider.Name)
	}
	return "", ""
}

// blockedBy says what keeps a task from starting on one provider.
func (s *State) blockedBy(r *Run, task int, g *Group, model string, now time.Time) (kind, reason string) {
	name := g.Provider.Name
	switch until := g.shut(now); {
	case until.Equal(farAway):
		return "breaker", fmt.Sprintf("the breaker of %s, which is being tried with another call", name)
	case !until.IsZero():
		text := fmt.Sprintf("the breaker of %s, open until %s", name, until.Format(time.RFC3339))
		if e := g.Health.Error; e != nil {
			text += fmt.Sprintf(" (%s)", e.Message)
		}
		return "breaker", text
	case g.unmanned():
		return "worker", fmt.Sprintf("a worker of %s: none is connected", name)
	case g.Running >= g.Slots():
		return "slot", fmt.Sprintf("a slot of %s (%d in use)", name, g.Running)
	}
	if at, ok := g.room(model, now); !ok && at.IsZero() {
		return "slot", fmt.Sprintf("a slot of %s for the model %s", name, model)
	} else if !ok {
		return "limit", fmt.Sprintf("the rate of %s, until %s", name, at.Format(time.RFC3339))
	}
	if at, ok := r.admits(task, g, now); !ok && !at.IsZero() {
		return "limit", fmt.Sprintf("the run's rate, until %s", at.Format(time.RFC3339))
	} else if !ok {
		return "slot", fmt.Sprintf("the run's own calls on %s to end", name)
	}
	return "", ""
}
