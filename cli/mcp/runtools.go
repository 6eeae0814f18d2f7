package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/cli/server"
	"gleitzeit/replay"
)

// This file holds the tools about runs of any workflow. Each is a method of
// package server.

// runTool is one of them.
type runTool struct {
	name, description, schema string
	looks, ends               bool // it changes nothing; it can't be taken back
	call                      sdk.ToolHandler
}

const runProperty = `"run":{"type":"string","description":"The run's id, its number, or @last for the newest."}`

func (s *session) runTools() []runTool {
	return []runTool{
		{"run_submit", "Starts a run of a workflow that is given as text, and returns the run's id at once.", `{"type":"object","properties":{` +
			`"workflow":{"type":"string","description":"The text of a workflow file, YAML or JSON."},` +
			`"inputs":{"type":"object","description":"Values for the workflow's inputs."},` +
			`"files":{"type":"object","additionalProperties":{"type":"string"},"description":"Texts of files that the workflow names, by those names."},` +
			`"id":{"type":"string","description":"An id for the run, instead of one that is made of the workflow's name."},` +
			`"idempotency_key":{"type":"string","description":"Submitting again with the same key gives the same run."}},"required":["workflow"],"additionalProperties":false}`,
			false, false, tool(s.submitTool)},
		{"run_wait", "Stays with a run until it has ended or needs somebody, and returns its result.", `{"type":"object","properties":{` + runProperty +
			`,"seconds":{"type":"number","minimum":0,"description":"How long at most; none: as long as it takes."}},"required":["run"],"additionalProperties":false}`,
			true, false, s.waitTool},
		{"run_status", "Says where a run and its tasks stand, what it waits for, and what it came to.",
			`{"type":"object","properties":{` + runProperty + `},"required":["run"],"additionalProperties":false}`, true, false, tool(s.statusTool)},
		{"run_history", "Tells all that happened to a run.",
			`{"type":"object","properties":{` + runProperty + `},"required":["run"],"additionalProperties":false}`, true, false, tool(s.historyTool)},
		{"run_list", "Lists runs, the newest first.", `{"type":"object","properties":{` +
			`"status":{"type":"array","items":{"enum":["pending","running","waiting","paused","parked","completed","failed","cancelled","timed_out"]}},` +
			`"name":{"type":"string","description":"The workflow's name."},"limit":{"type":"integer","minimum":1,"maximum":1000,"default":50},` +
			`"before":{"type":"integer","description":"Runs with a smaller number only."}},"additionalProperties":false}`, true, false, tool(s.listTool)},
		{"run_cancel", "Ends a run early.",
			`{"type":"object","properties":{` + runProperty + `},"required":["run"],"additionalProperties":false}`, false, true, tool(s.cancelTool)},
		{"run_decide", "Approves or rejects what a task of a run asks, or answers its question. Only a person may decide: ask first.",
			`{"type":"object","properties":{` + runProperty + `,"task":{"type":"string","description":"The task that asks; needed when several do."},` +
				`"approved":{"type":"boolean"},"comment":{"type":"string"},` +
				`"data":{"type":"object","description":"The answer to a question, field by field."}},"required":["run","approved"],"additionalProperties":false}`,
			false, true, tool(s.decideTool)},
		{"run_signal", "Sends a run a signal that a task of it waits for, or will.",
			`{"type":"object","properties":{` + runProperty + `,"name":{"type":"string"},"data":{"description":"Any JSON.","anyOf":[{"type":"object"},{"type":"array"},{"type":"string"},{"type":"number"},{"type":"boolean"},{"type":"null"}]}},"required":["run","name"],"additionalProperties":false}`,
			false, true, tool(s.signalTool)},
	}
}

func (s *session) addRunTools() {
	closed := false
	for _, t := range s.runTools() {
		notes := &sdk.ToolAnnotations{ReadOnlyHint: t.looks, OpenWorldHint: &closed, DestructiveHint: &t.ends}
		s.sdk.AddTool(&sdk.Tool{Name: t.name, Description: t.description, InputSchema: json.RawMessage(t.schema), Annotations: notes}, t.call)
	}
}

// tool makes a handler of a function with types.
func tool[P any](f func(ctx context.Context, req *sdk.CallToolRequest, p P) (*sdk.CallToolResult, error)) sdk.ToolHandler {
	return func(ctx context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		var p P
		if err := read(req.Params.Arguments, &p); err != nil {
			return said("the arguments: %v", err), nil
		}
		r, err := f(ctx, req, p)
		if err != nil {
			return failed(err), nil
		}
		return r, nil
	}
}

type submitArguments struct {
	Workflow string                     `json:"workflow"`
	Inputs   map[string]json.RawMessage `json:"inputs"`
	Files    map[string]string          `json:"files"`
	ID       string                     `json:"id"`
	Key      string                     `json:"idempotency_key"`
}

func (s *session) submitTool(ctx context.Context, req *sdk.CallToolRequest, p submitArguments) (*sdk.CallToolResult, error) {
	files := map[string][]byte{}
	for name, text := range p.Files {
		files[name] = []byte(text)
	}
	if p.Key == "" {
		p.Key = keyOf(req.Params.Meta)
	}
	var r server.SubmitResult
	err := s.store.Call(ctx, server.WorkflowSubmit, server.SubmitParams{Workflow: p.Workflow, Inputs: p.Inputs, Files: files, ID: p.ID, Key: p.Key,
		By: s.by(req.Session)}, &r)
	if err != nil {
		return nil, err
	}
	was := "submitted"
	if r.Before {
		was = "was submitted before"
	}
	result := plain(r, "run %s %s; call run_wait with %s for its result", r.ID, was, arguments("run", r.ID))
	return about(result, r.ID, string(replay.Pending)), nil
}

