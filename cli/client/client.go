// Package client is the other end of package server: one way to a store,
// whoever holds it.
//
// Open takes the store's lock and serves (itself over a pipe, others over a
// socket), or, when a living process has it, talks to that one. When that
// process leaves or dies, the next call takes the store over, or finds who
// did, and is repeated: the caller sees an answer, not a change of hands.
//
//	Open ──► lock free ──► holder ──Close──► drain, hand over
//	  ▲  └─► lock held ──► guest ──┐
//	  └──────── connection lost ◄──┘
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/traces"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// Options say which store and how. Either Store, Memory or Server is needed.
type Options struct {
	// Store is the store's folder; it is made if it isn't there.
	Store string
	// Memory is for a store that ends with the client.
	Memory bool
	// Retention says which runs are kept, while this process carries runs out.
	Retention server.Retention
	// Traces says whom to tell what happens to runs, while this process carries
	// them out.
	Traces traces.Options
	// Log says what keeps the store; its Logger, Fatal and Views are ours.
	Log eventlog.Options
	// Server is the address of a server, http://host:port, that is used instead
	// of a store, and Token what lets us in there, or "".
	Server, Token string
	// Scheduler is how things run here, should this process hold the store.
	// Its Logger and Fatal are those below.
	Scheduler scheduler.Options
	// Logger takes what an operator should know; nil means nothing.
	Logger *slog.Logger
	// Fatal is called when the store can't be written any more; it must not
	// return. nil means panic.
	Fatal func(error)
	// Passive makes a client that only looks: no run is ever carried out by
	// this process. When it holds the store and somebody else wishes
	// something, it lets that one have the store.
	Passive bool
	// Secrets looks for the secrets with these references and returns those
	// that are there. They are offered to whoever carries out a run that this
	// client follows. nil offers none.
	Secrets func(references []string) map[string]string
	// Local is what a server in this process knows of the program.
	Local server.Local
	// Workers may connect, should this process hold the store and listen.
	Workers *providers.Workers
	// Hold makes a client that is of no use as a guest: Open fails when another
	// process goes on holding the store.
	Hold bool
	// Patience is how long to wait for a process that holds the store and
	// doesn't answer. 0 means 15 s.
	Patience time.Duration
}

// defaultPatience is Options.Patience unless told otherwise.
const defaultPatience = 15 * time.Second

// errClosed is what a closed client gives.
var errClosed = protocols.Errorf(protocols.SystemShutdown, "the client has been closed")

// Client is a way to a store. Its methods may be called from any goroutine.
type Client struct {
	o Options

	// turn is held by whoever opens a session or closes one. It is not a
	// mutex, for opening takes time and a caller's ctx may end meanwhile.
	turn chan struct{}

	mu      sync.Mutex
	current *session        // nil while nobody knows who holds the store
	resting map[string]bool // runs that this client had interrupted

	reached   bool          // there was a session with the server at Options.Server; under turn
	yielded   bool          // we just let somebody else have the store; under turn
	closing   chan struct{} // closed by Close, once
	closeOnce sync.Once
	closeErr  error
	working   sync.WaitGroup
}

// Open finds the way to the store. An error of the store itself (damaged, not
// writable, held by a process that doesn't answer) is a *StoreError.
func Open(ctx context.Context, o Options) (*Client, error) {
	if o.Memory && (o.Store != "" || o.Server != "") || o.Store+o.Server == "" && !o.Memory {
		return nil, errors.New("open a store: either a folder, memory or a server")
	}
	if o.Store != "" {
		abs, err := filepath.Abs(o.Store)
		if err != nil {
			return nil, fmt.Errorf("open store %s: %w", o.Store, err)
		}
		o.Store = abs
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	o.Scheduler.Logger, o.Scheduler.Fatal = o.Logger, o.Fatal
	o.Log.Logger, o.Log.Fatal, o.Log.Views = o.Logger, o.Fatal, replay.SQLViews()
	c := &Client{o: o, turn: make(chan struct{}, 1), closing: make(chan struct{}), resting: map[string]bool{}}
	if _, err := c.session(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Address returns where this process lets others in, "" if it doesn't.
func (c *Client) Address() string {
	if s := c.present(); s != nil && s.server != nil {
		return s.server.Address()
	}
	return ""
}

// Holder tells whether this process holds the store now.
func (c *Client) Holder() bool {
	s := c.present()
	return s != nil && s.server != nil
}

// Divided tells whether this process is a node of a store that many share.
func (c *Client) Divided() bool {
	s := c.present()
	return s != nil && s.server != nil && s.server.IsFront()
}

// Close ends the way to the store. A client that holds the store starts
// nothing new, lets what runs for others come to its end (or, once ctx has
// ended, stops it so that it will be tried again), and gives the store up:
// a client that still waits takes it over. Calls that are under way end with
// SYSTEM_SHUTDOWN, at the latest then. Closing twice is fine.
func (c *Client) Close(ctx context.Context) error {
	c.closeOnce.Do(func() {
		close(c.closing)
		c.turn <- struct{}{}
		defer func() { <-c.turn }()
		if s := c.present(); s != nil {
			c.closeErr = s.close(ctx)
		}
		c.working.Wait()
	})
	return c.closeErr
}

// session returns the way to the store, which it finds if need be.
func (c *Client) session(ctx context.Context) (*session, error) {
	if s := c.present(); s != nil && s.alive() && !c.isClosed() {
		return s, nil
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-c.closing:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c.isClosed() {
		return nil, errClosed
	}
	if s := c.present(); s != nil {
		if s.alive() || s.revive() {
			return s, nil
		}
		s.close(ctx)
	}
	s, err := c.open(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = s
	return s, err
}

func (c *Client) present() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

func (c *Client) isClosed() bool {
	select {
	case <-c.closing:
		return true
	default:
		return false
	}
}

// StoreError says that a store can't be used: it is damaged, not writable, or
// held by a process that doesn't answer.
type StoreError struct {
	Store string
	PID   int // of the process that holds it, if that is the trouble and known
	Err   error
}

func (e *StoreError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *StoreError) Unwrap() error { return e.Err }
