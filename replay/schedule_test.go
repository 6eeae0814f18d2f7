package replay

import (
	"testing"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// TestScheduleCheckpoint: a schedule comes from a checkpoint that is newer than
// what the checkpoints together cover, and older than the log's end; or it was
// removed, or added anew, meanwhile. Loading gives what the log does.
func TestScheduleCheckpoint(t *testing.T) {
	minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	added := func(n int) *ScheduleAdded {
		run := submission(t, 1, 1)
		e := &ScheduleAdded{Name: "tick", Schedule: protocols.Schedule{Cron: "* * * * *"}, First: minute(n), Workflow: "w",
			Document: run.Document, Setup: run.Setup, Context: NewValue([]byte(`{"dir":"/x"}`))}
		e.Bring(run.plan, run.values...)
		return e
	}
	started := func(n int, run uint64) []Event {
		e := submission(t, run, 1)
		e.Schedule = "tick"
		return []Event{&ScheduleFired{Name: "tick", At: minute(n), Outcome: ScheduleStarted, Run: run, RunID: e.ID, Next: minute(n + 1)}, e}
	}
	queued := &ScheduleFired{Name: "tick", At: minute(2), Outcome: ScheduleQueued, Run: 1, RunID: "w-1", Next: minute(3)}
	end := &WorkflowEnded{Status: Completed}
	var all []Event
	all = append(all, &SystemStarted{PID: 1}, added(1))
	all = append(append(all, started(1, 1)...), queued, end)
	all = append(append(all, started(2, 2)...), &SchedulePaused{Name: "tick"}, &ScheduleRemoved{Name: "tick"}, added(5), &SchedulePaused{Name: "tick"},
		&ScheduleUnpaused{Name: "tick", Next: minute(9)})
	for system := range len(all) + 1 {
		for schedule := range len(all) + 1 {
			log := eventlog.OpenMemory(eventlog.Options{})
			c, err := NewCheckpointer(log)
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range all {
				if i == system { // covers what was there
					if _, err := c.Save(); err != nil {
						t.Fatal(err)
					}
				}
				if i == schedule {
					save, gone, err := saveSchedules(log, NewCodec(log.Value), []string{"tick"})
					if err == nil && i > system {
						err = log.SaveCheckpoints(save, gone)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				writeOf(t, log, e)
			}
			whole, err := At(log, log.Last())
			if err != nil {
				t.Fatal(err)
			}
			got, _ := load(t, log).DumpSchedules()
			want, _ := whole.DumpSchedules()
			if got != want {
				t.Fatalf("system at %d, schedule at %d: got\n%swant\n%s", system, schedule, got, want)
			}
			log.Close()
		}
	}
}

// writeOf appends an event to where it belongs.
func writeOf(t *testing.T, log *eventlog.Log, e Event) {
	t.Helper()
	switch e := e.(type) {
	case *WorkflowSubmitted:
		write(t, log, e.Number, e)
	case *WorkflowEnded:
		write(t, log, 1, e)
	default:
		write(t, log, 0, e)
	}
}
