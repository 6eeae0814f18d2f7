package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"gleitzeit/replay"
)

// This file prints what became of a run: its result on standard output, or
// why there is none on standard error.

// result prints what became of one run.
func (s *session) result(v *replay.RunView) error {
	if s.print.format == "jsonl" { // every event has been printed
		return nil
	}
	if !s.print.prose() {
		return s.print.show(fold(v), nil)
	}
	if v.Status == replay.Completed {
		return s.print.show(nil, func(w io.Writer) { writeResult(w, v) })
	}
	s.explain(v)
	return nil
}

// writeResult writes the outputs of a run, or without any the results of the
// tasks that no other waits for. A single one stands alone.
func writeResult(w io.Writer, v *replay.RunView) {
	parts := v.Results()
	if len(parts) == 1 {
		fmt.Fprintln(w, strings.TrimSuffix(replay.Text(parts[0].Value), "\n"))
		return
	}
	for _, one := range parts {
		writeNamed(w, one.Name, replay.Text(one.Value))
	}
}

// writeNamed writes a text on one line with its name, or below it.
func writeNamed(w io.Writer, name, text string) {
	if strings.Contains(strings.TrimRight(text, "\n"), "\n") {
		fmt.Fprintf(w, "%s:\n%s\n", name, indent(text, "  "))
		return
	}
	fmt.Fprintf(w, "%s: %s\n", name, strings.TrimRight(text, "\n"))
}

// indent begins every line of text with the prefix.
func indent(text, prefix string) string {
	return prefix + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+prefix)
}

// explain tells why a run has no result, also when asked to be quiet.
func (s *session) explain(v *replay.RunView) {
	p, i := s.print, s.print.errInk
	switch {
	case !v.Status.Ended() && v.Reason != "":
		p.insist("%s", s.standing(v))
		return
	case v.Error != nil:
		p.insist("%s %s: %s", v.ID, i.red(string(v.Status)), clean(v.Error.Message))
	default:
		p.insist("%s %s", v.ID, i.red(string(v.Status)))
	}
	skipped, byItems := map[string][]string{}, failedByItems(v)
	for _, t := range v.Tasks {
		switch {
		case t.Status == replay.TaskIsFailed && t.Error != nil && !byItems[t.ID]:
			s.explainTask(t)
		case t.Status == replay.TaskIsSkipped:
			skipped[t.Reason] = append(skipped[t.Reason], t.ID)
		}
	}
	for _, reason := range sortedNames(skipped) {
		p.insist("%s %s: %s", i.faint("skipped"), line(strings.Join(skipped[reason], ", "), 200), clean(reason))
	}
	p.say("%s gleitzeit history %s", i.faint("More:"), v.ID)
}

// failedByItems are the foreaches of which an instance failed, which says more.
func failedByItems(v *replay.RunView) map[string]bool {
	failed := map[string]bool{}
	for _, t := range v.Tasks {
		if t.Of != "" && t.Status == replay.TaskIsFailed {
			failed[t.Of] = true
		}
	}
	return failed
}

// explainTask tells why a task failed, with what its script left behind.
func (s *session) explainTask(t replay.TaskView) {
	p, i := s.print, s.print.errInk
	tries := ""
	if t.Attempts > 1 {
		tries = fmt.Sprintf(" after %d attempts", t.Attempts)
	}
	p.insist("%s task %q%s: %s (%s)", i.red("✗"), t.ID, tries, clean(t.Error.Message), t.Error.Code)
	var data struct{ Traceback, Stdout, Stderr string }
	if json.Unmarshal(t.Error.Data, &data) != nil {
		return
	}
	if data.Traceback != "" {
		p.insist("%s", indent(clean(data.Traceback), "    "))
	}
	if strings.TrimSpace(data.Stdout) != "" {
		p.insist("  %s\n%s", i.faint("it printed:"), indent(clean(data.Stdout), "    "))
	}
	if strings.TrimSpace(data.Stderr) != "" && !strings.Contains(data.Traceback, strings.TrimSpace(data.Stderr)) {
		p.insist("  %s\n%s", i.faint("on standard error:"), indent(clean(data.Stderr), "    "))
	}
}

// results prints what became of several runs.
func (s *session) results(views []*replay.RunView) error {
	if s.print.format == "jsonl" {
		return nil
	}
	folded := make([]*replay.RunView, len(views))
	for i, v := range views {
		folded[i] = fold(v)
	}
	return s.print.show(folded, func(w io.Writer) {
		rows := [][]string{{"RUN", "STATUS", "TASKS", "TIME", ""}}
		for _, v := range views {
			why := v.Reason
			if v.Error != nil {
				why = v.Error.Message
			}
			rows = append(rows, []string{v.ID, s.print.outInk.status(string(v.Status)), progressOf(v),
				short(time.Duration(v.DurationMS) * time.Millisecond), line(why, 100)})
		}
		table(w, rows)
	})
}
