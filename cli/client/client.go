// Package client is the other end of package server: one way to a store,
// whoever holds it.
//
// Open takes the store's lock and serves (itself over a pipe, others over a
// socket), or, when a living process has it, talks to that one. When that
// process leaves or dies, the next call takes the store over, or finds who
// did, and is repeated: the caller sees an answer, not a change of hands.
//
//	 Open ──► lock free ──► holder ──Close──► drain, hand over
//	   ▲  └─► lock held ──► guest ──┐
//	   └──────── connection lost ◄──┘
package client

import (
	"context"
	"log/slog"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// Options say which store and how. Either Store or Memory is needed.
type Options struct {
	// Store is the store's folder; it is made if it isn't there.
	Store string
	// Memory is for a store that ends with the client.
	Memory bool
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
	// Patience is how long to wait for a process that holds the store and
	// doesn't answer. 0 means 15 s.
	Patience time.Duration
}

// Client is a way to a store. Its methods may be called from any goroutine.
type Client struct {
	o Options
}

// Open finds the way to the store. An error of the store itself (damaged, not
// writable, held by a process that doesn't answer) is a *StoreError.
func Open(ctx context.Context, o Options) (*Client, error) { panic("not written yet") }

// Holder tells whether this process holds the store now.
func (c *Client) Holder() bool { panic("not written yet") }

// Call calls a method of package server (server.WorkflowSubmit and so on) and
// reads its answer into result, which may be nil. When whoever holds the store
// dies or leaves, the call is repeated with the next one; every method bears
// that, and a submission gets a random key if it has none. An error that the
// method answered with is a *protocols.Error.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	panic("not written yet")
}

// Follower takes what happens to a run. Its functions are called one at a
// time; they may use the client, and whoever is slow only slows his own
// Follow down.
type Follower struct {
	// From is the first place in the log that is of interest; 0: all.
	From eventlog.Seq
	// Watch only looks. Otherwise Follow sees to it that somebody carries the
	// run out: it resumes the run (not explicitly: what is parked stays
	// parked) when it begins and after each change of hands.
	Watch bool
	// Entry gets every fact exactly once and in order. It may be nil.
	Entry func(replay.Entry)
	// Progress gets signs of life, of which some may be lost. It may be nil.
	Progress func(scheduler.Progress)
}

// Follow follows a run and returns nil once it has ended and f has had all of
// it, or ctx's error. What id may be is said at server.RunParams.
func (c *Client) Follow(ctx context.Context, id string, f Follower) error { panic("not written yet") }

// Close ends the way to the store. A client that holds the store starts
// nothing new, lets what runs for others come to its end (or, once ctx has
// ended, stops it so that it will be tried again), and gives the store up:
// a client that still waits takes it over. Closing twice is fine.
func (c *Client) Close(ctx context.Context) error { panic("not written yet") }

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
