package scheduler

import (
	"cmp"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file decides about schedules: what becomes of commands, and what of a
// time that has come. When that is follows from the schedule alone (cron.go);
// the event says what the next time is, so that a replay never reckons.

// DefaultScheduleGrace is how late a time of a schedule may be looked at and
// still count as come in time.
const DefaultScheduleGrace = time.Minute

func decideAddSchedule(s *replay.State, now time.Time, c AddSchedule) ([]replay.Fact, error) {
	if !idForm.MatchString(c.Name) {
		return nil, protocols.Errorf(protocols.InvalidParams, "the schedule's name %q must begin with a letter and have only "+
			"letters, digits, dots, dashes and underscores, at most 100", c.Name)
	}
	if there := s.Schedule(c.Name); there != nil {
		if c.Key != "" && there.Added.Key == c.Key {
			return nil, nil
		}
		return nil, protocols.Errorf(protocols.WorkflowInvalidState,
			"there is a schedule %q already: remove it first, or give this one another name", c.Name)
	}
	if len(c.Key) > eventlog.MaxName {
		return nil, protocols.Errorf(protocols.InvalidRequest, "the idempotency key has %d bytes, the limit is %d", len(c.Key), eventlog.MaxName)
	}
	c.Schedule = scheduleOf(c.Schedule)
	if o := c.Schedule.Overlap; o != "skip" && o != "queue" && o != "allow" {
		return nil, protocols.Errorf(protocols.InvalidParams, "overlap must be skip, queue or allow, not %q", o)
	}
	first, err := firstTime(c.Schedule, now)
	if err != nil {
		return nil, err
	}
	w := c.Each.Plan.Workflow
	e := &replay.ScheduleAdded{Name: c.Name, Schedule: c.Schedule, First: first, By: shorten(c.By, maxBy), Key: c.Key, Workflow: w.Name,
		Source: c.Each.Source, Document: c.Each.Plan.Document, Setup: c.Each.Plan.SetupHash, Context: c.Each.Context,
		Files: c.Each.Files, Priority: c.Each.Priority}
	e.Bring(c.Each.Plan, c.Each.Values...)
	c.Each.Key, c.Each.Schedule = replay.ScheduleKey(c.Name, first), c.Name
	if _, err := submission(s, now, c.Each); err != nil {
		return nil, err
	}
	return ofSchedule(now, e), nil
}

// firstTime is the first time of a schedule that is added now.
func firstTime(s protocols.Schedule, now time.Time) (time.Time, error) {
	times, err := NewTimes(s, now)
	if err != nil {
		return time.Time{}, err
	}
	first, ever := times.After(now)
	if !ever {
		return first, protocols.Errorf(protocols.InvalidParams, "cron %q never comes", s.Cron)
	}
	return first, nil
}

func decidePauseSchedule(s *replay.State, now time.Time, c PauseSchedule) ([]replay.Fact, error) {
	there, err := findSchedule(s, c.Name)
	if err != nil || there.Paused {
		return nil, err
	}
	return ofSchedule(now, &replay.SchedulePaused{Name: c.Name, By: shorten(c.By, maxBy)}), nil
}

// decideUnpauseSchedule begins with the next time from now: what came while it
// was paused is not made up for.
func decideUnpauseSchedule(s *replay.State, now time.Time, c UnpauseSchedule) ([]replay.Fact, error) {
	there, err := findSchedule(s, c.Name)
	if err != nil || !there.Paused {
		return nil, err
	}
	times, err := timesOf(there)
	if err != nil {
		return nil, err
	}
	return ofSchedule(now, &replay.ScheduleUnpaused{Name: c.Name, By: shorten(c.By, maxBy), Next: nextTime(times, now)}), nil
}

func decideRemoveSchedule(s *replay.State, now time.Time, c RemoveSchedule) ([]replay.Fact, error) {
	if _, err := findSchedule(s, c.Name); err != nil {
		return nil, err
	}
	return ofSchedule(now, &replay.ScheduleRemoved{Name: c.Name, By: shorten(c.By, maxBy)}), nil
}

func ofSchedule(now time.Time, e replay.Event) []replay.Fact {
	return []replay.Fact{{At: now, Event: e}}
}

func findSchedule(s *replay.State, name string) (*replay.Schedule, error) {
	if c := s.Schedule(name); c != nil {
		return c, nil
	}
	return nil, NoSchedule(name, s)
}

// NoSchedule says that there is no schedule of that name, and which is meant
// perhaps.
func NoSchedule(name string, s *replay.State) error {
	var names []string
	s.EachSchedule(func(c *replay.Schedule) { names = append(names, c.Name()) })
	hint := protocols.Suggest(name, names)
	return protocols.Errorf(protocols.QueueNotFound, "no schedule %q (%s)", name, cmp.Or(hint, "see: gleitzeit schedule list"))
}

// timesOf are the times of a schedule that there is.
func timesOf(c *replay.Schedule) (*Times, error) { return NewTimes(c.Added.Schedule, c.At) }

// never is the next time of a schedule that has none any more.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func nextTime(t *Times, now time.Time) time.Time {
	if next, ever := t.After(now); ever {
		return next
	}
	return never
}

