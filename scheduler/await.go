package scheduler

import (
	"context"
	"encoding/json"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// waitParams are the parameters of wait/v1, as protocols/specs/wait.json has
// them.
type waitParams struct {
	Seconds  float64            `json:"seconds"`
	Duration protocols.Duration `json:"duration"`
	Until    string             `json:"until"`
	Name     string             `json:"name"`
	Timeout  protocols.Duration `json:"timeout"`
	Message  string             `json:"message"`
	Default  string             `json:"default"`
}

// await finds out what a task of wait/v1 waits for, and lets the loop know.
func (s *Scheduler) await(ctx context.Context, j job) error {
	var p waitParams
	if _, err := s.readParameters(j, &p); err != nil {
		return err
	}
	cmd, err := p.command(j)
	if err != nil {
		return err
	}
	return s.wish(ctx, j, cmd)
}

// readParameters fills in the task's parameters and reads them into to.
func (s *Scheduler) readParameters(j job, to any) (replay.Context, error) {
	c, err := s.context(j.context)
	if err != nil {
		return c, err
	}
	references, err := secretsOf(j.plan, j.plan.Workflow.SecretRefs, c.Inputs, c.Dir)
	if err != nil {
		return c, err
	}
	filled, err := s.parameters(j, c, opened{values: references}) // secrets are handed on as what they are known by
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(filled.Parameters, to); err != nil {
		return c, protocols.Errorf(protocols.TaskParameterError, "%v", err)
	}
	return c, nil
}

// wish sends home what a started task waits for, unless it was stopped.
func (s *Scheduler) wish(ctx context.Context, j job, cmd Command) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return s.send(context.Background(), request{command: cmd, act: func() { s.left(j) }})
}

// command makes the wish to wait of the parameters.
func (p waitParams) command(j job) (Await, error) {
	cmd := Await{Run: j.run, Task: j.task, Attempt: j.attempt}
	task := j.plan.Task(j.form)
	switch task.Method {
	case "wait/timer":
		cmd.Wait.Kind = replay.WaitTimer
		cmd.For = max(time.Duration(p.Duration), time.Duration(p.Seconds*float64(time.Second)), 1)
		if p.Until != "" {
			at, err := time.Parse(time.RFC3339, p.Until)
			if err != nil {
				return cmd, protocols.Errorf(protocols.TaskParameterError, "until: %q is not a time such as 2026-12-24T18:00:00Z", p.Until)
			}
			cmd.Wait.Until = at.UTC()
		}
	case "wait/signal":
		if len(p.Name) > eventlog.MaxName {
			return cmd, protocols.Errorf(protocols.TaskParameterError, "the signal's name has %d bytes, the limit is %d", len(p.Name), eventlog.MaxName)
		}
		cmd.Wait.Kind, cmd.Wait.Signal = replay.WaitSignal, p.Name
		cmd.For = limit(p.Timeout, task.Timeout)
	case "wait/approval":
		cmd.Wait.Kind, cmd.Wait.Message, cmd.Wait.Default = replay.WaitApproval, p.Message, p.Default
		cmd.For = limit(p.Timeout, task.Timeout)
	default:
		return cmd, protocols.Errorf(protocols.MethodNotFound, "wait/v1 has no method %q", task.Method)
	}
	return cmd, nil
}

// limit is how long to wait at most: the parameter, or else the task's timeout.
func limit(own, task protocols.Duration) time.Duration {
	if own > 0 {
		return time.Duration(own)
	}
	return time.Duration(task)
}
