package replay

import "time"

// This file keeps the timers of active runs: their deadlines, and the moments
// that tasks wait for.

// Timer is a moment at which something has to be decided about a run: a
// retry's time has come (Task), or its deadline has passed (Task is -1).
type Timer struct {
	At   time.Time
	Run  uint64
	Task int
}

func (a Timer) before(b Timer) bool {
	if !a.At.Equal(b.At) {
		return a.At.Before(b.At)
	}
	if a.Run != b.Run {
		return a.Run < b.Run
	}
	return a.Task < b.Task
}

// arm sets the timer of a held run's deadline.
func (s *State) arm(r *Run) {
	if r.Active() && !r.Deadline.IsZero() && r.Cancel == "" {
		if _, there := s.timers.ReplaceOrInsert(Timer{r.Deadline, r.Number, -1}); !there {
			s.deadlines++
		}
	}
}

// disarm takes it away.
func (s *State) disarm(r *Run) {
	if !r.Deadline.IsZero() {
		if _, there := s.timers.Delete(Timer{r.Deadline, r.Number, -1}); there {
			s.deadlines--
		}
	}
}

// alarm sets the timer of a task that waits for a moment.
func (s *State) alarm(r *Run, task int) {
	if t := &r.Tasks[task]; r.Active() && t.timed() {
		s.timers.ReplaceOrInsert(Timer{t.Due, r.Number, task})
	}
}

// unalarm takes it away.
func (s *State) unalarm(r *Run, task int) {
	if t := &r.Tasks[task]; t.timed() {
		s.timers.Delete(Timer{t.Due, r.Number, task})
	}
}

// timed tells whether a timer ends what the task waits for.
func (t *Task) timed() bool {
	return (t.Status == TaskWaitsToRetry || t.Status == TaskWaits) && !t.Due.IsZero()
}
