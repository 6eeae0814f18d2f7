package scheduler

import (
	"fmt"
	"maps"
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
		return elapsed(s, s.Run(t.Run), t, now)
	}
	if a, ok := nextAlarm(s, p); ok && !a.At.After(now) {
		return scheduleFires(s, p, s.Schedule(a.Name), now)
	}
	if r := s.NextUnsettled(); r != nil {
		return facts(r.Number, now, settle(r, now)...)
	}
	if alive := sign(s, now); alive != nil {
		return alive
	}
	if p.Closed || s.Running >= p.Slots {
		return nil
	}
	next, _, found := s.NextStart(now, p.room(s), p.Permits)
	switch {
	case !found:
		return scale(s, now)
	case next.Over:
		return overspent(s, s.Run(next.Run), now, next.Task)
	}
	return starts(s, p, now, next)
}

// Wake returns when Tick will have something to say that it hadn't when it was
// asked last, a little before now: now itself, if that has come already.
func Wake(s *replay.State, p Policy, now time.Time) (at time.Time, any bool) {
	sooner := func(t time.Time, ok bool) {
		if ok && (!any || t.Before(at)) {
			at, any = t, true
		}
	}
	t, ok := s.NextTimer()
	sooner(t.At, ok)
	a, ok := nextAlarm(s, p)
	sooner(a.At, ok)
	sooner(nextSign(s))
	if !p.Closed && s.Running < p.Slots {
		_, chance, found := s.NextStart(now, p.room(s), p.Permits)
		if found { // what wasn't yet a moment ago, when Tick was asked
			chance = now
		}
		sooner(chance, !chance.IsZero())
		e, later := s.Scale(now)
		if e != nil {
			later = now
		}
		sooner(later, !later.IsZero())
	}
	return at, any
}

// elapsed says what a timer brings.
func elapsed(s *replay.State, r *replay.Run, t replay.Timer, now time.Time) []replay.Fact {
	switch {
	case t.Task < 0:
		return cancel(s, r, now, replay.RunTimeout, "")
	case r.Tasks[t.Task].Status == replay.TaskWaits:
		return facts(t.Run, now, waitedLong(r, t.Task, now)...)
	}
	if task := &r.Tasks[t.Task]; task.Error != nil && late(r, t.Task, now) { // nobody ran it when it was due
		return facts(t.Run, now, &replay.TaskFailed{Task: t.Task, Attempt: task.Attempts, Error: tooLate(r, t.Task, task.Error)})
	}
	return facts(t.Run, now, &replay.TaskDue{Task: t.Task})
}

// settle says what follows for a run that needs a decision.
func settle(r *replay.Run, now time.Time) []replay.Event {
	if r.Open == 0 {
		return next(r)
	}
	if r.Doubt { // only the ends of its children can't wait
		return decisions(r, now, nil)
	}
	events, gone := skips(r), map[int]bool{}
	for _, e := range events {
		if e, ok := e.(*replay.TaskSkipped); ok {
			for _, i := range e.Tasks {
				gone[i] = true
			}
		}
	}
	return append(events, decisions(r, now, gone)...)
}

// next begins the hook that comes now, or ends the run. Hooks that don't suit
// how the run went are skipped.
func next(r *replay.Run) (events []replay.Event) {
	if r.Hook == protocols.Finally {
		return []replay.Event{over(r)}
	}
	suits := r.EndHook()
	for _, h := range []protocols.Hook{protocols.OnSuccess, protocols.OnFailure} {
		if tasks := r.HookTasks(h); len(tasks) > 0 && h != suits {
			events = append(events, &replay.TaskSkipped{Tasks: tasks, Reason: "the run " + fared(r)})
		}
	}
	for _, h := range []protocols.Hook{suits, protocols.Finally} {
		if h != "" && len(r.HookTasks(h)) > 0 {
			return append(events, &replay.HooksStarted{Hook: h})
		}
	}
	return append(events, over(r))
}

// fared says in words how the ordinary tasks ended.
func fared(r *replay.Run) string {
	switch {
	case r.Cancel == replay.RunTimeout:
		return "timed out"
	case r.Cancel != "":
		return "was cancelled"
	case r.FailedTask >= 0:
		return "failed"
	}
	return "succeeded"
}

