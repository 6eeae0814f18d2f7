package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// workflowCmd is about runs that are there.
type workflowCmd struct {
	Submit submitCmd `cmd:"" help:"Hand a workflow to the server, and print the id of its run."`
	List   listCmd   `cmd:"" help:"List runs, the newest first."`
	Status statusCmd `cmd:"" help:"Show where a run and its tasks stand."`
	Get    getCmd    `cmd:"" help:"Show a run with all its results."`
	Cancel cancelCmd `cmd:"" help:"End runs early; what runs is stopped."`

	Retry retryCmd `cmd:"" help:"Try again what failed in a run that has ended, and keep what completed."`

	Pause   pauseCmd   `cmd:"" help:"Let nothing new of runs start until they are unpaused."`
	Unpause unpauseCmd `cmd:"" help:"Let paused runs go on."`
}

// idHelp says what names a run; kong puts it where ${id} stands.
const idHelp = "The run: its id, the beginning of it, its number or @last."

// listCmd lists runs.
type listCmd struct {
	Status []string `enum:"pending,running,waiting,paused,parked,completed,failed,cancelled,timed_out" placeholder:"STATUS" help:"Only runs that stand so; several with commas."`
	Name   string   `help:"Only runs of the workflow of that name."`
	Tag    string   `help:"Only runs with the tag."`
	Limit  int      `default:"50" help:"At most so many; 0 is all."`
}

// Help shows how it is used.
func (listCmd) Help() string {
	return `Examples:

	gleitzeit workflow list
	gleitzeit workflow list --status failed,timed_out --limit 10
	gleitzeit workflow list --name report -o jsonl`
}

// Run does it.
func (l *listCmd) Run(s *session) error {
	if l.Limit < 0 {
		return usage(fmt.Errorf("--limit: %d must be 0 or more", l.Limit))
	}
	p := server.ListParams{Name: l.Name, Tag: l.Tag}
	for _, status := range l.Status {
		p.Status = append(p.Status, replay.Status(status))
	}
	return s.look(func(ctx context.Context, store *client.Client) error {
		runs, err := listRuns(ctx, store, p, l.Limit)
		if err != nil {
			return err
		}
		return s.print.show(runs, func(w io.Writer) { s.writeList(w, runs) })
	})
}

// listRuns collects the pages of a list; limit 0 is all.
func listRuns(ctx context.Context, store *client.Client, p server.ListParams, limit int) ([]*replay.RunView, error) {
	runs := []*replay.RunView{}
	for {
		p.Limit = 1000
		if limit > 0 {
			p.Limit = min(1000, limit-len(runs))
		}
		var page server.ListResult
		if err := store.Call(ctx, server.WorkflowList, p, &page); err != nil {
			return nil, err
		}
		runs = append(runs, page.Runs...)
		if page.Next == 0 && page.Cursor == "" || limit > 0 && len(runs) >= limit {
			return runs, nil
		}
		p.Before, p.Cursor = page.Next, page.Cursor
	}
}

func (s *session) writeList(w io.Writer, runs []*replay.RunView) {
	if len(runs) == 0 {
		s.print.say("No runs.")
		return
	}
	now := time.Now()
	rows := [][]string{{"RUN", "STATUS", "TASKS", "STARTED", "TIME", "NAME", ""}}
	for _, v := range runs {
		rows = append(rows, []string{v.ID, s.print.outInk.status(string(v.Status)) + mockedMark(v), progressOf(v), ago(v.Submitted, now),
			short(elapsed(v, now)), line(v.Name, 40), s.print.outInk.faint(line(shortReason(v.Reason), 60))})
	}
	table(w, rows)
}

// mockedMark stands in lists beside the status of what isn't all real.
func mockedMark(v *replay.RunView) string {
	if v.Mocked == "" {
		return ""
	}
	return ", mocked"
}

// progressOf says how many tasks of all have ended.
func progressOf(v *replay.RunView) string {
	c := v.Counts
	return fmt.Sprintf("%d/%d", c.Completed+c.Failed+c.Skipped+c.Cancelled, c.Total)
}

