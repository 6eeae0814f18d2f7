package replay

import (
	"fmt"
	"time"

	"gleitzeit/protocols"
)

// Apply makes the fact part of the state. It can't fail. A fact of a run that
// has ended, or that the run's checkpoint already holds, changes nothing.
func (s *State) Apply(f Fact) {
	s.Seq = max(s.Seq, f.Seq)
	before := s.Time
	if f.At.After(s.Time) {
		s.Time = f.At
	}
	switch e := f.Event.(type) {
	case *SystemStarted:
		if f.Seq > s.Life {
			s.lives = begins(s.lives, f.Seq, before)
		}
		s.Life = max(s.Life, f.Seq)
		if s.workers.seq < s.Life {
			s.workers.offers = nil
		}
		for _, r := range s.runs {
			s.orphan(r)
		}
		return
	case *Acted:
		return // it is for people alone
	case *CacheStored, *KeyTaken:
		return // they are of no run, and looked up in the log
	case *TextStreamed:
		return // it is looked up in the log
	case *BreakerChanged:
		s.breaks(f, e)
		return
	case *RateTaken:
		s.rates(f, e)
		return
	case *PoolScaled:
		s.scales(f, e)
		return
	case *WorkersChanged:
		s.employs(f, e)
		return
	case *SystemAlive:
		return // its time is what it says
	case ScheduleEvent:
		s.applySchedule(f, e.Of())
		return
	case *WorkflowSubmitted:
		s.NextRun = max(s.NextRun, e.Number+1)
		if s.runs[e.Number] == nil {
			s.submitted(f, e)
		}
		return
	case *WorkflowRetried:
		if s.runs[f.Run] == nil {
			s.retried(f, e)
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
		s.line(r)
	}
}

// apply is the table of what each event does to its run.
func (s *State) apply(r *Run, f Fact) {
	switch e := f.Event.(type) {
	case *TaskStarted:
		t := &r.Tasks[e.Task]
		s.unready(r, e.Task)
		r.unasks(e.Task)
		t.Attempts, t.Started, t.Due, r.went = e.Attempt, f.At, time.Time{}, true
		t.Provider = r.Plan.provider(r.Form(e.Task), e.Provider)
		if t.First.IsZero() {
			t.First = f.At
		}
		r.set(e.Task, TaskRunning)
		r.begins(e.Task, f.At)
		s.grab(r, e.Task)
		r.offerAll()
	case *TaskCompleted:
		s.takes(r, e.Task)
		t := s.leave(r, e.Task)
		t.Result, t.Error = e.Result.kept(), nil
		r.spend(e.Task, e.Usage)
		s.ended(r, e.Task, TaskIsCompleted, f.At, e.Duration)
	case *TaskRetrying:
		t := s.leave(r, e.Task)
		r.unasks(e.Task)
		t.Error, t.Due, t.Duration = e.Error, e.At, time.Duration(e.Duration)
		r.spend(e.Task, e.Usage)
		if e.Avoid && t.Provider > 0 {
			t.Tried |= r.Plan.paths[r.Form(e.Task)].bit(t.Provider - 1)
		}
		r.set(e.Task, TaskWaitsToRetry)
		s.alarm(r, e.Task)
	case *TaskDue:
		s.unalarm(r, e.Task)
		s.ready(r, e.Task)
	case *TaskFailed:
		s.leave(r, e.Task).Error = e.Error
		r.spend(e.Task, e.Usage)
		s.ended(r, e.Task, TaskIsFailed, f.At, e.Duration)
	case *TaskSkipped:
		for _, i := range e.Tasks {
			s.leave(r, i).Reason = e.Reason
			s.ended(r, i, TaskIsSkipped, f.At, 0)
		}
	case *TaskCancelled:
		if r.Tasks[e.Task].Status == TaskRunning { // its outcome isn't known: should it be tried again, then with the same key
			r.Tasks[e.Task].Uncounted++
		}
		s.leave(r, e.Task).Error = e.Error
		r.spend(e.Task, e.Usage)
		s.ended(r, e.Task, TaskIsCancelled, f.At, e.Duration)
	case *TaskInterrupted:
		t := s.reported(r, e.Task)
		t.Uncounted++
		s.ready(r, e.Task)
	case *TaskInDoubt:
		t := s.reported(r, e.Task)
		t.Uncounted++
		t.Lost++
		r.set(e.Task, TaskDoubtful)
		if e.Action == protocols.CrashRetry {
			s.ready(r, e.Task)
		}
		r.inVain(e.Task)
	case *TaskReattached:
		s.reattached(r, e.Tasks)
	case *TaskWaiting:
		t := s.reported(r, e.Task)
		r.unasks(e.Task) // whoever asked is gone
		t.Wait, t.Due = &e.Wait, e.Wait.Until
		if e.Wait.Kind == WaitSecret {
			t.Uncounted++
		}
		r.set(e.Task, TaskWaits)
		s.alarm(r, e.Task)
		r.inVain(e.Task)
	case *SecretOffered:
		for _, i := range e.Tasks {
			s.ready(r, i)
		}
	case *SignalReceived:
		r.Signals = append(r.Signals, Signal{e.Name, e.Data.kept()})
	case *QuestionAsked:
		r.asks(e.Task, e.Ask)
	case *QuestionAnswered:
		r.answered(e.Task, e.Given)
	case *QuestionWithdrawn:
		r.talk(e.Task, r.said(e.Task).without(e.ID))
	case *ApprovalDecided: // what follows from it is said by events of their own
	case *TaskAnswered:
		s.ready(r, e.Task)
	case *EvaluationRequested:
		r.evaluates(e)
	case *ConditionMet:
		s.start(r, e.Task)
	case *TaskExpanded:
		s.expanded(r, e)
	case *AgentStepped:
		s.stepped(r, e, f.At)
	case *TaskIterated:
		s.takes(r, e.Task)
		t := s.leave(r, e.Task)
		r.talk(e.Task, Talk{}) // the next iteration asks anew
		t.Agent = nil
		r.set(e.Task, TaskPending)
		t.Due, t.Tried = time.Time{}, 0
		r.spend(e.Task, e.Usage)
		t.Result, t.Error, t.Iteration, t.Duration = e.Result.kept(), nil, e.Iteration, time.Duration(e.Duration)
	case *TaskRepeating:
		t := &r.Tasks[e.Task]
		t.Earlier, t.First, t.Due = t.Attempts-t.Uncounted, time.Time{}, e.At
		r.set(e.Task, TaskWaitsToRetry)
		s.alarm(r, e.Task)
		r.inVain(e.Task)
	case *HooksStarted:
		s.hooks(r, e.Hook)
	case *CancelRequested:
		s.disarm(r)
		if r.Cancel == "" {
			r.Cancel, r.CancelBy = e.Reason, e.By
		}
		r.cancelHook = r.Hook
	case *WorkflowInterrupted:
		s.release(r)
		r.Interrupted, r.released = true, f.At
	case *WorkflowImported:
		s.abandon(r)
		if r.released.IsZero() { // else it was let go of before it was last heard of
			r.released = e.Last
		}
	case *WorkflowParked:
		s.release(r)
		r.Parked, r.released = e, f.At
	case *WorkflowPaused:
		s.rest(r)
		r.Paused, r.PausedAt, r.PausedWith, r.Overspent = true, f.At, e.With, e.Budget
	case *WorkflowUnpaused:
		r.Paused, r.PausedWith, r.Deadline, r.Overspent = false, "", e.Deadline, ""
		r.Granted = r.Granted.Plus(e.Granted)
		r.waitAnew(f.At)
		s.index(r)
	case *WorkflowResumed:
		s.resumed(r, f, e)
	case *WorkflowEnded:
		s.forget(r)
		s.tellParent(r, e)
	default:
		panic(fmt.Sprintf("replay: event %T has no meaning", f.Event))
	}
}

// orphan takes a run from a process that lives no more: what ran in it is in
// doubt.
func (s *State) orphan(r *Run) {
	if r.heldAt < s.Life {
		s.abandon(r)
	}
}

// abandon takes a run from whoever held it, wherever he is now.
func (s *State) abandon(r *Run) {
	s.release(r)
	s.line(r)
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
			s.giveBack(r, i)
		}
	}
}

