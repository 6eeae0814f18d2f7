package scheduler

import (
	"errors"
	"fmt"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file holds agents against the umpire's laws.

// agentPlayer is an agent as the umpire knows it.
type agentPlayer struct {
	steps []int // all that have begun
	batch int   // where the last ones begin in it
	turn  int
	base  int // turns before the last retry of the run
}

func (a *agentPlayer) begun() []int { return a.steps[min(a.batch, len(a.steps)):] }

// stepped lets an agent begin steps: all those before must have ended, turns
// count up, and only a turn that was asked about leads to calls.
func (m *match) stepped(e *replay.AgentStepped) error {
	t, def := &m.tasks[e.Task], m.task(e.Task)
	switch {
	case def.Agent == nil || t.step != nil:
		return errors.New("it is no agent")
	case len(e.Steps) == 0 || e.First != len(m.tasks):
		return fmt.Errorf("%d steps at %d, the run has %d tasks", len(e.Steps), e.First, len(m.tasks))
	case m.stopping() && !m.spared(e.Task):
		return errors.New("nothing may begin")
	case t.asked == replay.AskCondition, m.own(e.Task).If != nil && !m.tasks[m.def(e.Task)].met, m.failing(e.Task) && len(t.agent.steps) == 0, !t.due.IsZero():
		return fmt.Errorf("it may not run: %+v", *t)
	}
	for _, d := range def.Dependencies {
		if m.tasks[d].over == 0 || !m.good(d) && !m.spared(e.Task) {
			return fmt.Errorf("dependency %d: %+v", d, m.tasks[d])
		}
	}
	turned := false // its last step is a turn
	for _, i := range t.agent.begun() {
		if m.tasks[i].over == 0 {
			return fmt.Errorf("step %d has not ended", i)
		}
		turned = m.tasks[i].step.Form <= protocols.AnswerForm
	}
	if turned != (t.asked == replay.AskAgent) {
		return fmt.Errorf("asked %q after a turn: %v", t.asked, turned)
	}
	for k := range e.Steps {
		if err := t.step1(&e.Steps[k], def.Agent, turned, k); err != nil {
			return err
		}
	}
	t.asked, t.agent.batch = "", len(t.agent.steps)
	forms := m.own(e.Task).AgentForms()
	for k := range e.Steps {
		s := &e.Steps[k]
		t = &m.tasks[e.Task]
		t.agent.turn = s.Turn
		t.agent.steps = append(t.agent.steps, len(m.tasks))
		m.tasks = append(m.tasks, player{of: e.Task + 1, step: s, form: forms[s.Form]})
	}
	return nil
}

// step1 judges one of the steps that begin together.
func (t *player) step1(s *replay.Step, a *protocols.Agent, turned bool, k int) error {
	tool, call := protocols.ToolOf(s.Form)
	switch {
	case call && (!turned || s.Turn != t.agent.turn || tool >= len(a.Tools)):
		return fmt.Errorf("a call without its turn: %+v of %+v", *s, t.agent)
	case call:
	case tool >= 0 && (len(t.agent.steps) > 0 || a.Tools[tool].Call != nil || s.Turn != 0):
		return fmt.Errorf("asks for tools: %+v of %+v", *s, t.agent)
	case tool >= 0:
	case s.Turn != t.agent.turn+1 || k > 0:
		return fmt.Errorf("turn %d after %d", s.Turn, t.agent.turn)
	case s.Form == protocols.TurnForm && s.Turn-t.agent.base > a.MaxTurns:
		return fmt.Errorf("turn %d of at most %d and %d", s.Turn, t.agent.base, a.MaxTurns)
	}
	return nil
}

// agentIterated ends an iteration of an agent with a repeat.
func (m *match) agentIterated(t *player, e *replay.TaskIterated) error {
	if t.asked != replay.AskAgent || t.iterations != e.Iteration || m.task(e.Task).Repeat == nil {
		return fmt.Errorf("task %d: %+v", e.Task, *t)
	}
	for _, i := range t.agent.steps {
		if m.tasks[i].over == 0 {
			return fmt.Errorf("step %d has not ended", i)
		}
	}
	t.asked, t.agent = "", agentPlayer{}
	return nil
}

// stepLimit counts the steps of the agent that run at once.
func (m *match) stepLimit(task int) error {
	t := m.tasks[task]
	if t.step == nil {
		return nil
	}
	n := 0
	for _, i := range m.tasks[t.of-1].agent.steps {
		if m.tasks[i].runs {
			n++
		}
	}
	if most := m.own(task).Agent.MaxParallel; most > 0 && n > most {
		return fmt.Errorf("%d steps run, at most %d may", n, most)
	}
	return nil
}