// decisions asks or decides what is open about single tasks, but for those
// that are gone.
func decisions(r *replay.Run, now time.Time, gone map[int]bool) (events []replay.Event) {
	ask := map[replay.Question][]int{}
	steps, stepping := 0, 0 // of agents: that begin, and the events that say so
	for _, task := range slices.Sorted(maps.Keys(r.Undecided())) {
		q := r.Undecided()[task]
		if r.Doubt && q != replay.AskChild || gone[task] {
			continue
		}
		switch q {
		case replay.AskCondition:
			if r.Stopping() && !r.Spared(task) {
				continue // it is skipped
			}
			ask[q] = append(ask[q], task)
		case replay.AskItems:
			if r.Stopping() && !r.Spared(task) {
				continue
			}
			ask[q] = append(ask[q], task)
		case replay.AskCollect:
			if e := collected(r, task); e != nil {
				events = append(events, e)
			} else {
				ask[q] = append(ask[q], task)
			}
		case replay.AskAgent:
			if len(gone) > 0 {
				continue
			}
			e, more := goesOnWith(r, task)
			switch {
			case !stays(e) && len(events) > stepping: // what ends first may stop it
			case e != nil:
				events = append(events, e)
				if n := atPlace(e, len(r.Tasks)+steps); n > 0 {
					steps, stepping = steps+n, stepping+1
				}
			case more:
				ask[q] = append(ask[q], task)
			}
		case replay.AskChild:
			events = append(events, childEnded(r, task, now)...)
		default:
			left := slices.DeleteFunc(r.Unstarted(task), func(i int) bool { return gone[i] })
			for some := range slices.Chunk(left, maxSkipped) {
				events = append(events, &replay.TaskSkipped{Tasks: some,
					Reason: fmt.Sprintf("%q failed", r.TaskID(r.Tasks[task].Each.Failed))})
			}
		}
	}
	for _, q := range slices.Sorted(maps.Keys(ask)) {
		for some := range slices.Chunk(ask[q], maxSkipped) {
			events = append(events, &replay.EvaluationRequested{What: q, Tasks: some})
		}
	}
	return events
}

// collected ends a foreach whose instances didn't all end as they should; nil
// means that the results are to be collected.
func collected(r *replay.Run, task int) replay.Event {
	e := r.Tasks[task].Each
	if r.Cancel != "" && r.Stopping() {
		return &replay.TaskCancelled{Task: task}
	}
	if e.Failed >= 0 && r.Task(task).Foreach.FailFast {
		cause := r.Tasks[e.Failed].Error
		return &replay.TaskFailed{Task: task, Error: &protocols.Error{Code: cause.Code,
			Message: fmt.Sprintf("%s: %s", r.TaskID(e.Failed), cause.Message), Data: cause.Data}}
	}
	if r.Stopping() && r.Skipped(task) {
		return &replay.TaskSkipped{Tasks: []int{task}, Reason: stopReason(r)}
	}
	return nil
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
		return &replay.EvaluationRequested{What: replay.AskOutputs}
	}
	return end(r, replay.Completed, replay.Value{}, nil)
}

// failure is a failed run's error: that of its first failed task.
func failure(r *replay.Run) *protocols.Error {
	id, cause := r.TaskID(r.FailedTask), r.Tasks[r.FailedTask].Error
	return protocols.Errorf(protocols.WorkflowExecutionFailed, "task %q failed: %s", id, cause.Message).With(
		map[string]any{"task": id, "code": cause.Code})
}

// skips ends the tasks that can't run any more: those whose dependencies
// failed them, and in a run that stops all that haven't started.
func skips(r *replay.Run) []replay.Event {
	reasons := map[string][]int{}
	doomed := map[int]int{}
	if !r.Stopping() || r.Cancel == "" {
		doomed = closure(r)
	}
	for task, blame := range doomed {
		why := blamed(r, blame)
		reasons[why] = append(reasons[why], task)
	}
	var events []replay.Event
	if r.Stopping() && r.Idle > 0 {
		why := stopReason(r)
		for _, i := range r.IdleTasks() {
			if _, known := doomed[i]; !known {
				reasons[why] = append(reasons[why], i)
			}
		}
	}
	var skipped []*replay.TaskSkipped
	for why, tasks := range reasons {
		slices.Sort(tasks)
		for some := range slices.Chunk(tasks, maxSkipped) {
			skipped = append(skipped, &replay.TaskSkipped{Tasks: some, Reason: why})
		}
	}
	slices.SortFunc(skipped, func(a, b *replay.TaskSkipped) int { return a.Tasks[0] - b.Tasks[0] })
	for _, e := range skipped {
		events = append(events, e)
	}
	return events
}

// cancelWaits ends the tasks of a run being cancelled that had started and
// wait.
func cancelWaits(r *replay.Run) (events []replay.Event) {
	for i := range r.Tasks {
		t := &r.Tasks[i]
		if t.Status == replay.TaskWaits && t.Wait.Kind != replay.WaitChild || t.Status == replay.TaskDoubtful && r.Spared(i) {
			events = append(events, &replay.TaskCancelled{Task: i, Attempt: t.Attempts})
		}
	}
	return events
}

// blamed says in words what a task did to its dependents.
func blamed(r *replay.Run, task int) string {
	t := &r.Tasks[task]
	switch {
	case t.Status != replay.TaskIsSkipped:
		return fmt.Sprintf("dependency %q failed", r.TaskID(task))
	case strings.HasPrefix(t.Reason, "dependency "):
		return t.Reason // the same root
	}
	return fmt.Sprintf("dependency %q was skipped", r.TaskID(task))
}

func stopReason(r *replay.Run) string {
	switch {
	case r.Cancel == replay.RunTimeout:
		return "the run timed out"
	case r.Cancel != "":
		return "the run was cancelled"
	}
	return fmt.Sprintf("the run stopped because %q failed", r.TaskID(r.FailedTask))
}
