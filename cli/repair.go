package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"gleitzeit/eventlog"
	"gleitzeit/replay"
)

// This file cuts the damaged end off a store, after it has said what that costs.

// systemRepairCmd does it.
type systemRepairCmd struct {
	Yes    bool `short:"y" help:"Cut without asking."`
	DryRun bool `help:"Only say what would be lost."`
}

// Help shows how it is used.
func (systemRepairCmd) Help() string {
	return `What is damaged at the end of the store is cut off, and with it all that came after the
first damaged event. Which runs that costs how many events is said before, and asked
about. Indexes are made anew from the events. The damaged store stays beside the new one.

Damage that sound events follow is not cut off: restore a backup then, or export the
runs that can be read, and import them into a new store. A Redis repairs its own files.
Nothing may hold the store meanwhile.

Examples:

	gleitzeit system repair --dry-run
	gleitzeit system repair --yes && gleitzeit resume

Exit codes: 0 repaired, or nothing to repair; 10 not repaired, and nothing was changed.`
}

// repairLoss is what a run loses, or what lies beside the runs.
type repairLoss struct {
	Run    string         `json:"run,omitempty"` // its id, if that is known
	Number uint64         `json:"number,omitempty"`
	Stream string         `json:"stream"`
	Events int            `json:"events"` // that are known of
	First  eventlog.Seq   `json:"first"`
	Types  map[string]int `json:"types,omitempty"`
}

// repairResult is what was found, and done.
type repairResult struct {
	Sound    bool         `json:"sound"`
	Repaired bool         `json:"repaired"`
	Problems []string     `json:"problems"`
	Keep     eventlog.Seq `json:"keep"` // the last event that stays
	Lost     []repairLoss `json:"lost"`
	Bytes    int64        `json:"bytes,omitempty"` // of a write-ahead log that go with them
	Records  uint64       `json:"records,omitempty"`
	Backup   string       `json:"backup,omitempty"`
}

// Run does it.
func (r *systemRepairCmd) Run(s *session) error {
	if err := s.ownStore(); err != nil {
		return err
	}
	c, err := s.config("")
	if err != nil {
		return err
	}
	if c.Backend == "memory" {
		return usage(errors.New("a store in memory ends with its process: there is nothing to repair"))
	}
	ctx, stop := interruptible()
	defer stop()
	o := c.log()
	o.Views, o.Fatal, o.Logger = replay.SQLViews(), s.fatal("system repair"), c.logger(s.env.stderr)
	var found eventlog.Damage
	done, err := eventlog.Repair(ctx, c.Store, o, func(d eventlog.Damage) bool {
		found = d
		if s.print.prose() {
			tellDamage(s.print.err, d)
		}
		return !r.DryRun && (r.Yes || s.consent("Cut it off? The damaged store is kept beside it. [y/N] "))
	})
	result := repairResult{Sound: errors.Is(err, eventlog.ErrSound), Repaired: err == nil, Problems: append([]string{}, done.Problems...),
		Keep: done.Keep, Lost: lossesOf(found), Bytes: done.Bytes, Records: done.Records, Backup: done.Backup}
	switch {
	case result.Sound || result.Repaired, errors.Is(err, eventlog.ErrNotAgreed):
		err = afterRepair(err, r.DryRun)
		return errors.Join(s.print.show(result, result.text), err)
	}
	return &exit{exitStore, err}
}

// afterRepair says how the command ends when there was no trouble.
func afterRepair(err error, dry bool) error {
	switch {
	case !errors.Is(err, eventlog.ErrNotAgreed):
		return nil
	case dry:
		return silently(exitStore)
	}
	return &exit{exitStore, errors.New("nothing was changed: say --yes to cut it off")}
}

// consent asks whoever sits at the terminal; nobody there means no.
func (s *session) consent(question string) bool {
	terminal, ok := s.env.stdin.(*os.File)
	if !ok || !isTerminal(terminal) {
		return false
	}
	fmt.Fprint(s.env.stderr, question)
	answer, _ := bufio.NewReader(s.env.stdin).ReadString('\n')
	return slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(answer)))
}

// text is the result in words.
func (r repairResult) text(w io.Writer) {
	switch {
	case r.Sound:
		fmt.Fprintln(w, "the store is sound: there is nothing to repair")
	case r.Repaired:
		fmt.Fprintf(w, "repaired: %s stay, up to %d; the damaged store is %s\n", plural(int(r.Records), "event"), r.Keep, r.Backup)
	}
}

// tellDamage says what is wrong and what cutting costs.
func tellDamage(w io.Writer, d eventlog.Damage) {
	const most = 10
	for _, problem := range d.Problems[:min(most, len(d.Problems))] {
		fmt.Fprintln(w, line(problem, 300))
	}
	if n := len(d.Problems) - most; n > 0 {
		fmt.Fprintf(w, "and %s more\n", plural(n, "problem"))
	}
	losses := lossesOf(d)
	if len(losses) == 0 && d.Bytes == 0 {
		fmt.Fprintln(w, "No event is lost: only what is made of them is damaged, and is made anew.")
		return
	}
	fmt.Fprintf(w, "What comes after event %d is lost%s:\n", d.Keep, bytesLost(d.Bytes))
	for _, l := range losses {
		fmt.Fprintf(w, "  %s: %s from %d on%s\n", firstOf(l.Run, runNumber(l.Number), l.Stream), plural(l.Events, "event"), l.First, typesOf(l.Types))
	}
}

func bytesLost(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s of the write-ahead log)", bytesOf(n))
}

func runNumber(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("run %d", n)
}

// typesOf counts events in words.
func typesOf(types map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(types)) {
		all = append(all, fmt.Sprintf("%d %s", types[name], name))
	}
	if len(all) == 0 {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}

// lossesOf names the runs behind the streams.
func lossesOf(d eventlog.Damage) []repairLoss {
	losses := []repairLoss{}
	for _, l := range d.Lost {
		one := repairLoss{Stream: l.Stream, Events: l.Records, First: l.First, Types: l.Types}
		if number, ok := replay.RunOf(l.Stream); ok {
			one.Number = number
			var begin replay.WorkflowSubmitted
			if l.Begin != nil && l.Begin.Type == begin.Type() && json.Unmarshal(l.Begin.Data, &begin) == nil {
				one.Run = begin.ID
			}
		}
		losses = append(losses, one)
	}
	return losses
}
