package scheduler

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file decides about tasks that wait: for a time, a signal or a person.

// decideAwait lets a started task give its slot back and wait; what it waits
// for may be there already.
func decideAwait(s *replay.State, now time.Time, c Await) []replay.Fact {
	r := s.Run(c.Run)
	if !current(r, c.Task, c.Attempt) {
		return nil
	}
	if r.Cancel != "" && r.Stopping() {
		return facts(c.Run, now, &replay.TaskCancelled{Task: c.Task, Attempt: c.Attempt})
	}
	c.Wait.Message = shorten(c.Wait.Message, maxMessage)
	if c.For > 0 && c.Wait.Until.IsZero() {
		c.Wait.Until = now.Add(c.For)
	}
	events := []replay.Event{&replay.TaskWaiting{Task: c.Task, Attempt: c.Attempt, Wait: c.Wait}}
	if c.Wait.Kind == replay.WaitSignal {
		if sent, there := r.Pending(c.Wait.Signal); there {
			events = append(events, got(r, c.Task, now, sent.Data)...)
		}
	}
	return facts(c.Run, now, events...)
}

// got ends a waiting attempt well.
func got(r *replay.Run, task int, now time.Time, result replay.Value) []replay.Event {
	t := &r.Tasks[task]
	return outcome(r, t, now, Finish{Run: r.Number, Task: task, Attempt: t.Attempts, Result: result,
		Duration: protocols.Duration(now.Sub(t.Started))})
}

// missed ends a waiting attempt badly; a retry may follow.
func missed(r *replay.Run, task int, now time.Time, err *protocols.Error) []replay.Event {
	t := &r.Tasks[task]
	return outcome(r, t, now, Finish{Run: r.Number, Task: task, Attempt: t.Attempts, Error: err,
		Duration: protocols.Duration(now.Sub(t.Started))})
}

// decideSignal keeps the signal for the run, or gives it to the task that
// waits for it.
func decideSignal(s *replay.State, p Policy, now time.Time, c Signal) ([]replay.Fact, error) {
	r, err := find(s, c.Run)
	if err != nil {
		return nil, err
	}
	if len(c.Name) > eventlog.MaxName || weight(c) > maxValue {
		return nil, protocols.Errorf(protocols.InvalidParams, "the signal's name has %d bytes, the limit is %d; its data %d, the limit is %d",
			len(c.Name), eventlog.MaxName, weight(c), maxValue)
	}
	task := r.Waiter(c.Name)
	if most := cmp.Or(p.MaxSignals, DefaultMaxSignals); task < 0 && len(r.Signals) >= most {
		return nil, protocols.Errorf(protocols.ResourceExhausted,
			"%s has %d signals that no task has taken yet, the limit is %d: send it again later", r.ID(), len(r.Signals), most)
	}
	events := []replay.Event{&replay.SignalReceived{Name: c.Name, Data: c.Data, By: shorten(c.By, maxBy), Key: c.Key}}
	if task >= 0 {
		events = append(events, got(r, task, now, c.Data)...)
	}
	return facts(c.Run, now, events...), nil
}

// decideApprove ends the task that asked for an approval, or answers the
// question of a running attempt.
func decideApprove(s *replay.State, now time.Time, c Approve) ([]replay.Fact, error) {
	r, err := find(s, c.Run)
	if err != nil {
		return nil, err
	}
	task, err := askedFor(r, c.Task)
	if err != nil {
		return nil, err
	}
	if len(r.Asks(task)) > 0 {
		events, err := answers(r, task, c)
		return facts(c.Run, now, events...), err
	}
	return facts(c.Run, now, decided(r, task, now, c)...), nil
}

// decided are the events of a decision. A rejection is never retried.
func decided(r *replay.Run, task int, now time.Time, c Approve) []replay.Event {
	c.By, c.Comment = shorten(c.By, maxBy), shorten(c.Comment, maxMessage)
	first := &replay.ApprovalDecided{Task: task, Approved: c.Approved, Comment: c.Comment, By: c.By, Key: c.Key}
	if !c.Approved {
		t := &r.Tasks[task]
		return []replay.Event{first, &replay.TaskFailed{Task: task, Attempt: t.Attempts, Error: rejected(c),
			Duration: protocols.Duration(now.Sub(t.Started))}}
	}
	result := encode(map[string]any{"approved": true, "by": c.By, "comment": c.Comment, "decided_at": now.Format(time.RFC3339Nano)})
	return append([]replay.Event{first}, got(r, task, now, result)...)
}

