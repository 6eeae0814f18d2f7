package scheduler

import (
	"context"
	"encoding/json"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file runs workflows as tasks: workflow/v1. A child is a run of its own,
// and the task waits for its end without a slot.

// maxDepth bounds how deep runs may be nested.
const maxDepth = 16

// childParams are the parameters of workflow/run, as
// protocols/specs/workflow.json has them.
type childParams struct {
	File   string                     `json:"file"`
	Inputs map[string]json.RawMessage `json:"inputs"`
}

// spawn finds out what a task of workflow/v1 runs, and lets the loop know.
func (s *Scheduler) spawn(ctx context.Context, j job) error {
	var p childParams
	c, err := s.readParameters(j, &p)
	if err != nil {
		return err
	}
	if j.depth >= maxDepth {
		return protocols.Errorf(protocols.WorkflowInvalidState, "runs are nested %d deep: does %s run itself?", maxDepth, p.File)
	}
	child, err := s.child(j, c, p)
	if err != nil {
		return err
	}
	return s.wish(ctx, j, Spawn{Run: j.run, Task: j.task, Attempt: j.attempt, Child: *child})
}

// child makes the submission of a child run.
func (s *Scheduler) child(j job, c replay.Context, p childParams) (*Submit, error) {
	known, ok := c.Children[c.Names[p.File]]
	if !ok {
		return nil, protocols.Errorf(protocols.TaskParameterError, "the workflow %q was not there when the run was submitted", p.File)
	}
	raw, err := s.log.Value(known.Document)
	if err != nil {
		return nil, err
	}
	w, err := protocols.Decode(raw)
	if err != nil {
		return nil, protocols.Errorf(protocols.WorkflowValidationFailed, "%s: %v", p.File, err)
	}
	if err := handOn(j, c, w, p.Inputs); err != nil {
		return nil, err
	}
	inputs, refused := w.CheckInputs(p.Inputs)
	if refused != nil {
		return nil, refused
	}
	plan, err := replay.NewPlan(known.Document, w, j.plan.SetupHash, j.plan.Setup)
	if err != nil {
		return nil, err
	}
	context, err := json.Marshal(replay.Context{Inputs: inputs, Env: c.Env, Files: known.Files, Dir: known.Dir, Cwd: c.Cwd,
		Roots: c.Roots, Children: c.Children, Names: known.Names})
	if err != nil {
		return nil, err
	}
	child := &Submit{Plan: plan, Context: replay.NewValue(context), Source: p.File, Trace: s.place(j),
		Parent: &replay.Parent{Run: j.run, Task: j.task, Depth: j.depth + 1}}
	for _, h := range known.Files {
		child.Files = append(child.Files, h)
	}
	return child, nil
}

// decideSpawn lets a started task give its slot back and wait for a new run.
func decideSpawn(s *replay.State, now time.Time, c Spawn) []replay.Fact {
	r := s.Run(c.Run)
	if !current(r, c.Task, c.Attempt) {
		return nil
	}
	if r.Cancel != "" && r.Stopping() {
		return facts(c.Run, now, &replay.TaskCancelled{Task: c.Task, Attempt: c.Attempt})
	}
	c.Child.Priority, c.Child.Queue, c.Child.Budget = r.Submitted.Priority, r.Submitted.Queue, left(r, c.Task)
	e, err := submission(s, now, c.Child)
	if err != nil {
		return facts(c.Run, now, missed(r, c.Task, now, asError(err))...)
	}
	wait := replay.Wait{Kind: replay.WaitChild, Child: e.Number, ChildID: e.ID}
	out := append(facts(c.Run, now, &replay.TaskWaiting{Task: c.Task, Attempt: c.Attempt, Wait: wait}),
		facts(e.Number, now, e)...)
	if r.Paused { // since the attempt started: so is its child
		out = append(out, facts(e.Number, now, &replay.WorkflowPaused{With: r.ID()})...)
	}
	if !r.Held { // it was interrupted meanwhile: so is its child
		out = append(out, facts(e.Number, now, &replay.WorkflowInterrupted{By: "the run " + r.ID()})...)
	}
	return out
}

// childEnded ends the task that a child run was the work of, as that ended.
func childEnded(r *replay.Run, task int, now time.Time) []replay.Event {
	t := &r.Tasks[task]
	child := t.ChildEnd()
	switch {
	case child.Status == replay.Completed:
		result := child.Outputs
		if result.IsZero() {
			result = replay.NewValue(json.RawMessage("{}"))
		}
		return spent(got(r, task, now, result), child.Usage)
	case r.Cancel != "" && r.Stopping():
		return []replay.Event{&replay.TaskCancelled{Task: task, Attempt: t.Attempts, Error: child.Error, Usage: child.Usage}}
	}
	err := protocols.Errorf(protocols.TaskExecutionFailed, "the run %s ended %s", t.Wait.ChildID, child.Status)
	if child.Error != nil {
		err = protocols.Errorf(protocols.TaskExecutionFailed, "the run %s: %s", t.Wait.ChildID, child.Error.Message)
	}
	return spent(missed(r, task, now, err.With(map[string]any{"run": t.Wait.ChildID, "status": child.Status})), child.Usage)
}

// spent notes what a child run has cost with the outcome of the task whose work
// it was.
func spent(events []replay.Event, u replay.Usage) []replay.Event {
	switch e := events[0].(type) {
	case *replay.TaskCompleted:
		e.Usage = u
	case *replay.TaskIterated:
		e.Usage = u
	case *replay.TaskRetrying:
		e.Usage = u
	case *replay.TaskFailed:
		e.Usage = u
	case *replay.TaskCancelled:
		e.Usage = u
	}
	return events
}