func (s *State) submitted(f Fact, e *WorkflowSubmitted) {
	plan := s.use(e.plan)
	r := &Run{
		Number: e.Number, Plan: plan, Submitted: e.kept(), At: f.At, Seq: f.Seq, Last: f.At,
		Deadline: e.Deadline, Held: true, heldAt: f.Seq, FailedTask: -1,
		Tasks: make([]Task, len(plan.Workflow.Tasks)),
	}
	s.runs[r.Number] = r
	s.claim(r)
	for i, t := range plan.Workflow.Tasks {
		r.Tasks[i].waiting = len(t.Dependencies)
		r.count(i, 1)
	}
	s.arm(r)
	for i := range r.Tasks {
		s.letGo(r, i)
	}
	s.note(r)
	s.line(r)
	s.alertOf(r)
}

// hooks lets the tasks of a hook take part.
func (s *State) hooks(r *Run, h protocols.Hook) {
	r.Hook = h
	for i, t := range r.Plan.Workflow.Tasks {
		if t.Hook == h {
			r.count(i, 1)
		}
	}
	for i, t := range r.Plan.Workflow.Tasks {
		if t.Hook == h {
			s.letGo(r, i)
		}
	}
}

// letGo lets a pending task go on that waits for no other task.
func (s *State) letGo(r *Run, task int) {
	t := &r.Tasks[task]
	if t.Status != TaskPending || t.waiting > 0 || !r.begun(r.Task(task).Hook) || r.isDoomed(task) {
		return
	}
	if r.Task(task).If != nil {
		r.ask(task, AskCondition)
		return
	}
	if !r.Stopping() {
		s.start(r, task)
	}
}

