package cli

import (
	"fmt"
	"slices"
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
	tasks       []*trackedTask // in the places that events name: the document's, then the instances of foreaches
	byID        map[string]*trackedTask
	parked      bool
	interrupted bool
	paused      bool
	ended       replay.Status // "" while it lives
	settled     bool          // there is nothing more to follow: it has ended, or a person is needed
	need        string        // what it was said to need last

	// How many tasks and instances stand where, and wait for what.
	counts map[string]int
	waits  map[string]int
}

// trackedTask is a task of it, or an instance of one.
type trackedTask struct {
	id       string
	status   string
	kind     string // what it waits for, while it waits
	attempts int
	started  time.Time
	due      time.Time
	took     time.Duration
	tokens   int
	message  string // the last sign of life, or why it is as it is

	of        *trackedTask   // of an instance or a step: the task that it is one of
	instances []*trackedTask // of a foreach, or the steps of an agent
	turn      int            // of an agent: the last that has begun
	items     map[string]int // how many of them stand where

	asks []string // its questions to a person
}

// answered takes a question away.
func (task *trackedTask) answered(id string) {
	task.message = ""
	task.asks = slices.DeleteFunc(task.asks, func(a string) bool { return a == id })
}

// newTrack starts from the run as it was found.
func newTrack(v *replay.RunView) *track {
	t := &track{id: v.ID, name: v.Name}
	t.take(v)
	return t
}

// take makes it the run as it was found.
func (t *track) take(v *replay.RunView) {
	t.tasks, t.byID, t.counts, t.waits = nil, map[string]*trackedTask{}, map[string]int{}, map[string]int{}
	t.parked, t.paused, t.interrupted, t.ended = v.Status == replay.Parked, v.Status == replay.Paused, false, ""
	if v.Status.Ended() {
		t.ended = v.Status
	}
	for _, task := range v.Tasks {
		t.add(&trackedTask{asks: asked(task), id: task.ID, status: task.Status.String(), kind: task.WaitsFor, attempts: task.Attempts, started: task.Started,
			due: task.Due, took: time.Duration(task.DurationMS) * time.Millisecond, message: task.Reason, of: t.byID[task.Of], turn: task.Turn})
	}
}

// asked are the questions that a task was found with.
func asked(task replay.TaskView) []string {
	if task.Question == nil {
		return nil
	}
	return []string{task.Question.ID}
}

func (t *track) add(task *trackedTask) {
	t.tasks = append(t.tasks, task)
	t.byID[task.id] = task
	if of := task.of; of != nil {
		if of.items == nil {
			of.items = map[string]int{}
		}
		of.instances = append(of.instances, task)
	}
	t.count(task, 1)
}

// count adds a task to the counts, or takes it out.
func (t *track) count(task *trackedTask, by int) {
	t.counts[task.status] += by
	if task.status == "waiting" {
		t.waits[task.kind] += by
	}
	if task.of != nil {
		task.of.items[task.status] += by
	}
}

func (t *track) set(task *trackedTask, status, message string) {
	t.count(task, -1)
	task.status, task.message, task.asks = status, message, nil
	t.count(task, 1)
}

// at are the tasks at those places.
func (t *track) at(places []int) (tasks []*trackedTask) {
	for _, i := range places {
		if i >= 0 && i < len(t.tasks) {
			tasks = append(tasks, t.tasks[i])
		}
	}
	return tasks
}

// apply takes what happened.
func (t *track) apply(e replay.Entry) {
	if t.applyRun(e) {
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
	case *replay.TaskAnswered, *replay.ConditionMet:
		t.set(task, "ready", "")
	case *replay.TaskWaiting:
		t.wait(task, e, v)
	case *replay.QuestionAsked:
		task.message = e.Text
		task.asks = append(task.asks, v.ID)
	case *replay.QuestionAnswered:
		task.answered(v.ID)
	case *replay.QuestionWithdrawn:
		task.answered(v.ID)
	case *replay.TaskExpanded:
		t.expand(task, e, v)
	case *replay.AgentStepped:
		t.step(task, e, v)
	case *replay.TaskIterated:
		t.set(task, "evaluating", e.Text)
	case *replay.TaskRepeating:
		t.set(task, "retrying", e.Text)
		task.due = v.At
	}
}

// wait notes what a task waits for.
func (t *track) wait(task *trackedTask, e replay.Entry, v *replay.TaskWaiting) {
	t.count(task, -1)
	task.kind, task.due, task.status, task.message = string(v.Wait.Kind), v.Wait.Until, "waiting", e.Text
	if v.Wait.Kind == replay.WaitChild {
		task.kind = "run"
	}
	t.count(task, 1)
}

// expand gives a foreach its instances. It may have them already: the run may
// have been found later than the place from which it is followed.
func (t *track) expand(task *trackedTask, e replay.Entry, v *replay.TaskExpanded) {
	t.set(task, "expanded", "")
	task.started = e.Time
	for i := len(task.instances); i < v.Count; i++ {
		t.add(&trackedTask{id: fmt.Sprintf("%s[%d]", task.id, i), status: "pending", of: task})
	}
}

// step gives an agent its next steps.
func (t *track) step(task *trackedTask, e replay.Entry, v *replay.AgentStepped) {
	t.set(task, "expanded", "")
	if task.started.IsZero() {
		task.started = e.Time
	}
	task.turn = v.Steps[0].Turn
	for _, id := range v.IDs(task.id) {
		if t.byID[id] == nil {
			t.add(&trackedTask{id: id, status: "pending", of: task})
		}
	}
}

// applyRun takes what happened to the run as a whole, or to many tasks.
func (t *track) applyRun(e replay.Entry) bool {
	switch v := e.Event.(type) {
	case *replay.TaskSkipped:
		for _, task := range t.at(v.Tasks) {
			t.set(task, "skipped", v.Reason)
		}
	case *replay.SecretOffered:
		for _, task := range t.at(v.Tasks) {
			t.set(task, "ready", "")
		}
	case *replay.EvaluationRequested:
		for _, task := range t.at(v.Tasks) {
			t.set(task, "evaluating", task.message)
		}
	case *replay.WorkflowParked:
		t.parked = true
	case *replay.WorkflowInterrupted:
		t.interrupted = true
	case *replay.WorkflowResumed:
		t.parked, t.interrupted = false, false
	case *replay.WorkflowPaused:
		t.paused = true
	case *replay.WorkflowUnpaused:
		t.paused = false
	case *replay.WorkflowRetried:
		t.ended = ""
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
	if p.Message != "" && p.Stream != "tokens" && len(task.asks) == 0 {
		task.message = p.Message
	}
}

// stuck tells whether perhaps nothing can happen until a person does
// something.
func (t *track) stuck() bool {
	switch {
	case t.ended != "" || t.counts["running"] > 0:
		return false
	case t.parked || t.interrupted || t.paused:
		return true
	case t.counts["retrying"] > 0 || t.counts["evaluating"] > 0 || t.counts["ready"] > 0 || t.waits["timer"] > 0:
		return false
	}
	return t.counts["in_doubt"] > 0 || t.counts["waiting"] > 0
}
