package mcp

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// Store is the way to a store, whoever holds it.
type Store interface {
	// Call calls a method of package server.
	Call(ctx context.Context, method string, params, result any) error
	// Submit submits a workflow of this machine, which the program itself has
	// read.
	Submit(ctx context.Context, p *server.SubmitParams) (server.SubmitResult, error)
	// Follow follows a run, and sees to it that somebody carries it out, until
	// it has ended (nil) or ctx has. entry gets every event in order, sign the
	// signs of life of tasks, of which some may be lost.
	Follow(ctx context.Context, id string, entry func(replay.Entry), sign func(task, text string)) error
	// Submits tells, by nil, whether whoever is behind it may submit.
	Submits() error
	// Decides tells whether whoever is behind it may decide approvals.
	Decides() bool
}

// Workflow is one that is offered as a tool.
type Workflow struct {
	Name        string // of the tool
	Title       string
	Description string
	Inputs      []protocols.Input
	Version     string // another one whenever the file has changed
	// Submission makes what is submitted, with values for the inputs. Its error
	// is for whoever gave them.
	Submission func(inputs map[string]json.RawMessage) (*server.SubmitParams, error)
}

// Options say what a desk offers. The zero value offers the tools about runs.
type Options struct {
	// Workflows returns the workflows that there are now. It is called often,
	// and from any goroutine. nil is none.
	Workflows func() []*Workflow
	// By is who is behind every call, for the history; "" is known to the Store.
	By      string
	Version string
	// Wait is how long a call stays with its run; 0: until it has ended.
	Wait time.Duration
	// Logger takes what an operator should know; nil means nothing.
	Logger *slog.Logger
}

// Desk serves MCP for a store.
type Desk struct {
	o         Options
	sdkLogger *slog.Logger
	http      *httpEnds

	mu       sync.Mutex
	sessions map[*session]bool // those that are told when the tools change
}

// New makes a desk. Nothing runs before somebody comes.
func New(o Options) *Desk {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Workflows == nil {
		o.Workflows = func() []*Workflow { return nil }
	}
	d := &Desk{o: o, sdkLogger: slog.New(demoted{o.Logger.Handler()}), sessions: map[*session]bool{}}
	d.http = newHTTPEnds(d)
	return d
}

// demoted logs for the SDK, to which each mistake of a client is an error:
// nothing that it says is of interest to anybody but who looks for it.
type demoted struct{ slog.Handler }

// Enabled tells whether anybody looks.
func (d demoted) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle logs.
func (d demoted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

// maxLine bounds a message over stdin, in bytes.
const maxLine = 64 << 20

// ServeStdio serves whoever started this process, until in ends or ctx does.
func (d *Desk) ServeStdio(ctx context.Context, store Store, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := d.newSession(store, sessionOptions{wait: d.o.Wait})
	d.enter(s)
	defer d.leave(s)
	var watching sync.WaitGroup
	watching.Go(func() { d.Watch(ctx.Done()) })
	err := s.sdk.Run(ctx, &patientTransport{&sdk.IOTransport{Reader: io.NopCloser(in), Writer: nopCloser{out}, MaxLineLength: maxLine}})
	cancel()
	watching.Wait()
	s.attending.Wait()
	return err
}

// nopCloser is a writer that isn't ours to close.
type nopCloser struct{ io.Writer }

// Close does nothing.
func (nopCloser) Close() error { return nil }

// lookEvery is how often the workflows are looked at while nobody asks.
const lookEvery = 2 * time.Second

// Watch tells whoever is there when the workflows have changed, until done.
func (d *Desk) Watch(done <-chan struct{}) {
	beat := time.NewTicker(lookEvery)
	defer beat.Stop()
	for {
		select {
		case <-done:
			return
		case <-beat.C:
		}
		if all := d.present(); len(all) > 0 {
			found := d.o.Workflows()
			for _, s := range all {
				s.offer(found)
			}
		}
	}
}

func (d *Desk) enter(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions[s] = true
}

func (d *Desk) leave(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sessions, s)
}

func (d *Desk) present() (all []*session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s := range d.sessions {
		all = append(all, s)
	}
	return all
}