// nextAlarm is the next moment at which a schedule fires, should schedules fire
// here at all.
func nextAlarm(s *replay.State, p Policy) (replay.Alarm, bool) {
	if !p.Schedules || p.Closed {
		return replay.Alarm{}, false
	}
	return s.NextAlarm()
}

// scheduleFires says what becomes of a schedule whose time has come, and of the
// times that have passed before it.
func scheduleFires(s *replay.State, p Policy, c *replay.Schedule, now time.Time) []replay.Fact {
	if !c.Queued.IsZero() && !s.Overlaps(c) {
		return begins(s, p, c, now, &replay.ScheduleFired{Name: c.Name(), At: c.Queued, Next: c.Next})
	}
	times, err := timesOf(c)
	if err != nil { // the zone is unknown here: whoever knows it has to serve
		return ofSchedule(now, &replay.ScheduleFired{Name: c.Name(), At: c.Next, Outcome: replay.ScheduleRefused, Reason: err.Error(), Next: never})
	}
	e := &replay.ScheduleFired{Name: c.Name(), Next: nextTime(times, now)}
	e.At, e.Missed = times.Passed(c.Next, now)
	late := now.Sub(e.At) > cmp.Or(p.ScheduleGrace, DefaultScheduleGrace)
	lives := s.Overlaps(c)
	switch {
	case late && !c.Added.Schedule.CatchUp:
		e.Outcome = replay.ScheduleMissed
	case !lives || c.Added.Schedule.Overlap == "allow":
		return begins(s, p, c, now, e)
	case c.Added.Schedule.Overlap == "queue" && c.Queued.IsZero():
		e.Outcome, e.Run, e.RunID = replay.ScheduleQueued, c.Run, c.RunID
	default:
		e.Outcome, e.Run, e.RunID = replay.ScheduleSkipped, c.Run, c.RunID
	}
	return ofSchedule(now, e)
}

// begins starts the run of a time: what came of the time and the run's first
// event are of one batch, so that neither is ever without the other.
func begins(s *replay.State, p Policy, c *replay.Schedule, now time.Time, e *replay.ScheduleFired) []replay.Fact {
	a := c.Added
	if err := p.accepts(s, now, ""); err != nil {
		e.Outcome, e.Reason = replay.ScheduleRefused, err.Error()
		return ofSchedule(now, e)
	}
	run, err := submission(s, now, Submit{Plan: c.Plan, Context: a.Context, Files: a.Files, Source: a.Source, Priority: a.Priority,
		Key: replay.ScheduleKey(c.Name(), e.At), Schedule: c.Name()})
	if err != nil {
		e.Outcome, e.Reason = replay.ScheduleRefused, err.Error()
		return ofSchedule(now, e)
	}
	e.Outcome, e.Run, e.RunID = replay.ScheduleStarted, run.Number, run.ID
	return append(ofSchedule(now, e), facts(run.Number, now, run)...)
}
