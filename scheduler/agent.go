package scheduler

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file takes agents from step to step. What a model's answer means is
// protocols.Conversation's; here it becomes events, and events become calls.
//
//	begins ─► tools ─► turn 1 ─► calls ─► turn 2 ─► … ─► completed

// goesOnWith says what follows for an agent that hasn't begun, or whose last
// steps have all ended. more tells that this depends on what its model said.
func goesOnWith(r *replay.Run, task int) (e replay.Event, more bool) {
	a := r.Tasks[task].Agent
	if a == nil {
		if r.Stopping() && !r.Spared(task) {
			return nil, false // it is skipped
		}
		return firstSteps(r, task), false
	}
	batch := a.Begun()
	if cancelledWith(r, task, batch) {
		return &replay.TaskCancelled{Task: task}, false
	}
	if e := endedBy(r, task, batch); e != nil {
		return e, false
	}
	if r.Stopping() && !r.Spared(task) {
		return &replay.TaskSkipped{Tasks: []int{task}, Reason: stopReason(r)}, false
	}
	if tool, _ := protocols.ToolOf(r.Tasks[batch[0]].Step.Form); tool < 0 {
		return nil, true
	}
	return turn(r, task, protocols.TurnForm), false
}

// stays tells whether what follows for an agent is its end with the run, which
// stays so whatever else ends: a run may have many to end at once.
func stays(e replay.Event) bool {
	switch e.(type) {
	case *replay.TaskCancelled, *replay.TaskSkipped:
		return true
	}
	return false
}

// cancelledWith tells whether an agent ends with the cancel of its run: one that
// runs all the same does if a step of it was cancelled.
func cancelledWith(r *replay.Run, task int, batch []int) bool {
	return r.Cancel != "" && r.Stopping() && (!r.Spared(task) ||
		slices.ContainsFunc(batch, func(i int) bool { return r.Tasks[i].Status == replay.TaskIsCancelled }))
}

// firstSteps asks the servers for their tools, or begins the first turn.
func firstSteps(r *replay.Run, task int) replay.Event {
	e := &replay.AgentStepped{Task: task}
	for i, tool := range r.Task(task).Agent.Tools {
		if tool.Call == nil {
			e.Steps = append(e.Steps, replay.Step{Form: protocols.ListForm(i), Iteration: iteration(r, task)})
		}
	}
	if len(e.Steps) > 0 {
		return e
	}
	return turn(r, task, protocols.TurnForm)
}

// iteration is that of the agent's repeat, 0 without one.
func iteration(r *replay.Run, task int) int {
	if r.Task(task).Repeat == nil {
		return 0
	}
	return r.Tasks[task].Iteration + 1
}

// turn begins the next turn of the model. One that is to give the answer its
// form may come after the last.
func turn(r *replay.Run, task, form int) replay.Event {
	most, n, base := r.Task(task).Agent.MaxTurns, 0, 0
	if a := r.Tasks[task].Agent; a != nil {
		n, base = a.Turn, a.Base
	}
	if n-base >= most && form == protocols.TurnForm {
		return &replay.TaskFailed{Task: task, Error: protocols.Errorf(protocols.TaskExecutionFailed,
			"after %d turns its model still wants to call tools: see max_turns", n).With(map[string]any{"turns": n})}
	}
	return &replay.AgentStepped{Task: task, Steps: []replay.Step{{Form: form, Turn: n + 1, Iteration: iteration(r, task)}}}
}

// endedBy ends an agent one of whose last steps didn't complete, nil if it goes
// on: the model is told of tools that failed.
func endedBy(r *replay.Run, task int, batch []int) replay.Event {
	for _, i := range batch {
		t := &r.Tasks[i]
		_, call := protocols.ToolOf(t.Step.Form)
		if t.Status == replay.TaskIsCompleted || call && !r.Task(task).Agent.FailOnToolError {
			continue
		}
		err := t.Error
		switch {
		case err == nil && r.Stopping() && !r.Spared(task):
			return &replay.TaskSkipped{Tasks: []int{task}, Reason: stopReason(r)}
		case err == nil:
			err = protocols.Errorf(protocols.TaskExecutionFailed, "%s", t.Reason)
		}
		return &replay.TaskFailed{Task: task, Error: &protocols.Error{Code: err.Code,
			Message: shorten(fmt.Sprintf("%s: %s", r.TaskID(i), err.Message), maxMessage), Data: err.Data}}
	}
	return nil
}

// atPlace says where the steps of an event stand, if it begins some, and how
// many they are.
func atPlace(e replay.Event, first int) int {
	s, ok := e.(*replay.AgentStepped)
	if !ok {
		return 0
	}
	s.First = first
	return len(s.Steps)
}

