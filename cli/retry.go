package cli

import (
	"context"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
)

// This file lets a run go on that has ended.

// retryCmd tries again what failed.
type retryCmd struct {
	ID   string   `arg:"" help:"${id}"`
	Task []string `sep:"none" placeholder:"TASK" help:"Try this task again, even if it completed; of those that failed only the named ones."`
	From []string `sep:"none" placeholder:"TASK" help:"Try this task and all that depend on it again, even if they completed."`
	grant
	patience
}

// Help shows how it is used.
func (retryCmd) Help() string {
	return `The same run goes on: tasks that failed, and those that were cancelled or skipped
because of that, are tried again; what completed is kept and not done twice. Attempts go
on counting, and retry's max_attempts begins anew. Of a foreach only the items that
didn't complete are tried again. A run that failed because a budget is used up needs
more of it: --tokens or --usd. Hooks run again when the run ends anew, and its timeout
begins anew.

A run that completed can't be retried, nor one that has not ended (see: gleitzeit resume).

Examples:

	gleitzeit workflow retry @last
	gleitzeit workflow retry report-7 --task upload
	gleitzeit workflow retry report-7 --from summary

Exit codes are those of run.`
}

// Run does it.
func (r *retryCmd) Run(s *session) error {
	if err := s.refuseMock(); err != nil {
		return err
	}
	c, err := s.config("")
	if err != nil {
		return err
	}
	return s.carry(c, r.patience, func(ctx context.Context, store *client.Client) (errand, error) {
		v, err := getRun(ctx, store, r.ID, false)
		if err != nil {
			return errand{}, err
		}
		from, err := endOfHistory(ctx, store, v.ID)
		if err != nil {
			return errand{}, err
		}
		secrets, err := s.needed(ctx, c, store, v.ID)
		if err != nil {
			return errand{}, err
		}
		p := server.RetryParams{ID: v.ID, Tasks: r.Task, From: r.From, By: s.env.user(), Grant: server.Grant(r.grant), Secrets: secrets}
		if v.Status.Ended() {
			p.End = from - 1
		}
		return errand{ids: []string{v.ID}, from: map[string]eventlog.Seq{v.ID: from}}, store.Call(ctx, server.WorkflowRetry, p, nil)
	})
}
