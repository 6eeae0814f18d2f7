package scheduler

import (
	"encoding/json"
	"slices"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file decides about workers: processes elsewhere that carry out the calls
// of remote providers. The core knows what they offer, and never who they are.

// Employ says what workers offer from now on.
type Employ struct{ Offers []replay.Offer }

func (Employ) command() {}

// maxReattached is how many attempts one TaskReattached names.
const maxReattached = maxSkipped

// decideEmploy notes what workers offer, if that is something new. More than a
// record holds is refused.
func decideEmploy(s *replay.State, now time.Time, c Employ) ([]replay.Fact, error) {
	if slices.Equal(s.Offers(), c.Offers) {
		return nil, nil
	}
	e := &replay.WorkersChanged{Offers: c.Offers}
	if raw, err := json.Marshal(e); err != nil || len(raw) > eventlog.MaxData {
		return nil, protocols.Errorf(protocols.ResourceExhausted, "%d offers of workers are more than the log can note", len(c.Offers))
	}
	return []replay.Fact{{At: now, Event: e}}, nil
}

// lost says what becomes of an attempt whose worker was lost: it is in doubt.
func lost(r *replay.Run, p Policy, c Finish) []replay.Event {
	t := &r.Tasks[c.Task]
	if r.Cancel != "" && r.Stopping() {
		return []replay.Event{&replay.TaskCancelled{Task: c.Task, Attempt: c.Attempt, Error: workerLost(c), Duration: c.Duration}}
	}
	action := r.Task(c.Task).OnCrash
	if action == "" {
		action = protocols.CrashRetry
	}
	events := resolve(action, &replay.TaskInDoubt{Task: c.Task, Attempt: c.Attempt, Action: action, Worker: c.Lost}, c.Task, c.Attempt, workerLost(c))
	if action == protocols.CrashRetry && tooMany(r, t, p) {
		events = append(events, park(r, c.Task, "a worker was lost or the process died"))
	}
	return events
}

func workerLost(c Finish) *protocols.Error {
	return protocols.Errorf(protocols.TaskExecutionFailed,
		"the worker %s was lost while attempt %d ran: nobody knows how far it got", c.Lost, c.Attempt)
}

// reattached are the attempts in doubt that go on at workers, if those have
// them still. They hold slots again, so that there must be room for them.
func reattached(s *replay.State, r *replay.Run, p Policy) (tasks []int) {
	if !r.Doubt || r.Cancel != "" && r.Stopping() {
		return nil
	}
	most := min(p.Slots-s.Running, maxReattached)
	if limits := p.Queues[r.Submitted.Queue]; limits.Slots > 0 {
		most = min(most, limits.Slots-s.Queue(r.Submitted.Queue).Running)
	}
	for i := range r.Tasks {
		if len(tasks) < most && r.Tasks[i].Status == replay.TaskRunning && r.Remote(i) {
			tasks = append(tasks, i)
		}
	}
	return tasks
}
