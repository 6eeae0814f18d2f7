package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
)

// submitCmd hands a workflow to the server and leaves.
type submitCmd struct {
	submitting
}

// submitting is what a run is submitted with.
type submitting struct {
	File       string   `arg:"" help:"The workflow file, YAML or JSON; - is standard input."`
	Input      []string `short:"i" sep:"none" placeholder:"NAME=VALUE" help:"A value for one of the workflow's inputs."`
	InputsJSON string   `name:"inputs-json" placeholder:"FILE" help:"A file with a JSON object of inputs; - is standard input."`
	ID         given    `placeholder:"ID" help:"The run's id, instead of one that is made of the name and a number."`
	Key        given    `name:"idempotency-key" placeholder:"KEY" help:"Submit only once: the run that the key stands for already is meant instead."`
	Priority   string   `enum:"low,normal,high,urgent" default:"normal" help:"Which of several runs goes first: low, normal, high or urgent."`
	Queue      given    `placeholder:"NAME" help:"The queue of the configuration in which the run waits for slots."`
}

// submission makes what is submitted.
func (r *submitting) submission(s *session) (*server.SubmitParams, *config, error) {
	p, c, err := s.submission(r.File, wishes{inputs: r.Input, inputsJSON: r.InputsJSON, priority: r.Priority})
	if err != nil {
		return nil, nil, err
	}
	if p.Secrets, err = s.secretsFor(c, p); err != nil {
		return nil, nil, err
	}
	p.ID, p.Key, p.Queue = string(r.ID), string(r.Key), string(r.Queue)
	return p, c, nil
}

// Help shows how it is used.
func (submitCmd) Help() string {
	return `It prints the run's id and doesn't wait: the server carries the run out. Without a
server nobody would; see gleitzeit dev start, or gleitzeit run, which needs none.

Examples:

	gleitzeit workflow submit report.yaml
	gleitzeit workflow submit report.yaml -i topic=whales --priority high
	gleitzeit workflow submit report.yaml --idempotency-key may -o json`
}

// Run does it.
func (r *submitCmd) Run(s *session) error {
	p, c, err := r.submission(s)
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	return s.use(ctx, c, looks, func(store *client.Client) error {
		var hello server.HelloResult
		if err := store.Call(ctx, server.SystemHello, server.HelloParams{}, &hello); err != nil {
			return err
		}
		if !hello.Server {
			return &exit{exitUnreachable, errors.New("no server runs for the store " + c.Store +
				": start one with gleitzeit dev start, or use gleitzeit run, which needs none")}
		}
		var started server.SubmitResult
		if err := store.Call(ctx, server.WorkflowSubmit, p, &started); err != nil {
			return err
		}
		return s.print.show(started, func(w io.Writer) { fmt.Fprintln(w, started.ID) })
	})
}

// endOfLog is where to follow all runs from, after all that there is.
func endOfLog(ctx context.Context, store *client.Client) (from client.Follower, err error) {
	var status server.StatusResult
	err = store.Call(ctx, server.SystemStatus, nil, &status)
	if status.Cursor == "" {
		from.From = status.Last + 1
	}
	from.Cursor = status.Cursor
	return from, err
}
