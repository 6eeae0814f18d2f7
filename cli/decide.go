package cli

import (
	"context"
	"fmt"
	"strings"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/replay"
)

// This file decides what tasks of wait/approval ask for, and answers what
// running tasks ask.

// decision is what approve and reject take.
type decision struct {
	ID      string `arg:"" help:"${id}"`
	Task    string `arg:"" optional:"" help:"The task that asks; needed when several do."`
	Comment string `placeholder:"TEXT" help:"Why; it is kept in the history."`
}

// approveCmd approves.
type approveCmd struct {
	decision
	Field map[string]string `short:"f" placeholder:"NAME=VALUE" mapsep:"none" help:"A field of the answer to what a running task asks; repeatable."`
	Data  string            `placeholder:"JSON" help:"The answer as a whole: JSON, @FILE, or - for standard input."`
}

// Help shows how it is used.
func (approveCmd) Help() string {
	return `The task completes, with who approved, when, and the comment as its result. It works
whether anybody runs the run or not.

What a running task asks, such as an MCP server that wants to know something, is
answered with fields: status shows which. An answer that doesn't fit is refused.

Examples:

	gleitzeit approve release-7
	gleitzeit approve @last deploy --comment 'go ahead'
	gleitzeit approve trip-7 book -f city=Ulm -f nights=2`
}

// Run does it.
func (c *approveCmd) Run(s *session) error {
	data, err := readData(s.env, c.Data)
	if err != nil {
		return usage(err)
	}
	return c.decide(s, server.ApprovalParams{Approved: true, Data: data, Fields: c.Field})
}

// rejectCmd rejects.
type rejectCmd struct{ decision }

// Help shows how it is used.
func (rejectCmd) Help() string {
	return `The task fails, and is not tried again. It works whether anybody runs the run or not.
What a running task asks is declined; the task goes on, and makes of it what it will.

Examples:

	gleitzeit reject release-7
	gleitzeit reject @last deploy --comment 'not on a Friday'`
}

// Run does it.
func (c *rejectCmd) Run(s *session) error { return c.decide(s, server.ApprovalParams{}) }

func (d *decision) decide(s *session, p server.ApprovalParams) error {
	return s.act(d.ID, func(ctx context.Context, store *client.Client, id string) (err error) {
		p.ID, p.Comment, p.By = id, d.Comment, s.env.user()
		if p.Task, p.Question, err = d.asked(ctx, store, id); err != nil {
			return err
		}
		return store.Call(ctx, server.ApprovalDecide, p, nil)
	})
}

// asked is the task that the decision is about, and its question if it runs.
// They are always named to the server: should the call have to be repeated, it
// can't decide what is asked by then.
func (d *decision) asked(ctx context.Context, store *client.Client, id string) (task, question string, err error) {
	v, err := getRun(ctx, store, id, false)
	if err != nil {
		return "", "", err
	}
	asking := tasksThatAsk(v)
	if d.Task == "" && len(asking) > 1 {
		var names []string
		for _, t := range asking {
			names = append(names, t.ID)
		}
		return "", "", usage(fmt.Errorf("several tasks of %s wait for an approval: name one of %s", v.ID, strings.Join(names, ", ")))
	}
	for _, t := range asking {
		if (d.Task == "" || d.Task == t.ID || d.Task == t.Name) && t.Question != nil {
			return t.ID, t.Question.ID, nil
		} else if d.Task == "" {
			return t.ID, "", nil
		}
	}
	return d.Task, "", nil
}

// tasksThatAsk are the tasks that wait for a person's decision.
func tasksThatAsk(v *replay.RunView) (asking []replay.TaskView) {
	for _, t := range v.Tasks {
		if t.WaitsFor == "approval" || t.Question != nil {
			asking = append(asking, t)
		}
	}
	return asking
}