// start makes a task ready, or has its items found out first.
func (s *State) start(r *Run, task int) {
	if r.Task(task).Foreach != nil && r.Tasks[task].Of == 0 {
		r.set(task, TaskPending)
		r.ask(task, AskItems)
		return
	}
	s.ready(r, task)
}

// evaluates notes that a worker finds something out.
func (r *Run) evaluates(e *EvaluationRequested) {
	if e.What == AskOutputs {
		r.Outputs = true
	}
	for _, i := range e.Tasks {
		delete(r.undecided, i)
		r.count(i, -1)
		r.Tasks[i].Status, r.Tasks[i].Asked = TaskEvaluates, e.What
		r.count(i, 1)
	}
}

// claim gives the run its keys. Of two runs the younger has them: the
// other has ended, though its end may be yet to be read when the younger one
// came from a checkpoint.
func (s *State) claim(r *Run) {
	for _, key := range r.Submitted.keys() {
		s.keys[key] = max(s.keys[key], r.Number)
	}
}

// ready makes a task ready and, if somebody holds the run, lets it queue. An
// agent runs in its steps: what they are is asked.
func (s *State) ready(r *Run, task int) {
	if r.agent(task) {
		s.readyAgent(r, task)
		return
	}
	r.set(task, TaskReady)
	r.Tasks[task].ReadyAt = s.Time
	r.inVain(task)
	if r.Active() {
		s.enqueue(r, task)
	}
}

// takes takes out the signal that a task has waited for.
func (s *State) takes(r *Run, task int) {
	if t := &r.Tasks[task]; t.Status == TaskWaits && t.Wait.Kind == WaitSignal {
		r.took(t.Wait.Signal)
	}
}

// reported takes the slot from an attempt that has reported or is lost.
func (s *State) reported(r *Run, task int) *Task {
	t := &r.Tasks[task]
	if t.Status != TaskRunning {
		return t
	}
	r.set(task, TaskPending)
	if r.Doubt {
		r.Doubt = r.Running > 0
	} else {
		s.giveBack(r, task)
	}
	r.offerAll()
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
	case TaskWaitsToRetry, TaskWaits:
		s.unalarm(r, task)
		if r.undecided[task] == AskChild {
			delete(r.undecided, task)
		}
	}
	return t
}

