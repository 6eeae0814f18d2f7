package cli

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"gleitzeit/replay"
)

// This file shows one run on a terminal: a line for each task, redrawn in
// place. A renderer of our own, because all it takes is to go up n lines and
// clear to the end of the screen.

// live is the view of a run on a terminal.
type live struct {
	out   *os.File
	ink   ink
	track *track
	since time.Time
	drawn int // lines on the screen that are ours
	turn  int // of the spinner
	dirty bool
	last  time.Time // of the last drawing
}

func newLive(out *os.File, i ink, t *track) *live {
	return &live{out: out, ink: i, track: t, since: time.Now(), dirty: true}
}

// entry draws at once, but not more often than eyes can follow.
func (v *live) entry(*track, replay.Entry) error {
	v.dirty = true
	if time.Since(v.last) > 30*time.Millisecond {
		v.draw(true)
	}
	return nil
}

func (v *live) tick() {
	v.turn++
	if v.dirty || v.moves() {
		v.draw(true)
	}
}

// moves tells whether something changes on the screen by itself.
func (v *live) moves() bool {
	c := v.track.counts
	return c["running"]+c["retrying"]+c["evaluating"]+c["expanded"]+v.track.waits["timer"] > 0
}

// note writes a line above.
func (v *live) note(text string) {
	v.erase()
	fmt.Fprintln(v.out, text)
	v.draw(true)
}

// close leaves the last state on the screen, in full.
func (v *live) close() { v.draw(false) }

func (v *live) erase() {
	if v.drawn > 0 {
		fmt.Fprintf(v.out, "\x1b[%dA\x1b[J", v.drawn)
		v.drawn = 0
	}
}

// draw replaces what is on the screen, in one write so that it doesn't
// flicker. bounded keeps it within the screen.
func (v *live) draw(bounded bool) {
	var b bytes.Buffer
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", v.drawn)
	}
	most := len(v.tasks())
	if bounded {
		most = screenHeight(v.out) - 3
	}
	rows := v.rows(most, screenWidth(v.out)-1)
	for _, row := range rows {
		b.WriteString(row + "\n")
	}
	v.out.Write(b.Bytes())
	v.drawn, v.dirty, v.last = len(rows), false, time.Now()
}

// rows are the lines of the tasks, at most that many, and the summary.
func (v *live) rows(most, across int) []string {
	shown := v.chosen(max(1, most))
	widest := 0
	for _, t := range shown {
		widest = max(widest, min(columns(t.id), 40))
	}
	var rows []string
	for _, t := range shown {
		rows = append(rows, v.row(t, widest, across))
	}
	return append(rows, v.summary(across))
}

// fewItems is how many instances of a foreach have a line each.
const fewItems = 8

// tasks are the tasks that have a line: those of the file, and after each its
// instances if they are few, and the steps of an agent that have not ended. Of
// the others the task's own line says how far they are.
func (v *live) tasks() []*trackedTask {
	all := make([]*trackedTask, 0, len(v.track.tasks))
	for _, t := range v.track.tasks {
		if t.of == nil {
			all = append(all, t)
			all = append(all, t.shown()...)
		}
	}
	return all
}

// shown are the instances or steps that have a line.
func (t *trackedTask) shown() (shown []*trackedTask) {
	if t.turn == 0 && len(t.instances) > fewItems {
		return nil
	}
	for _, one := range t.instances {
		if t.turn > 0 && slices.Contains([]string{"completed", "failed", "skipped", "cancelled"}, one.status) {
			continue
		}
		shown = append(shown, one)
		shown = append(shown, one.shown()...)
	}
	return shown
}

