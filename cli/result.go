package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
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

// value is one named part of a result.
type value struct {
	name string
	raw  json.RawMessage
}

// writeResult writes the outputs of a run, or without any the results of the
// tasks that no other waits for. A single one stands alone.
func writeResult(w io.Writer, v *replay.RunView) {
	values := members(v.Outputs)
	if v.Outputs == nil {
		values = leaves(v)
	}
	if len(values) == 1 {
		fmt.Fprintln(w, strings.TrimSuffix(textOf(values[0].raw), "\n"))
		return
	}
	for _, one := range values {
		writeNamed(w, one.name, textOf(one.raw))
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

// members returns the members of a JSON object in their order, none of
// anything else.
func members(object json.RawMessage) (values []value) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	for d.More() {
		key, err := d.Token()
		var raw json.RawMessage
		if err != nil || d.Decode(&raw) != nil {
			return values
		}
		values = append(values, value{key.(string), raw})
	}
	return values
}

// leaves returns the results of the completed tasks that no other waits for.
// Hooks come after the result.
func leaves(v *replay.RunView) (values []value) {
	needed := map[string]bool{}
	for _, t := range v.Tasks {
		for _, d := range t.Dependencies {
			needed[d] = needed[d] || t.Hook == ""
		}
	}
	for _, t := range v.Tasks {
		if !needed[t.ID] && t.Of == "" && t.Hook == "" && t.Status == replay.TaskIsCompleted {
			values = append(values, value{t.ID, essence(t.Result)})
		}
	}
	return values
}

// essence is what a bare reference to a task gives: its payload's result,
// else its text, else the whole payload.
func essence(payload json.RawMessage) json.RawMessage {
	all := members(payload)
	for _, name := range []string{"result", "response", "content", "text"} {
		i := slices.IndexFunc(all, func(v value) bool { return v.name == name })
		if i >= 0 && (name == "result" || isText(all[i].raw)) {
			return all[i].raw
		}
	}
	return payload
}

func isText(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '"' }

// oneLine is how long JSON may be to be written on one line.
const oneLine = 72

// textOf writes text as it is, anything else as JSON.
func textOf(raw json.RawMessage) string {
	var text string
	if isText(raw) && json.Unmarshal(raw, &text) == nil {
		return text
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	if b.Len() > oneLine {
		b.Reset()
		_ = json.Indent(&b, raw, "", "  ") // it is JSON
	}
	return b.String()
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
