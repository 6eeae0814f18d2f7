package replay

import (
	"fmt"
	"time"

	"gleitzeit/eventlog"
)

// DescribeSchedule puts a fact of a schedule into words. Entry.Run is the run
// that it started, if it did.
func DescribeSchedule(f Fact) Entry {
	e := Entry{Seq: f.Seq, Time: f.At, Type: f.Event.Type(), Event: f.Event}
	switch v := f.Event.(type) {
	case *ScheduleAdded:
		e.Text = fmt.Sprintf("added%s: %s in %s, first %s", by(v.By), v.Schedule.Cron, v.Schedule.Timezone, v.First.Format(time.RFC3339))
	case *SchedulePaused:
		e.Text = "paused" + by(v.By)
	case *ScheduleUnpaused:
		e.Text = fmt.Sprintf("unpaused%s, next %s", by(v.By), v.Next.Format(time.RFC3339))
	case *ScheduleRemoved:
		e.Text = "removed" + by(v.By)
	case *ScheduleFired:
		if v.Outcome == ScheduleStarted {
			e.Run = v.RunID
		}
		e.Text = v.At.Format(time.RFC3339) + ": " + v.describe()
	}
	return e
}

// describe says in words what came of a time.
func (e *ScheduleFired) describe() string {
	text := ""
	switch e.Outcome {
	case ScheduleStarted:
		text = "started " + e.RunID
	case ScheduleSkipped:
		text = fmt.Sprintf("skipped, as %s has not ended", e.RunID)
	case ScheduleQueued:
		text = fmt.Sprintf("waits for the end of %s", e.RunID)
	case ScheduleMissed:
		text = "passed while no server ran"
	case ScheduleRefused:
		text = "the run was refused: " + e.Reason
	}
	if e.Missed > 0 {
		text += fmt.Sprintf("; before it %s passed", times(e.Missed))
	}
	return text
}

func times(n int) string {
	switch {
	case n == 1:
		return "1 time"
	case n >= 1000:
		return "1000 times or more"
	}
	return fmt.Sprintf("%d times", n)
}

// LastSchedule is the schedule that had a name last, as it is or was when it
// was removed; nil if there was none.
func LastSchedule(log *eventlog.Log, name string) (last *Schedule, err error) {
	s, codec := NewState(), NewCodec(log.Value)
	for rec, err := range log.ReadStream(ScheduleStream(name), 1) {
		if err != nil {
			return nil, err
		}
		f, known, err := codec.Decode(rec)
		if err != nil {
			return nil, err
		}
		if known {
			s.Apply(f)
		}
		if c := s.schedules[name]; c != nil {
			last = c
		}
	}
	return last, nil
}

// ScheduleHistory returns the last of what happened to the schedules that had
// the name, oldest first.
func ScheduleHistory(log *eventlog.Log, name string, most int) ([]Entry, error) {
	entries, codec := []Entry{}, NewCodec(log.Value)
	for rec, err := range log.ReadStream(ScheduleStream(name), 1) {
		if err != nil {
			return nil, err
		}
		f, known, err := codec.Decode(rec)
		if err != nil {
			return nil, err
		}
		if !known {
			continue
		}
		if len(entries) == 2*most {
			entries = append(entries[:0], entries[most:]...)
		}
		entries = append(entries, DescribeSchedule(f))
	}
	return entries[max(0, len(entries)-most):], nil
}
