package scheduler

import (
	"fmt"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file decides what happens when a budget is used up.

// overspent is what becomes of a task that may not start because of a budget.
func overspent(s *replay.State, r *replay.Run, now time.Time, task int) []replay.Fact {
	b, spent, byTask := r.Exceeded(task)
	text := "the run's budget of " + exceeded(r, b, spent)
	if byTask {
		text = "the task's budget of " + exceeded(r, b, spent)
	}
	if b.OnExceed == "pause" {
		if byTask {
			text = fmt.Sprintf("task %q: %s", r.Task(task).ID, text)
		}
		return pause(s, r, now, &replay.WorkflowPaused{By: "its budget", Budget: text})
	}
	return facts(r.Number, now, &replay.TaskFailed{Task: task, Attempt: r.Tasks[task].Attempts,
		Error: protocols.Errorf(protocols.ResourceExhausted, "%s", text).With(map[string]any{
			"tokens": spent.Tokens, "usd": spent.USD()})})
}

// exceeded says in words what of a budget is spent.
func exceeded(r *replay.Run, b *protocols.Budget, spent replay.Usage) string {
	all := r.Ceiling(b)
	if b.USD > 0 && spent.MicroUSD >= all.MicroUSD {
		return fmt.Sprintf("%s USD is used up: %s USD are spent", dollars(all.MicroUSD), dollars(spent.MicroUSD))
	}
	most := all.Tokens
	if spent.Tokens < most {
		return fmt.Sprintf("%d tokens has not enough left for its max_tokens: %d are spent", most, spent.Tokens)
	}
	return fmt.Sprintf("%d tokens is used up: %d are spent", most, spent.Tokens)
}

func dollars(micro int64) string { return fmt.Sprintf("%g", float64(micro)/1e6) }

// left is what a run's budget has left for a child run; nil: there is no
// budget. What is used up leaves the least there is, so that the child says so.
func left(r *replay.Run, task int) *protocols.Budget {
	own, spent := r.Task(task).Budget, r.Tasks[r.Def(task)].Spent
	all := r.Budget()
	if own == nil && all == nil {
		return nil
	}
	b := protocols.Budget{OnExceed: "fail"}
	for _, x := range []struct {
		b     *protocols.Budget
		spent replay.Usage
	}{{own, spent}, {all, r.Spent}} {
		if x.b == nil {
			continue
		}
		b.OnExceed = x.b.OnExceed
		most := r.Ceiling(x.b)
		if x.b.Tokens > 0 {
			b.Tokens = tighter(b.Tokens, max(most.Tokens-x.spent.Tokens, 1))
		}
		if x.b.USD > 0 {
			micro := max(most.MicroUSD-x.spent.MicroUSD, 1)
			b.USD = float64(tighter(replay.MicroUSD(b.USD), micro)) / 1e6
		}
	}
	return &b
}

// tighter is the smaller of two bounds, of which the first may be none.
func tighter(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

var errLess = protocols.Errorf(protocols.InvalidParams, "a budget can only be given more")

// grants refuses to let a run go on whose budget would stop it at once.
func grants(r *replay.Run, g replay.Usage) error {
	switch {
	case g.Tokens < 0 || g.MicroUSD < 0:
		return errLess
	case !r.Paused && g != replay.Usage{}: // it must not be lost in silence
		return protocols.Errorf(protocols.WorkflowInvalidState, "%s is not paused: only a paused run can be given more", r.ID())
	case r.Overspent != "" && g == replay.Usage{}:
		return protocols.Errorf(protocols.WorkflowInvalidState,
			"%s is paused because a budget is used up: give it more with --tokens or --usd", r.ID())
	}
	return nil
}
