package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/replay"
)

// This file lets runs rest, and go on again.

// pauseCmd pauses runs.
type pauseCmd struct {
	IDs []string `arg:"" name:"id" help:"${id}"`
}

// Help shows how it is used.
func (pauseCmd) Help() string {
	return `Nothing new of the run starts, what runs is let finish, and its clocks stand still: a
timer whose time comes waits, and the pause doesn't count toward the run's timeout.

Examples:

	gleitzeit workflow pause @last
	gleitzeit workflow pause report-7 report-8`
}

// Run does it.
func (c *pauseCmd) Run(s *session) error {
	return s.actOnAll(c.IDs, func(ctx context.Context, store *client.Client, id string) error {
		return store.Call(ctx, server.WorkflowPause, server.PauseParams{ID: id, By: s.env.user()}, nil)
	})
}

// unpauseCmd lets paused runs go on.
type unpauseCmd struct {
	IDs []string `arg:"" name:"id" help:"${id}"`
	grant
}

// grant is what a person adds to budgets.
type grant struct {
	Tokens int64   `placeholder:"N" help:"Tokens that the run may use beyond its budgets."`
	USD    float64 `name:"usd" placeholder:"N" help:"US dollars that it may spend beyond its budgets."`
}

// Validate refuses what is no sum of money.
func (g grant) Validate() error {
	if math.IsNaN(g.USD) || math.IsInf(g.USD, 0) {
		return fmt.Errorf("--usd: %v is no sum of money", g.USD)
	}
	return nil
}

// Help shows how it is used.
func (unpauseCmd) Help() string {
	return `A run that is paused because a budget is used up needs more of it: --tokens or --usd.

Examples:

	gleitzeit workflow unpause @last
	gleitzeit workflow unpause report-7 --tokens 20000
	gleitzeit workflow list --status paused
	gleitzeit workflow unpause report-7 report-8`
}

// Run does it.
func (c *unpauseCmd) Run(s *session) error {
	return s.actOnAll(c.IDs, func(ctx context.Context, store *client.Client, id string) error {
		p := server.UnpauseParams{ID: id, By: s.env.user(), Grant: server.Grant(c.grant)}
		return store.Call(ctx, server.WorkflowUnpause, p, nil)
	})
}

// actOnAll does something to each of several runs and shows how they stand
// then. What goes wrong with one doesn't keep the others from it.
func (s *session) actOnAll(ids []string, do func(context.Context, *client.Client, string) error) error {
	return s.wish(func(ctx context.Context, store *client.Client) error {
		var views []*replay.RunView
		var failed []error
		for _, id := range ids {
			v, err := s.acted(ctx, store, id, do)
			if err != nil {
				failed = append(failed, err)
				continue
			}
			views = append(views, v)
		}
		err := s.print.show(views, func(w io.Writer) {
			for _, v := range views {
				s.writeStand(w, v)
			}
		})
		return errors.Join(append(failed, err)...)
	})
}