func rejected(c Approve) *protocols.Error {
	text := "rejected"
	if c.By != "" {
		text += " by " + c.By
	}
	if c.Comment != "" {
		text += ": " + c.Comment
	}
	return protocols.Errorf(protocols.TaskExecutionFailed, "%s", text).With(
		map[string]any{"approved": false, "by": c.By, "comment": c.Comment})
}

// askedFor finds the task that waits for an approval, or asks a person.
func askedFor(r *replay.Run, task int) (int, error) {
	found := -1
	for i := range r.Tasks {
		t := &r.Tasks[i]
		waits := t.Status == replay.TaskWaits && t.Wait.Kind == replay.WaitApproval
		if task >= 0 && task != i || !waits && len(r.Asks(i)) == 0 {
			continue
		}
		if found >= 0 {
			return -1, protocols.Errorf(protocols.InvalidParams, "several tasks of %s wait for an approval: name one of them, for example %q",
				r.ID(), r.TaskID(found))
		}
		found = i
	}
	if found < 0 {
		return -1, protocols.Errorf(protocols.WorkflowInvalidState, "%s has no task that waits for this approval", r.ID())
	}
	return found, nil
}

// waitedLong says what becomes of a task whose moment has come.
func waitedLong(r *replay.Run, task int, now time.Time) []replay.Event {
	wait := r.Tasks[task].Wait
	switch {
	case wait.Kind == replay.WaitTimer:
		return got(r, task, now, encode(map[string]string{"fired_at": now.Format(time.RFC3339Nano)}))
	case wait.Kind == replay.WaitApproval && wait.Default != "":
		return decided(r, task, now, Approve{Approved: wait.Default == "approve", By: "default", Comment: "nobody decided in time"})
	case wait.Kind == replay.WaitApproval:
		return missed(r, task, now, protocols.Errorf(protocols.TaskTimeout, "nobody approved or rejected in time"))
	}
	return missed(r, task, now, protocols.Errorf(protocols.TaskTimeout, "the signal %q did not come in time", wait.Signal))
}

// encode makes a value of what surely is JSON.
func encode(v any) replay.Value {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return replay.NewValue(b)
}

func decidePause(s *replay.State, now time.Time, c Pause) ([]replay.Fact, error) {
	r, err := find(s, c.Run)
	if err != nil || r.Paused {
		return nil, err
	}
	return pause(s, r, now, &replay.WorkflowPaused{By: shorten(c.By, maxBy)}), nil
}

// pause lets a run and its child runs rest; a child that rests already stays
// as it is.
func pause(s *replay.State, r *replay.Run, now time.Time, e *replay.WorkflowPaused) []replay.Fact {
	out := facts(r.Number, now, e)
	for _, n := range r.Children() {
		if child := s.Run(n); child != nil && !child.Paused {
			out = append(out, pause(s, child, now, &replay.WorkflowPaused{By: e.By, With: r.ID()})...)
		}
	}
	return out
}

func decideUnpause(s *replay.State, now time.Time, c Unpause) ([]replay.Fact, error) {
	r, err := find(s, c.Run)
	if err != nil {
		return nil, err
	}
	if err := grants(r, c.Granted); err != nil || !r.Paused {
		return nil, err
	}
	out := unpause(s, r, now, c.By)
	out[0].Event.(*replay.WorkflowUnpaused).Granted = c.Granted
	return out, nil
}

// unpause lets a run go on, and the child runs that were paused with it.
func unpause(s *replay.State, r *replay.Run, now time.Time, by string) []replay.Fact {
	out := facts(r.Number, now, unpaused(r, now, by))
	for _, n := range r.Children() {
		if child := s.Run(n); child != nil && child.PausedWith == r.ID() {
			out = append(out, unpause(s, child, now, by)...)
		}
	}
	return out
}

func unpaused(r *replay.Run, now time.Time, by string) *replay.WorkflowUnpaused {
	deadline := r.Deadline
	if !deadline.IsZero() {
		deadline = deadline.Add(now.Sub(r.PausedAt))
	}
	return &replay.WorkflowUnpaused{By: shorten(by, maxBy), Deadline: deadline}
}
