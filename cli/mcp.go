package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/mcp"
	"gleitzeit/cli/server"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// mcpCmd is about being a server of the Model Context Protocol.
type mcpCmd struct {
	Serve mcpServeCmd `cmd:"" help:"Offer the workflows of a folder as tools, over standard input and output."`
}

// mcpServeCmd is what a host of language models starts.
type mcpServeCmd struct {
	Folder given          `placeholder:"DIR" help:"The folder whose workflows are tools (default: mcp_folder of the configuration, or the working folder)."`
	Wait   time.Duration  `placeholder:"TIME" help:"Answer after this time that a run goes on, for clients without patience (default: when it has ended)."`
	Grace  *time.Duration `placeholder:"TIME" help:"How long running tasks may go on when the client is gone (default: 10s)."`
}

// Help shows how it is used.
func (mcpServeCmd) Help() string {
	return `Each workflow file of the folder is a tool with its inputs; calling it starts a durable
run. The run goes on whatever becomes of the client, which finds it again by its id. More
tools submit, list, look at, wait for, decide and cancel runs, and runs are resources.

It uses the store as any command does: a server that holds it carries the runs out, or
else this process. Configure a client such as Claude Desktop with

	{"mcpServers": {"gleitzeit": {"command": "gleitzeit",
	  "args": ["mcp", "serve", "--folder", "/path/to/workflows", "--wait", "50s"]}}}

A server that runs already offers the same over HTTP at /mcp: see docs/mcp.md.

Examples:

	gleitzeit mcp serve
	gleitzeit mcp serve --folder ~/workflows --wait 50s
	gleitzeit --server http://10.0.0.7:8765 mcp serve --folder ~/workflows

Exit codes: 0 the client has gone, 130 interrupted, 8 the server can't be reached,
10 the store is locked.`
}

// Run does it.
func (m *mcpServeCmd) Run(s *session) error {
	c, err := s.config("")
	if err != nil {
		return err
	}
	folder := firstOf(s.env.expand(string(m.Folder), s.env.cwd), c.MCPFolder, s.env.cwd)
	if info, err := os.Stat(folder); err != nil {
		return usage(fmt.Errorf("the folder of workflows: %w", err))
	} else if !info.IsDir() {
		return usage(fmt.Errorf("%s is no folder", folder))
	}
	asked, stop := signals()
	defer stop()
	var store *client.Client
	err = unlessAsked(asked, func(ctx context.Context) (err error) {
		store, err = client.Open(ctx, s.options(c, works))
		return openError(err)
	})
	if err != nil {
		return err
	}
	grace := time.Duration(c.Grace)
	if m.Grace != nil {
		grace = *m.Grace
	}
	return s.stay(asked, store, grace, func(ctx context.Context, store *client.Client) error {
		err := s.desk(c, folder, m.Wait, s.env.user()).ServeStdio(ctx, mcpStore{store}, s.env.stdin, s.env.stdout)
		if ctx.Err() != nil || errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	})
}

// desk offers the workflows of a folder, "" for none. by is who is behind all
// calls, "" for whoever comes.
func (s *session) desk(c *config, folder string, wait time.Duration, by string) *mcp.Desk {
	o := mcp.Options{Version: readVersion().Version, Wait: wait, Logger: c.logger(s.env.stderr), By: by}
	if folder != "" {
		o.Workflows = s.offered(folder, o.Logger).look
	}
	return mcp.New(o)
}

// mcpStore is the store as package mcp wants it.
type mcpStore struct{ *client.Client }

// Submit submits a workflow.
func (m mcpStore) Submit(ctx context.Context, p *server.SubmitParams) (r server.SubmitResult, err error) {
	return r, m.Call(ctx, server.WorkflowSubmit, *p, &r)
}

// Follow follows a run and sees to it that somebody carries it out.
func (m mcpStore) Follow(ctx context.Context, id string, entry func(replay.Entry), sign func(task, text string)) error {
	return m.Client.Follow(ctx, id, client.Follower{Entry: entry, Progress: func(p scheduler.Progress) {
		if p.Stream != "tokens" {
			sign(p.Task, p.Message)
		}
	}})
}

// Submits is nil: the store is the user's own.
func (mcpStore) Submits() error { return nil }

// Decides is true: the store is the user's own.
func (mcpStore) Decides() bool { return true }
