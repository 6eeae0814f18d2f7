package replay

import (
	"fmt"
	"slices"
	"time"

	"gleitzeit/protocols"
)

// Apply makes the fact part of the state. It can't fail. A fact of a run that
// has ended, or that the run's checkpoint already holds, changes nothing.
func (s *State) Apply(f Fact) {
	s.Seq = max(s.Seq, f.Seq)
	if f.At.After(s.Time) {
		s.Time = f.At
	}
	switch e := f.Event.(type) {
	case *SystemStarted:
		s.Life = max(s.Life, f.Seq)
		for _, r := range s.runs {
			s.orphan(r)
		}
		return
	case *WorkflowSubmitted:
		s.NextRun = max(s.NextRun, e.Number+1)
		if s.runs[e.Number] == nil {
			s.submitted(f, e)
		}
		return
	}
	r := s.runs[f.Run]
	if r == nil || f.Seq <= r.Seq {
		return
	}
	r.Seq, r.Last = f.Seq, f.At
	s.apply(r, f)
	if s.runs[r.Number] == r {
		s.note(r)
	}
}

// apply is the table of what each event does to its run.
func (s *State) apply(r *Run, f Fact) {
	switch e := f.Event.(type) {
	case *TaskStarted:
		t := &r.Tasks[e.Task]
		s.unready(r, e.Task)
		t.Status, t.Attempts, t.Started, t.Due = TaskRunning, e.Attempt, f.At, time.Time{}
		r.Running++
		s.Running++
		s.group(r.Plan, e.Task).Running++
		s.offerAll(r)
	case *TaskCompleted:
		t := s.reported(r, e.Task)
		t.Result, t.Error = e.Result.kept(), nil
		s.ended(r, e.Task, TaskIsCompleted, f.At, e.Duration)
	case *TaskRetrying:
		t := s.reported(r, e.Task)
		t.Status, t.Error, t.Due, t.Duration = TaskWaitsToRetry, e.Error, e.At, time.Duration(e.Duration)
		if r.Held {
			s.timers.ReplaceOrInsert(Timer{t.Due, r.Number, e.Task})
		}
	case *TaskDue:
		s.timers.Delete(Timer{r.Tasks[e.Task].Due, r.Number, e.Task})
		s.ready(r, e.Task)
	case *TaskFailed:
		s.leave(r, e.Task).Error = e.Error
		s.ended(r, e.Task, TaskIsFailed, f.At, e.Duration)
	case *TaskSkipped:
		for _, i := range e.Tasks {
			s.leave(r, i).Reason = e.Reason
			s.ended(r, i, TaskIsSkipped, f.At, 0)
		}
	case *TaskCancelled:
		s.leave(r, e.Task).Error = e.Error
		s.ended(r, e.Task, TaskIsCancelled, f.At, e.Duration)
	case *TaskInterrupted:
		t := s.reported(r, e.Task)
		t.Uncounted++
		s.ready(r, e.Task)
	case *TaskInDoubt:
		t := s.reported(r, e.Task)
		t.Uncounted++
		t.Lost++
		t.Status = TaskDoubtful
		if e.Action == protocols.CrashRetry {
			s.ready(r, e.Task)
		}
	case *TaskAnswered:
		s.ready(r, e.Task)
	case *OutputsRequested:
		r.Outputs = true
	case *CancelRequested:
		s.disarm(r)
		r.Cancel, r.CancelBy = e.Reason, e.By
	case *WorkflowInterrupted:
		s.release(r)
		r.Interrupted = true
	case *WorkflowParked:
		s.release(r)
		r.Parked = e
	case *WorkflowResumed:
		s.resumed(r, f, e)
	case *WorkflowEnded:
		s.forget(r)
	default:
		panic(fmt.Sprintf("replay: event %T has no meaning", f.Event))
	}
}

// orphan takes a run from a process that lives no more: what ran in it is in
// doubt.
func (s *State) orphan(r *Run) {
	if r.heldAt >= s.Life {
		return
	}
	s.release(r)
	if r.Running > 0 && !r.Doubt {
		s.freeSlots(r)
		r.Doubt = true
		s.note(r)
	}
}

// freeSlots gives back what the run's running attempts hold.
func (s *State) freeSlots(r *Run) {
	for i := range r.Tasks {
		if r.Tasks[i].Status == TaskRunning {
			s.Running--
			s.group(r.Plan, i).Running--
		}
	}
}

