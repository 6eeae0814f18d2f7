package mcp

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file asks the person in front of the client what a run asks: an approval,
// or what a running task wants to know. Older clients are asked while the call
// waits; with the newest revision the question is the call's result, and the
// call is repeated with the answer.

// question is what a run asks, or one that it started.
type question struct {
	run, task string
	id        string // of a running task's question, "" for an approval
	message   string
	schema    json.RawMessage // of the answer; nil: yes or no
}

// key tells questions apart.
func (q *question) key() string { return q.run + "\n" + q.task + "\n" + q.id }

// state is what a call that has to be repeated with answers is repeated with.
// Whoever changes it can do no more than run_decide lets him.
type state struct {
	Run   string                 `json:"run"`
	Asked map[string]askedBefore `json:"asked"` // by the name of each
}

// askedBefore is which question a client was asked.
type askedBefore struct {
	Run  string `json:"run"`
	Task string `json:"task"`
	ID   string `json:"id,omitempty"`
}

func (st state) encode() string {
	raw, _ := json.Marshal(st) // of texts
	return base64.RawURLEncoding.EncodeToString(raw)
}

func decodeState(text string) (st state, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &st)
	}
	return st, err
}

// asking is what a call has asked its client.
type asking struct {
	unwilling map[string]bool // questions that the client doesn't want to answer, by their keys
	current   string          // the key of the one that it is asked now
	cancel    context.CancelFunc
	answered  chan reply // never closed; has room for one
}

// reply is what came of a question.
type reply struct {
	question question
	result   *sdk.ElicitResult
	err      error
}

func newAsking() asking {
	return asking{unwilling: map[string]bool{}, answered: make(chan reply, 1), cancel: func() {}}
}

// pending tells whether a question is with the client.
func (k *asking) pending() bool { return k.current != "" }

// stop takes a question back that is with the client.
func (k *asking) stop() { k.cancel() }

// canAsk tells whether the client has a person in front of it who may decide.
func (a *attendance) canAsk() bool {
	p := a.req.Session.InitializeParams()
	if p == nil || p.Capabilities == nil || p.Capabilities.Elicitation == nil || !a.store.Decides() {
		return false
	}
	e := p.Capabilities.Elicitation
	return e.Form != nil || e.URL == nil
}

// questions are what a run asks, and those that it started.
func (s *session) questions(ctx context.Context, v *replay.RunView) (all []question, err error) {
	for _, t := range v.Tasks {
		switch {
		case t.Question != nil:
			all = append(all, question{v.ID, t.ID, t.Question.ID, inWords(v.ID, t), t.Question.Schema})
		case t.WaitsFor == "approval":
			all = append(all, question{v.ID, t.ID, "", inWords(v.ID, t), nil})
		case t.WaitsFor == "run" && t.ChildRun != "":
			child, err := s.run(ctx, t.ChildRun, false)
			if err != nil {
				return nil, err
			}
			more, err := s.questions(ctx, child)
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
		}
	}
	return all, nil
}

// inWords is what a task asks, for the person in front of the client.
func inWords(run string, t replay.TaskView) string {
	q := t.Question
	if q == nil {
		return fmt.Sprintf("Task %s of run %s waits for %s", t.ID, run, reasonOf(t.Reason))
	}
	from := ""
	if q.From != "" {
		from = q.From + ", for "
	}
	return fmt.Sprintf("%s (%stask %s of run %s)", strings.TrimSpace(q.Message), from, t.ID, run)
}

// ask puts questions to the client. It returns a result if that is the way to
// do it; else the answer comes later.
func (a *attendance) ask(ctx context.Context, all []question) *sdk.CallToolResult {
	var willing []question
	still := false
	for _, q := range all {
		still = still || q.key() == a.asks.current
		if !a.asks.unwilling[q.key()] {
			willing = append(willing, q)
		}
	}
	if a.asks.pending() && !still { // somebody else has answered
		a.asks.cancel()
	}
	switch {
	case len(willing) == 0 || a.asks.pending():
		return nil
	case a.req.Session.InitializeParams().ProtocolVersion >= newest:
		return a.askByResult(willing)
	}
	a.askMeanwhile(ctx, willing[0])
	return nil
}

