package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"gleitzeit/eventlog"
)

// This file is the command doctor: it asks everything that a run depends on how
// it is, and changes nothing. The questions are in its neighbours: doctorstore.go,
// doctordisk.go, doctormachine.go and doctorproviders.go.

// doctorCmd examines this setup.
type doctorCmd struct {
	Timeout time.Duration `default:"10s" placeholder:"TIME" help:"How long to wait for each provider."`
}

// Help shows how it is used.
func (doctorCmd) Help() string {
	return `Measured and asked are: the store and how durable it is, the disk that it lies on, the
clock, the limits of this process, and each provider, MCP servers included. Nothing
is changed; one scratch file is written beside the store and removed. At each thing that
isn't as it should be stands what to do about it.

Examples:

	gleitzeit doctor
	gleitzeit doctor -o json | jq -r '.findings[] | select(.state != "good") | .text'

Exit codes: 0 nothing to do (notes don't count), 9 there are warnings, 8 a provider of
the configuration can't work, 10 the store can't be used.`
}

// severity is how bad a finding is.
type severity string

const (
	good    severity = "good"
	note    severity = "note"    // worth knowing
	warning severity = "warning" // it works, but not as well or not as safely as it could
	bad     severity = "bad"     // it doesn't work
)

// severities are ordered, the worst last.
var severities = []severity{good, note, warning, bad}

// finding is one thing that was looked at.
type finding struct {
	State   severity `json:"state"`
	About   string   `json:"about"` // store, disk, clock, limits, memory, provider NAME
	Text    string   `json:"text"`
	Remedy  string   `json:"remedy,omitempty"`
	Details any      `json:"details,omitempty"`

	code int // that the command ends with, if it is bad
}

// diagnosis is what doctor found.
type diagnosis struct {
	State      severity            `json:"state"` // the worst of the findings
	Durability eventlog.Durability `json:"durability"`
	Durable    string              `json:"durable"` // the same in plain words
	Findings   []finding           `json:"findings"`
}

// Run does it.
func (d *doctorCmd) Run(s *session) error {
	if err := s.ownStore(); err != nil {
		return err
	}
	c, err := s.config("")
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	found := s.examine(ctx, c, d.Timeout)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err = s.print.show(found, func(w io.Writer) { found.write(w, s.print.outInk) })
	return errors.Join(err, silently(found.code()))
}

// examine asks all the questions.
func (s *session) examine(ctx context.Context, c *config, patience time.Duration) *diagnosis {
	d := &diagnosis{}
	where := d.store(ctx, c)
	d.disk(where)
	d.clock()
	d.judge(readLimits())
	d.providers(ctx, s, c, patience)
	d.sum()
	return d
}

// sum finds the worst of the findings.
func (d *diagnosis) sum() {
	d.State = good
	for _, f := range d.Findings {
		if slices.Index(severities, f.State) > slices.Index(severities, d.State) {
			d.State = f.State
		}
	}
}

// add notes a finding.
func (d *diagnosis) add(f finding) { d.Findings = append(d.Findings, f) }

// code is what the command ends with. A store that can't be used beats a
// provider that can't, and that beats warnings.
func (d *diagnosis) code() int {
	code := exitOK
	for _, f := range d.Findings {
		switch {
		case f.State == bad && (f.code == exitStore || code != exitStore):
			code = f.code
		case f.State == warning && code == exitOK:
			code = exitMismatch
		}
	}
	return code
}

func (d *diagnosis) write(w io.Writer, i ink) {
	rows := make([][]string, len(d.Findings))
	for k, f := range d.Findings {
		rows[k] = []string{i.severity(f.State), f.About, line(f.Text, 400)}
	}
	width := 0
	for _, row := range rows {
		width = max(width, columns(row[1]))
	}
	for k, row := range rows {
		fmt.Fprintf(w, "%s  %s  %s\n", pad(row[0], 7), pad(row[1], width), row[2])
		if remedy := d.Findings[k].Remedy; remedy != "" {
			fmt.Fprintf(w, "%s  → %s\n", pad("", 9+width), line(remedy, 400))
		}
	}
	fmt.Fprintf(w, "\n%s %s\n", i.bold("durable:"), d.Durable)
}

// severity colours it.
func (i ink) severity(v severity) string {
	switch v {
	case good:
		return i.green(string(v))
	case warning:
		return i.yellow(string(v))
	case bad:
		return i.red(string(v))
	}
	return i.faint(string(v))
}
