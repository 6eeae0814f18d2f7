package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/replay"
)

// serverCmd is about the process that stays.
type serverCmd struct {
	Start serverStartCmd `cmd:"" default:"withargs" help:"Hold the store, carry runs out for all commands and let schedules fire, until told to stop."`
}

// devCmd is the same for whoever writes workflows.
type devCmd struct {
	Start devStartCmd `cmd:"" default:"withargs" help:"Start a server on this machine alone, and show what happens to all runs."`
}

// serving are the flags of a server.
type serving struct {
	Host  given          `placeholder:"ADDRESS" help:"Address to listen on for HTTP (default: 127.0.0.1)."`
	Port  *int           `placeholder:"PORT" help:"Port to listen on for HTTP, 0 for any that is free (default: 8765)."`
	Grace *time.Duration `placeholder:"TIME" help:"How long running tasks may go on when the server is told to stop (default: 10s)."`
}

// serverStartCmd is the process that stays.
type serverStartCmd struct {
	serving
	Stdio bool `help:"Serve whoever started us over standard input and output instead of HTTP, until its end."`
}

// Help shows how it is used.
func (serverStartCmd) Help() string {
	return `All unfinished runs that aren't parked are resumed. Other commands find the server by
its store and hand their runs to it, so that these go on when the command has gone.
Programs reach it over HTTP: see docs/server.md. One line on standard output says
where, when it is ready.

On an address of this machine alone nobody needs a token. On any other there must be
one: see gleitzeit token create --help.

Ctrl-C or SIGTERM lets nothing new start and running tasks end; a second one stops
them. What is left goes on when the server is started again.

Examples:

	gleitzeit server start
	gleitzeit server start --log-level info
	gleitzeit server start --host 0.0.0.0 --port 80
	gleitzeit server start -o json > server.json &
	gleitzeit server --stdio

Exit codes: 0 stopped by SIGTERM or the end of its input, 130 by Ctrl-C, 2 an address
that others reach without a token, 8 the port is taken, 10 the store is locked.`
}

// Run does it.
func (c *serverStartCmd) Run(s *session) error {
	return s.serve(life{serving: c.serving, stdio: c.Stdio, while: func(ctx context.Context, store *client.Client) error {
		if c.Stdio {
			return store.ServeStdio(s.env.stdin, s.env.stdout)
		}
		<-ctx.Done()
		return nil
	}})
}

// devStartCmd is a server whose terminal shows what happens.
type devStartCmd struct{ serving }

// Help shows how it is used.
func (devStartCmd) Help() string {
	return `It is gleitzeit server start, but never listens where another machine could reach it,
and shows on standard error what happens to every run. In another terminal:

	gleitzeit workflow submit hello.yaml
	gleitzeit workflow status @last

Ctrl-C lets nothing new start and running tasks end; a second one stops them.

Examples:

	gleitzeit dev start
	gleitzeit dev start -o jsonl > events.jsonl`
}

// Run does it.
func (c *devStartCmd) Run(s *session) error {
	return s.serve(life{serving: c.serving, alone: true, while: func(ctx context.Context, store *client.Client) error {
		from, err := endOfLog(ctx, store)
		if err == nil {
			from.Watch, from.Entry = true, s.tellAll
			err = store.Follow(ctx, "", from)
		}
		if ctx.Err() != nil {
			return nil
		}
		return err
	}})
}

// tellAll shows an event of any run.
func (s *session) tellAll(e replay.Entry) {
	if s.print.format == "jsonl" {
		(&events{s.print}).entry(nil, e)
		return
	}
	i, about := s.print.errInk, e.Run
	if e.Task != "" {
		about += " " + line(e.Task, 60)
	}
	text := line(e.Text, 200)
	switch e.Event.(type) {
	case *replay.TaskCompleted:
		text = i.green(text)
	case *replay.TaskFailed:
		text = i.red(text)
	}
	s.print.say("%s %s: %s", i.faint(e.Time.Local().Format(time.TimeOnly)), about, text)
}

// life is what a server does from its beginning to its end.
type life struct {
	serving
	stdio bool // no HTTP
	alone bool // no other machine may reach it
	// while ends when ctx does, or when the server has nothing more to do.
	while func(ctx context.Context, store *client.Client) error
}

// serve is such a life.
func (s *session) serve(l life) error {
	if err := s.ownStore(); err != nil {
		return err
	}
	conf, err := s.config("")
	if err != nil {
		return err
	}
	if conf.Backend == "memory" {
		return usage(errors.New("a server needs a store that others can find: choose another backend than memory"))
	}
	asked, stop := signals()
	defer stop()
	var store *client.Client
	err = unlessAsked(asked, func(ctx context.Context) (err error) {
		store, err = client.Open(ctx, s.asServer(conf))
		return openError(err)
	})
	if err != nil {
		return err
	}
	if err := s.begin(conf, l, store); err != nil {
		return errors.Join(err, store.Close(context.Background()))
	}
	grace := time.Duration(conf.Grace)
	if l.Grace != nil {
		grace = *l.Grace
	}
	return s.stay(asked, store, grace, l.while)
}

