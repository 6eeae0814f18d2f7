package cli

import (
	"context"
	"fmt"
	"slices"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// resumeCmd goes on with runs.
type resumeCmd struct {
	ID    string   `arg:"" optional:"" help:"The run: its id, the beginning of it, its number or @last. Without it all unfinished runs."`
	Retry []string `sep:"none" placeholder:"TASK" help:"Try the task again, whose attempt is in doubt."`
	Fail  []string `sep:"none" placeholder:"TASK" help:"Count the task as failed, whose attempt is in doubt."`
	Skip  []string `sep:"none" placeholder:"TASK" help:"Skip the task, whose attempt is in doubt."`
	patience
}

// Help shows how it is used.
func (resumeCmd) Help() string {
	return `Finished tasks are not run again. An attempt that had started when the process died
is in doubt: it is tried again, unless its task's on_crash says otherwise. With
on_crash: ask it waits until you say --retry, --fail or --skip.

Timers and retries are waited for. When only a person or a signal is missing, the
command that goes on is printed, and the exit code is 6: with --wait we stay.

A run that was parked after too many crashes is resumed only by its id.

Examples:

	gleitzeit resume
	gleitzeit resume report-7
	gleitzeit resume @last --retry upload

Of many runs the exit code is the lowest of 3 to 6 that any had.`
}

// Run does it.
func (r *resumeCmd) Run(s *session) error {
	answers, err := r.answers()
	if err != nil {
		return usage(err)
	}
	if err := s.refuseMock(); err != nil {
		return err
	}
	c, err := s.config("")
	if err != nil {
		return err
	}
	return s.carry(c, r.patience, func(ctx context.Context, store *client.Client) (errand, error) {
		if r.ID == "" {
			return s.resumeAll(ctx, c, store)
		}
		return s.resumeOne(ctx, c, store, r.ID, answers)
	})
}

// answers collects what becomes of attempts in doubt.
func (r *resumeCmd) answers() (map[string]protocols.OnCrash, error) {
	answers := map[string]protocols.OnCrash{}
	for action, tasks := range map[protocols.OnCrash][]string{
		protocols.CrashRetry: r.Retry, protocols.CrashFail: r.Fail, protocols.CrashSkip: r.Skip,
	} {
		for _, t := range tasks {
			if _, twice := answers[t]; twice {
				return nil, fmt.Errorf("task %q: say only one of --retry, --fail and --skip", t)
			}
			answers[t] = action
		}
	}
	if len(answers) > 0 && r.ID == "" {
		return nil, fmt.Errorf("--retry, --fail and --skip need the id of a run")
	}
	return answers, nil
}

// resumeOne takes one run on. One that has ended is only shown.
func (s *session) resumeOne(ctx context.Context, c *config, store *client.Client, id string, answers map[string]protocols.OnCrash) (errand, error) {
	v, err := getRun(ctx, store, id, false)
	if err != nil {
		return errand{}, err
	}
	from, err := endOfHistory(ctx, store, v.ID)
	if err != nil {
		return errand{}, err
	}
	e := errand{ids: []string{v.ID}, from: map[string]eventlog.Seq{v.ID: from}}
	if v.Status.Ended() {
		return e, nil
	}
	secrets, err := s.needed(ctx, c, store, v.ID)
	if err != nil {
		return errand{}, err
	}
	p := server.ResumeParams{ID: v.ID, Explicit: true, Answers: answers, Secrets: secrets, By: s.env.user()}
	return e, store.Call(ctx, server.WorkflowResume, p, nil)
}

// needed opens the secrets that a run needs, or all do for "", as far as they
// are there.
func (s *session) needed(ctx context.Context, c *config, store *client.Client, id string) (map[string]string, error) {
	if s.remote() != "" {
		return nil, nil // its secrets are the server's own, and ours none of its business
	}
	var r server.ReferencesResult
	if err := store.Call(ctx, server.SecretReferences, server.ReferencesParams{ID: id}, &r); err != nil {
		return nil, err
	}
	return s.offers(c)(r.References), nil
}

// endOfHistory is the place after all that is known of the run.
func endOfHistory(ctx context.Context, store *client.Client, id string) (eventlog.Seq, error) {
	var h server.HistoryResult
	if err := store.Call(ctx, server.WorkflowHistory, server.RunParams{ID: id}, &h); err != nil {
		return 0, err
	}
	return h.Entries[len(h.Entries)-1].Seq + 1, nil
}

// resumeAll takes every unfinished run on. Those that are parked only count.
func (s *session) resumeAll(ctx context.Context, c *config, store *client.Client) (errand, error) {
	secrets, err := s.needed(ctx, c, store, "")
	if err != nil {
		return errand{}, err
	}
	var all server.RunsResult
	if err := store.Call(ctx, server.WorkflowResumeAll, server.ResumeAllParams{Secrets: secrets, By: s.env.user()}, &all); err != nil {
		return errand{}, err
	}
	parked, err := listRuns(ctx, store, server.ListParams{Status: []replay.Status{replay.Parked}}, 0)
	if err != nil {
		return errand{}, err
	}
	for _, v := range parked {
		if !slices.Contains(all.IDs, v.ID) {
			all.IDs = append(all.IDs, v.ID)
		}
	}
	if len(all.IDs) == 0 {
		s.print.say("Nothing to resume: all runs have ended.")
		return errand{many: s.print.format != "text"}, nil
	}
	e := errand{ids: all.IDs, from: map[string]eventlog.Seq{}, many: len(all.IDs) != 1 || s.print.format != "text"}
	for _, id := range all.IDs {
		if e.from[id], err = endOfHistory(ctx, store, id); err != nil {
			return errand{}, err
		}
	}
	return e, nil
}