// runArguments name a run.
type runArguments struct {
	Run string `json:"run"`
}

type waitArguments struct {
	runArguments
	Seconds float64 `json:"seconds"`
}

func (s *session) waitTool(ctx context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	if req.Params.RequestState != "" {
		return s.goOn(ctx, req)
	}
	var p waitArguments
	if err := read(req.Params.Arguments, &p); err != nil {
		return said("the arguments: %v", err), nil
	}
	if p.Run == "" {
		return said("the arguments: run is missing"), nil
	}
	v, err := s.run(ctx, p.Run, false)
	if err != nil {
		return failed(err), nil
	}
	wait := s.wait
	if p.Seconds > 0 {
		wait = time.Duration(min(p.Seconds, 24*3600) * float64(time.Second))
	}
	return s.attend(ctx, req, v.ID, wait, newAsking())
}

func (s *session) statusTool(ctx context.Context, _ *sdk.CallToolRequest, p runArguments) (*sdk.CallToolResult, error) {
	v, err := s.run(ctx, p.Run, true)
	if err != nil {
		return nil, err
	}
	text := ""
	switch {
	case v.Status == replay.Completed:
		text = fmt.Sprintf("run %s completed.\n%s", v.ID, resultText(v))
	case v.Status.Ended():
		text = failure(v)
	default:
		if text, err = s.describe(ctx, v); err != nil {
			return nil, err
		}
	}
	for _, t := range v.Tasks {
		text += fmt.Sprintf("\n- %s: %s", t.ID, t.Status)
	}
	return about(plain(v, "%s", text), v.ID, string(v.Status)), nil
}

func (s *session) historyTool(ctx context.Context, _ *sdk.CallToolRequest, p runArguments) (*sdk.CallToolResult, error) {
	id, text, err := s.history(ctx, p.Run)
	if err != nil {
		return nil, err
	}
	return plain(nil, "%s", "run "+id+"\n"+text), nil
}

// history is all that happened to a run, a line for each event.
func (s *session) history(ctx context.Context, id string) (full, text string, err error) {
	var r server.HistoryResult
	if err := s.store.Call(ctx, server.WorkflowHistory, server.RunParams{ID: id}, &r); err != nil {
		return "", "", err
	}
	var lines []string
	for _, e := range r.Entries {
		about := ""
		if e.Task != "" {
			about = e.Task + ": "
		}
		lines = append(lines, e.Time.UTC().Format("2006-01-02T15:04:05.000Z")+" "+about+e.Text)
	}
	return r.ID, strings.Join(lines, "\n"), nil
}

type listArguments struct {
	Status []replay.Status `json:"status"`
	Name   string          `json:"name"`
	Limit  int             `json:"limit"`
	Before uint64          `json:"before"`
}

func (s *session) listTool(ctx context.Context, _ *sdk.CallToolRequest, p listArguments) (*sdk.CallToolResult, error) {
	var r server.ListResult
	err := s.store.Call(ctx, server.WorkflowList, server.ListParams{Status: p.Status, Name: p.Name, Limit: p.Limit, Before: p.Before}, &r)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, v := range r.Runs {
		lines = append(lines, fmt.Sprintf("%s: %s (%s, submitted %s)", v.ID, v.Status, v.Name, v.Submitted.UTC().Format(time.RFC3339)))
	}
	if r.Next != 0 {
		lines = append(lines, fmt.Sprintf("More: run_list with %s", arguments("before", r.Next)))
	}
	if len(lines) == 0 {
		lines = []string{"There is no such run."}
	}
	return plain(r, "%s", strings.Join(lines, "\n")), nil
}

func (s *session) cancelTool(ctx context.Context, req *sdk.CallToolRequest, p runArguments) (*sdk.CallToolResult, error) {
	var r server.RunResult
	if err := s.store.Call(ctx, server.WorkflowCancel, server.CancelParams{ID: p.Run, By: s.by(req.Session)}, &r); err != nil {
		return nil, err
	}
	return plain(r, "run %s is being cancelled", r.ID), nil
}

type decideArguments struct {
	runArguments
	Task     string          `json:"task"`
	Approved bool            `json:"approved"`
	Comment  string          `json:"comment"`
	Data     json.RawMessage `json:"data"`
}

func (s *session) decideTool(ctx context.Context, req *sdk.CallToolRequest, p decideArguments) (*sdk.CallToolResult, error) {
	var r server.RunResult
	err := s.store.Call(ctx, server.ApprovalDecide, server.ApprovalParams{ID: p.Run, Task: p.Task, Approved: p.Approved, Comment: p.Comment, Data: p.Data,
		By: s.by(req.Session)}, &r)
	if err != nil {
		return nil, err
	}
	return plain(r, "decided; call run_wait with %s for the result", arguments("run", r.ID)), nil
}

type signalArguments struct {
	runArguments
	Name string          `json:"name"`
	Data json.RawMessage `json:"data"`
}

func (s *session) signalTool(ctx context.Context, req *sdk.CallToolRequest, p signalArguments) (*sdk.CallToolResult, error) {
	var r server.RunResult
	err := s.store.Call(ctx, server.SignalSend, server.SignalParams{ID: p.Run, Name: p.Name, Data: p.Data, By: s.by(req.Session)}, &r)
	if err != nil {
		return nil, err
	}
	return plain(r, "the run %s has the signal", r.ID), nil
}

// plain is a result in words, and as data unless that is nil.
func plain(data any, format string, args ...any) *sdk.CallToolResult {
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: fmt.Sprintf(format, args...)}}, StructuredContent: data}
}
