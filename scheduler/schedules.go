package scheduler

import (
	"context"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file is how others ask for schedules.

// Recurrence is all that a schedule needs from outside.
type Recurrence struct {
	Submission                    // what each run is submitted with; its ID and Key don't matter
	Name       string             // "" is made of the workflow's name
	Schedule   protocols.Schedule // in place of the document's; without Cron: the document's
	Key        string             // the same key, sent again, gives the same schedule
	By         string
}

// AddSchedule accepts a schedule and returns its name once that is durable.
func (s *Scheduler) AddSchedule(ctx context.Context, c Recurrence) (string, error) {
	w := c.Workflow
	switch {
	case c.Schedule.Cron == "" && w.Schedule == nil:
		return "", protocols.Errorf(protocols.InvalidParams, "the workflow has no schedule, and no cron was given")
	case c.Schedule.Cron == "":
		c.Schedule = *w.Schedule
	}
	if c.Name == "" {
		c.Name = slug(w.Name)
	}
	each, err := s.submit(c.Submission)
	if err != nil {
		return "", err
	}
	each.ID, each.Key = "", ""
	cmd := AddSchedule{Name: c.Name, Schedule: c.Schedule, Each: *each, Key: c.Key, By: c.By}
	return c.Name, s.ask(ctx, request{command: cmd})
}

// ChangeSchedule pauses, unpauses or removes a schedule, as the command says.
func (s *Scheduler) ChangeSchedule(ctx context.Context, c Command) error {
	return s.ask(ctx, request{command: c})
}

// Upcoming returns the next n times of a schedule after a moment, or all that
// there are.
func Upcoming(c *replay.Schedule, after time.Time, n int) (all []time.Time) {
	times, err := timesOf(c)
	if err != nil {
		return nil
	}
	for range n {
		next, ever := times.After(after)
		if !ever {
			break
		}
		all, after = append(all, next), next
	}
	return all
}

// CheckSchedule says what is wrong with a schedule: its text, its zone, or that
// it never comes.
func CheckSchedule(s protocols.Schedule) error {
	_, err := firstTime(s, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	return err
}
