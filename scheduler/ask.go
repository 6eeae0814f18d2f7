package scheduler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// This file lets a running attempt ask a person something: decideAsk and what
// follows are the core's part, Approve and host.Ask the shell's.

const (
	// maxQuestions is how much one task may ask and be answered.
	maxQuestions = 256
	// maxForm bounds the schema of a question, in bytes, and maxAnswer what is
	// answered.
	maxForm   = 64 << 10
	maxAnswer = 1 << 20
	// maxFields is how many of a form's fields people are told at once.
	maxFields = 20
)

// Ask is what a running attempt asks a person.
type Ask struct {
	Run     uint64
	Task    int
	Attempt int
	replay.Ask
}

// Withdraw takes a question back: the attempt goes on without its answer.
type Withdraw struct {
	Run     uint64
	Task    int
	Attempt int
	ID      string
}

func (Ask) command()      {}
func (Withdraw) command() {}

// decideAsk notes the question, unless it was answered before.
func decideAsk(s *replay.State, now time.Time, c Ask) ([]replay.Fact, error) {
	r := s.Run(c.Run)
	if !current(r, c.Task, c.Attempt) || r.Cancel != "" && r.Stopping() {
		return nil, errAttemptOver
	}
	t := &r.Tasks[c.Task]
	if _, had := t.Answer(c.ID); had || isOpen(t, c.ID) {
		return nil, nil
	}
	if t.Talk != nil && len(t.Talk.Open)+len(t.Talk.Given) >= maxQuestions {
		return nil, protocols.Errorf(protocols.ResourceExhausted, "%q has asked a person %d times, the limit of a task", r.TaskID(c.Task), maxQuestions)
	}
	return facts(c.Run, now, &replay.QuestionAsked{Task: c.Task, Attempt: c.Attempt, Ask: c.Ask}), nil
}

var errAttemptOver = protocols.Errorf(protocols.TaskCancelled, "the attempt that asks is over")

// isOpen tells whether the task waits for an answer to that.
func isOpen(t *replay.Task, id string) bool {
	return t.Talk != nil && slices.ContainsFunc(t.Talk.Open, func(a replay.Ask) bool { return a.ID == id })
}

// decideWithdraw takes a question back.
func decideWithdraw(s *replay.State, now time.Time, c Withdraw) []replay.Fact {
	r := s.Run(c.Run)
	if !current(r, c.Task, c.Attempt) || !isOpen(&r.Tasks[c.Task], c.ID) {
		return nil
	}
	return facts(c.Run, now, &replay.QuestionWithdrawn{Task: c.Task, Attempt: c.Attempt, ID: c.ID})
}

// answers are the events of a decision about what a running attempt asks: the
// question that is named, or else the oldest.
func answers(r *replay.Run, task int, c Approve) ([]replay.Event, error) {
	id := c.Question
	if id == "" {
		id = r.Asks(task)[0].ID
	}
	if !isOpen(&r.Tasks[task], id) {
		return nil, protocols.Errorf(protocols.WorkflowInvalidState, "%q doesn't ask that any more", r.TaskID(task))
	}
	if n := weight(c); n > maxAnswer {
		return nil, protocols.Errorf(protocols.InvalidParams, "the answer has %d bytes, the limit is %d", n, maxAnswer)
	}
	given := replay.Given{ID: id, Declined: !c.Approved}
	if c.Approved {
		given.Content = c.Content
	}
	return []replay.Event{&replay.QuestionAnswered{Task: task, Given: given,
		Comment: shorten(c.Comment, maxMessage), By: shorten(c.By, maxBy), Key: c.Key}}, nil
}

// Approve decides what a task of a run asked for. What answers the question of
// a running attempt is held to its schema: Data and Fields together, Fields as
// they are typed.
func (s *Scheduler) Approve(ctx context.Context, c Approve) error {
	form, err := s.askedBy(ctx, &c)
	if err != nil {
		return err
	}
	if c.Question != "" {
		if err := s.fillIn(&c, form); err != nil {
			return err
		}
	}
	return s.ask(ctx, request{command: c})
}

// askedBy finds what a decision is about and puts it there: the task, and its
// open question, whose schema it returns.
func (s *Scheduler) askedBy(ctx context.Context, c *Approve) (form replay.Value, refused error) {
	err := s.Query(ctx, func(state *replay.State) {
		r, err := find(state, c.Run)
		if err == nil {
			c.Task, err = askedFor(r, c.Task)
		}
		if err != nil {
			refused = err
			return
		}
		open := r.Asks(c.Task)
		i := slices.IndexFunc(open, func(a replay.Ask) bool { return c.Question == "" || a.ID == c.Question })
		switch {
		case i >= 0:
			c.Question, form = open[i].ID, open[i].Schema
		case c.Question != "":
			refused = protocols.Errorf(protocols.WorkflowInvalidState, "%q doesn't ask that any more", r.TaskID(c.Task))
		case len(c.Data)+len(c.Fields) > 0:
			refused = protocols.Errorf(protocols.InvalidParams, "%q wants to be approved or rejected, and takes no data", r.TaskID(c.Task))
		}
	})
	if err != nil {
		refused = err
	}
	return form, refused
}

