package mcp

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file shows runs as resources:
//
//	gleitzeit://runs/ID              the run with its tasks, as JSON
//	gleitzeit://runs/ID/history      all that happened to it, as text
//	gleitzeit://runs/ID/tasks/TASK   a task with its result in full, as JSON

const runsAt = "gleitzeit://runs/"

func (s *session) addResources() {
	for _, t := range []sdk.ResourceTemplate{
		{Name: "run", Title: "A run", URITemplate: runsAt + "{run}", MIMEType: "application/json", Description: "A run with its tasks and results."},
		{Name: "history", Title: "A run's history", URITemplate: runsAt + "{run}/history", MIMEType: "text/plain", Description: "All that happened to a run, a line for each event."},
		{Name: "task", Title: "A task of a run", URITemplate: runsAt + "{run}/tasks/{task}", MIMEType: "application/json", Description: "A task of a run, with its result in full."},
	} {
		s.sdk.AddResourceTemplate(&t, s.readResource)
	}
}

// address is what a resource's address says.
type address struct {
	run, part, task string
}

func parseAddress(uri string) (a address, ok bool) {
	rest, ok := strings.CutPrefix(uri, runsAt)
	parts := strings.Split(rest, "/")
	for i := range parts {
		text, err := url.PathUnescape(parts[i])
		ok = ok && err == nil && text != ""
		parts[i] = text
	}
	switch {
	case !ok:
	case len(parts) == 1:
		return address{run: parts[0]}, true
	case len(parts) == 2 && parts[1] == "history":
		return address{run: parts[0], part: "history"}, true
	case len(parts) == 3 && parts[1] == "tasks":
		return address{run: parts[0], part: "task", task: parts[2]}, true
	}
	return a, false
}

func addressOf(run string) string { return runsAt + url.PathEscape(run) }

// readResource reads a resource.
func (s *session) readResource(ctx context.Context, req *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
	uri := req.Params.URI
	a, ok := parseAddress(uri)
	if !ok {
		return nil, sdk.ResourceNotFoundError(uri)
	}
	var text, kind string
	var err error
	switch a.part {
	case "history":
		_, text, err = s.history(ctx, a.run)
		kind = "text/plain"
	case "task":
		text, err = s.asJSON(ctx, server.TaskGet, server.TaskParams{ID: a.run, Task: a.task})
		kind = "application/json"
	default:
		text, err = s.asJSON(ctx, server.WorkflowGet, server.GetParams{ID: a.run, Values: true})
		kind = "application/json"
	}
	if isCode(err, protocols.WorkflowNotFound) || isCode(err, protocols.TaskNotFound) {
		return nil, sdk.ResourceNotFoundError(uri)
	}
	if err != nil {
		return nil, err
	}
	return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{{URI: uri, MIMEType: kind, Text: text}}}, nil
}

// asJSON is a method's answer for people.
func (s *session) asJSON(ctx context.Context, method string, params any) (string, error) {
	var raw json.RawMessage
	if err := s.store.Call(ctx, method, params, &raw); err != nil {
		return "", err
	}
	return replay.Text(raw), nil
}

// pageOfRuns is how many runs a page of the resources has.
const pageOfRuns = 50

// listResources lists the runs, the newest first, by pages.
func (s *session) listResources(ctx context.Context, req *sdk.ListResourcesRequest) (*sdk.ListResourcesResult, error) {
	p := server.ListParams{Limit: pageOfRuns}
	if req.Params != nil && req.Params.Cursor != "" {
		before, err := strconv.ParseUint(req.Params.Cursor, 10, 64)
		if err != nil {
			return nil, badCursor
		}
		p.Before = before
	}
	var r server.ListResult
	if err := s.store.Call(ctx, server.WorkflowList, p, &r); err != nil {
		return nil, err
	}
	list := &sdk.ListResourcesResult{Resources: []*sdk.Resource{}}
	list.CacheScope = "private"
	for _, v := range r.Runs {
		list.Resources = append(list.Resources, &sdk.Resource{URI: addressOf(v.ID), Name: v.ID, Title: v.Name + " (" + string(v.Status) + ")",
			MIMEType: "application/json", Description: "A run of the workflow " + v.Name + "."})
	}
	if r.Next != 0 {
		list.NextCursor = strconv.FormatUint(r.Next, 10)
	}
	return list, nil
}

// mostCompletions is how many runs are proposed.
const mostCompletions = 100

// complete proposes the ids of runs, the newest first.
func (s *session) complete(ctx context.Context, req *sdk.CompleteRequest) (*sdk.CompleteResult, error) {
	result := &sdk.CompleteResult{Completion: sdk.CompletionResultDetails{Values: []string{}}}
	if req.Params.Argument.Name != "run" {
		return result, nil
	}
	var r server.ListResult
	if err := s.store.Call(ctx, server.WorkflowList, server.ListParams{Limit: 1000}, &r); err != nil {
		return nil, err
	}
	for _, v := range r.Runs {
		if strings.HasPrefix(v.ID, req.Params.Argument.Value) && len(result.Completion.Values) < mostCompletions {
			result.Completion.Values = append(result.Completion.Values, v.ID)
		}
	}
	return result, nil
}
