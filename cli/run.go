package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
	"gleitzeit/replay"
)

// runCmd runs a workflow file.
type runCmd struct {
	submitting
	patience
}

// patience is how long run and resume stay.
type patience struct {
	Grace *time.Duration `placeholder:"TIME" help:"How long running tasks may go on after Ctrl-C (default: 10s)."`
	Wait  bool           `help:"Stay also when only a person can go on, until that has happened."`
}

// Help shows how it is used.
func (runCmd) Help() string {
	return `The result goes to standard output: the workflow's outputs, or without any the
results of the tasks that no other waits for. Everything else goes to standard error.

Timers and retries are waited for. When only a person or a signal is missing, the
command that goes on is printed, and the run can be resumed: with --wait we stay.

Ctrl-C lets nothing new start and running tasks end; a second one stops them.
Either way the run can be resumed.

With --idempotency-key it is safe to give the command again: while the key lives
(idempotency_ttl in gleitzeit.yaml, 7 days unless told otherwise) it stands for the run
that was submitted first, which is followed and its result printed. With another
workflow or other inputs it is refused.

Examples:

	gleitzeit run hello.yaml
	gleitzeit run report.yaml -i topic=whales -i pages=3
	gleitzeit run report.yaml --inputs-json inputs.json -o json | jq .outputs
	gleitzeit run report.yaml --id report-of-may --queue batch
	gleitzeit run charge.yaml -i order=7 --idempotency-key order-7

Exit codes: 0 completed, 2 the file is wrong, 3 failed, 4 cancelled, 5 timed out,
6 it waits for a person or a signal, 130 interrupted.`
}

// Run does it.
func (r *runCmd) Run(s *session) error {
	submission, c, err := r.submission(s)
	if err != nil {
		return err
	}
	return s.carry(c, r.patience, func(ctx context.Context, store *client.Client) (errand, error) {
		var started server.SubmitResult
		if err := store.Call(ctx, server.WorkflowSubmit, submission, &started); err != nil {
			return errand{}, err
		}
		if r.Key != "" && started.Before {
			s.print.insist("The idempotency key %q stands for %s, which was submitted before.", r.Key, started.ID)
			from, err := endOfHistory(ctx, store, started.ID)
			return errand{ids: []string{started.ID}, from: map[string]eventlog.Seq{started.ID: from}}, err
		}
		return errand{ids: []string{started.ID}}, nil
	})
}

// following begins one that is as patient.
func (p patience) following(s *session, store *client.Client, c *config) *following {
	f := &following{s: s, store: store, grace: time.Duration(c.Grace), waits: p.Wait}
	if p.Grace != nil {
		f.grace = *p.Grace
	}
	return f
}

// errand is which runs are to be followed, and from where in the log on.
type errand struct {
	ids  []string
	from map[string]eventlog.Seq
	many bool // show what became of them as a list
	// show prints what became of the one run that has ended, nil for the
	// result as ever.
	show func(*replay.RunView) error
}

// carry opens the store, has begin say which runs it is about, sees them
// through, and prints what became of them.
func (s *session) carry(c *config, p patience, begin func(context.Context, *client.Client) (errand, error)) error {
	wishes, stop := signals()
	defer stop()
	var store *client.Client
	err := unlessAsked(wishes, func(ctx context.Context) (err error) {
		store, err = client.Open(ctx, s.options(c, works))
		return openError(err)
	})
	if err != nil {
		return err
	}
	var e errand
	err = unlessAsked(wishes, func(ctx context.Context) (err error) {
		e, err = begin(ctx, store)
		return err
	})
	if err == nil {
		err = s.seeThrough(store, e, p.following(s, store, c), wishes)
	}
	if closing := s.leaveStore(store, wishes); err == nil && !errors.Is(closing, errAsked) {
		err = closing
	}
	return err
}

// unlessAsked does something that ends early if we are asked to leave.
func unlessAsked(wishes <-chan os.Signal, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		select {
		case <-wishes:
			cancel(errAsked)
		case <-ctx.Done():
		}
	}()
	err := do(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errAsked) {
		return errAsked
	}
	return err
}

// seeThrough follows the runs to their ends and prints what became of them.
func (s *session) seeThrough(store *client.Client, e errand, f *following, wishes <-chan os.Signal) error {
	for _, id := range e.ids {
		v, err := getRun(context.Background(), store, id, false)
		if err != nil {
			return err
		}
		f.tracks = append(f.tracks, newTrack(v))
	}
	f.view = s.view(f.tracks)
	followed := f.follow(e.from, wishes)
	if followed != nil && !errors.Is(followed, errAsked) {
		return followed
	}
	views, err := s.views(store, e.ids)
	if err != nil {
		return err
	}
	if followed != nil {
		s.sayHowToResume(views)
		return followed
	}
	return s.printAll(views, e)
}

func (s *session) views(store *client.Client, ids []string) ([]*replay.RunView, error) {
	var views []*replay.RunView
	for _, id := range ids {
		v, err := getRun(context.Background(), store, id, true)
		if err != nil {
			return nil, err
		}
		if err := explainChildren(store, v); err != nil {
			return nil, err
		}
		views = append(views, v)
	}
	return views, nil
}

// explainChildren makes the reason of a run that waits for child runs what
// those wait for.
func explainChildren(store *client.Client, v *replay.RunView) error {
	if v.WaitsFor != "run" {
		return nil
	}
	reason, err := v.ChildReason(loader(store))
	if reason != "" {
		v.Reason = reason
	}
	return err
}

// printAll prints what became of the runs and returns the worst of it.
func (s *session) printAll(views []*replay.RunView, e errand) error {
	code := exitOK
	for _, v := range views {
		code = worse(code, exitOfStatus(v.Status))
		show := s.result
		if e.show != nil && v.Status.Ended() && s.print.format != "jsonl" {
			show = e.show
		}
		if !e.many {
			if err := show(v); err != nil {
				return err
			}
		}
	}
	if e.many {
		if err := s.results(views); err != nil {
			return err
		}
	}
	return silently(code)
}

// sayHowToResume tells how to go on with what was interrupted.
func (s *session) sayHowToResume(views []*replay.RunView) {
	for _, v := range views {
		switch {
		case v.Status.Ended():
		case s.remote() != "":
			s.print.insist("%s goes on at the server. To look at it: gleitzeit%s workflow status %s", v.ID, s.storeFlag(), v.ID)
		default:
			s.print.insist("%s is interrupted. To go on: gleitzeit%s resume %s", v.ID, s.storeFlag(), v.ID)
		}
	}
}

// storeFlag repeats what says which store in a command that we print.
func (s *session) storeFlag() string {
	if s.ServerURL != "" {
		return " --server " + s.ServerURL
	}
	text := ""
	for _, flag := range [][2]string{{"store", s.Store}, {"backend", s.Backend}, {"sqlite-path", s.SQLitePath}, {"redis-url", withoutPassword(s.RedisURL)}} {
		if flag[1] != "" {
			text += fmt.Sprintf(" --%s %s", flag[0], flag[1])
		}
	}
	return text
}

// leaveStore closes the store. What runs here for others may come to its end
// unless we are asked to leave.
func (s *session) leaveStore(store *client.Client, wishes <-chan os.Signal) error {
	patient := time.AfterFunc(time.Second, func() {
		s.print.say("Tasks of other runs still run here; waiting for them. Ctrl-C leaves them to be tried again.")
	})
	defer patient.Stop()
	return unlessAsked(wishes, store.Close)
}
