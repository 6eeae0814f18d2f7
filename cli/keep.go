package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/protocols"
)

// This file clears the past away.

// span is a time as people say it: 30d, 2w, 12h; a bare number is seconds.
type span time.Duration

// UnmarshalText reads it.
func (a *span) UnmarshalText(b []byte) error {
	text := string(b)
	for unit, long := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if n, err := strconv.ParseFloat(strings.TrimSuffix(text, unit), 64); err == nil && strings.HasSuffix(text, unit) && n >= 0 && n < 1e5 {
			*a = span(n * float64(long))
			return nil
		}
	}
	var d duration
	if err := d.UnmarshalText(b); err != nil {
		return fmt.Errorf(`%q must be a time such as "30d", "2w" or "12h"`, b)
	}
	*a = span(d)
	return nil
}

// MarshalText writes it.
func (a span) MarshalText() ([]byte, error) { return []byte(time.Duration(a).String()), nil }

// room is a number of bytes as people say it: 500MB, 10GiB.
type room int64

var rooms = []struct {
	unit string
	size float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"KB", 1e3}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// UnmarshalText reads it.
func (r *room) UnmarshalText(b []byte) error {
	for _, one := range rooms {
		if number, ok := strings.CutSuffix(string(b), one.unit); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if err != nil || !(n >= 0 && n*one.size < 1e18) {
				break
			}
			*r = room(n * one.size)
			return nil
		}
	}
	return fmt.Errorf(`%q must be a number of bytes such as "500MB" or "10GiB"`, b)
}

// MarshalText writes it.
func (r room) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(r), 10), nil }

// retention says which runs are kept that have ended.
type retention struct {
	Age   span `yaml:"age" json:"age,omitempty"`
	Runs  int  `yaml:"runs" json:"runs,omitempty"`
	Bytes room `yaml:"bytes" json:"bytes,omitempty"`
}

func (r retention) keep() server.Retention {
	return server.Retention{Age: time.Duration(r.Age), Runs: r.Runs, Bytes: int64(r.Bytes)}
}

// systemGCCmd removes runs that have ended.
type systemGCCmd struct {
	OlderThan span `placeholder:"TIME" help:"Remove runs that ended longer ago: 30d, 2w, 12h."`
	Keep      int  `placeholder:"N" help:"Keep so many of the runs that have ended, the newest."`
	MaxBytes  room `placeholder:"SIZE" help:"Remove runs until the store takes no more on disk: 500MB, 10GiB."`
	DryRun    bool `help:"Only say how many runs would go (by time and number)."`
}

// Help shows how it is used.
func (systemGCCmd) Help() string {
	return `Without a flag what the configuration says under retention is done now. A run goes
with its whole history, its values that no other run has, and its idempotency key. A
run that another one started stays while that one goes on.

Examples:

	gleitzeit system gc --older-than 30d
	gleitzeit system gc --keep 1000 --dry-run`
}

// Run does it.
func (g *systemGCCmd) Run(s *session) error {
	c, err := s.config("")
	if err != nil {
		return err
	}
	keep := retention{g.OlderThan, g.Keep, g.MaxBytes}
	if keep == (retention{}) {
		keep = c.Retention
	}
	if keep == (retention{}) {
		return usage(errors.New("say what to remove: --older-than, --keep or --max-bytes (or retention in the configuration)"))
	}
	if keep.Runs < 0 {
		return usage(errors.New("--keep must be at least 1"))
	}
	p := server.GCParams{OlderThan: protocols.Duration(keep.Age), Keep: keep.Runs, Bytes: int64(keep.Bytes), Dry: g.DryRun, By: s.env.user()}
	wants := clears
	if g.DryRun {
		wants = looks
	}
	return s.with(wants, func(ctx context.Context, store *client.Client) error {
		var r server.GCResult
		if err := store.Call(ctx, server.SystemGC, p, &r); err != nil {
			return err
		}
		return s.print.show(r, func(w io.Writer) {
			if g.DryRun {
				fmt.Fprintf(w, "%s would go\n", plural(r.Runs, "run"))
				return
			}
			fmt.Fprintf(w, "removed %s; the store takes %s, it took %s\n", plural(r.Runs, "run"), bytesOf(r.After), bytesOf(r.Before))
		})
	})
}

// systemCompactCmd gives back room.
type systemCompactCmd struct{}

// Help shows how it is used.
func (systemCompactCmd) Help() string {
	return `What was removed leaves room that is used again by itself; this gives it back to the
system now. A store of sqlite needs as much room again meanwhile, and what happens
waits until it is done.

Example:

	gleitzeit system gc --older-than 30d && gleitzeit system compact`
}

// Run does it.
func (systemCompactCmd) Run(s *session) error {
	return s.with(clears, func(ctx context.Context, store *client.Client) error {
		var r server.CompactResult
		if err := store.Call(ctx, server.SystemCompact, server.ActorParams{By: s.env.user()}, &r); err != nil {
			return err
		}
		return s.print.show(r, func(w io.Writer) {
			fmt.Fprintf(w, "the store takes %s, it took %s\n", bytesOf(r.After), bytesOf(r.Before))
		})
	})
}