// agentFound says what the last turn of an agent leads to.
func agentFound(r *replay.Run, now time.Time, c Answer) []replay.Event {
	a := r.Tasks[c.Task].Agent
	var e replay.Event
	switch {
	case !c.Value.IsZero():
		return hasAnswer(r, now, c)
	case r.Stopping() && !r.Spared(c.Task):
		if e = (&replay.TaskSkipped{Tasks: []int{c.Task}, Reason: stopReason(r)}); r.Cancel != "" {
			e = &replay.TaskCancelled{Task: c.Task}
		}
	case len(c.Calls) > 0:
		stepped := &replay.AgentStepped{Task: c.Task}
		for _, call := range c.Calls {
			stepped.Steps = append(stepped.Steps, replay.Step{Form: call.Form, Turn: a.Turn, Call: call.Call, Tool: call.Tool,
				Iteration: iteration(r, c.Task)})
		}
		e = stepped
	case c.Yes:
		e = turn(r, c.Task, protocols.AnswerForm)
	default:
		e = turn(r, c.Task, protocols.TurnForm)
	}
	atPlace(e, len(r.Tasks))
	return []replay.Event{e}
}

// hasAnswer ends an agent, or its iteration, with its answer.
func hasAnswer(r *replay.Run, now time.Time, c Answer) []replay.Event {
	t, took := &r.Tasks[c.Task], protocols.Duration(now.Sub(agentBegan(r, c.Task, now)))
	if r.Task(c.Task).Repeat == nil {
		return []replay.Event{&replay.TaskCompleted{Task: c.Task, Attempt: t.Attempts, Result: c.Value, Duration: took}}
	}
	return []replay.Event{
		&replay.TaskIterated{Task: c.Task, Attempt: t.Attempts, Iteration: t.Iteration + 1, Result: c.Value, Duration: took},
		&replay.EvaluationRequested{What: replay.AskUntil, Tasks: []int{c.Task}},
	}
}

// agentBegan is when the first step of an agent started.
func agentBegan(r *replay.Run, task int, now time.Time) time.Time {
	for _, i := range r.Tasks[task].Agent.Steps {
		if at := r.Tasks[i].Started; !at.IsZero() {
			return at
		}
	}
	return now
}

// stepsOf copies what the steps of an agent came to: of a step those of its
// agent. Nil if the task is neither.
func stepsOf(r *replay.Run, task int) (steps []replay.Task) {
	if r.Tasks[task].Step != nil {
		task = r.Tasks[task].Of - 1
	}
	a := r.Tasks[task].Agent
	if a == nil {
		return nil
	}
	for _, i := range a.Steps {
		if r.Tasks[i].Status.Ended() {
			steps = append(steps, r.Tasks[i])
		}
	}
	return steps
}

// conversation loads what the steps of an agent came to. What its tools
// answered can be much, and is for a turn of the model alone.
func (s *Scheduler) conversation(j job) (*protocols.Conversation, error) {
	v := &protocols.Conversation{Task: j.plan.Task(j.def)}
	for _, t := range j.steps {
		var raw json.RawMessage
		if _, call := protocols.ToolOf(t.Step.Form); !call || j.own != nil && j.own.Form <= protocols.AnswerForm {
			var err error
			if raw, err = t.Result.Load(s.log.Value); err != nil {
				return nil, fmt.Errorf("what turn %d of %q came to: %w", t.Step.Turn, j.name, err)
			}
		}
		v.Steps = append(v.Steps, protocols.AgentStep{Form: t.Step.Form, Turn: t.Step.Turn, Call: t.Step.Call,
			Status: t.Status.String(), Result: raw, Error: t.Error})
	}
	return v, nil
}

// nextStep finds out what the last turn of an agent leads to.
func (s *Scheduler) nextStep(a *Answer, j job) (*protocols.Error, error) {
	v, err := s.conversation(j)
	if err != nil {
		return nil, err
	}
	var result json.RawMessage
	var failed *protocols.Error
	if a.Calls, result, a.Yes, failed = v.Next(); failed != nil || result == nil {
		return failed, nil
	}
	if result, failed = fitting(result); failed == nil {
		a.Value = replay.NewValue(result)
	}
	return failed, nil
}

// step makes the parameters of an agent's step.
func (s *Scheduler) step(j job, scope *protocols.Scope) (*protocols.Substituted, error) {
	v, err := s.conversation(j)
	if err != nil {
		return nil, err
	}
	filled, failed := s.stepParameters(j, scope, v)
	if failed != nil {
		return nil, failed
	}
	return filled, nil
}

func (s *Scheduler) stepParameters(j job, scope *protocols.Scope, v *protocols.Conversation) (*protocols.Substituted, *protocols.Error) {
	tool, call := protocols.ToolOf(j.own.Form)
	w, step := j.plan.Workflow, protocols.AgentStep{Form: j.own.Form, Turn: j.own.Turn, Call: j.own.Call}
	switch {
	case tool < 0:
		own, err := protocols.Substitute(w, j.def, scope, s.opts.Registry)
		if err != nil {
			return nil, err
		}
		if err := s.opts.Registry.CheckParameters(protocols.AgentMethod, own.Parameters); err != nil {
			return nil, err
		}
		request, err := v.Request(own.Parameters, j.own.Form == protocols.AnswerForm)
		return &protocols.Substituted{Parameters: request}, err
	case !call:
		return &protocols.Substituted{Parameters: json.RawMessage("{}")}, nil
	case v.Task.Agent.Tools[tool].Call == nil:
		request, err := v.ServerCall(step)
		return &protocols.Substituted{Parameters: request}, err
	}
	_, arguments, err := v.Asked(step)
	if err != nil {
		return nil, err
	}
	scope.Args = arguments
	return protocols.SubstituteTool(w, j.def, tool, scope, s.opts.Registry)
}
