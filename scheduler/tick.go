package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// Tick says what follows from the state at the moment now: the next thing
// only, so that the caller applies it and asks again until nothing follows.
// Like Decide it only reads. The order is: what time brings, what follows
// from what has happened, and then what may start.
func Tick(s *replay.State, p Policy, now time.Time) []replay.Fact {
	if t, ok := s.NextTimer(); ok && !t.At.After(now) {
		return facts(t.Run, now, elapsed(t))
	}
	if r := s.NextUnsettled(); r != nil {
		return facts(r.Number, now, settle(r)...)
	}
	if p.Closed || s.Running >= p.Slots {
		return nil
	}
	if next, ok := s.NextReady(); ok {
		r := s.Run(next.Run)
		return facts(next.Run, now, &replay.TaskStarted{Task: next.Task, Attempt: r.Tasks[next.Task].Attempts + 1,
			Provider: r.Plan.Provider(next.Task).Name})
	}
	return nil
}

// Wake returns when Tick will have something to say that it hasn't now.
func Wake(s *replay.State) (time.Time, bool) {
	t, ok := s.NextTimer()
	return t.At, ok
}

func elapsed(t replay.Timer) replay.Event {
	if t.Task < 0 {
		return &replay.CancelRequested{Reason: replay.RunTimeout}
	}
	return &replay.TaskDue{Task: t.Task}
}

// settle says what follows for a run that needs a decision.
func settle(r *replay.Run) []replay.Event {
	if r.Open == 0 {
		return []replay.Event{over(r)}
	}
	return skips(r)
}

// over ends a run whose tasks have all ended, or asks for its outputs first.
func over(r *replay.Run) replay.Event {
	switch {
	case r.Cancel == replay.RunTimeout:
		return end(r, replay.TimedOut, replay.Value{}, protocols.Errorf(protocols.WorkflowTimeout,
			"the run took longer than its timeout of %s", time.Duration(r.Plan.Workflow.Timeout)))
	case r.Cancel != "":
		return end(r, replay.Cancelled, replay.Value{}, protocols.Errorf(protocols.WorkflowCancelled, "cancelled"))
	case r.FailedTask >= 0:
		return end(r, replay.Failed, replay.Value{}, failure(r))
	case r.Plan.HasOutputs():
		return &replay.OutputsRequested{}
	}
	return end(r, replay.Completed, replay.Value{}, nil)
}

// failure is a failed run's error: that of its first failed task.
func failure(r *replay.Run) *protocols.Error {
	id, cause := r.Plan.Task(r.FailedTask).ID, r.Tasks[r.FailedTask].Error
	return protocols.Errorf(protocols.WorkflowExecutionFailed, "task %q failed: %s", id, cause.Message).With(
		map[string]any{"task": id, "code": cause.Code})
}

// skips ends the tasks that can't run any more: those whose dependencies
// failed them, and in a run that stops all that haven't started.
func skips(r *replay.Run) []replay.Event {
	reasons := map[string][]int{}
	doomed := map[int]int{}
	if r.Cancel == "" {
		doomed = closure(r)
	}
	for task, blame := range doomed {
		why := blamed(r, blame)
		reasons[why] = append(reasons[why], task)
	}
	if r.Stopping() {
		why := stopReason(r)
		for i := range r.Tasks {
			if _, known := doomed[i]; !known && !r.Tasks[i].Status.Ended() && r.Tasks[i].Status != replay.TaskRunning {
				reasons[why] = append(reasons[why], i)
			}
		}
	}
	events := make([]replay.Event, 0, len(reasons))
	for why, tasks := range reasons {
		slices.Sort(tasks)
		for some := range slices.Chunk(tasks, maxSkipped) {
			events = append(events, &replay.TaskSkipped{Tasks: some, Reason: why})
		}
	}
	slices.SortFunc(events, func(a, b replay.Event) int {
		return a.(*replay.TaskSkipped).Tasks[0] - b.(*replay.TaskSkipped).Tasks[0]
	})
	return events
}

// blamed says in words what a task did to its dependents.
func blamed(r *replay.Run, task int) string {
	t := &r.Tasks[task]
	switch {
	case t.Status != replay.TaskIsSkipped:
		return fmt.Sprintf("dependency %q failed", r.Plan.Task(task).ID)
	case strings.HasPrefix(t.Reason, "dependency "):
		return t.Reason // the same root
	}
	return fmt.Sprintf("dependency %q was skipped", r.Plan.Task(task).ID)
}

func stopReason(r *replay.Run) string {
	switch {
	case r.Cancel == replay.RunTimeout:
		return "the run timed out"
	case r.Cancel != "":
		return "the run was cancelled"
	}
	return fmt.Sprintf("the run stopped because %q failed", r.Plan.Task(r.FailedTask).ID)
}