// asServer is how a server opens the store.
func (s *session) asServer(c *config) client.Options {
	o := s.options(c, works)
	o.Hold, o.Scheduler.Policy.Schedules, o.Log.Reserve = true, true, true
	o.Fatal = s.fatal("server start")
	o.Scheduler.Secrets = o.Secrets
	o.Scheduler.Setup = c.mocking()
	return o
}

// ready is what a server says when it is.
type ready struct {
	Store   string   `json:"store"`
	PID     int      `json:"pid"`
	URL     string   `json:"url,omitempty"`
	Socket  string   `json:"socket"`
	Resumed []string `json:"resumed"` // runs
}

// begin listens, resumes what was left, and says that the server is ready.
func (s *session) begin(c *config, l life, store *client.Client) error {
	ctx := context.Background()
	url := ""
	if !l.stdio {
		var err error
		if url, err = s.listen(c, l, store); err != nil {
			return err
		}
	}
	var resumed server.RunsResult
	if !store.Divided() { // else it takes on what is in a partition when it takes that
		secrets, err := s.needed(ctx, c, store, "")
		if err != nil {
			return err
		}
		if err := store.Call(ctx, server.WorkflowResumeAll, server.ResumeAllParams{Secrets: secrets}, &resumed); err != nil {
			return err
		}
	}
	var hello server.HelloResult
	if err := store.Call(ctx, server.SystemHello, server.HelloParams{}, &hello); err != nil {
		return err
	}
	r := ready{Store: hello.Store, PID: hello.PID, URL: url, Socket: store.Address(), Resumed: resumed.IDs}
	if l.stdio {
		s.print.say("%s", r.text())
		return nil
	}
	return s.print.show(r, func(w io.Writer) { fmt.Fprintln(w, r.text()) })
}

func (r ready) text() string {
	at, resumes := r.Socket, ""
	if r.URL != "" {
		at = r.URL + " and " + at
	}
	if n := len(r.Resumed); n > 0 {
		resumes = fmt.Sprintf(", %s resumed", plural(n, "run"))
	}
	return fmt.Sprintf("serving %s at %s, process %d%s", r.Store, at, r.PID, resumes)
}

// listen lets programs in over HTTP.
func (s *session) listen(c *config, l life, store *client.Client) (url string, err error) {
	o := server.HTTPOptions{Host: firstOf(string(l.Host), c.Host), Port: c.Port, Tokens: c.tokens(), TokenRequired: c.TokenRequired,
		TLSCert: c.TLSCert, TLSKey: c.TLSKey, Hosts: c.Hosts, Origins: c.Origins}
	o.MCP = s.desk(c, c.MCPFolder, 0, "")
	if l.Port != nil {
		o.Port = *l.Port
	}
	private := isLoopback(o.Host)
	if l.alone && !private {
		return "", usage(fmt.Errorf("other machines can reach %s: use gleitzeit server start for that", o.Host))
	}
	url, err = store.ListenHTTP(o)
	var busy *net.OpError
	switch {
	case errors.Is(err, server.ErrNoToken):
		return "", usage(fmt.Errorf("listen on %s: %w", o.Host, err))
	case errors.As(err, &busy):
		return "", &exit{exitUnreachable, fmt.Errorf("%w (choose another port with --port or GLEITZEIT_PORT)", err)}
	}
	if err == nil && o.TLSCert == "" && !private {
		s.print.insist("%s", s.print.errInk.yellow("Tokens cross the network in the clear: give tls_cert and tls_key, or let a proxy do TLS."))
	}
	return url, err
}

// isLoopback tells whether only this machine reaches the address.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// tokens are those that let somebody in at a server of this store.
func (c *config) tokens() *server.Tokens { return server.NewTokens(filepath.Join(c.Store, "tokens")) }

// stay serves until we are asked to stop, or what the server is for has ended.
func (s *session) stay(asked <-chan os.Signal, store *client.Client, grace time.Duration, while func(context.Context, *client.Client) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- while(ctx, store) }()
	select {
	case err := <-over:
		return errors.Join(err, s.retire(store, asked, grace))
	case first := <-asked:
		s.print.say("Stopping: nothing new starts. What runs may go on for up to %s; once more stops it.", short(grace))
		err := s.retire(store, asked, grace)
		cancel()
		if err == nil && first == os.Interrupt {
			err = errAsked
		}
		return err
	}
}

// retire stops serving: at first what runs is let end, for as long as the grace
// period, or until we are asked again.
func (s *session) retire(store *client.Client, asked <-chan os.Signal, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
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
	return nil
}
