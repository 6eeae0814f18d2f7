// Package worker is the other end of a remote provider: a program that connects
// to a server and carries out calls for it.
//
//	err := worker.Run(ctx, worker.Options{
//		Server: "http://127.0.0.1:8765",
//		Offers: []providers.WorkerOffer{{Provider: "gpu", Protocol: "images/v1", Methods: methods}},
//		Do: func(ctx context.Context, c worker.Call) (json.RawMessage, error) { … },
//	})
//
// Run connects, again and again if need be, says what the worker offers, and has
// each call carried out by Do, in a goroutine of its own. A call ends when Do
// returns, whether there is a connection then or not: what it came to is handed
// in as soon as there is one, also to a server that was started anew meanwhile.
// For that every call is known by its idempotency key:
//
//	worker/call ──► the key is new ──► Do ──► provider/result ──► kept a while
//	            └─► the key is there: it goes on, or its outcome is said again
//
// What goes over the wire is in package server (worker.go) and docs/workers.md.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	crand "crypto/rand"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/providers"
)

// Options say what a worker is. Server, Offers and Do are needed.
type Options struct {
	// Server is the server's address, http://host:port, and Token what lets us
	// in there: one of the role worker. On the server's own machine none may be
	// needed.
	Server, Token string
	// Name is the worker's, for people; "" is the machine's.
	Name string
	// Slots is how many calls it takes at once; 0: 4.
	Slots int
	// Offers are the protocols that it speaks.
	Offers []providers.WorkerOffer
	// Do carries out a call and returns its result, a JSON value, or an error; a
	// *protocols.Error keeps its code. It must return soon after ctx has ended:
	// the call was cancelled or its time is over.
	Do func(ctx context.Context, c Call) (json.RawMessage, error)
	// Grace is how long calls may go on when ctx of Run has ended; 0: not at all.
	Grace time.Duration
	// Logger takes what an operator should know; nil means nothing.
	Logger *slog.Logger
}

// Call is a call as Do gets it.
type Call struct {
	providers.WorkerCall
	desk *desk
	own  *work
}

// Progress shows how the call goes on. It may be lost.
func (c Call) Progress(p providers.Progress) { c.desk.progress(c.own, p) }

// File returns a file that the call's run was submitted with.
func (c Call) File(ctx context.Context, name string) ([]byte, error) {
	var r server.CallFileResult
	err := c.desk.call(ctx, server.ProviderFile, server.CallFileParams{ID: c.desk.idOf(c.own), Name: name}, &r)
	return r.Data, err
}

// The pauses between attempts to connect.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Run works until ctx ends, and returns nil then. Before that it returns only
// when the server refuses the worker for good: its token, or what it offers.
func Run(ctx context.Context, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Slots == 0 {
		o.Slots = 4
	}
	if o.Name == "" {
		o.Name, _ = os.Hostname()
	}
	d := newDesk(o)
	defer d.close()
	r := providers.Registration{Worker: o.Name, Instance: crand.Text(), Slots: o.Slots, Offers: o.Offers}
	pause := firstPause
	for ctx.Err() == nil {
		served, err := d.attend(ctx, r)
		switch {
		case ctx.Err() != nil:
			return nil
		case isRefusal(err):
			return err
		case served:
			pause = firstPause
		}
		o.Logger.Warn("the connection to the server is lost; trying again", "server", o.Server, "error", err)
		wait(ctx, pause/2+rand.N(pause/2))
		pause = min(2*pause, lastPause)
	}
	return nil
}

// isRefusal tells whether trying again would change nothing.
func isRefusal(err error) bool {
	var e *protocols.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case protocols.AuthenticationFailed, protocols.AuthorizationFailed, protocols.InvalidParams, protocols.InvalidRequest,
		protocols.ProviderNotFound, protocols.MethodNotFound, protocols.MethodNotSupported:
		return true
	}
	return false
}

// wait returns after d, or when ctx has ended.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