// chosen are the tasks that are shown when not all fit: those that something
// happens to, then the others in the order of the file.
func (v *live) chosen(most int) []*trackedTask {
	all := v.tasks()
	if len(all) <= most {
		return all
	}
	picked := map[*trackedTask]bool{}
	for _, wanted := range []string{"running", "expanded", "failed", "in_doubt", "retrying", "waiting", "evaluating", "ready", "completed", "pending", "cancelled", "skipped"} {
		for i := range all {
			t := all[i]
			if wanted == "completed" {
				t = all[len(all)-1-i] // the last ones
			}
			if t.status == wanted && len(picked) < most {
				picked[t] = true
			}
		}
	}
	shown := make([]*trackedTask, 0, most)
	for _, t := range all {
		if picked[t] {
			shown = append(shown, t)
		}
	}
	return shown
}

var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// row is a task's line: sign, name, time, and what else there is to say.
func (v *live) row(t *trackedTask, widest, columns int) string {
	sign, took := v.sign(t)
	var more []string
	if t.attempts > 1 {
		more = append(more, fmt.Sprintf("attempt %d", t.attempts))
	}
	if t.turn > 0 {
		more = append(more, fmt.Sprintf("turn %d", t.turn))
	} else if len(t.instances) > 0 {
		more = append(more, itemsText(len(t.instances), t.items))
	}
	if t.tokens > 0 {
		more = append(more, fmt.Sprintf("%d tokens", t.tokens))
	}
	if t.message != "" {
		more = append(more, t.message)
	}
	room := columns - 2 - widest - 2 - 8 - 2
	text := line(strings.Join(more, ", "), max(0, room))
	if t.status == "failed" {
		text = v.ink.red(text)
	} else {
		text = v.ink.faint(text)
	}
	return strings.TrimRight(fmt.Sprintf("%s %s  %s  %s", sign, pad(line(t.id, widest), widest), pad(took, 8), text), " ")
}

func (v *live) sign(t *trackedTask) (sign, took string) {
	switch t.status {
	case "running", "expanded":
		if len(t.asks) > 0 {
			return v.ink.yellow("?"), short(time.Since(t.started).Truncate(100 * time.Millisecond))
		}
		return v.ink.blue(string(spinner[v.turn%len(spinner)])), short(time.Since(t.started).Truncate(100 * time.Millisecond))
	case "completed":
		return v.ink.green("✓"), short(t.took)
	case "failed":
		return v.ink.red("✗"), short(t.took)
	case "retrying":
		return v.ink.yellow("↻"), "in " + short(max(0, time.Until(t.due)).Truncate(100*time.Millisecond))
	case "waiting":
		if t.kind == "timer" {
			took = "in " + short(max(0, time.Until(t.due)).Truncate(100*time.Millisecond))
		}
		return v.ink.yellow("◷"), took
	case "evaluating":
		return v.ink.blue(string(spinner[v.turn%len(spinner)])), ""
	case "in_doubt":
		return v.ink.yellow("?"), ""
	case "cancelled":
		return v.ink.yellow("⊘"), ""
	case "skipped":
		return v.ink.faint("-"), ""
	}
	return v.ink.faint("·"), ""
}

// summary is the last line.
func (v *live) summary(columns int) string {
	counts := v.counts()
	parts := []string{v.track.id}
	for _, status := range []string{"completed", "running", "retrying", "waiting", "in_doubt", "failed", "cancelled", "skipped"} {
		if n := counts[status]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, status))
		}
	}
	if v.track.paused {
		parts = append(parts, "paused")
	}
	if open := counts["pending"] + counts["ready"]; open > 0 {
		parts = append(parts, fmt.Sprintf("%d to do", open))
	}
	parts = append(parts, short(time.Since(v.since).Truncate(100*time.Millisecond)))
	return v.ink.faint(line(strings.Join(parts, " · "), columns))
}

// counts says how many tasks of the file stand where; a foreach with its items
// runs.
func (v *live) counts() map[string]int {
	counts := map[string]int{}
	for _, t := range v.track.tasks {
		switch {
		case t.of != nil:
		case t.status == "expanded" || t.status == "evaluating":
			counts["running"]++
		default:
			counts[t.status]++
		}
	}
	return counts
}
