package scheduler

import (
	"errors"
	"fmt"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// timekeeper holds the facts of schedules against their laws. Its schedules
// are all @every, so that it can reckon their times itself.
type timekeeper struct {
	policy Policy
	all    map[string]*clockwork
	owed   *replay.ScheduleFired // a run that is to be submitted next
}

// clockwork is a schedule as the timekeeper knows it.
type clockwork struct {
	spec   protocols.Schedule
	every  time.Duration
	anchor time.Time
	next   time.Time
	queued time.Time
	run    uint64
	paused bool
}

func newTimekeeper() *timekeeper { return &timekeeper{all: map[string]*clockwork{}} }

// fact judges one fact of a schedule; lives tells whether a run does.
func (k *timekeeper) fact(f replay.Fact, e replay.ScheduleEvent, lives func(uint64) bool) error {
	if k.owed != nil {
		return fmt.Errorf("%s has no run", k.owed.RunID)
	}
	c := k.all[e.Of()]
	if added, ok := e.(*replay.ScheduleAdded); ok {
		return k.added(f, added, c)
	}
	if c == nil {
		return errors.New("there is no such schedule")
	}
	switch e := e.(type) {
	case *replay.SchedulePaused:
		if c.paused {
			return errors.New("a second time")
		}
		c.paused, c.queued = true, time.Time{}
	case *replay.ScheduleUnpaused:
		if !c.paused || !e.Next.Equal(c.after(f.At)) {
			return fmt.Errorf("next %s, should be %s", e.Next, c.after(f.At))
		}
		c.paused, c.next = false, e.Next
	case *replay.ScheduleRemoved:
		delete(k.all, e.Name)
	case *replay.ScheduleFired:
		return k.fired(f, e, c, c.run != 0 && lives(c.run))
	}
	return nil
}

func (k *timekeeper) added(f replay.Fact, e *replay.ScheduleAdded, there *clockwork) error {
	if there != nil {
		return errors.New("there is one of that name")
	}
	var every int
	if _, err := fmt.Sscanf(e.Schedule.Cron, "@every %ds", &every); err != nil {
		return err
	}
	c := &clockwork{spec: e.Schedule, every: time.Duration(every) * time.Second, anchor: f.At.Truncate(time.Second), next: e.First}
	k.all[e.Name] = c
	if !e.First.Equal(c.after(f.At)) {
		return fmt.Errorf("first %s, should be %s", e.First, c.after(f.At))
	}
	return nil
}

// after is the first time after a moment.
func (c *clockwork) after(moment time.Time) time.Time {
	at := c.anchor.Add(c.every)
	for !at.After(moment) {
		at = at.Add(c.every)
	}
	return at
}

func (k *timekeeper) fired(f replay.Fact, e *replay.ScheduleFired, c *clockwork, lives bool) error {
	if c.paused || !k.policy.Schedules || k.policy.Closed {
		return errors.New("it may not fire")
	}
	if !c.queued.IsZero() && !lives {
		if !e.At.Equal(c.queued) || e.Outcome != replay.ScheduleStarted || !e.Next.Equal(c.next) {
			return fmt.Errorf("%+v, but %s is queued", e, c.queued)
		}
		c.queued = time.Time{}
		return k.starts(e, c)
	}
	last, missed := c.next, 0
	for at := c.next.Add(c.every); !at.After(f.At); at = at.Add(c.every) {
		last = at
		missed++
	}
	if last.After(f.At) || !e.At.Equal(last) || e.Missed != min(missed, maxPassed) || !e.Next.Equal(last.Add(c.every)) {
		return fmt.Errorf("%+v, should be %s after %d", e, last, missed)
	}
	c.next = e.Next
	want := replay.ScheduleStarted
	switch {
	case f.At.Sub(last) > k.policy.ScheduleGrace && !c.spec.CatchUp:
		want = replay.ScheduleMissed
	case lives && c.spec.Overlap == "queue" && c.queued.IsZero():
		want, c.queued = replay.ScheduleQueued, last
	case lives && c.spec.Overlap != "allow":
		want = replay.ScheduleSkipped
	}
	if e.Outcome != want {
		return fmt.Errorf("%s is %s, should be %s", last, e.Outcome, want)
	}
	if want == replay.ScheduleStarted {
		return k.starts(e, c)
	}
	return nil
}

func (k *timekeeper) starts(e *replay.ScheduleFired, c *clockwork) error {
	c.run, k.owed = e.Run, e
	return nil
}

// submitted judges the first fact of a run: one of a schedule is the next fact
// after that which started it, and only then.
func (k *timekeeper) submitted(e *replay.WorkflowSubmitted) error {
	owed := k.owed
	k.owed = nil
	switch {
	case owed == nil && e.Schedule == "":
		return nil
	case owed == nil || owed.Run != e.Number || owed.Name != e.Schedule || owed.RunID != e.ID || e.Key != replay.ScheduleKey(owed.Name, owed.At):
		return fmt.Errorf("%+v, and what started a run is %+v", e, owed)
	}
	return nil
}

// settled checks that no time waits that has come.
func (k *timekeeper) settled(now time.Time, lives func(uint64) bool) error {
	for name, c := range k.all {
		if c.paused || !k.policy.Schedules || k.policy.Closed {
			continue
		}
		if !c.next.After(now) || !c.queued.IsZero() && !lives(c.run) {
			return fmt.Errorf("schedule %s should fire: %+v", name, *c)
		}
	}
	return nil
}

// scheduleSomething does something to one of a few schedules, or lets them fire
// or not.
func (p *game) scheduleSomething() {
	name := []string{"x", "y", "z"}[p.play.rng.IntN(3)]
	switch p.play.rng.IntN(8) {
	case 0, 1, 2:
		each := p.submission(0)
		spec := protocols.Schedule{Cron: fmt.Sprintf("@every %ds", 2+p.play.rng.IntN(20)), CatchUp: p.chance(2),
			Overlap: []string{"", "skip", "queue", "allow"}[p.play.rng.IntN(4)]}
		p.do(AddSchedule{Name: name, Schedule: spec, Each: *each, Key: fmt.Sprint(p.play.rng.IntN(2))})
	case 3:
		p.do(PauseSchedule{Name: name})
	case 4, 5:
		p.do(UnpauseSchedule{Name: name})
	case 6:
		p.do(RemoveSchedule{Name: name})
	default:
		p.policy.Schedules = !p.policy.Schedules
		p.do()
	}
}
