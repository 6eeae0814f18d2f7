package replay

import (
	"fmt"
	"slices"
	"strings"
)

// This file is about what running attempts ask of a person: the questions that
// are open, and the answers that were given.
//
//	an attempt asks ──► question.asked ──► open ──► question.answered ──► given
//	                                        │
//	                                        └─► question.withdrawn, or the attempt has ended: gone
//
// An attempt that asks keeps its slot. What was answered stays known until the
// task has ended, or begins its next iteration, so that no attempt of it asks the
// same twice. A question whose attempt was lost or interrupted stands until the
// next one begins: it may be answered meanwhile.

// QuestionAsked: an attempt asks a person something, and waits for the answer.
type QuestionAsked struct {
	Task    int `json:"task"`
	Attempt int `json:"attempt"`
	Ask
}

// Ask is a question to a person.
type Ask struct {
	// ID names the question within its task: the same for every attempt that
	// asks the same as often.
	ID      string `json:"id"`
	Message string `json:"message"`
	Schema  Value  `json:"schema,omitzero"` // JSON Schema of the answer; none: yes or no
	From    string `json:"from,omitempty"`  // who asks, for people: an MCP server
	// Fields are the answer's, those that are required first.
	Fields []string `json:"fields,omitempty"`
}

// QuestionAnswered: a person answered what an attempt asked.
type QuestionAnswered struct {
	Task int `json:"task"`
	Given
	Comment string `json:"comment,omitempty"` // for the history alone
	By      string `json:"by,omitempty"`
	Key     string `json:"key,omitempty"` // see SentKey
}

// Given is an answer.
type Given struct {
	ID       string `json:"id"` // of the question
	Declined bool   `json:"declined,omitempty"`
	Content  Value  `json:"content,omitzero"`
}

// QuestionWithdrawn: the attempt goes on without an answer.
type QuestionWithdrawn struct {
	Task    int    `json:"task"`
	Attempt int    `json:"attempt"`
	ID      string `json:"id"`
}

// The names on disk.
func (*QuestionAsked) Type() string     { return "question.asked" }
func (*QuestionAnswered) Type() string  { return "question.answered" }
func (*QuestionWithdrawn) Type() string { return "question.withdrawn" }

// Talk is what a task has asked and been answered. It is never changed, only
// replaced.
type Talk struct {
	Open  []Ask   `json:"o,omitempty"` // the oldest first
	Given []Given `json:"g,omitempty"`
}

// Asks returns what the task asks a person now, the oldest question first. A run
// that is being cancelled wants to know nothing more.
func (r *Run) Asks(task int) []Ask {
	if t := r.Tasks[task].Talk; t != nil && !(r.Cancel != "" && r.Stopping()) {
		return t.Open
	}
	return nil
}

// Answer returns what was answered to a question of the task.
func (t *Task) Answer(id string) (Given, bool) {
	if t.Talk != nil {
		for _, g := range t.Talk.Given {
			if g.ID == id {
				return g, true
			}
		}
	}
	return Given{}, false
}

// talk replaces what a task has asked and been answered, and keeps the count.
func (r *Run) talk(task int, t Talk) {
	before := r.Tasks[task].Talk
	r.Tasks[task].Talk = nil
	if len(t.Open)+len(t.Given) > 0 {
		r.Tasks[task].Talk = &t
	}
	r.Asking += r.Tasks[task].Talk.open() - before.open()
}

// open is 1 if there is an open question.
func (t *Talk) open() int {
	if t == nil || len(t.Open) == 0 {
		return 0
	}
	return 1
}

// said is what a task has asked and been answered.
func (r *Run) said(task int) Talk {
	if t := r.Tasks[task].Talk; t != nil {
		return *t
	}
	return Talk{}
}

// asks notes a question.
func (r *Run) asks(task int, a Ask) {
	t := r.said(task)
	a.Schema = a.Schema.kept()
	t.Open = append(slices.Clone(t.Open), a)
	r.talk(task, t)
}

// answered notes an answer.
func (r *Run) answered(task int, g Given) {
	t := r.said(task).without(g.ID)
	g.Content = g.Content.kept()
	t.Given = append(slices.Clone(t.Given), g)
	r.talk(task, t)
}

// without leaves a question out.
func (t Talk) without(id string) Talk {
	t.Open = slices.DeleteFunc(slices.Clone(t.Open), func(a Ask) bool { return a.ID == id })
	return t
}

// unasks takes the open questions of an attempt back; what was answered stays.
func (r *Run) unasks(task int) {
	if r.Tasks[task].Talk.open() > 0 {
		r.talk(task, Talk{Given: r.Tasks[task].Talk.Given})
	}
}

// asking is a task with an open question, or -1.
func (r *Run) asking() int {
	if r.Asking == 0 {
		return -1
	}
	return slices.IndexFunc(r.Tasks, func(t Task) bool { return t.Talk.open() > 0 })
}

// askedFor says what a task waits for that asks a person.
func (r *Run) askedFor(task int) string {
	a, id := r.Tasks[task].Talk.Open[0], r.TaskID(task)
	return fmt.Sprintf("%s for %q: %s", a.describe(), id, ApproveCommand(r.ID(), id, a.Fields))
}

// ApproveCommand is the command that approves what a task asks for, and fills
// in the fields.
func ApproveCommand(run, task string, fields []string) string {
	text := fmt.Sprintf("gleitzeit approve %s %q", run, task)
	for _, name := range fields[:min(len(fields), 5)] {
		text += " -f " + name + "=…"
	}
	return text
}

// describe says in words what is asked.
func (a *Ask) describe() string {
	text := "an answer"
	if a.From != "" {
		text += " to " + a.From
	}
	if message := strings.TrimSpace(a.Message); message != "" {
		text += fmt.Sprintf(" (%s)", message)
	}
	return text
}

// describe says in words what was answered.
func (e *QuestionAnswered) describe() string {
	text := "answered" + by(e.By)
	switch {
	case e.Declined:
		text = "declined" + by(e.By)
	case e.Content.Big != nil:
		text += ": " + e.Content.Big.Preview + "…"
	case len(e.Content.Inline) > 0 && string(e.Content.Inline) != "{}":
		text += ": " + string(e.Content.Inline)
	}
	if e.Comment != "" {
		text += " (" + e.Comment + ")"
	}
	return text
}
