package scheduler

import (
	"cmp"
	"time"
	_ "time/tzdata" // so that a machine without zone files knows them, too

	"github.com/netresearch/go-cron"

	"gleitzeit/protocols"
)

// Times are the moments at which a schedule fires: a pure function of its
// text, its zone and, for @every, when it was added.
//
// The library reckons on a clock that is never set, so that it has no part in
// what happens when a zone's is. That is ruled here, a stretch of constant
// offset after the other:
//
//	set forward    a time that the clock leaves out comes as much later as the
//	               clock was set: 02:30 is 03:30
//	set back       a time that the clock shows twice comes the first time
//	every hour     if all hours are meant, neither is done: such a schedule
//	               goes by the time that passes
type Times struct {
	every  time.Duration // 0 unless it is @every
	anchor time.Time     // from which every counts
	spec   cron.Schedule // reads and gives a wall clock's time as if it were UTC
	zone   *time.Location
	hourly bool // every hour is meant
}

// searchYears is how far ahead a time is looked for. A 29 February may be
// eight years away.
const searchYears = 12

var cronParser = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor | cron.DowOrDom).
	WithMaxSearchYears(searchYears)

// NewTimes reads a schedule that was added at anchor.
func NewTimes(s protocols.Schedule, anchor time.Time) (*Times, error) {
	zone, err := loadZone(s.Timezone)
	if err != nil {
		return nil, err
	}
	text, err := protocols.CheckCron(s.Cron)
	if err != nil {
		return nil, protocols.Errorf(protocols.InvalidParams, "%v", err)
	}
	spec, err := cronParser.Parse(text)
	if err != nil {
		return nil, protocols.Errorf(protocols.InvalidParams, "cron %q: %v", s.Cron, err)
	}
	t := &Times{spec: spec, zone: zone, anchor: anchor.UTC().Truncate(time.Second)}
	switch spec := spec.(type) {
	case cron.ConstantDelaySchedule:
		t.every = spec.Delay
	case *cron.SpecSchedule:
		const allHours = 1<<24 - 1
		t.hourly = spec.Hour&allHours == allHours
	}
	return t, nil
}

// loadZone finds a time zone; "" is UTC.
func loadZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, unknownZone(name)
	}
	return zone, nil
}

// After returns the first time after a moment, in UTC; there may be none.
func (t *Times) After(moment time.Time) (next time.Time, found bool) {
	if t.every > 0 {
		n := max(0, moment.Sub(t.anchor)/t.every) + 1
		return t.anchor.Add(n * t.every), true
	}
	for at := moment; at.Sub(moment) < searchYears*366*24*time.Hour; {
		start, end := at.In(t.zone).ZoneBounds()
		next, found = t.within(moment, start, at)
		if !found || end.IsZero() || next.Before(end) {
			return next, found
		}
		at, moment = end, later(moment, end.Add(-1))
	}
	return time.Time{}, false
}

// within is After for a stretch of constant offset, of which at is a moment,
// as if it went on for ever.
func (t *Times) within(moment, start, at time.Time) (next time.Time, found bool) {
	offset := offsetAt(at, t.zone)
	before := offset
	if !start.IsZero() {
		before = offsetAt(start.Add(-1), t.zone)
	}
	set := offset - before // how much the clock was set at the start
	if t.hourly || set == 0 {
		return t.on(moment, offset)
	}
	if set < 0 { // until start-set it shows what it has shown
		return t.on(later(moment, start.Add(-set-1)), offset)
	}
	next, found = t.on(moment, offset)
	left, any := t.on(later(moment, start.Add(-1)), before)
	if any && left.Before(start.Add(set)) && (!found || left.Before(next)) {
		return left, true
	}
	return next, found
}

// on is After on a clock that is never set.
func (t *Times) on(moment time.Time, offset time.Duration) (time.Time, bool) {
	next := t.spec.Next(moment.UTC().Add(offset))
	if next.IsZero() {
		return next, false
	}
	return next.Add(-offset), true
}

func offsetAt(at time.Time, zone *time.Location) time.Duration {
	_, seconds := at.In(zone).Zone()
	return time.Duration(seconds) * time.Second
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// maxPassed bounds how many times that have passed are counted.
const maxPassed = 1000

// Passed returns the last time up to now, given that due is one, and counts
// those from due up to it, to maxPassed.
func (t *Times) Passed(due, now time.Time) (last time.Time, before int) {
	last = t.latest(due, now)
	for at := due; at.Before(last) && before < maxPassed; before++ {
		at, _ = t.After(at)
	}
	return last, before
}

// latest finds the last time up to now, no earlier than due. It looks back
// further and further, so that it never goes through many.
func (t *Times) latest(due, now time.Time) time.Time {
	if t.every > 0 {
		return later(due, t.anchor.Add(now.Sub(t.anchor)/t.every*t.every))
	}
	for _, back := range []time.Duration{time.Hour, 24 * time.Hour, 31 * 24 * time.Hour, 366 * 24 * time.Hour} {
		from := later(due, now.Add(-back))
		last := from
		if !from.Equal(due) {
			next, ok := t.After(from)
			if !ok || next.After(now) {
				continue
			}
			last = next
		}
		for {
			next, ok := t.After(last)
			if !ok || next.After(now) {
				return last
			}
			last = next
		}
	}
	return due
}

// scheduleOf is a schedule with what it leaves open.
func scheduleOf(s protocols.Schedule) protocols.Schedule {
	s.Overlap, s.Timezone = cmp.Or(s.Overlap, "skip"), cmp.Or(s.Timezone, "UTC")
	return s
}
