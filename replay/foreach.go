package replay

// This file holds what Apply does with the instances of a foreach.

// expanded gives a foreach its instances.
func (s *State) expanded(r *Run, e *TaskExpanded) {
	each := &Each{First: e.First, Count: e.Count, Size: e.Size, Failed: -1, Round: r.Retries, left: e.Count}
	for _, v := range e.Items {
		each.Items = append(each.Items, v.kept())
	}
	r.Tasks[e.Task].Each = each
	r.set(e.Task, TaskExpandedInto)
	for range e.Count {
		r.Tasks = append(r.Tasks, Task{Of: e.Task + 1})
		r.count(len(r.Tasks)-1, 1)
	}
	s.letItems(r, e.Task)
}

// letItems makes as many instances ready as the foreach's max_parallel allows.
func (s *State) letItems(r *Run, parent int) {
	e, most := r.Tasks[parent].Each, r.Task(parent).Foreach.MaxParallel
	if r.Stopping() && !r.Spared(parent) || r.failing(parent) {
		return
	}
	for e.next < e.Count && (most == 0 || e.live < most) {
		task := e.First + e.next
		e.next++
		if !r.Tasks[task].Status.Ended() { // it may have, before a retry of the run
			e.live++
			s.ready(r, task)
		}
	}
}

// itemEnded counts an instance that has ended.
func (s *State) itemEnded(r *Run, parent, task int) {
	e := r.Tasks[parent].Each
	e.left--
	if task-e.First < e.next {
		e.live--
	}
	if r.Tasks[task].Status == TaskIsFailed && e.Failed < 0 {
		e.Failed = task
	}
	switch {
	case r.Tasks[parent].Status.Ended():
	case e.left == 0:
		r.ask(parent, AskCollect)
	case r.failing(parent) && e.left > e.running:
		r.ask(parent, noMoreItems)
	case r.failing(parent):
		delete(r.undecided, parent)
	default:
		s.letItems(r, parent)
	}
}

// inVain lets it be decided what becomes of an instance that doesn't run, when
// a failed one stops the others.
func (r *Run) inVain(task int) {
	if r.Failing(task) && !r.Tasks[task].busy() {
		r.ask(r.Def(task), noMoreItems)
	}
}

// Unstarted returns the open instances of a foreach that don't run.
func (r *Run) Unstarted(parent int) (tasks []int) {
	e := r.Tasks[parent].Each
	for i := e.First; i < e.First+e.Count; i++ {
		if t := r.Tasks[i].Status; !t.Ended() && t != TaskRunning && !r.Tasks[i].busy() {
			tasks = append(tasks, i)
		}
	}
	return tasks
}

// forgetItems lets go of the instances' results, which the task's own holds.
func (r *Run) forgetItems(e *Each) {
	for i := e.First; i < e.First+e.Count; i++ {
		r.Tasks[i].Result = Value{}
	}
}
