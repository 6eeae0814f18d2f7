package scheduler

import (
	"slices"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file lets a run go on that has ended: what failed is tried again, what
// completed is kept.

// decideRetry says which tasks of an ended run are tried again.
func decideRetry(s *replay.State, now time.Time, c Retry) ([]replay.Fact, error) {
	r := c.Run
	switch {
	case s.Run(r.Number) != nil:
		return nil, unended(r)
	case c.How == replay.Completed:
		return nil, protocols.Errorf(protocols.WorkflowInvalidState, "%s has completed: there is nothing to try again", r.ID())
	case r.Submitted.Parent != nil:
		return nil, protocols.Errorf(protocols.WorkflowInvalidState,
			"%s is the work of a task of run %d: retry that, and the task gets a new child run", r.ID(), r.Submitted.Parent.Run)
	}
	if c.Granted.Tokens < 0 || c.Granted.MicroUSD < 0 {
		return nil, errLess
	}
	again, anew := chosen(c)
	if err := hopeful(r, again); err != nil {
		return nil, err
	}
	var deadline time.Time
	if d := r.Plan.Workflow.Timeout; d > 0 {
		deadline = now.Add(time.Duration(d))
	}
	e, err := r.Again(shorten(c.By, maxBy), places(again), places(anew), deadline, c.Granted)
	if err == nil && e.Run.Size() > maxValue {
		err = protocols.Errorf(protocols.WorkflowInvalidState, "%s has grown too large to go on: %d bytes, the limit is %d", r.ID(), e.Run.Size(), maxValue)
	}
	if err != nil {
		return nil, err
	}
	return facts(r.Number, now, e), nil
}

func unended(r *replay.Run) error {
	return protocols.Errorf(protocols.WorkflowInvalidState, "%s has not ended", r.ID())
}

// chosen says, by task, which run again, and which foreaches of those look for
// their items again. Unless some are named, all that failed run again; whatever
// was skipped or cancelled gets another chance in any case, and hooks run again
// when the run ends anew. A foreach that waits for what runs again begins anew.
func chosen(c Retry) (again, anew []bool) {
	tasks := c.Run.Plan.Workflow.Tasks
	again, anew = make([]bool, len(tasks)), make([]bool, len(tasks))
	for i, t := range tasks {
		switch c.Run.Tasks[i].Status {
		case replay.TaskIsFailed:
			again[i] = !t.ContinueOnError && len(c.Tasks)+len(c.From) == 0
		case replay.TaskIsCancelled:
			again[i] = true
		case replay.TaskIsSkipped:
			again[i] = c.Run.Tasks[i].Reason != replay.SkippedInDoubt
		}
		again[i] = again[i] || t.Hook != ""
		anew[i] = again[i] && t.Hook != "" && c.Run.Tasks[i].Parted()
	}
	name := func(i int, whole bool) {
		again[i] = true
		if t := &c.Run.Tasks[i]; t.Parted() && (whole || t.Status == replay.TaskIsCompleted) {
			anew[i] = true
		}
	}
	for _, i := range c.Tasks {
		name(i, false)
	}
	for _, i := range withAll(c.Run, c.From) {
		name(i, true)
	}
	for i, t := range tasks { // what it goes over may become another
		sooner := slices.ContainsFunc(t.Dependencies, func(d int) bool { return again[d] })
		anew[i] = anew[i] || again[i] && sooner && c.Run.Tasks[i].Parted()
	}
	return again, anew
}

// withAll are the tasks and all that depend on them, directly or not.
func withAll(r *replay.Run, tasks []int) []int {
	all := slices.Clone(tasks)
	seen := make([]bool, len(r.Plan.Workflow.Tasks))
	for _, i := range tasks {
		seen[i] = true
	}
	for k := 0; k < len(all); k++ {
		for _, d := range r.Plan.Dependents(all[k]) {
			if !seen[d] {
				seen[d] = true
				all = append(all, int(d))
			}
		}
	}
	return all
}

// hopeful refuses a choice that comes to nothing: a failed task that isn't
// tried again stops the run at once.
func hopeful(r *replay.Run, again []bool) error {
	for i, t := range r.Plan.Workflow.Tasks {
		if r.Tasks[i].Status == replay.TaskIsFailed && !t.ContinueOnError && !again[i] && r.Plan.Workflow.ErrorStrategy != protocols.Continue {
			return protocols.Errorf(protocols.InvalidParams,
				"task %q of %s failed too, and a failure stops this workflow: name it as well, or none", t.ID, r.ID())
		}
	}
	return nil
}

// places are those that are chosen.
func places(chosen []bool) (all []int) {
	for i, yes := range chosen {
		if yes {
			all = append(all, i)
		}
	}
	return all
}
