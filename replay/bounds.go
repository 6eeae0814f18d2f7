package replay

import (
	"math"
	"time"

	"github.com/google/btree"

	"gleitzeit/protocols"
)

// This file holds what a run may use: its slots, rates and budget, and those
// of its tasks.

// Usage is what calls have cost.
type Usage struct {
	Tokens   int64 `json:"tokens,omitempty"`
	MicroUSD int64 `json:"micro_usd,omitempty"` // millionths of a US dollar
}

// maxUsage bounds what is counted, so that no sum of what people and servers
// say overflows.
const maxUsage = 1 << 60

// Plus is the sum of two.
func (u Usage) Plus(v Usage) Usage {
	return Usage{plus(u.Tokens, v.Tokens), plus(u.MicroUSD, v.MicroUSD)}
}

func plus(a, b int64) int64 { return min(min(a, maxUsage)+min(b, maxUsage), maxUsage) }

// USD is the cost in US dollars.
func (u Usage) USD() float64 { return float64(u.MicroUSD) / 1e6 }

// MicroUSD turns US dollars into what Usage counts.
func MicroUSD(usd float64) int64 { return int64(math.Round(min(max(usd*1e6, -maxUsage), maxUsage))) }

// uses is how many calls a run, or a task of it, has at once on a provider.
type useKey struct {
	task     int // in the document, or -1
	provider *Group
}

// grab counts an attempt that holds a slot.
func (s *State) grab(r *Run, task int) {
	t, g, def := &r.Tasks[task], s.on(r, task), r.Def(task)
	s.Running++
	g.Running++
	if g.probe(t) {
		g.probing++
	}
	if name, _ := g.Provider.modelSlots(r.Plan.paths[def].model); name != "" {
		if g.models == nil {
			g.models = map[string]int{}
		}
		g.models[name]++
	}
	s.queue(r).Running++
	r.hold(g, def, 1)
}

// giveBack takes the slot from an attempt.
func (s *State) giveBack(r *Run, task int) {
	t, g, def := &r.Tasks[task], s.on(r, task), r.Def(task)
	if g.Running >= g.Slots() {
		g.freed = s.Time
	}
	s.Running--
	g.Running--
	if g.probe(t) {
		g.probing--
	}
	if name, most := g.Provider.modelSlots(r.Plan.paths[def].model); name != "" {
		if g.models[name] >= most {
			g.freed = s.Time
		}
		g.models[name]--
	}
	s.queue(r).Running--
	r.hold(g, def, -1)
}

// bounded tells whether something beside the slots of others bounds what the
// run may do at once.
func (r *Run) bounded() bool { return r.Plan.bounded || r.Submitted.Budget != nil }

// hold counts an attempt against the bounds of its run and its task.
func (r *Run) hold(g *Group, def, by int) {
	if !r.bounded() {
		return
	}
	if r.using == nil {
		r.using = map[useKey]int{}
	}
	if by < 0 && r.full(g, def) {
		r.freed = r.Last
	}
	for _, key := range []useKey{{-1, g}, {def, g}} {
		if r.using[key] += by; r.using[key] == 0 {
			delete(r.using, key)
		}
	}
	n := int64(by) * r.Plan.paths[def].reserve
	r.reserved += n
	r.Tasks[def].reserved += n
}

