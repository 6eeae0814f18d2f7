package server

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file has the events of the first gleitzeit, which spoke nothing but
// Socket.IO. Each is one of the methods; what it said then and never did, such
// as that a workflow has ended, is said.

// originals are its events that clients sent.
var originals = map[string]func(*ioSocket, *Call) (any, error){
	"submit_workflow":      (*ioSocket).submitWorkflow,
	"submit_task":          (*ioSocket).submitTask,
	"get_workflow_status":  ofWorkflow(WorkflowStatus, func(id string) any { return RunParams{ID: id} }),
	"get_workflow_results": ofWorkflow(WorkflowGet, func(id string) any { return GetParams{ID: id, Values: true} }),
	"cancel_workflow":      ofWorkflow(WorkflowCancel, func(id string) any { return CancelParams{ID: id} }),
	"list_workflows":       renamed(WorkflowList),
	"list_providers":       renamed(ProviderList),
	"list_protocols":       renamed(ProtocolList),
	"get_protocol_methods": (*ioSocket).protocolMethods,
	"register_protocol":    (*ioSocket).registerProtocol,
	"register_provider":    (*ioSocket).registerProvider,
	"provider_request":     (*ioSocket).providerRequest,
	"register_engine":      (*ioSocket).noEngines,
	"request_task":         (*ioSocket).noEngines,
	"task_completed":       (*ioSocket).noEngines,
}

// renamed is a method under an older name.
func renamed(name string) func(*ioSocket, *Call) (any, error) {
	return func(l *ioSocket, c *Call) (any, error) {
		return l.server.handle(context.Background(), request{method: name}, c)
	}
}

// call calls a method with params that are read already.
func (l *ioSocket) call(name string, c *Call, given any) (any, error) {
	c.given = given
	return l.server.handle(context.Background(), request{method: name}, c)
}

