package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file finds things out for the core, and decides what follows from what
// was found (design.md, rule 7).

// maxEvaluations is how many evaluations go on at once: they load values, but
// wait for nobody.
const maxEvaluations = 16

// startEvaluation finds out what the event asks, for each task by itself.
func (s *Scheduler) startEvaluation(run uint64, e *replay.EvaluationRequested) {
	r := s.state.Run(run)
	if r == nil {
		return // it ended in the same turn
	}
	if e.What == replay.AskOutputs {
		s.evaluate(newJob(r, -1, r.Plan.Workflow.OutputReferences()), e.What, protocols.StatusValue{}, nil)
		return
	}
	for _, task := range e.Tasks {
		if t := &r.Tasks[task]; t.Status != replay.TaskEvaluates || t.Asked != e.What {
			continue // an earlier answer came in the same turn
		}
		j := newJob(r, task, lookedAt(r.Task(task), e.What))
		j.attempt = stage(r, task, e.What)
		if e.What == replay.AskUntil {
			if j.needs == nil {
				j.needs = map[int]replay.Task{}
			}
			j.needs[j.def] = r.Tasks[task]
		}
		if e.What == replay.AskAgent {
			j.steps = stepsOf(r, task)
		}
		var results []replay.Value
		if e.What == replay.AskCollect {
			results = itemResults(r, task)
		}
		s.evaluate(j, e.What, standing(r, task), results)
	}
}

// stage tells one asking of a question about a task from the next: the number
// of its last attempt, or the place of its last step.
func stage(r *replay.Run, task int, q replay.Question) int {
	if q == replay.AskAgent {
		steps := r.Tasks[task].Agent.Steps
		return steps[len(steps)-1]
	}
	return r.Tasks[task].Attempts
}

// lookedAt returns the tasks that a question about a task looks at.
func lookedAt(t *protocols.Task, q replay.Question) []int {
	switch q {
	case replay.AskCondition:
		return t.If.References
	case replay.AskItems:
		return t.Foreach.References
	case replay.AskUntil:
		return t.Repeat.Until.References
	}
	return nil
}

// standing is what the status functions of the task's condition answer now.
func standing(r *replay.Run, task int) protocols.StatusValue {
	v := protocols.StatusValue{Success: true, Cancelled: r.Cancel != ""}
	for _, d := range r.Task(task).Dependencies {
		if !r.Good(d) {
			v.Success = false
		}
	}
	if r.Spared(task) { // else nothing asks, and looking at all ancestors costs
		v.Failure = ancestorFailed(r, r.Def(task), map[int]bool{})
	}
	if r.Task(task).Hook != "" && r.FailedTask >= 0 {
		v.Failure, v.Success = true, false
	}
	return v
}

func ancestorFailed(r *replay.Run, task int, seen map[int]bool) bool {
	for _, d := range r.Plan.Task(task).Dependencies {
		if seen[d] {
			continue
		}
		seen[d] = true
		if r.Tasks[d].Status == replay.TaskIsFailed || ancestorFailed(r, d, seen) {
			return true
		}
	}
	return false
}

// itemResults are what the instances of a foreach came to, null for those that
// didn't.
func itemResults(r *replay.Run, task int) []replay.Value {
	e := r.Tasks[task].Each
	results := make([]replay.Value, e.Count)
	for k := range results {
		if t := &r.Tasks[e.First+k]; t.Status == replay.TaskIsCompleted {
			results[k] = t.Result
		}
	}
	return results
}

func (s *Scheduler) evaluate(j job, q replay.Question, status protocols.StatusValue, results []replay.Value) {
	s.evaluations.add(func() {
		answer := Answer{Run: j.run, What: q, Task: j.task, Attempt: j.attempt, Retries: j.retries}
		err := safely("an evaluation", func() error { return s.answerTo(&answer, j, q, status, results) })
		if err != nil {
			answer.Error = clip(asError(err))
		}
		s.send(context.Background(), request{command: answer, act: s.evaluations.done})
	})
}

// asError gives an error of ours its code.
func asError(err error) *protocols.Error {
	var e *protocols.Error
	if errors.As(err, &e) {
		return e
	}
	return protocols.Errorf(protocols.PersistenceReadFailed, "%v", err)
}

