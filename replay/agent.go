package replay

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// This file holds what Apply does with the steps of agents: turns of a model,
// and calls of the tools that it asks for. Each step is a task of the run after
// all others, with attempts, slots and limits like any other.

// Agent is where a task with protocols.AgentMethod stands.
type Agent struct {
	Round int   // how often the run had been retried when it began
	Turn  int   // the last that began
	Base  int   // those that don't count toward max_turns: made before the run was last retried
	Steps []int // places in Run.Tasks, in the order in which they began
	Batch int   // where those of Steps begin that began last, together

	next int // of the batch: the first that has not been let go, for max_parallel
	left int // those that have not ended
	live int // of those, the ones that have been let go
}

// Step is what a step of an agent does.
type Step struct {
	Form int    `json:"form"`           // which of protocols.Task.AgentForms it is
	Turn int    `json:"turn,omitempty"` // from 1; 0: before the first
	Call int    `json:"call,omitempty"` // of a call: which of those that its turn asked for
	Tool string `json:"tool,omitempty"` // of a call: the tool's name
	// Iteration is that of the agent's repeat, from 1; 0 without one.
	Iteration int `json:"iteration,omitempty"`
}

// describe names a step within its agent.
func (s *Step) describe() string {
	before := ""
	if s.Iteration > 1 {
		before = fmt.Sprintf("iteration%d.", s.Iteration)
	}
	switch tool, call := protocols.ToolOf(s.Form); {
	case call:
		return before + fmt.Sprintf("turn%d.tool%d", s.Turn, s.Call+1)
	case tool >= 0:
		return before + fmt.Sprintf("tools%d", tool+1)
	}
	return before + fmt.Sprintf("turn%d", s.Turn)
}

// describe says in words which steps begin.
func (e *AgentStepped) describe() string {
	var tools []string
	for _, s := range e.Steps {
		if s.Tool != "" {
			tools = append(tools, s.Tool)
		}
	}
	switch first := e.Steps[0]; {
	case len(tools) > 0:
		return fmt.Sprintf("turn %d calls %s", first.Turn, strings.Join(tools, ", "))
	case first.Form == protocols.AnswerForm:
		return fmt.Sprintf("turn %d begins: the answer in the form that is wanted", first.Turn)
	case first.Turn > 0:
		return fmt.Sprintf("turn %d begins", first.Turn)
	}
	return "asks which tools there are"
}

// IDs are the ids of the steps that begin, of the agent with that id.
func (e *AgentStepped) IDs(agent string) []string {
	ids := make([]string, len(e.Steps))
	for i := range e.Steps {
		ids[i] = agent + "." + e.Steps[i].describe()
	}
	return ids
}

// agent tells whether a task is an agent rather than a step of one.
func (r *Run) agent(task int) bool {
	return r.Tasks[task].Step == nil && r.Plan.Workflow.Tasks[r.Def(task)].Agent != nil
}

// Form returns the place in the plan of what says how a task runs: its place in
// the document, or that of its step's form.
func (r *Run) Form(task int) int {
	if s := r.Tasks[task].Step; s != nil {
		return r.Plan.agents[r.Def(task)] + s.Form
	}
	return r.Def(task)
}

// Begun returns the steps of the agent's last batch.
func (a *Agent) Begun() []int { return a.Steps[a.Batch:] }

// readyAgent lets an agent begin, or go on with its last steps after a retry of
// the run.
func (s *State) readyAgent(r *Run, task int) {
	if r.Tasks[task].Agent == nil {
		r.set(task, TaskPending)
		r.ask(task, AskAgent)
		r.inVain(task)
		return
	}
	r.set(task, TaskExpandedInto)
	s.letSteps(r, task)
	if r.Tasks[task].Agent.left == 0 {
		r.ask(task, AskAgent)
	}
}

// stepped begins steps of an agent, and the agent with its first.
func (s *State) stepped(r *Run, e *AgentStepped, at time.Time) {
	t := &r.Tasks[e.Task]
	if t.Started.IsZero() {
		t.Started = at
	}
	if t.Agent == nil {
		t.Agent = &Agent{Round: r.Retries}
	}
	a := t.Agent
	a.Batch, a.next, a.left, a.live = len(a.Steps), 0, len(e.Steps), 0
	delete(r.undecided, e.Task)
	r.set(e.Task, TaskExpandedInto)
	for i := range e.Steps {
		a.Steps = append(a.Steps, len(r.Tasks))
		a.Turn = max(a.Turn, e.Steps[i].Turn)
		r.Tasks = append(r.Tasks, Task{Of: e.Task + 1, Step: &e.Steps[i]})
		r.count(len(r.Tasks)-1, 1)
	}
	s.letSteps(r, e.Task)
}

// letSteps makes as many steps ready as the agent's max_parallel allows.
func (s *State) letSteps(r *Run, parent int) {
	a, most := r.Tasks[parent].Agent, r.Task(parent).Agent.MaxParallel
	if r.Stopping() && !r.Spared(parent) {
		return
	}
	for batch := a.Begun(); a.next < len(batch) && (most == 0 || a.live < most); {
		task := batch[a.next]
		a.next++
		if !r.Tasks[task].Status.Ended() { // it may have, before a retry of the run
			a.live++
			s.ready(r, task)
		}
	}
}

// stepEnded counts a step that has ended.
func (s *State) stepEnded(r *Run, parent, task int) {
	a := r.Tasks[parent].Agent
	a.left--
	if slices.Contains(a.Begun()[:a.next], task) {
		a.live--
	}
	switch {
	case r.Tasks[parent].Status.Ended():
	case a.left == 0:
		r.ask(parent, AskAgent)
	default:
		s.letSteps(r, parent)
	}
}

// adoptStep counts a restored step of an agent.
func (a *Agent) adoptStep(task int, status TaskStatus) {
	if status.Ended() {
		return
	}
	a.left++
	if slices.Contains(a.Begun()[:a.next], task) {
		a.live++
	}
}

// checkAgent counts the steps of an agent again.
func (r *Run) checkAgent(parent int) error {
	a := r.Tasks[parent].Agent
	fresh := Agent{Steps: a.Steps, Batch: a.Batch, next: a.next}
	for _, i := range a.Steps {
		fresh.adoptStep(i, r.Tasks[i].Status)
	}
	if fresh.left != a.left || fresh.live != a.live {
		return fmt.Errorf("run %d task %d: %d steps left and %d let go, the counts say %d and %d", r.Number, parent, fresh.left, fresh.live, a.left, a.live)
	}
	if a.left == 0 && r.undecided[parent] != AskAgent {
		return fmt.Errorf("run %d task %d: its steps have ended and nothing follows", r.Number, parent)
	}
	return nil
}
