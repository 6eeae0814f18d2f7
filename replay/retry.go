package replay

import (
	"slices"
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
	each := t.Each
	t.again()
	if each == nil {
		return
	}
	each.Failed, each.Next = -1, 0
	t.Status, t.Each = TaskExpandedInto, each
	for k := each.First; k < each.First+each.Count; k++ {
		if s.Tasks[k].Status != TaskIsCompleted {
			s.Tasks[k].again()
		}
	}
}

// again puts a task back to where it began; only how often it was tried stays
// known.
func (t *savedTask) again() {
	*t = savedTask{Attempts: t.Attempts, Uncounted: t.Uncounted, Earlier: t.Attempts - t.Uncounted, Of: t.Of, Spent: t.Spent, Calls: t.Calls}
}

// compact drops the instances of foreaches that begin anew; the others move up.
func (s *savedRun) compact(own int) {
	kept := s.Tasks[:own:own]
	for _, i := range s.foreaches(own) {
		e := s.Tasks[i].Each
		first := len(kept)
		kept = append(kept, s.Tasks[e.First:e.First+e.Count]...)
		if e.Failed >= 0 {
			e.Failed += first - e.First
		}
		e.First = first
	}
	s.Tasks = kept
}

// foreaches are the tasks that have instances, in the order of these.
func (s *savedRun) foreaches(own int) (tasks []int) {
	for i := range min(own, len(s.Tasks)) {
		if s.Tasks[i].Each != nil {
			tasks = append(tasks, i)
		}
	}
	slices.SortFunc(tasks, func(a, b int) int { return s.Tasks[a].Each.First - s.Tasks[b].Each.First })
	return tasks
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
		if t := &r.Tasks[i]; t.Status == TaskExpandedInto {
			s.letItems(r, i)
			if t.Each.left == 0 {
				r.ask(i, AskCollect)
			}
		}
	}
	s.note(r)
	s.line(r)
}

// expansions are the foreaches that have instances, as a narrator knows them.
func (e *WorkflowRetried) expansions() (each []*TaskExpanded) {
	for _, i := range e.saved.foreaches(len(e.plan.Workflow.Tasks)) {
		t := e.saved.Tasks[i].Each
		each = append(each, &TaskExpanded{Task: i, First: t.First, Count: t.Count})
	}
	return each
}

// Place finds a task by its id or name, or an instance of a foreach by its id
// and index, or returns -1.
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