// fillIn makes of what a person gave what is answered, if it fits.
func (s *Scheduler) fillIn(c *Approve, schema replay.Value) error {
	form, err := schema.Load(s.log.Value)
	data, fields := c.Data, c.Fields
	c.Data, c.Fields = nil, nil
	switch {
	case err != nil:
		return err
	case len(data)+len(fields) > 0 && !c.Approved:
		return protocols.Errorf(protocols.InvalidParams, "a rejection takes no data")
	case len(data)+len(fields) > 0 && len(form) == 0:
		return protocols.Errorf(protocols.InvalidParams, "the question is one of yes or no, and takes no data")
	case !c.Approved || len(form) == 0:
		return nil
	}
	content, wrong := protocols.FillForm(form, data, fields)
	if wrong != nil {
		return wrong
	}
	c.Content = replay.NewValue(s.vault.scrubber().json(content))
	return nil
}

// Ask puts the question into the log, and waits until a person has answered.
func (h *host) Ask(ctx context.Context, q providers.Question) (providers.Answer, error) {
	a, err := h.question(q)
	if err != nil {
		return providers.Answer{}, err
	}
	given := make(chan replay.Given, 1)
	err = h.s.ask(ctx, request{command: Ask{Run: h.j.run, Task: h.j.task, Attempt: h.j.attempt, Ask: a},
		act: func() { h.s.listens(h.j, a.ID, given) }})
	if err != nil {
		return providers.Answer{}, err
	}
	select {
	case g := <-given:
		return h.answer(g)
	case <-h.s.done:
		return providers.Answer{}, ErrClosed
	case <-ctx.Done():
		if errors.Is(context.Cause(ctx), context.Canceled) { // else the attempt ends, and the question with it
			_ = h.s.send(context.WithoutCancel(ctx), request{command: Withdraw{Run: h.j.run, Task: h.j.task, Attempt: h.j.attempt, ID: a.ID}})
		}
		return providers.Answer{}, context.Cause(ctx)
	}
}

// question is the question as the log has it. Its name is the same whenever an
// attempt of the task asks the same as often as this one has.
func (h *host) question(q providers.Question) (a replay.Ask, err error) {
	scrubber := h.s.vault.scrubber()
	a = replay.Ask{Message: shorten(scrubber.text(q.Message), maxMessage), From: shorten(q.From, maxBy)}
	if len(q.Schema) > maxForm {
		return a, protocols.Errorf(protocols.InvalidParams, "the question's schema has %d bytes, the limit is %d", len(q.Schema), maxForm)
	}
	form := scrubber.json(q.Schema)
	if len(form) > 0 {
		fields, wrong := protocols.FormFields(form)
		if wrong != nil {
			return a, wrong
		}
		a.Schema, a.Fields = replay.NewValue(form), fields[:min(len(fields), maxFields)]
	}
	a.ID = h.named(fmt.Appendf(nil, "%q %q %s", a.From, a.Message, form))
	return a, nil
}

// named gives what is asked its name.
func (h *host) named(what []byte) string {
	sum := sha256.Sum256(what)
	name := hex.EncodeToString(sum[:10])
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked == nil {
		h.asked = map[string]int{}
	}
	h.asked[name]++
	return fmt.Sprintf("%s-%d", name, h.asked[name])
}

// answer is what the provider is told.
func (h *host) answer(g replay.Given) (providers.Answer, error) {
	if g.Declined {
		return providers.Answer{Action: providers.Decline}, nil
	}
	content, err := g.Content.Load(h.s.log.Value)
	return providers.Answer{Action: providers.Accept, Content: json.RawMessage(content)}, err
}

// listens lets a worker have the answer: the one that is there, or the one
// that will come. Only the loop calls it.
func (s *Scheduler) listens(j job, id string, given chan replay.Given) {
	r, w := s.state.Run(j.run), s.workers[attempt{j.run, j.task}]
	if w == nil || !current(r, j.task, j.attempt) {
		return
	}
	if g, there := r.Tasks[j.task].Answer(id); there {
		given <- g
		return
	}
	if w.asked == nil {
		w.asked = map[string]chan replay.Given{}
	}
	w.asked[id] = given
}

// tell hands a fresh answer to the worker that waits for it. Only the loop
// calls it.
func (s *Scheduler) tell(run uint64, e *replay.QuestionAnswered) {
	w := s.workers[attempt{run, e.Task}]
	if w == nil {
		return
	}
	if given := w.asked[e.ID]; given != nil {
		given <- e.Given
		delete(w.asked, e.ID)
	}
}
