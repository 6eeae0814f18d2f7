package scheduler

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"gleitzeit/replay"
)

// runSchedule carries out the commands of testdata/core about schedules:
//
//	schedule WORKFLOW [as=NAME] [key=KEY]   adds the schedule of the workflow
//	pause_schedule NAME, unpause_schedule NAME, remove_schedule NAME
//	until TIME                              lets time pass up to then, second by second of a
//	                                        loop that sleeps until something is due
//	clock TIME                              sets the clock, as sleep or a person does
//	schedules                               shows where they stand
func (c *core) runSchedule(t *testing.T, d *datadriven.TestData) (out string, known bool) {
	switch d.Cmd {
	case "schedule":
		return c.addSchedule(t, d), true
	case "pause_schedule":
		return c.do(PauseSchedule{Name: d.CmdArgs[0].Key, By: "anna"}), true
	case "unpause_schedule":
		return c.do(UnpauseSchedule{Name: d.CmdArgs[0].Key, By: "anna"}), true
	case "remove_schedule":
		return c.do(RemoveSchedule{Name: d.CmdArgs[0].Key, By: "anna"}), true
	case "until":
		return c.until(t, d), true
	case "clock":
		c.now = parseTime(t, d.CmdArgs[0].Key)
		return c.do(), true
	case "schedules":
		return c.schedules(), true
	}
	return "", false
}

func parseTime(t *testing.T, text string) time.Time {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func (c *core) addSchedule(t *testing.T, d *datadriven.TestData) string {
	w := c.docs[d.CmdArgs[0].Key]
	name, key := w.Name, ""
	d.MaybeScanArgs(t, "as", &name)
	d.MaybeScanArgs(t, "key", &key)
	each, err := (&Scheduler{}).submit(Submission{Workflow: w, Setup: c.setup, Source: "w.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	return c.do(AddSchedule{Name: name, Schedule: *w.Schedule, Each: *each, Key: key, By: "anna"})
}

// until lets time pass as the loop does.
func (c *core) until(t *testing.T, d *datadriven.TestData) string {
	end := parseTime(t, d.CmdArgs[0].Key)
	var out strings.Builder
	for {
		at, any := Wake(c.state, c.policy, c.now)
		if !any || at.After(end) {
			break
		}
		if at.After(c.now) {
			c.now = at
		}
		happened := c.do()
		if happened == "nothing\n" {
			t.Fatalf("woken at %s for nothing", at)
		}
		out.WriteString(happened)
	}
	c.now = end
	if out.Len() == 0 {
		return "nothing\n"
	}
	return out.String()
}

func (c *core) schedules() string {
	var lines []string
	c.state.EachSchedule(func(s *replay.Schedule) {
		line := fmt.Sprintf("%s next=%s", s.Name(), s.Next.Format(time.RFC3339))
		if s.Paused {
			line += " paused"
		}
		if !s.Queued.IsZero() {
			line += " queued=" + s.Queued.Format(time.RFC3339)
		}
		if s.Run != 0 {
			line += " run=" + s.RunID
		}
		lines = append(lines, line+"\n")
	})
	sort.Strings(lines)
	return strings.Join(lines, "")
}
