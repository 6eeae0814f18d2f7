package replay

import (
	"slices"
	"strings"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// This file is what the state knows of schedules, and what their events do to
// it. A schedule has a stream of its own, so that what becomes of its times is
// no part of any run.

// schedulePrefix begins the name of every schedule's stream.
const schedulePrefix = "schedule/"

// ScheduleStream returns the name of a schedule's stream.
func ScheduleStream(name string) string { return schedulePrefix + name }

// scheduleOf returns the schedule whose stream it is.
func scheduleOf(stream string) (name string, ok bool) {
	return strings.CutPrefix(stream, schedulePrefix)
}

// ScheduleAdded: runs of a document are to begin by themselves.
type ScheduleAdded struct {
	Name     string             `json:"name"`
	Schedule protocols.Schedule `json:"schedule"` // as it counts: what was asked for beside the file goes before the document's
	First    time.Time          `json:"first"`    // its first time
	By       string             `json:"by,omitempty"`
	Key      string             `json:"key,omitempty"` // which submission it was, for one sent again
	// The rest is what each run is submitted with; see WorkflowSubmitted.
	Workflow string             `json:"workflow"` // the document's name, for people
	Source   string             `json:"source,omitempty"`
	Document eventlog.Hash      `json:"document"`
	Setup    eventlog.Hash      `json:"setup"`
	Context  Value              `json:"context,omitzero"`
	Files    []eventlog.Hash    `json:"-"`
	Priority protocols.Priority `json:"priority,omitempty"`

	plan   *Plan
	values [][]byte
}

// Bring gives a new schedule its plan and the values that go into the log with
// it.
func (e *ScheduleAdded) Bring(p *Plan, values ...[]byte) { e.plan, e.values = p, values }

// SchedulePaused: no time of the schedule counts until it is unpaused. A run
// that waited for the last one's end does not come any more.
type SchedulePaused struct {
	Name string `json:"name"`
	By   string `json:"by,omitempty"`
}

// ScheduleUnpaused: its times count again, from Next on.
type ScheduleUnpaused struct {
	Name string    `json:"name"`
	By   string    `json:"by,omitempty"`
	Next time.Time `json:"next"`
}

// ScheduleRemoved: the schedule is no more. Its runs go on.
type ScheduleRemoved struct {
	Name string `json:"name"`
	By   string `json:"by,omitempty"`
}

// ScheduleFired: a time of the schedule has come, and what came of it. A run
// that it started is submitted in the same batch.
type ScheduleFired struct {
	Name    string    `json:"name"`
	At      time.Time `json:"at"` // the time that the schedule named, not the one at which it happened
	Outcome Outcome   `json:"outcome"`
	Run     uint64    `json:"run,omitempty"` // the run that it started, or that was in its way
	RunID   string    `json:"run_id,omitempty"`
	// Missed counts the times before At that passed without anybody looking,
	// up to 1,000.
	Missed int       `json:"missed,omitempty"`
	Reason string    `json:"reason,omitempty"` // why it was refused
	Next   time.Time `json:"next"`             // its next time
}

// Outcome says what came of a time.
type Outcome string

// The outcomes.
const (
	ScheduleStarted Outcome = "started" // a run
	ScheduleSkipped Outcome = "skipped" // the last run still lived
	ScheduleQueued  Outcome = "queued"  // a run will start when the last one has ended
	ScheduleMissed  Outcome = "missed"  // it came while no server ran, and is not made up for
	ScheduleRefused Outcome = "refused" // the run was not taken
)

// The names on disk.
func (*ScheduleAdded) Type() string    { return "schedule.added" }
func (*SchedulePaused) Type() string   { return "schedule.paused" }
func (*ScheduleUnpaused) Type() string { return "schedule.unpaused" }
func (*ScheduleRemoved) Type() string  { return "schedule.removed" }
func (*ScheduleFired) Type() string    { return "schedule.fired" }

// ScheduleEvent is an event of a schedule.
type ScheduleEvent interface {
	Event
	// Of returns the schedule's name.
	Of() string
}

// Of returns the schedule's name.
func (e *ScheduleAdded) Of() string { return e.Name }

// Of returns the schedule's name.
func (e *SchedulePaused) Of() string { return e.Name }

// Of returns the schedule's name.
func (e *ScheduleUnpaused) Of() string { return e.Name }

// Of returns the schedule's name.
func (e *ScheduleRemoved) Of() string { return e.Name }

// Of returns the schedule's name.
func (e *ScheduleFired) Of() string { return e.Name }

// put adds the schedule's values to the batch and record.
func (e *ScheduleAdded) put(b *eventlog.Batch, r *eventlog.Record) {
	for _, v := range e.values {
		b.Put(v)
	}
	r.Refs = append(append(r.Refs, e.Document, e.Setup), e.Files...)
	e.Context.put(b, r)
}

// read fills in what the record has beside its data.
func (e *ScheduleAdded) read(c *Codec, r eventlog.Record) (err error) {
	e.Files = slices.Clone(r.Refs[min(2, len(r.Refs)):])
	if e.Context.Big != nil && len(e.Files) > 0 {
		e.Files = e.Files[:len(e.Files)-1]
	}
	e.plan, err = c.Plan(e.Document, e.Setup)
	return err
}

// kept is the event as State keeps it.
func (e *ScheduleAdded) kept() *ScheduleAdded {
	c := *e
	c.Context, c.plan, c.values = e.Context.kept(), nil, nil
	return &c
}

// Schedule is a schedule that there is.
type Schedule struct {
	Added  *ScheduleAdded
	Plan   *Plan
	At     time.Time // when it was added
	Seq    eventlog.Seq
	Next   time.Time // its next time
	Paused bool
	// Queued is a time whose run waits for the end of the last one, or zero.
	Queued time.Time
	// Last is what came of the last time, or nil.
	Last *ScheduleFired
	// Run is the last run that it started, 0 if there is none; RunAt is the
	// time that was.
	Run   uint64
	RunID string
	RunAt time.Time

	alarm time.Time // where it stands in State.alarms; zero: nowhere
}

// Alarm is a moment at which something has to be decided about a schedule.
type Alarm struct {
	At   time.Time
	Name string
}

func (a Alarm) before(b Alarm) bool {
	if !a.At.Equal(b.At) {
		return a.At.Before(b.At)
	}
	return a.Name < b.Name
}

// Name returns the schedule's name.
func (c *Schedule) Name() string { return c.Added.Name }

// Schedule returns the schedule of that name, or nil. It must not be changed.
func (s *State) Schedule(name string) *Schedule { return s.schedules[name] }

// EachSchedule calls f for every schedule, in no particular order.
func (s *State) EachSchedule(f func(*Schedule)) {
	for _, c := range s.schedules {
		f(c)
	}
}

// NextAlarm returns the earliest alarm of the schedules.
func (s *State) NextAlarm() (Alarm, bool) { return s.alarms.Min() }

// Overlaps tells whether the last run that the schedule started still lives.
func (s *State) Overlaps(c *Schedule) bool { return c.Run != 0 && s.runs[c.Run] != nil }

// applySchedule makes an event of a schedule part of the state.
func (s *State) applySchedule(f Fact, name string) {
	c := s.schedules[name]
	if c != nil && f.Seq <= c.Seq {
		return
	}
	if e, ok := f.Event.(*ScheduleAdded); ok {
		c = &Schedule{Added: e.kept(), Plan: e.plan, At: f.At, Next: e.First}
		s.schedules[name] = c
	}
	if c == nil {
		return
	}
	c.Seq = f.Seq
	switch e := f.Event.(type) {
	case *SchedulePaused:
		c.Paused, c.Queued = true, time.Time{}
	case *ScheduleUnpaused:
		c.Paused, c.Next = false, e.Next
	case *ScheduleRemoved:
		delete(s.schedules, name)
	case *ScheduleFired:
		c.fired(e)
	}
	s.alert(c)
}

// fired notes what came of a time.
func (c *Schedule) fired(e *ScheduleFired) {
	c.Last, c.Next = e, e.Next
	switch {
	case e.Outcome == ScheduleQueued:
		c.Queued = e.At
	case e.At.Equal(c.Queued):
		c.Queued = time.Time{}
	}
	if e.Outcome == ScheduleStarted {
		c.Run, c.RunID, c.RunAt = e.Run, e.RunID, e.At
	}
}

// alert sets the schedule's alarm where it should stand.
func (s *State) alert(c *Schedule) {
	want := s.due(c)
	if want.Equal(c.alarm) {
		return
	}
	if !c.alarm.IsZero() {
		s.alarms.Delete(Alarm{c.alarm, c.Name()})
	}
	if c.alarm = want; !want.IsZero() {
		s.alarms.ReplaceOrInsert(Alarm{want, c.Name()})
	}
}

// due is when something has to be decided about a schedule, zero if never.
func (s *State) due(c *Schedule) time.Time {
	switch {
	case c.Paused || s.schedules[c.Name()] != c:
		return time.Time{}
	case !c.Queued.IsZero() && !s.Overlaps(c):
		return c.Queued
	}
	return c.Next
}

// alertOf sets the alarm of the schedule that a run is of: the run has come,
// or gone.
func (s *State) alertOf(r *Run) {
	if c := s.schedules[r.Submitted.Schedule]; c != nil {
		s.alert(c)
	}
}
