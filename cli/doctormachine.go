package cli

import (
	"fmt"
	"strings"
	"time"
)

// This file looks at the clock and at what this process may use.

// clockFacts are what a system says of its clock.
type clockFacts struct {
	known  bool
	synced bool          // it follows a better one
	error  time.Duration // how far it may be off, at most
}

// clock compares the two clocks that there are while some time passes, and asks
// whether something keeps the one that shows the time.
func (d *diagnosis) clock() {
	began := time.Now()
	time.Sleep(200 * time.Millisecond)
	now := time.Now()
	jump := now.Round(0).Sub(began.Round(0)) - now.Sub(began)
	facts := readClock()
	details := map[string]any{"jump_us": jump.Microseconds()}
	f := finding{State: good, About: "clock", Text: "it runs evenly", Details: details}
	switch {
	case jump.Abs() > 20*time.Millisecond:
		f.State, f.Text = warning, fmt.Sprintf("it jumped by %s while 200ms passed", short(jump.Abs()))
		f.Remedy = "something sets the clock instead of slewing it; timers and schedules follow it"
	case facts.known && facts.synced:
		f.Text += fmt.Sprintf(", and is kept right to %s", short(facts.error))
	case facts.known:
		f.State, f.Text = note, "it runs evenly, but the system doesn't know of anything that keeps it right (NTP)"
		f.Remedy = "timers and schedules go by it: run chrony or systemd-timesyncd, here or on the host"
	}
	if facts.known {
		details["synchronised"] = facts.synced
	}
	d.add(f)
}

// limit is a bound on what this process may use.
type limit struct {
	name  string
	value uint64
	least uint64 // with less there will be trouble
	why   string
	raise string
}

// judge looks at what there is for us.
func (d *diagnosis) judge(known []limit) {
	details := map[string]any{}
	f := finding{State: good, About: "limits", Details: details}
	for _, l := range known {
		details[strings.ReplaceAll(l.name, " ", "_")] = l.value
		if l.value < l.least {
			d.add(finding{State: warning, About: "limits", Text: fmt.Sprintf("%s %s: %s", l.name, l.amount(), l.why), Remedy: l.raise})
			continue
		}
		if f.Text != "" {
			f.Text += ", "
		}
		f.Text += fmt.Sprintf("%s %s", l.name, l.amount())
	}
	if f.Text != "" {
		d.add(f)
	}
}

// amount writes the limit; the largest numbers mean none.
func (l limit) amount() string {
	switch {
	case l.value >= 1<<62:
		return "unlimited"
	case l.name == "memory" || l.name == "file size":
		return bytesOf(int64(l.value))
	}
	return fmt.Sprint(l.value)
}