// ended ends a task and lets those that wait for it know.
func (s *State) ended(r *Run, task int, status TaskStatus, at time.Time, d protocols.Duration) {
	t := &r.Tasks[task]
	r.talk(task, Talk{})
	t.Ended, t.Duration, t.Due = at, time.Duration(d), time.Time{}
	r.set(task, status)
	delete(r.doomed, task)
	delete(r.undecided, task)
	switch {
	case t.Step != nil:
		s.stepEnded(r, t.Of-1, task)
		return
	case t.Of > 0:
		s.itemEnded(r, t.Of-1, task)
		return
	}
	if t.Each != nil && status == TaskIsCompleted {
		r.forgetItems(t.Each) // else a retry of the run may need them
	}
	if !r.Good(task) {
		if status == TaskIsFailed && r.FailedTask < 0 {
			r.FailedTask = task
		}
		r.doom(task)
	}
	for _, d := range r.Plan.dependents[task] {
		r.Tasks[d].waiting--
		s.letGo(r, int(d))
	}
}

func (r *Run) isDoomed(task int) bool {
	_, doomed := r.doomed[task]
	return doomed
}

// release takes a run from whoever held it.
func (s *State) release(r *Run) {
	s.rest(r)
	r.Held = false
}

// rest takes everything of an active run out of the queues and timers.
func (s *State) rest(r *Run) {
	if !r.Active() {
		return
	}
	s.disarm(r)
	for i := range r.Tasks {
		s.unready(r, i)
		s.unalarm(r, i)
	}
}

// resumed lets a run go on where it stood.
func (s *State) resumed(r *Run, f Fact, e *WorkflowResumed) {
	s.release(r) // a history of the run alone doesn't say that its process has died
	r.heldAt, r.released, r.Deadline, r.Interrupted = f.Seq, time.Time{}, e.Deadline, false
	if e.Unparked {
		r.Parked = nil
		for i := range r.Tasks {
			r.Tasks[i].Lost = 0
		}
	}
	r.Held = true
	r.waitAnew(f.At)
	s.index(r)
}

// waitAnew lets the age of ready tasks begin again: while the run rested they
// waited for nothing but that.
func (r *Run) waitAnew(at time.Time) {
	for i := range r.Tasks {
		if r.Tasks[i].Status == TaskReady {
			r.Tasks[i].ReadyAt = at
		}
	}
}

// index lets everything of an active run queue that should.
func (s *State) index(r *Run) {
	if !r.Active() {
		return
	}
	s.arm(r)
	for i := range r.Tasks {
		if r.Tasks[i].Status == TaskReady {
			s.enqueue(r, i)
		}
		s.alarm(r, i)
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

// tellParent lets the run know whose task the ended one was the work of.
func (s *State) tellParent(r *Run, e *WorkflowEnded) {
	p := r.Submitted.Parent
	if p == nil {
		return
	}
	parent := s.runs[p.Run]
	if parent == nil || p.Task >= len(parent.Tasks) {
		return
	}
	t := &parent.Tasks[p.Task]
	if t.Status != TaskWaits || t.Wait.Child != r.Number {
		return
	}
	wait := *t.Wait
	wait.ended = &WorkflowEnded{Status: e.Status, Outputs: e.Outputs.kept(), Error: e.Error, Usage: e.Usage}
	t.Wait = &wait
	parent.ask(p.Task, AskChild)
	s.note(parent)
}

// forget lets go of a run that has ended.
func (s *State) forget(r *Run) {
	s.release(r)
	s.line(r)
	if r.unsettled {
		s.unsettled.Delete(r.Number)
	}
	delete(s.runs, r.Number)
	s.alertOf(r)
	for _, key := range r.Submitted.keys() {
		if s.keys[key] == r.Number {
			delete(s.keys, key)
		}
	}
	s.unuse(r.Plan)
}