func (s *State) submitted(f Fact, e *WorkflowSubmitted) {
	plan := s.use(e.plan)
	r := &Run{
		Number: e.Number, Plan: plan, Submitted: e.kept(), At: f.At, Seq: f.Seq, Last: f.At,
		Deadline: e.Deadline, Held: true, heldAt: f.Seq, FailedTask: -1,
		Tasks: make([]Task, len(plan.Workflow.Tasks)), Open: len(plan.Workflow.Tasks),
	}
	s.runs[r.Number] = r
	s.claim(r)
	for i, t := range plan.Workflow.Tasks {
		r.Tasks[i].waiting = len(t.Dependencies)
	}
	s.arm(r)
	for i := range r.Tasks {
		if r.Tasks[i].waiting == 0 {
			s.ready(r, i)
		}
	}
	s.note(r)
}

// claim gives the run its idempotency key. Of two runs the younger has it: the
// other has ended, though its end may be yet to be read when the younger one
// came from a checkpoint.
func (s *State) claim(r *Run) {
	if key := r.Submitted.Key; key != "" {
		s.keys[key] = max(s.keys[key], r.Number)
	}
}

// use counts one more run of the plan and returns the one that all of them
// share.
func (s *State) use(p *Plan) *Plan {
	key := planKey{p.Document, p.SetupHash}
	u := s.plans[key]
	if u == nil {
		u = &planUse{plan: p}
		s.plans[key] = u
		s.setups[p.SetupHash]++
	}
	u.runs++
	return u.plan
}

// arm sets the timer of a held run's deadline.
func (s *State) arm(r *Run) {
	if r.Held && !r.Deadline.IsZero() && r.Cancel == "" {
		s.timers.ReplaceOrInsert(Timer{r.Deadline, r.Number, -1})
	}
}

// disarm takes it away.
func (s *State) disarm(r *Run) {
	if !r.Deadline.IsZero() {
		s.timers.Delete(Timer{r.Deadline, r.Number, -1})
	}
}

// ready makes a task ready and, if somebody holds the run, lets it queue.
func (s *State) ready(r *Run, task int) {
	r.Tasks[task].Status = TaskReady
	if r.Held {
		s.enqueue(r, task)
	}
}

func (s *State) enqueue(r *Run, task int) {
	if r.Plan.Workflow.MaxParallel == 0 {
		s.group(r.Plan, task).ready.ReplaceOrInsert(r.item(task))
		return
	}
	l := r.lane(task)
	l.ready.ReplaceOrInsert(r.item(task))
	s.offer(r, l)
}

// offer lets the best task of a lane queue if the run's max_parallel allows
// one more, and no other of that lane: one is enough, as tasks start one after
// the other.
func (s *State) offer(r *Run, l *lane) {
	best, any := l.ready.Min()
	any = any && r.Running < r.Plan.Workflow.MaxParallel
	if any == l.offered && (!any || best == l.queues) {
		return
	}
	if l.offered {
		s.group(r.Plan, l.queues.Task).ready.Delete(l.queues)
	}
	if any {
		s.group(r.Plan, best.Task).ready.ReplaceOrInsert(best)
	}
	l.queues, l.offered = best, any
}

// offerAll does so for all lanes, after the number of running attempts has
// changed.
func (s *State) offerAll(r *Run) {
	for _, l := range r.lanes {
		s.offer(r, l)
	}
}

func (r *Run) item(task int) Ready {
	p := r.Plan.Workflow.Tasks[task].Priority
	if p == protocols.Normal {
		p = r.Submitted.Priority
	}
	return Ready{p, r.Number, task}
}

// unready takes a task out of wherever it queues.
func (s *State) unready(r *Run, task int) {
	if r.Tasks[task].Status != TaskReady {
		return
	}
	if r.Plan.Workflow.MaxParallel == 0 {
		s.group(r.Plan, task).ready.Delete(r.item(task))
		return
	}
	if l := r.lanes[r.Plan.provider[task]]; l != nil {
		l.ready.Delete(r.item(task))
		s.offer(r, l)
	}
}

