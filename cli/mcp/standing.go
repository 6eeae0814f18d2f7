package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/replay"
)

// This file says where a run stands that has not ended, and by which tools it
// goes on.

// why is why a call ends before its run.
type why int

const (
	goesOn        why = iota // the call's time is over
	needsSomebody            // nothing happens by itself any more
)

// standing is the result of a call whose run has not ended. It is no error.
func (a *attendance) standing(ctx context.Context, because why) (*sdk.CallToolResult, error) {
	v, err := a.run(ctx, a.id, false)
	if err == nil && v.Status.Ended() {
		return a.over(ctx, nil)
	}
	if err != nil {
		return failed(err), nil
	}
	text, err := a.describe(ctx, v)
	if err != nil {
		return failed(err), nil
	}
	text += "."
	if because == goesOn {
		text += "\nThe run goes on. To stay with it, call run_wait with " + arguments("run", v.ID) + "."
	} else {
		text += "\nAfter that, call run_wait with " + arguments("run", v.ID) + " for the result."
	}
	return about(&sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}}, v.ID, string(v.Status)), nil
}

// describe says where a run stands, and what it needs.
func (s *session) describe(ctx context.Context, v *replay.RunView) (string, error) {
	text := fmt.Sprintf("run %s is %s: %d of %d tasks have completed", v.ID, v.Status, v.Counts.Completed, v.Counts.Total)
	if v.Status == replay.Paused || v.Status == replay.Parked || v.WaitsFor == "process" {
		text += ". " + v.Reason
	}
	needs, err := s.needs(ctx, v)
	return text + needs, err
}

// mostNeeds is how many things that a run needs are told one by one.
const mostNeeds = 10

// needs lists what the tasks of a run wait for, a line for each.
func (s *session) needs(ctx context.Context, v *replay.RunView) (text string, err error) {
	told := 0
	for _, t := range v.Tasks {
		line := needOf(v.ID, t)
		if t.WaitsFor == "run" && t.ChildRun != "" {
			child, err := s.run(ctx, t.ChildRun, false)
			if err != nil {
				return "", err
			}
			if line, err = s.needs(ctx, child); err != nil {
				return "", err
			}
		}
		if line == "" {
			continue
		}
		if told++; told > mostNeeds {
			return text + ".\nAnd more: see run_status", nil
		}
		text += line
	}
	return text, nil
}

// needOf says what a task waits for, and the tool that gives it that, "" if it
// waits for nothing, or time ends it.
func needOf(run string, t replay.TaskView) string {
	begin := ".\ntask " + t.ID + " "
	switch q := t.Question; {
	case q != nil && len(q.Fields) > 0:
		return begin + "asks: " + q.Message + "; answer by run_decide with " +
			arguments("run", run, "task", t.ID, "approved", true, "data", json.RawMessage(`{"`+strings.Join(q.Fields, `": …, "`)+`": …}`))
	case q != nil:
		return begin + "asks: " + q.Message + "; answer by run_decide with " + arguments("run", run, "task", t.ID, "approved", true)
	case t.WaitsFor == "approval":
		return begin + "waits for " + reasonOf(t.Reason) + "; decide it by run_decide with " + arguments("run", run, "task", t.ID, "approved", true)
	case t.WaitsFor == "signal":
		name, err := strconv.QuotedPrefix(strings.TrimPrefix(t.Reason, "the signal "))
		if err == nil {
			name, _ = strconv.Unquote(name)
		}
		return begin + "waits for " + reasonOf(t.Reason) + "; send it by run_signal with " + arguments("run", run, "name", name, "data", nil)
	case t.WaitsFor == "answer" || t.WaitsFor == "secret":
		return begin + "waits for " + t.Reason
	}
	return ""
}

// reasonOf is a reason without the command that goes on.
func reasonOf(reason string) string {
	reason, _, _ = strings.Cut(reason, ": gleitzeit ")
	return reason
}

// arguments writes arguments of a tool.
func arguments(pairs ...any) string {
	var parts []string
	for i := 0; i < len(pairs); i += 2 {
		text, ok := pairs[i+1].(json.RawMessage)
		if !ok {
			text, _ = json.Marshal(pairs[i+1])
		}
		parts = append(parts, fmt.Sprintf("%q: %s", pairs[i], text))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