// readOld reads what an older event brings.
func readOld(c *Call, to any) error {
	if err := readParams(c.Params, !c.Peer.trusted, to); err != nil {
		return protocols.Errorf(protocols.InvalidParams, "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// ofWorkflow is a method of one run.
func ofWorkflow(name string, params func(id string) any) func(*ioSocket, *Call) (any, error) {
	return func(l *ioSocket, c *Call) (any, error) {
		var p struct {
			WorkflowID string `json:"workflow_id"`
		}
		if err := readOld(c, &p); err != nil {
			return nil, err
		}
		return l.call(name, c, params(p.WorkflowID))
	}
}

func (l *ioSocket) protocolMethods(c *Call) (any, error) {
	var p struct {
		ProtocolID string `json:"protocol_id"`
	}
	if err := readOld(c, &p); err != nil {
		return nil, err
	}
	return l.call(ProtocolGet, c, ProtocolParams{Protocol: p.ProtocolID})
}

// submitWorkflow submits a workflow, whose results come as events.
func (l *ioSocket) submitWorkflow(c *Call) (any, error) {
	var p struct {
		Workflow json.RawMessage            `json:"workflow"` // a document, or the text of its file
		Inputs   map[string]json.RawMessage `json:"inputs,omitempty"`
		Env      map[string]string          `json:"env,omitempty"`
		Files    map[string][]byte          `json:"files,omitempty"`
		Key      string                     `json:"key,omitempty"`
	}
	if err := readOld(c, &p); err != nil {
		return nil, err
	}
	text := string(p.Workflow)
	isA(p.Workflow, &text)
	view, err := l.submitAndTell(c, SubmitParams{Workflow: text, Inputs: p.Inputs, Env: p.Env, Files: p.Files, Key: p.Key})
	if err != nil {
		return nil, err
	}
	return l.confirm(c, "workflow_submitted", map[string]any{"workflow_id": view.ID, "task_count": len(view.Tasks),
		"message": fmt.Sprintf("Workflow %s submitted", view.ID)}), nil
}

// submitTask submits a workflow of one task.
func (l *ioSocket) submitTask(c *Call) (any, error) {
	var p struct {
		Task map[string]json.RawMessage `json:"task"`
		Key  string                     `json:"key,omitempty"`
	}
	if err := readOld(c, &p); err != nil {
		return nil, err
	}
	delete(p.Task, "workflow_id") // it gets one
	name := "task"
	isA(p.Task["name"], &name)
	text, _ := json.Marshal(map[string]any{"name": name, "tasks": []any{p.Task}}) // which came as JSON
	view, err := l.submitAndTell(c, SubmitParams{Workflow: string(text), Key: p.Key})
	if err != nil {
		return nil, err
	}
	return l.confirm(c, "task_submitted", map[string]any{"task_id": view.Tasks[0].ID, "workflow_id": view.ID,
		"message": fmt.Sprintf("Task %s submitted", view.Tasks[0].ID)}), nil
}

// confirm has an event follow the acknowledgement, before those of the run.
func (l *ioSocket) confirm(c *Call, event string, result any) any {
	c.after = append([]func(){func() { l.socket.Emit(event, result) }}, c.after...)
	return result
}

// submitAndTell submits a run and subscribes to its story.
func (l *ioSocket) submitAndTell(c *Call, p SubmitParams) (*replay.RunView, error) {
	made, err := l.call(WorkflowSubmit, c, p)
	if err != nil {
		return nil, err
	}
	id := made.(SubmitResult).ID
	view, err := within[*replay.RunView](context.Background(), l.server, WorkflowGet, GetParams{ID: id})
	if err != nil {
		return nil, err
	}
	followed, err := l.call(LogFollow, c, FollowParams{ID: id})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stories[followed.(FollowResult).Subscription] = id
	return view, nil
}

// story returns the run that a subscription tells as the original did, "" if it
// doesn't.
func (l *ioSocket) story(subscription uint64) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stories[subscription]
}

func (l *ioSocket) endStory(end End) error {
	l.mu.Lock()
	run := l.stories[end.Subscription]
	delete(l.stories, end.Subscription)
	l.mu.Unlock()
	if end.Error != nil {
		return l.socket.Emit("error", map[string]any{"workflow_id": run, "message": end.Error.Message, "code": end.Error.Code})
	}
	return nil
}

// oldResult is the outcome of a task as the original told it.
type oldResult struct {
	TaskID     string           `json:"task_id"`
	WorkflowID string           `json:"workflow_id"`
	Status     string           `json:"status"`
	Result     json.RawMessage  `json:"result,omitempty"`
	Error      *protocols.Error `json:"error,omitempty"`
}

// tell tells what happened in the original's words, if it had any.
func (l *ioSocket) tell(ctx context.Context, run string, e replay.Entry) error {
	result := oldResult{TaskID: e.Task, WorkflowID: run}
	switch v := e.Event.(type) {
	case *replay.WorkflowSubmitted:
		return l.socket.Emit("workflow_started", map[string]any{"workflow_id": run, "task_count": len(v.Plan().Workflow.Tasks)})
	case *replay.TaskCompleted:
		task, err := within[*replay.TaskView](ctx, l.server, TaskGet, TaskParams{ID: run, Task: e.Task})
		if err != nil {
			return err
		}
		result.Status, result.Result = "completed", task.Result
	case *replay.TaskFailed:
		result.Status, result.Error = "failed", v.Error
	case *replay.WorkflowEnded:
		return l.tellEnd(ctx, e.Type, run, v)
	default:
		return nil
	}
	return l.socket.Emit("task_result", result)
}

// tellEnd tells of a run's end, with all results.
func (l *ioSocket) tellEnd(ctx context.Context, event, run string, ended *replay.WorkflowEnded) error {
	view, err := within[*replay.RunView](ctx, l.server, WorkflowGet, GetParams{ID: run, Values: true})
	if err != nil {
		return err
	}
	results := map[string]json.RawMessage{}
	for _, t := range view.Tasks {
		if t.Result != nil {
			results[t.ID] = t.Result
		}
	}
	return l.socket.Emit(strings.Replace(event, ".", "_", 1), map[string]any{"workflow_id": run, "status": ended.Status,
		"results": results, "outputs": view.Outputs, "error": ended.Error})
}
