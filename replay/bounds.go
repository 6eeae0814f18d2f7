package replay

import (
	"time"

	"gleitzeit/protocols"
)

// This file holds what a run may have at once, beside the slots of others: its
// limits and those of its tasks.

// useKey names the calls that a run, or a task of it, has at once on a provider.
type useKey struct {
	task     int // in the document, or -1
	provider *Group
}

// grab counts an attempt that holds a slot.
func (s *State) grab(r *Run, task int) {
	t, g := &r.Tasks[task], s.OnProvider(r, task)
	s.Running++
	g.Running++
	if g.Probe(t) {
		g.probing++
	}
	if name, _ := g.Provider.modelSlots(r.Plan.paths[r.Form(task)].model); name != "" {
		if g.models == nil {
			g.models = map[string]int{}
		}
		g.models[name]++
	}
	s.queue(r).Running++
	r.hold(g, task, 1)
}

// giveBack takes the slot from an attempt.
func (s *State) giveBack(r *Run, task int) {
	t, g := &r.Tasks[task], s.OnProvider(r, task)
	if g.Running >= g.Slots() {
		g.freed = s.Time
	}
	s.Running--
	g.Running--
	if g.Probe(t) {
		g.probing--
	}
	if name, most := g.Provider.modelSlots(r.Plan.paths[r.Form(task)].model); name != "" {
		if g.models[name] >= most {
			g.freed = s.Time
		}
		g.models[name]--
	}
	s.queue(r).Running--
	r.hold(g, task, -1)
}

// bounded tells whether something beside the slots of others bounds what the
// run may do at once.
func (r *Run) bounded() bool { return r.Plan.bounded || r.Submitted.Budget != nil }

// hold counts an attempt against the bounds of its run and its task.
func (r *Run) hold(g *Group, task, by int) {
	if !r.bounded() {
		return
	}
	if r.using == nil {
		r.using = map[useKey]int{}
	}
	if by < 0 && r.full(g, task) {
		r.freed = r.Last
	}
	def := r.Def(task)
	for _, key := range []useKey{{-1, g}, {def, g}} {
		if r.using[key] += by; r.using[key] == 0 {
			delete(r.using, key)
		}
	}
	n := int64(by) * r.Reserve(task)
	r.reserved += n
	r.Tasks[def].reserved += n
}

// full tells, while an attempt of the task ends, whether the bounds of the run
// or the task let no other begin until then.
func (r *Run) full(g *Group, task int) bool {
	if most := r.Plan.Workflow.MaxParallel; most > 0 && r.Running+1 >= most {
		return true
	}
	if l := r.Plan.Workflow.Limits; l != nil && l.PerProvider > 0 && r.using[useKey{-1, g}] >= l.PerProvider {
		return true
	}
	if l := r.Task(task).Limits; l != nil && l.PerProvider > 0 && r.using[useKey{r.Def(task), g}] >= l.PerProvider {
		return true
	}
	return r.affords(task) == waits
}

// admits tells whether the bounds of the run and the task let one more call
// begin on the provider, and if not when time alone will have changed that.
func (r *Run) admits(task int, g *Group, now time.Time) (at time.Time, ok bool) {
	if !r.bounded() {
		return at, true
	}
	def := r.Def(task)
	bounds := []struct {
		l    *protocols.Limits
		key  useKey
		full time.Time
	}{{r.Plan.Workflow.Limits, useKey{-1, g}, r.calls}, {r.Task(task).Limits, useKey{def, g}, r.Tasks[def].calls}}
	for _, b := range bounds {
		if b.l == nil || g.Provider == &ourselves {
			continue
		}
		if b.l.PerProvider > 0 && r.using[b.key] >= b.l.PerProvider {
			return at, false
		}
		if b.l.Rate != nil {
			if at := rateOf(b.l.Rate).ready(b.full); at.After(now) {
				return at, false
			}
		}
	}
	return at, r.affords(task) != waits
}

// rateOf is a rate of the language: its calls begin evenly.
func rateOf(r *protocols.Rate) *Rate { return &Rate{N: int64(r.Calls), Per: r.Per, Burst: 1} }

// begins takes from the rates of the run and the task what a call takes.
func (r *Run) begins(task int, at time.Time) {
	def := r.Def(task)
	if r.Tasks[task].Provider == 0 {
		return
	}
	if l := r.Plan.Workflow.Limits; l != nil && l.Rate != nil {
		r.calls = rateOf(l.Rate).take(r.calls, at, 1)
	}
	if l := r.Plan.Task(def).Limits; l != nil && l.Rate != nil {
		r.Tasks[def].calls = rateOf(l.Rate).take(r.Tasks[def].calls, at, 1)
	}
}
