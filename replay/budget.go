package replay

import "gleitzeit/protocols"

// This file says what budgets leave.

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
	p := &r.Plan.paths[r.Form(task)]
	if !p.metered || !r.bounded() {
		return affordable
	}
	t := &r.Tasks[def]
	return max(r.within(r.Budget(), r.Spent, r.reserved, p.reserve),
		r.within(r.Task(task).Budget, t.Spent, t.reserved, p.reserve))
}

// within tells whether a budget has something left for a call that reserves so
// many tokens.
func (r *Run) within(b *protocols.Budget, spent Usage, reserved, more int64) verdict {
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
	if r.within(r.Task(task).Budget, t.Spent, t.reserved, r.Plan.paths[r.Form(task)].reserve) == usedUp {
		return r.Task(task).Budget, t.Spent, true
	}
	return r.Budget(), r.Spent, false
}

// Reserve returns how many tokens a call of the task may use, as far as that is
// known before.
func (r *Run) Reserve(task int) int64 { return r.Plan.paths[r.Form(task)].reserve }