// reported takes the slot from an attempt that has reported or is lost.
func (s *State) reported(r *Run, task int) *Task {
	t := &r.Tasks[task]
	if t.Status != TaskRunning {
		return t
	}
	t.Status = TaskPending
	r.Running--
	if r.Doubt {
		r.Doubt = r.Running > 0
	} else {
		s.Running--
		s.group(r.Plan, task).Running--
	}
	s.offerAll(r)
	return t
}

// leave takes a task out of every index, whatever it was doing.
func (s *State) leave(r *Run, task int) *Task {
	t := &r.Tasks[task]
	switch t.Status {
	case TaskRunning:
		return s.reported(r, task)
	case TaskReady:
		s.unready(r, task)
	case TaskWaitsToRetry:
		s.timers.Delete(Timer{t.Due, r.Number, task})
	}
	return t
}

// ended ends a task and lets those that wait for it know.
func (s *State) ended(r *Run, task int, status TaskStatus, at time.Time, d protocols.Duration) {
	t := &r.Tasks[task]
	t.Status, t.Ended, t.Duration, t.Due = status, at, time.Duration(d), time.Time{}
	r.Open--
	delete(r.doomed, task)
	good := r.good(task)
	if !good {
		if status == TaskIsFailed && r.FailedTask < 0 {
			r.FailedTask = task
		}
		r.doom(task)
	}
	for _, d := range r.Plan.dependents[task] {
		w := &r.Tasks[d]
		w.waiting--
		if good && w.waiting == 0 && w.Status == TaskPending && !r.isDoomed(int(d)) && !r.Stopping() {
			s.ready(r, int(d))
		}
	}
}

func (r *Run) isDoomed(task int) bool {
	_, doomed := r.doomed[task]
	return doomed
}

// release takes a run from whoever held it: nothing of it queues any more.
func (s *State) release(r *Run) {
	if !r.Held {
		return
	}
	s.disarm(r)
	for i := range r.Tasks {
		switch r.Tasks[i].Status {
		case TaskReady:
			s.unready(r, i)
		case TaskWaitsToRetry:
			s.timers.Delete(Timer{r.Tasks[i].Due, r.Number, i})
		}
	}
	r.Held = false
}

// resumed lets a run go on where it stood.
func (s *State) resumed(r *Run, f Fact, e *WorkflowResumed) {
	s.disarm(r)
	r.heldAt, r.Deadline, r.Interrupted = f.Seq, e.Deadline, false
	if e.Unparked {
		r.Parked = nil
		for i := range r.Tasks {
			r.Tasks[i].Lost = 0
		}
	}
	if !r.Held {
		r.Held = true
		s.index(r)
	}
	s.arm(r)
}

// index lets everything of a held run queue that should.
func (s *State) index(r *Run) {
	for i := range r.Tasks {
		switch t := &r.Tasks[i]; t.Status {
		case TaskReady:
			s.enqueue(r, i)
		case TaskWaitsToRetry:
			s.timers.ReplaceOrInsert(Timer{t.Due, r.Number, i})
		}
	}
}

// note keeps the run in the list of those that need a decision, or not.
func (s *State) note(r *Run) {
	if want := r.needsDecision(); want != r.unsettled {
		r.unsettled = want
		if want {
			s.unsettled.ReplaceOrInsert(r.Number)
		} else {
			s.unsettled.Delete(r.Number)
		}
	}
}

// forget lets go of a run that has ended.
func (s *State) forget(r *Run) {
	s.release(r)
	if r.unsettled {
		s.unsettled.Delete(r.Number)
	}
	delete(s.runs, r.Number)
	if r.Submitted.Key != "" && s.keys[r.Submitted.Key] == r.Number {
		delete(s.keys, r.Submitted.Key)
	}
	s.unuse(r.Plan)
}

// unuse counts one run of the plan less. What nobody uses goes: the plan, and
// with the last plan of a setup the groups of its providers.
func (s *State) unuse(p *Plan) {
	key := planKey{p.Document, p.SetupHash}
	u := s.plans[key]
	if u.runs--; u.runs > 0 {
		return
	}
	delete(s.plans, key)
	if s.setups[p.SetupHash]--; s.setups[p.SetupHash] > 0 {
		return
	}
	delete(s.setups, p.SetupHash)
	for i := range p.Setup.Providers {
		delete(s.groups, groupKey{p.SetupHash, i})
	}
	s.order = slices.DeleteFunc(s.order, func(g *Group) bool { return g.setup == p.SetupHash })
}
