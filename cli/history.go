package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/replay"
)

// historyCmd shows all that happened to a run.
type historyCmd struct {
	ID     string `arg:"" help:"${id}"`
	Follow bool   `short:"f" help:"Go on showing what happens until the run ends."`
}

// Help shows how it is used.
func (historyCmd) Help() string {
	return `Each line is a fact of the log: its place, the time since the run was submitted, the
task, and what happened. A life is the time that one process carried the run out:
a crash or an interruption ends it, a resume begins the next.

Examples:

	gleitzeit history @last
	gleitzeit history report-7 --follow
	gleitzeit history report-7 -o jsonl | jq 'select(.type == "task.failed")'`
}

// Run does it.
func (h *historyCmd) Run(s *session) error {
	return s.look(func(ctx context.Context, store *client.Client) error {
		if h.Follow {
			return h.follow(ctx, s, store)
		}
		var all server.HistoryResult
		if err := store.Call(ctx, server.WorkflowHistory, server.RunParams{ID: h.ID}, &all); err != nil {
			return err
		}
		return s.print.show(all.Entries, func(w io.Writer) {
			t := &timeline{w: w, ink: s.print.outInk, task: widestTask(all.Entries)}
			for _, e := range all.Entries {
				t.write(e)
			}
		})
	})
}

// follow shows what happened and happens, one entry after the other.
func (h *historyCmd) follow(ctx context.Context, s *session, store *client.Client) error {
	v, err := getRun(ctx, store, h.ID, false)
	if err != nil {
		return err
	}
	widest := 0
	for _, t := range v.Tasks {
		widest = max(widest, min(columns(t.ID), mostOfTask))
	}
	t := &timeline{w: s.print.out, ink: s.print.outInk, task: widest}
	var failed error
	followed := store.Follow(ctx, v.ID, client.Follower{Watch: true, Entry: func(e replay.Entry) {
		if s.print.format == "text" {
			t.write(e)
		} else if err := s.print.showItem(e); err != nil && failed == nil {
			failed = err
		}
	}})
	if ctx.Err() != nil {
		return errAsked
	}
	if followed != nil {
		return followed
	}
	return failed
}

// mostOfTask is how wide a task's name is shown.
const mostOfTask = 30

func widestTask(entries []replay.Entry) (widest int) {
	for _, e := range entries {
		widest = max(widest, min(columns(e.Task), mostOfTask))
	}
	return widest
}

// timeline writes entries as lines, and a line above for each life.
type timeline struct {
	w     io.Writer
	ink   ink
	task  int // columns of the task
	began time.Time
	lives int
}

func (t *timeline) write(e replay.Entry) {
	if t.lives == 0 {
		t.began = e.Time
	}
	switch e.Event.(type) {
	case *replay.WorkflowSubmitted, *replay.WorkflowResumed, *replay.WorkflowRetried:
		t.life(e)
	}
	fmt.Fprintf(t.w, "%6d  %8s  %s  %s\n", e.Seq, "+"+short(e.Time.Sub(t.began)), pad(line(e.Task, t.task), t.task), t.text(e))
}

// life writes that a life begins.
func (t *timeline) life(e replay.Entry) {
	t.lives++
	who := fmt.Sprintf("life %d, %s", t.lives, e.Time.Local().Format("2006-01-02 15:04:05"))
	fmt.Fprintln(t.w, t.ink.faint("── "+who+" ──"))
}

func (t *timeline) text(e replay.Entry) string {
	text := clean(strings.TrimRight(e.Text, "\n"))
	if first, rest, many := strings.Cut(text, "\n"); many {
		text = first + "\n" + indent(rest, strings.Repeat(" ", 20+t.task))
	}
	switch v := e.Event.(type) {
	case *replay.WorkflowInterrupted:
		if v.By != "" {
			text += " (by " + clean(v.By) + ")"
		}
		return t.ink.yellow(text)
	case *replay.TaskCompleted:
		return t.ink.green(text)
	case *replay.TaskFailed:
		return t.ink.red(text)
	case *replay.TaskRetrying, *replay.TaskInDoubt, *replay.TaskInterrupted,
		*replay.WorkflowParked, *replay.WorkflowImported, *replay.CancelRequested, *replay.TaskCancelled:
		return t.ink.yellow(text)
	case *replay.TaskSkipped:
		return t.ink.faint(text)
	case *replay.WorkflowEnded:
		return t.ink.bold(t.ink.status(string(v.Status)) + strings.TrimPrefix(text, string(v.Status)))
	}
	return text
}