// askByResult is the result that asks.
func (a *attendance) askByResult(all []question) *sdk.CallToolResult {
	requests, st := sdk.InputRequestMap{}, state{Run: a.id, Asked: map[string]askedBefore{}}
	for _, q := range all {
		name := q.task
		if q.run != a.id {
			name = q.run + "/" + q.task
		}
		requests[name], st.Asked[name] = elicitation(&q), askedBefore{q.run, q.task, q.id}
	}
	return &sdk.CallToolResult{InputRequests: requests, RequestState: st.encode()}
}

// askMeanwhile asks while the call waits.
func (a *attendance) askMeanwhile(ctx context.Context, q question) {
	ctx, cancel := context.WithCancel(ctx)
	a.asks.current, a.asks.cancel = q.key(), cancel
	a.attending.Go(func() {
		r, err := a.req.Session.Elicit(ctx, elicitation(&q))
		a.asks.answered <- reply{q, r, err}
	})
}

// approvalSchema is what an approval is answered with.
var approvalSchema = json.RawMessage(`{"type":"object","properties":{` +
	`"approved":{"type":"boolean","title":"Approve","description":"Yes lets the task complete, no makes it fail."},` +
	`"comment":{"type":"string","title":"Comment","description":"Why; it is kept in the history."}},"required":["approved"]}`)

// elicitation is a question as the protocol has it.
func elicitation(q *question) *sdk.ElicitParams {
	p := &sdk.ElicitParams{Mode: "form", Message: q.message, RequestedSchema: approvalSchema}
	if q.schema != nil {
		p.RequestedSchema = q.schema
	}
	return p
}

// answer takes what the client was asked while the call waited.
func (a *attendance) answer(ctx context.Context, r reply) error {
	taken := a.asks.cancel
	a.asks.current, a.asks.cancel = "", func() {}
	taken()
	if ctx.Err() != nil {
		return nil
	}
	switch {
	case r.err != nil:
		a.asks.unwilling[r.question.key()] = true
	case r.result.Action == "cancel":
		a.asks.unwilling[r.question.key()] = true
	default:
		content, err := json.Marshal(r.result.Content)
		if err != nil {
			return err
		}
		if err := a.decide(ctx, a.req, r.question, r.result.Action, content); err != nil {
			a.asks.unwilling[r.question.key()] = true
		}
	}
	a.pause = 0
	a.quiet.Reset(quietFor)
	return nil
}

// goOn is a call that is repeated with the answers to its questions.
func (s *session) goOn(ctx context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	st, err := decodeState(req.Params.RequestState)
	if err == nil {
		_, err = s.run(ctx, st.Run, false)
	}
	if err != nil {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "the request state is none of this server's: " + err.Error()}
	}
	asks := newAsking()
	for name, asked := range st.Asked {
		q := question{run: asked.Run, task: asked.Task, id: asked.ID}
		e, ok := req.Params.InputResponses[name].(*sdk.ElicitResult)
		if !ok {
			continue // and it is asked again
		}
		if e.Action == "cancel" {
			asks.unwilling[q.key()] = true
			continue
		}
		content, err := json.Marshal(e.Content)
		if err == nil {
			err = s.decide(ctx, req, q, e.Action, content)
		}
		if err != nil {
			return failed(err), nil
		}
	}
	return s.attend(ctx, req, st.Run, s.wait, asks)
}

// decide gives a run its answer. That somebody else was first is fine.
func (s *session) decide(ctx context.Context, req *sdk.CallToolRequest, q question, action string, content json.RawMessage) error {
	p := server.ApprovalParams{ID: q.run, Task: q.task, Question: q.id, Approved: action == "accept", By: s.by(req.Session)}
	if q.id == "" {
		var said struct {
			Approved bool
			Comment  string
		}
		if json.Unmarshal(content, &said) != nil {
			return protocols.Errorf(protocols.InvalidParams, "the answer must say whether it is approved, true or false")
		}
		p.Approved, p.Comment = p.Approved && said.Approved, said.Comment
	} else if p.Approved {
		p.Data = content
	}
	err := s.store.Call(ctx, server.ApprovalDecide, p, nil)
	if isCode(err, protocols.WorkflowInvalidState) || isCode(err, protocols.TaskNotFound) {
		return nil
	}
	return err
}
