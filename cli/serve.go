package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
)

// serverCmd is about the process that stays.
type serverCmd struct {
	Start serverStartCmd `cmd:"" help:"Hold the store, carry runs out for all commands and let schedules fire, until told to stop."`
}

// serverStartCmd is the process that stays.
type serverStartCmd struct {
	Grace *time.Duration `placeholder:"TIME" help:"How long running tasks may go on when the server is told to stop (default: 10s)."`
}

// Help shows how it is used.
func (serverStartCmd) Help() string {
	return `All unfinished runs that aren't parked are resumed. Other commands find the server by
its store and hand their runs to it, so that these go on when the command has gone.
One line on standard output says when it is ready.

Ctrl-C or SIGTERM lets nothing new start and running tasks end; a second one stops
them. What is left goes on when the server is started again.

Examples:

	gleitzeit server start
	gleitzeit server start --log-level info
	gleitzeit server start -o json > server.json &

Exit codes: 0 stopped by SIGTERM, 130 by Ctrl-C, 10 the store is locked.`
}

// ready is what a server says when it is.
type ready struct {
	Store   string   `json:"store"`
	PID     int      `json:"pid"`
	Socket  string   `json:"socket"`
	Resumed []string `json:"resumed"` // runs
}

// Run does it.
func (c *serverStartCmd) Run(s *session) error {
	conf, err := s.config("")
	if err != nil {
		return err
	}
	if conf.Backend == "memory" {
		return usage(errors.New("a server needs a store that others can find: choose another backend than memory"))
	}
	grace := time.Duration(conf.Grace)
	if c.Grace != nil {
		grace = *c.Grace
	}
	asked, stop := signals()
	defer stop()
	var store *client.Client
	err = unlessAsked(asked, func(ctx context.Context) (err error) {
		store, err = client.Open(ctx, s.serving(conf))
		return openError(err)
	})
	if err != nil {
		return err
	}
	if err := s.begin(conf, store); err != nil {
		return errors.Join(err, store.Close(context.Background()))
	}
	return s.retire(store, asked, grace)
}

// serving is how a server opens the store.
func (s *session) serving(c *config) client.Options {
	o := s.options(c, false)
	o.Hold, o.Scheduler.Policy.Schedules = true, true
	o.Fatal = s.fatal("server start")
	o.Scheduler.Secrets = o.Secrets
	o.Scheduler.Setup = c.mocking()
	return o
}

// begin resumes what was left, and says that the server is ready.
func (s *session) begin(c *config, store *client.Client) error {
	ctx := context.Background()
	var resumed server.RunsResult
	secrets, err := s.needed(ctx, c, store, "")
	if err != nil {
		return err
	}
	if err := store.Call(ctx, server.WorkflowResumeAll, server.ResumeAllParams{Secrets: secrets}, &resumed); err != nil {
		return err
	}
	var hello server.HelloResult
	if err := store.Call(ctx, server.SystemHello, server.HelloParams{}, &hello); err != nil {
		return err
	}
	r := ready{Store: hello.Store, PID: hello.PID, Socket: store.Address(), Resumed: resumed.IDs}
	return s.print.show(r, func(w io.Writer) {
		resumes := ""
		if n := len(r.Resumed); n > 0 {
			resumes = fmt.Sprintf(", %s resumed", plural(n, "run"))
		}
		fmt.Fprintf(w, "serving %s at %s, process %d%s\n", r.Store, r.Socket, r.PID, resumes)
	})
}

// retire waits until the server is asked to stop, and stops: at first what
// runs is let end, for as long as the grace period, or until asked again.
func (s *session) retire(store *client.Client, asked <-chan os.Signal, grace time.Duration) error {
	first := <-asked
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	s.print.say("Stopping: nothing new starts. What runs may go on for up to %s; once more stops it.", short(grace))
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-asked:
			cancel()
		case <-done:
		}
	}()
	if err := store.Close(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("close the store: %w", err)
	}
	if first == os.Interrupt {
		return errAsked
	}
	return nil
}