// elapsed is how long the run took, or has taken.
func elapsed(v *replay.RunView, now time.Time) time.Duration {
	if v.Status == replay.Running || v.Status == replay.Pending {
		return now.Sub(v.Submitted)
	}
	return time.Duration(v.DurationMS) * time.Millisecond
}

// statusCmd shows a run without its values.
type statusCmd struct {
	ID    string `arg:"" help:"${id}"`
	Items bool   `help:"Show each item of a foreach and each step of an agent, too."`
}

// Help shows how it is used.
func (statusCmd) Help() string {
	return `Examples:

	gleitzeit workflow status @last
	gleitzeit workflow status report-7 -o json
	gleitzeit workflow status report-7 --items`
}

// Run does it.
func (c *statusCmd) Run(s *session) error {
	return s.look(func(ctx context.Context, store *client.Client) error {
		v, err := getRun(ctx, store, c.ID, false)
		if err != nil {
			return err
		}
		return s.print.show(foldUnless(v, c.Items), func(w io.Writer) { s.writeStatus(w, v, c.Items) })
	})
}

func (s *session) writeStatus(w io.Writer, v *replay.RunView, items bool) {
	i := s.print.outInk
	fmt.Fprintf(w, "%s  %s  %s tasks  %s\n", i.bold(v.ID), i.status(string(v.Status))+mockedBy(i, v.Mocked), progressOf(v), short(elapsed(v, time.Now())))
	if v.Reason != "" {
		fmt.Fprintln(w, s.withStore(v.Reason))
	}
	if v.Error != nil {
		fmt.Fprintln(w, clean(v.Error.Message))
	}
	if text := costOf(v); text != "" {
		fmt.Fprintln(w, text)
	}
	fmt.Fprintln(w)
	rows, progress := [][]string{{"TASK", "STATUS", "ATTEMPTS", "TIME", ""}}, progressOfItems(v)
	for _, t := range inOrder(foldUnless(v, items).Tasks) {
		rows = append(rows, []string{line(t.ID, 60), i.status(t.Status.String()), attempts(t), took(t), line(whyOf(t, progress[t.ID]), 100)})
	}
	table(w, rows)
}

// costOf says what a run's calls have cost, "" if that is nothing.
func costOf(v *replay.RunView) string {
	text := ""
	if v.Tokens > 0 {
		text = fmt.Sprintf("%d tokens", v.Tokens)
	}
	if v.CostUSD > 0 {
		text += fmt.Sprintf(", %g USD", v.CostUSD)
	}
	return strings.TrimPrefix(text, ", ")
}

// attempts counts a task's attempts; those of a foreach are its instances'.
func attempts(t replay.TaskView) string {
	if t.Items > 0 {
		return ""
	}
	return fmt.Sprint(t.Attempts)
}

func took(t replay.TaskView) string {
	switch {
	case t.Status == replay.TaskRunning:
		return short(time.Since(t.Started))
	case t.DurationMS > 0 || t.Status == replay.TaskIsCompleted:
		return short(time.Duration(t.DurationMS) * time.Millisecond)
	}
	return ""
}

// whyOf says why a task is as it is, or of a foreach how far it is.
func whyOf(t replay.TaskView, progress string) string {
	if p := t.Partial; p != nil {
		t.Partial = nil
		return strings.TrimPrefix(whyOf(t, progress)+"; ", "; ") + p.Words()
	}
	switch {
	case t.Status == replay.TaskExpandedInto || progress != "" && t.Error == nil:
		return progress
	case t.Error != nil:
		return t.Error.Message
	case t.Status == replay.TaskWaitsToRetry:
		return "again in " + short(time.Until(t.Due))
	case t.Status == replay.TaskWaits || t.Question != nil:
		return "waits for " + t.Reason
	}
	return t.Reason
}

// getCmd shows a run with its values.
type getCmd struct {
	ID    string `arg:"" help:"${id}"`
	Task  string `placeholder:"TASK" help:"Print only the result of this task."`
	Items bool   `help:"Show each item of a foreach and each step of an agent, too."`
}