func (s *Scheduler) answerTo(a *Answer, j job, q replay.Question, status protocols.StatusValue, results []replay.Value) error {
	c, err := s.context(j.context)
	if err != nil {
		return err
	}
	scope, err := s.scope(j, c)
	if err != nil {
		return err
	}
	scope.Status = status
	w := j.plan.Workflow
	var failed *protocols.Error
	switch q {
	case replay.AskOutputs:
		var value json.RawMessage
		if value, failed = protocols.SubstituteOutputs(w, scope); failed == nil {
			value, failed = fitting(value)
		}
		a.Value = replay.NewValue(value)
	case replay.AskCondition:
		a.Yes, failed = w.Evaluate(w.Tasks[j.def].If, j.def, scope)
	case replay.AskUntil:
		a.Yes, failed = w.Evaluate(&w.Tasks[j.def].Repeat.Until, j.def, scope)
	case replay.AskItems:
		var items []protocols.ItemValue
		if items, failed = w.Items(j.def, scope); failed == nil {
			a.Count = len(items)
			a.Items, a.Size, err = chunks(items)
		}
	case replay.AskAgent:
		failed, err = s.nextStep(a, j)
	case replay.AskCollect:
		var value json.RawMessage
		if value, err = s.collect(w, j.def, results); err == nil {
			value, failed = fitting(value)
		}
		a.Value = replay.NewValue(value)
	}
	if failed != nil {
		return failed
	}
	return err
}

// collect makes the list of what the instances came to, in their order.
func (s *Scheduler) collect(w *protocols.Workflow, task int, results []replay.Value) (json.RawMessage, error) {
	list := make([]json.RawMessage, len(results))
	for i, v := range results {
		list[i] = json.RawMessage("null")
		raw, err := v.Load(s.log.Value)
		if err != nil {
			return nil, err
		}
		if raw == nil {
			continue
		}
		part, failed := protocols.Collect(w, task, raw)
		if failed != nil {
			return nil, failed
		}
		list[i] = part
	}
	return json.Marshal(list)
}

// decideAnswer says what follows from what was found out. An answer that comes
// late changes nothing.
func decideAnswer(s *replay.State, now time.Time, c Answer) []replay.Fact {
	r := s.Run(c.Run)
	if r == nil || r.Retries != c.Retries {
		return nil
	}
	if c.What == replay.AskOutputs {
		return decideOutputs(r, now, c)
	}
	t := &r.Tasks[c.Task]
	if t.Status != replay.TaskEvaluates || t.Asked != c.What || stage(r, c.Task, c.What) != c.Attempt {
		return nil
	}
	if c.Error != nil {
		return facts(c.Run, now, &replay.TaskFailed{Task: c.Task, Attempt: t.Attempts, Error: c.Error})
	}
	if c.What == replay.AskAgent {
		return facts(c.Run, now, agentFound(r, now, c)...)
	}
	return facts(c.Run, now, found(r, t, now, c))
}

func decideOutputs(r *replay.Run, now time.Time, c Answer) []replay.Fact {
	switch {
	case !r.Outputs || r.Cancel != "":
		return nil
	case c.Error != nil:
		return facts(c.Run, now, end(r, replay.Failed, replay.Value{}, c.Error))
	}
	return facts(c.Run, now, end(r, replay.Completed, c.Value, nil))
}

// found says what an answer about a task leads to.
func found(r *replay.Run, t *replay.Task, now time.Time, c Answer) replay.Event {
	def := r.Task(c.Task)
	switch {
	case c.What == replay.AskCondition && c.Yes:
		return &replay.ConditionMet{Task: c.Task}
	case c.What == replay.AskCondition:
		return &replay.TaskSkipped{Tasks: []int{c.Task}, Reason: "its condition does not hold: " + shorten(def.If.Text, maxMessage)}
	case c.What == replay.AskItems && c.Count == 0, c.What == replay.AskCollect:
		if c.Count == 0 && c.What == replay.AskItems {
			c.Value = replay.NewValue(json.RawMessage("[]"))
		}
		return &replay.TaskCompleted{Task: c.Task, Result: c.Value, Duration: protocols.Duration(now.Sub(since(r, c.Task, now)))}
	case c.What == replay.AskItems:
		return &replay.TaskExpanded{Task: c.Task, First: len(r.Tasks), Count: c.Count, Size: c.Size, Items: c.Items}
	case c.Yes:
		return &replay.TaskCompleted{Task: c.Task, Attempt: t.Attempts, Result: t.Result, Duration: protocols.Duration(t.Duration)}
	case t.Iteration >= def.Repeat.MaxIterations:
		return &replay.TaskFailed{Task: c.Task, Attempt: t.Attempts, Error: protocols.Errorf(protocols.TaskExecutionFailed,
			"after %d iterations its condition still does not hold: %s", t.Iteration, shorten(def.Repeat.Until.Text, maxMessage))}
	}
	return &replay.TaskRepeating{Task: c.Task, Iteration: t.Iteration + 1, At: now.Add(time.Duration(def.Repeat.Interval))}
}

// since is when the first instance of a foreach started.
func since(r *replay.Run, task int, now time.Time) time.Time {
	first := now
	if e := r.Tasks[task].Each; e != nil {
		for i := e.First; i < e.First+e.Count; i++ {
			if at := r.Tasks[i].Started; !at.IsZero() && at.Before(first) {
				first = at
			}
		}
	}
	return first
}