// full tells, while an attempt of the task ends, whether the bounds of the run
// or the task let no other begin until then.
func (r *Run) full(g *Group, def int) bool {
	if most := r.Plan.Workflow.MaxParallel; most > 0 && r.Running+1 >= most {
		return true
	}
	if l := r.Plan.Workflow.Limits; l != nil && l.PerProvider > 0 && r.using[useKey{-1, g}] >= l.PerProvider {
		return true
	}
	if l := r.Plan.Task(def).Limits; l != nil && l.PerProvider > 0 && r.using[useKey{def, g}] >= l.PerProvider {
		return true
	}
	return r.affords(def) == waits
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

// spend counts what an attempt has cost.
func (r *Run) spend(task int, u Usage) {
	r.Spent = r.Spent.Plus(u)
	t := &r.Tasks[r.Def(task)]
	t.Spent = t.Spent.Plus(u)
}

// verdict says whether a budget lets a call begin.
type verdict int

const (
	affordable verdict = iota
	waits              // for what others have reserved
	usedUp
)

// affords looks at the budgets of the run and of the task.
func (r *Run) affords(task int) verdict {
	def := r.Def(task)
	p := &r.Plan.paths[def]
	if !p.metered || !r.bounded() {
		return affordable
	}
	t := &r.Tasks[def]
	return max(r.Within(r.Budget(), r.Spent, r.reserved, p.reserve),
		r.Within(r.Task(task).Budget, t.Spent, t.reserved, p.reserve))
}

// Within tells whether a budget has something left for a call that reserves so
// many tokens.
func (r *Run) Within(b *protocols.Budget, spent Usage, reserved, more int64) verdict {
	if b == nil {
		return affordable
	}
	all := r.Ceiling(b)
	if b.USD > 0 && spent.MicroUSD >= all.MicroUSD {
		return usedUp
	}
	if b.Tokens == 0 {
		return affordable
	}
	switch most := all.Tokens; {
	case spent.Tokens >= most || spent.Tokens+more > most:
		return usedUp
	case spent.Tokens+reserved >= most || spent.Tokens+reserved+more > most:
		return waits
	}
	return affordable
}

// Ceiling is what a budget and the grants beyond it allow together.
func (r *Run) Ceiling(b *protocols.Budget) Usage {
	return Usage{b.Tokens, MicroUSD(b.USD)}.Plus(r.Granted)
}

// over tells whether a ready task can't start because a budget is used up.
func (r *Run) over(task int) bool { return r.affords(task) == usedUp }

// Budget returns what the run may cost: its document's budget, or what its
// parent had left when that is less. It may be nil.
func (r *Run) Budget() *protocols.Budget { return r.Submitted.tighter(r.Plan.Workflow.Budget) }

// tighter is the tighter of a document's budget and that of the submission.
func (e *WorkflowSubmitted) tighter(own *protocols.Budget) *protocols.Budget {
	left := e.Budget
	if left == nil || own == nil {
		if own == nil {
			return left
		}
		return own
	}
	b := *own
	if left.Tokens > 0 && (b.Tokens == 0 || left.Tokens < b.Tokens) {
		b.Tokens = left.Tokens
	}
	if left.USD > 0 && (b.USD == 0 || left.USD < b.USD) {
		b.USD = left.USD
	}
	return &b
}

// Exceeded returns the budget that keeps a task from starting, and what of it
// is spent; byTask tells that it is the task's own.
func (r *Run) Exceeded(task int) (b *protocols.Budget, spent Usage, byTask bool) {
	def := r.Def(task)
	t := &r.Tasks[def]
	if r.Within(r.Task(task).Budget, t.Spent, t.reserved, r.Plan.paths[def].reserve) == usedUp {
		return r.Task(task).Budget, t.Spent, true
	}
	return r.Budget(), r.Spent, false
}

// QueueUse is who uses a named queue.
type QueueUse struct {
	Running int // attempts

	pending *btree.BTreeG[uint64] // their numbers
}

// queue returns the queue of a run.
func (s *State) queue(r *Run) *QueueUse { return s.Queue(r.Submitted.Queue) }

// Queue returns who uses the queue of that name. It must not be changed.
func (s *State) Queue(name string) *QueueUse {
	q := s.queues[name]
	if q == nil {
		q = &QueueUse{pending: btree.NewOrderedG[uint64](btreeDegree)}
		s.queues[name] = q
	}
	return q
}

// line keeps the run among those that wait for their first start, or not.
func (s *State) line(r *Run) {
	want := r.Active() && !r.went && r.Cancel == "" && r.Submitted.Parent == nil && s.runs[r.Number] == r
	if want == r.inLine {
		return
	}
	r.inLine = want
	q := s.queue(r)
	if want {
		q.pending.ReplaceOrInsert(r.Number)
	} else {
		q.pending.Delete(r.Number)
	}
}

// Pending returns how many runs there are of which nothing has started yet.
func (q *QueueUse) Pending() int { return q.pending.Len() }

// OldestPending returns the one of those runs that was submitted first, or nil.
func (s *State) OldestPending(queue string) *Run {
	n, _ := s.Queue(queue).pending.Min()
	return s.runs[n]
}

// Reserve returns how many tokens a call of the task may use, as far as that is
// known before.
func (r *Run) Reserve(task int) int64 { return r.Plan.paths[r.Def(task)].reserve }