// Help shows how it is used.
func (getCmd) Help() string {
	return `Examples:

	gleitzeit workflow get @last
	gleitzeit workflow get report-7 -o json | jq '.tasks[].result'
	gleitzeit workflow get report-7 --task summary`
}

// Run does it.
func (c *getCmd) Run(s *session) error {
	return s.look(func(ctx context.Context, store *client.Client) error {
		v, err := getRun(ctx, store, c.ID, true)
		if err != nil {
			return err
		}
		if c.Task != "" {
			return s.showTask(v, c.Task)
		}
		return s.print.show(foldUnless(v, c.Items), func(w io.Writer) { s.writeRun(w, v, c.Items) })
	})
}

// showTask prints a task's result: what it was, or as text what it comes to.
func (s *session) showTask(v *replay.RunView, name string) error {
	var ids []string
	for _, t := range v.Tasks {
		if t.ID == name || t.Name == name {
			result := resultOf(v, t)
			return s.print.show(result, func(w io.Writer) { fmt.Fprintln(w, replay.Text(replay.Essence(result))) })
		}
		ids = append(ids, t.ID)
	}
	failure := protocols.Errorf(protocols.TaskNotFound, "%s has no task %q", v.ID, name)
	if hint := protocols.Suggest(name, ids); hint != "" {
		failure.Message += " (" + hint + ")"
	}
	return failure
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}

// writeRun writes the run, its results and what went wrong.
func (s *session) writeRun(w io.Writer, v *replay.RunView, items bool) {
	i := s.print.outInk
	s.writeStatus(w, v, items)
	if v.Outputs != nil {
		fmt.Fprintf(w, "\n%s\n", i.bold("outputs"))
		for _, one := range replay.Members(v.Outputs) {
			writeNamed(w, one.Name, replay.Text(one.Value))
		}
	}
	for _, t := range inOrder(foldUnless(v, items).Tasks) {
		if t.Result != nil {
			fmt.Fprintf(w, "\n%s\n%s\n", i.bold(t.ID), indent(replay.Text(t.Result), "  "))
		}
		if p := t.Partial; p != nil {
			more := ""
			if p.Cut {
				more = " …"
			}
			fmt.Fprintf(w, "\n%s %s\n%s\n", i.bold(t.ID), i.faint(fmt.Sprintf("(attempt %d, without its end)", p.Attempt)), indent(clean(p.Text)+more, "  "))
		}
	}
}

// cancelCmd ends runs early.
type cancelCmd struct {
	IDs  []string      `arg:"" name:"id" help:"${id}"`
	Wait time.Duration `default:"15s" placeholder:"TIME" help:"How long to wait until what runs has stopped."`
}

// Help shows how it is used.
func (cancelCmd) Help() string {
	return `Examples:

	gleitzeit workflow cancel @last
	gleitzeit workflow cancel report-7 report-8`
}

// Run does it.
func (c *cancelCmd) Run(s *session) error {
	conf, err := s.config("")
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	return s.use(ctx, conf, works, func(store *client.Client) error {
		var views []*replay.RunView
		var failed []error
		for _, id := range c.IDs {
			v, err := c.cancel(ctx, s, store, id)
			if err != nil {
				failed = append(failed, err)
				continue
			}
			views = append(views, v)
		}
		err := s.print.show(views, func(w io.Writer) {
			for _, v := range views {
				fmt.Fprintf(w, "%s %s\n", v.ID, s.print.outInk.status(string(v.Status)))
			}
		})
		return errors.Join(append(failed, err)...)
	})
}

// cancel ends one run and waits until what runs has stopped.
func (c *cancelCmd) cancel(ctx context.Context, s *session, store *client.Client, id string) (*replay.RunView, error) {
	var run server.RunResult
	if err := store.Call(ctx, server.WorkflowCancel, server.CancelParams{ID: id, By: s.env.user()}, &run); err != nil {
		return nil, err
	}
	patience, enough := context.WithTimeout(ctx, c.Wait)
	defer enough()
	err := store.Follow(patience, run.ID, client.Follower{})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	if err != nil {
		s.print.insist("%s is being cancelled, but something still runs after %s", run.ID, short(c.Wait))
	}
	return getRun(ctx, store, run.ID, false)
}
