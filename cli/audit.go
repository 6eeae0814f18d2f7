package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
)

// This file shows who did what to the store, and adds to that what is done
// without the process that holds it.

// systemAuditCmd shows it.
type systemAuditCmd struct {
	Limit int `short:"n" placeholder:"N" default:"100" help:"Only the last so many."`
}

// Help shows how it is used.
func (systemAuditCmd) Help() string {
	return `What was done to a run, and by whom, is in its history (gleitzeit history ID), and for a
schedule in that one's (gleitzeit schedule get NAME). Here is the rest: tokens that were
made and revoked, runs that were removed or brought in, copies that were made.

Examples:

	gleitzeit system audit
	gleitzeit system audit -n 10 -o json`
}

// Run does it.
func (a *systemAuditCmd) Run(s *session) error {
	return s.look(func(ctx context.Context, store *client.Client) error {
		var r server.AuditResult
		if err := store.Call(ctx, server.SystemAudit, server.AuditParams{Limit: a.Limit}, &r); err != nil {
			return err
		}
		return s.print.show(r.Entries, func(w io.Writer) {
			if len(r.Entries) == 0 {
				s.print.say("Nothing was done but to runs and schedules.")
			}
			for _, e := range r.Entries {
				fmt.Fprintf(w, "%s  %s\n", e.Time.Local().Format(time.DateTime), clean(e.Text))
			}
		})
	})
}

// auditPatience is how long whoever holds the store has to write something down
// that is done already.
const auditPatience = 5 * time.Second

// audited writes down what was done. That it can't is no reason to undo it, and
// what revokes a token mustn't wait for a process that hangs.
func (s *session) audited(method, text string) {
	c, err := s.config("")
	if err == nil {
		ctx, enough := context.WithTimeout(context.Background(), auditPatience)
		defer enough()
		err = s.use(ctx, c, keeps, func(store *client.Client) error {
			return store.Call(ctx, server.SystemNote, server.NoteParams{Method: method, Text: text, By: s.env.user()}, nil)
		})
	}
	if err != nil {
		s.print.say("note: this was done, and the store's audit doesn't know of it: %v", err)
	}
}
