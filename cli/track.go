package cli

import (
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// track is a run as whoever follows it knows it: first as it was found, then
// changed by each entry.
type track struct {
	id          string
	name        string
	tasks       []*trackedTask
	byID        map[string]*trackedTask
	parked      bool
	interrupted bool
	ended       replay.Status // "" while it lives
	settled     bool          // there is nothing more to follow: it has ended, or a person is needed

	// How many tasks stand where.
	counts map[string]int
}

// trackedTask is a task of it.
type trackedTask struct {
	id       string
	status   string
	attempts int
	started  time.Time
	due      time.Time
	took     time.Duration
	tokens   int
	message  string // the last sign of life, or why it is as it is
}

// newTrack starts from the run as it was found.
func newTrack(v *replay.RunView) *track {
	t := &track{id: v.ID, name: v.Name, byID: map[string]*trackedTask{}, counts: map[string]int{}, parked: v.Status == replay.Parked}
	if v.Status.Ended() {
		t.ended = v.Status
	}
	for _, task := range v.Tasks {
		one := &trackedTask{id: task.ID, status: task.Status.String(), attempts: task.Attempts, started: task.Started,
			due: task.Due, took: time.Duration(task.DurationMS) * time.Millisecond, message: task.Reason}
		t.tasks = append(t.tasks, one)
		t.byID[task.ID] = one
		t.counts[one.status]++
	}
	return t
}

func (t *track) set(task *trackedTask, status, message string) {
	t.counts[task.status]--
	t.counts[status]++
	task.status, task.message = status, message
}

// apply takes what happened.
func (t *track) apply(e replay.Entry) {
	if t.applyRun(e) {
		return
	}
	if v, ok := e.Event.(*replay.TaskSkipped); ok {
		for _, i := range v.Tasks {
			if i >= 0 && i < len(t.tasks) {
				t.set(t.tasks[i], "skipped", v.Reason)
			}
		}
		return
	}
	task := t.byID[e.Task]
	if task == nil {
		return
	}
	switch v := e.Event.(type) {
	case *replay.TaskStarted:
		t.set(task, "running", "")
		task.attempts, task.started, task.tokens = v.Attempt, e.Time, 0
	case *replay.TaskCompleted:
		t.set(task, "completed", "")
		task.took = time.Duration(v.Duration)
	case *replay.TaskRetrying:
		t.set(task, "retrying", v.Error.Error())
		task.due = v.At
	case *replay.TaskDue:
		t.set(task, "ready", task.message)
	case *replay.TaskFailed:
		t.set(task, "failed", v.Error.Error())
		task.took = time.Duration(v.Duration)
	case *replay.TaskCancelled:
		t.set(task, "cancelled", "")
		task.took = time.Duration(v.Duration)
	case *replay.TaskInterrupted:
		t.set(task, "ready", "stopped; it will be tried again")
	case *replay.TaskInDoubt:
		t.set(task, "ready", "its attempt was lost in a crash")
		if v.Action == protocols.CrashAsk {
			t.set(task, "in_doubt", "somebody has to say what becomes of it")
		}
	case *replay.TaskAnswered:
		t.set(task, "ready", "")
	}
}

// applyRun takes what happened to the run as a whole.
func (t *track) applyRun(e replay.Entry) bool {
	switch v := e.Event.(type) {
	case *replay.WorkflowParked:
		t.parked = true
	case *replay.WorkflowInterrupted:
		t.interrupted = true
	case *replay.WorkflowResumed:
		t.parked, t.interrupted = false, false
	case *replay.WorkflowEnded:
		t.ended = v.Status
	default:
		return false
	}
	return true
}

// progress takes a sign of life.
func (t *track) progress(p scheduler.Progress) {
	task := t.byID[p.Task]
	if task == nil || task.status != "running" {
		return
	}
	if p.Tokens > 0 {
		task.tokens = p.Tokens
	}
	if p.Message != "" && p.Stream != "tokens" {
		task.message = p.Message
	}
}

// stuck tells whether nothing can happen until a person does something.
func (t *track) stuck() bool {
	if t.ended != "" || t.counts["running"] > 0 {
		return false
	}
	return t.parked || t.interrupted || t.counts["in_doubt"] > 0 && t.counts["retrying"] == 0 && t.counts["ready"] == 0
}
