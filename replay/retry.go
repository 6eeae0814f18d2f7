package replay

import (
	"strconv"
	"strings"
	"time"
)

// This file lets a run go on that has ended.

// Again says that the run, as it was when it ended, goes on: with some tasks
// of its document tried again and, of the foreaches among them, some anew; and
// with more to spend. The run isn't changed.
func (r *Run) Again(by string, tasks, anew []int, deadline time.Time, granted Usage) (*WorkflowRetried, error) {
	e := &WorkflowRetried{By: by, Count: len(tasks), Deadline: deadline, Granted: granted, plan: r.Plan, saved: saveRun(r),
		Tasks: tasks[:min(len(tasks), MaxNamed)], Anew: anew[:min(len(anew), MaxNamed)]}
	s := e.saved
	s.Deadline, s.Held, s.Doubt, s.Cancel, s.CancelBy, s.CancelHook, s.Hook = deadline, true, false, "", "", "", ""
	s.Parked, s.Interrupted, s.Paused, s.PausedAt, s.PausedWith, s.Undecided, s.Outputs = nil, false, false, time.Time{}, "", nil, false
	s.Retries++
	s.Granted, s.Overspent = s.Granted.Plus(granted), ""
	for _, i := range tasks {
		s.again(i)
	}
	for _, i := range anew {
		s.Tasks[i].again()
	}
	s.compact(len(r.Plan.Workflow.Tasks))
	s.FailedTask = r.stillFailed(s)
	raw, err := marshal(s)
	e.Run = StoredValue(raw)
	return e, err
}

// again puts a task back to where it began, or to where its items run.
func (s *savedRun) again(i int) {
	t := &s.Tasks[i]
	each, agent, iteration, result := t.Each, t.Agent, t.Iteration, t.Result
	t.again()
	switch {
	case each != nil:
		each.Failed, each.Next = -1, 0
		t.Status, t.Each = TaskExpandedInto, each
		for k := each.First; k < each.First+each.Count; k++ {
			s.unless(TaskIsCompleted, k)
		}
	case agent != nil: // it goes on with its last steps
		agent.Base, agent.Next = agent.Turn, 0
		t.Agent, t.Iteration, t.Result = agent, iteration, result // of the iteration before, if there was one
		open := false
		for _, k := range agent.Steps[agent.Batch:] {
			s.unless(TaskIsCompleted, k)
			open = open || s.Tasks[k].Status != TaskIsCompleted
		}
		if open || t.Of == 0 { // else it is its foreach that lets it go on
			t.Status = TaskExpandedInto
		}
	}
}

// unless puts an instance or a step back, unless it ended so.
func (s *savedRun) unless(ended TaskStatus, i int) {
	if s.Tasks[i].Status != ended {
		s.again(i)
	}
}

// again puts a task back to where it began; only how often it was tried stays
// known.
func (t *savedTask) again() {
	*t = savedTask{Attempts: t.Attempts, Uncounted: t.Uncounted, Earlier: t.Attempts - t.Uncounted, Of: t.Of, Step: t.Step, Spent: t.Spent, Calls: t.Calls}
}

// compact drops the instances and steps of what begins anew; the others move
// up.
func (s *savedRun) compact(own int) {
	to := make([]int, len(s.Tasks))
	for i := range own {
		s.reach(i, to)
	}
	var kept []savedTask
	for i := range s.Tasks {
		if to[i] > 0 {
			to[i] = len(kept)
			kept = append(kept, s.Tasks[i])
		}
	}
	for i := range kept {
		kept[i].move(to)
	}
	s.Tasks = kept
}

// reach marks a task and all that it has begun.
func (s *savedRun) reach(i int, marked []int) {
	marked[i] = 1
	if e := s.Tasks[i].Each; e != nil {
		for k := e.First; k < e.First+e.Count; k++ {
			s.reach(k, marked)
		}
	}
	if a := s.Tasks[i].Agent; a != nil {
		for _, k := range a.Steps {
			s.reach(k, marked)
		}
	}
}

// move follows others to their new places.
func (t *savedTask) move(to []int) {
	if t.Of > 0 {
		t.Of = to[t.Of-1] + 1
	}
	if e := t.Each; e != nil {
		e.First = to[e.First]
		if e.Failed >= 0 {
			e.Failed = to[e.Failed]
		}
	}
	if a := t.Agent; a != nil {
		for k, i := range a.Steps {
			a.Steps[k] = to[i]
		}
	}
}

// stillFailed returns a task whose failure stays the run's, or -1.
func (r *Run) stillFailed(s *savedRun) int {
	for i, t := range r.Plan.Workflow.Tasks {
		if s.Tasks[i].Status == TaskIsFailed && !t.ContinueOnError {
			return i
		}
	}
	return -1
}

// retried puts a run that had ended back into the state.
func (s *State) retried(f Fact, e *WorkflowRetried) {
	r := e.saved.run(f.Run, s.use(e.plan))
	r.Seq, r.Last, r.heldAt, r.released = f.Seq, f.At, f.Seq, time.Time{}
	s.adopt(r)
	for i := range r.Plan.Workflow.Tasks {
		s.letGo(r, i)
	}
	for i := range r.Tasks {
		t := &r.Tasks[i]
		switch {
		case t.Status != TaskExpandedInto || t.Of > 0:
		case t.Agent != nil:
			s.readyAgent(r, i)
		default:
			s.letItems(r, i)
			if t.Each.left == 0 {
				r.ask(i, AskCollect)
			}
		}
	}
	s.note(r)
	s.line(r)
}

// Place finds a task by its id or name, an instance of a foreach by its id and
// index, or an agent's step by its id, or returns -1.
func (r *Run) Place(task string) int {
	named := -1
	for i, t := range r.Plan.Workflow.Tasks {
		if t.ID == task {
			return i
		}
		if t.Name == task && named < 0 {
			named = i
		}
	}
	at := strings.LastIndexByte(task, '[')
	if named < 0 && (at < 0 || !strings.HasSuffix(task, "]")) {
		for i := len(r.Plan.Workflow.Tasks); i < len(r.Tasks); i++ {
			if r.Tasks[i].Step != nil && r.TaskID(i) == task {
				return i
			}
		}
	}
	if named >= 0 || at < 0 || !strings.HasSuffix(task, "]") {
		return named
	}
	n, err := strconv.Atoi(task[at+1 : len(task)-1])
	parent := r.Place(task[:at])
	if err != nil || parent < 0 {
		return -1
	}
	if e := r.Tasks[parent].Each; e != nil && n >= 0 && n < e.Count {
		return e.First + n
	}
	return -1
}

// Parted tells whether the task has run in instances or steps, of which those
// that completed are kept when the run is tried again.
func (t *Task) Parted() bool { return t.Each != nil || t.Agent != nil }
