package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/eventlog"
	"gleitzeit/providers"
	"gleitzeit/scheduler"
)

// This file opens the way to the store.

// access is what a command wants of the store.
type access int

const (
	works  access = iota // carry runs out
	keeps                // change the store, but carry nothing out
	clears               // remove something, for which room is set aside
	looks                // only look; then it need not be writable
)

// use opens the way to the store, does something with it and closes it.
func (s *session) use(ctx context.Context, c *config, wants access, do func(*client.Client) error) error {
	store, err := client.Open(ctx, s.options(c, wants))
	if err != nil {
		return openError(err)
	}
	err = do(store)
	// What runs here for others may come to its end, unless somebody is in a hurry.
	if closing := store.Close(ctx); err == nil && closing != nil && !errors.Is(closing, context.Canceled) {
		err = fmt.Errorf("close the store: %w", closing)
	}
	return err
}

// look is use for commands that only look and need no workflow.
func (s *session) look(do func(context.Context, *client.Client) error) error {
	return s.with(looks, do)
}

// with is use for commands that need no workflow.
func (s *session) with(wants access, do func(context.Context, *client.Client) error) error {
	c, err := s.config("")
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	return s.use(ctx, c, wants, func(store *client.Client) error { return do(ctx, store) })
}

func openError(err error) error {
	var broken *client.StoreError
	if errors.As(err, &broken) {
		return &exit{exitStore, err}
	}
	return err
}

// logger writes what an operator should know.
func (c *config) logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: level(c.LogLevel)}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func (s *session) options(c *config, wants access) client.Options {
	logger := c.logger(s.env.stderr)
	o := client.Options{
		Local: s.local(c), Workers: s.workers,
		Store: c.Store, Memory: c.Backend == "memory", Log: c.log(), Retention: c.Retention.keep(), Traces: s.traces(c), Logger: logger, Fatal: s.fatal("resume"), Passive: wants != works, Secrets: s.offers(c),
		Scheduler: scheduler.Options{
			Policy:  c.policy(),
			Open:    s.openProviders,
			Version: readVersion().Version,
			Grace:   time.Duration(c.Grace),
		},
	}
	o.Log.Looks, o.Log.Spend = wants == looks, wants == clears
	if o.Memory {
		o.Store = ""
	}
	if remote := s.remote(); remote != "" {
		o.Store, o.Memory, o.Server, o.Token = "", false, remote, s.env.get("GLEITZEIT_TOKEN")
	}
	return o
}

// log says what keeps the store. A backend that nobody asked for is no reason
// to refuse a store of another one.
func (c *config) log() eventlog.Options {
	o := eventlog.Options{SQLitePath: c.SQLitePath, RedisURL: c.RedisURL}
	if c.origin["backend"] != "" {
		o.Engine = eventlog.Engine(c.Backend)
	}
	return o
}

// remote is the address of the server that is used instead of a store, "" for
// none.
func (s *session) remote() string { return firstOf(s.ServerURL, s.env.get("GLEITZEIT_SERVER")) }

// ownStore refuses a command that is about a store of this machine.
func (s *session) ownStore() error { return s.onlyHere("a store") }

// onlyHere refuses a command that is about something of this machine.
func (s *session) onlyHere(what string) error {
	if remote := s.remote(); remote != "" {
		return usage(fmt.Errorf("this is about "+what+" of this machine, not about the server at %s: leave out --server and GLEITZEIT_SERVER", remote))
	}
	return nil
}

// openProviders opens the providers of a run's setup.
func (s *session) openProviders(setup []byte) (scheduler.Providers, error) {
	var c providers.Config
	if err := json.Unmarshal(setup, &c); err != nil {
		return nil, fmt.Errorf("read the setup of the run: %w", err)
	}
	return providers.Open(c, s.forProviders())
}

// forProviders is what providers take from this process.
func (s *session) forProviders() providers.Options {
	o := providers.Options{Env: s.env.get, Workers: s.workers}
	if program, err := os.Executable(); err == nil {
		o.Self = []string{program, "__filters"}
	}
	if logins := s.logins(); logins != "" {
		o.Tokens = logins
	}
	return o
}

// fatal ends the process when the store can't be written any more, and says by
// which command to go on. Nothing that was acknowledged is lost.
func (s *session) fatal(next string) func(error) {
	return func(err error) {
		p := s.print
		p.insist("\n%s\n%s\nThen go on with: gleitzeit%s %s",
			p.errInk.bold(p.errInk.red("gleitzeit: the store can't be written any more")), clean(err.Error()), s.storeFlag(), next)
		os.Exit(exitStore)
	}
}

func level(name string) slog.Level {
	var l slog.Level
	if l.UnmarshalText([]byte(strings.ToUpper(name))) != nil {
		return slog.LevelWarn
	}
	return l
}
