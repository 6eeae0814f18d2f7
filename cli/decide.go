package cli

import (
	"context"
	"fmt"
	"strings"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/replay"
)

// This file decides what tasks of wait/approval ask for.

// decision is what approve and reject take.
type decision struct {
	ID      string `arg:"" help:"${id}"`
	Task    string `arg:"" optional:"" help:"The task that asks; needed when several do."`
	Comment string `placeholder:"TEXT" help:"Why; it is kept in the history."`
}

// approveCmd approves.
type approveCmd struct{ decision }

// Help shows how it is used.
func (approveCmd) Help() string {
	return `The task completes, with who approved, when, and the comment as its result. It works
whether anybody runs the run or not.

Examples:

	gleitzeit approve release-7
	gleitzeit approve @last deploy --comment 'go ahead'`
}

// Run does it.
func (c *approveCmd) Run(s *session) error { return c.decide(s, true) }

// rejectCmd rejects.
type rejectCmd struct{ decision }

// Help shows how it is used.
func (rejectCmd) Help() string {
	return `The task fails, and is not tried again. It works whether anybody runs the run or not.

Examples:

	gleitzeit reject release-7
	gleitzeit reject @last deploy --comment 'not on a Friday'`
}

// Run does it.
func (c *rejectCmd) Run(s *session) error { return c.decide(s, false) }

func (d *decision) decide(s *session, approved bool) error {
	return s.act(d.ID, func(ctx context.Context, store *client.Client, id string) error {
		task, err := d.asked(ctx, store, id)
		if err != nil {
			return err
		}
		p := server.ApprovalParams{ID: id, Task: task, Approved: approved, Comment: d.Comment, By: s.env.user()}
		return store.Call(ctx, server.ApprovalDecide, p, nil)
	})
}

// asked is the task that the decision is about. It is always named to the
// server: should the call have to be repeated, it can't decide what another
// task asks by then.
func (d *decision) asked(ctx context.Context, store *client.Client, id string) (string, error) {
	if d.Task != "" {
		return d.Task, nil
	}
	v, err := getRun(ctx, store, id, false)
	if err != nil {
		return "", err
	}
	asking := tasksThatWait(v, "approval")
	if len(asking) > 1 {
		return "", usage(fmt.Errorf("several tasks of %s wait for an approval: name one of %s", v.ID, strings.Join(asking, ", ")))
	}
	return strings.Join(asking, ""), nil
}

// tasksThatWait are the tasks that wait for that kind of thing.
func tasksThatWait(v *replay.RunView, kind string) (ids []string) {
	for _, t := range v.Tasks {
		if t.WaitsFor == kind {
			ids = append(ids, t.ID)
		}
	}
	return ids
}
