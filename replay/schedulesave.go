package replay

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gleitzeit/eventlog"
)

// This file keeps schedules in checkpoints: savedSchedule as JSON, for the
// schedule's stream.

type savedSchedule struct {
	Added  *ScheduleAdded  `json:"added"`
	Files  []eventlog.Hash `json:"files,omitempty"`
	At     time.Time       `json:"at"`
	Next   time.Time       `json:"next"`
	Paused bool            `json:"paused,omitempty"`
	Queued time.Time       `json:"queued,omitzero"`
	Last   *ScheduleFired  `json:"last,omitempty"`
	Run    uint64          `json:"run,omitempty"`
	RunID  string          `json:"run_id,omitempty"`
	RunAt  time.Time       `json:"run_at,omitzero"`
}

func encodeSchedule(c *Schedule) ([]byte, error) {
	return marshal(savedSchedule{Added: c.Added, Files: c.Added.Files, At: c.At, Next: c.Next, Paused: c.Paused, Queued: c.Queued,
		Last: c.Last, Run: c.Run, RunID: c.RunID, RunAt: c.RunAt})
}

// restoreSchedule puts a schedule from its checkpoint into the state.
func (s *State) restoreSchedule(codec *Codec, cp eventlog.Checkpoint) error {
	var v savedSchedule
	if err := json.Unmarshal(cp.Data, &v); err != nil {
		return fmt.Errorf("checkpoint of %s: %w", cp.Stream, err)
	}
	plan, err := codec.Plan(v.Added.Document, v.Added.Setup)
	if err != nil {
		return fmt.Errorf("checkpoint of %s: %w", cp.Stream, err)
	}
	v.Added.Files = v.Files
	c := &Schedule{Added: v.Added, Plan: plan, At: v.At, Seq: cp.At, Next: v.Next, Paused: v.Paused, Queued: v.Queued,
		Last: v.Last, Run: v.Run, RunID: v.RunID, RunAt: v.RunAt}
	s.schedules[c.Name()] = c
	s.alert(c)
	return nil
}

// loadSchedule returns a schedule alone, as it is at the end of the log, or nil
// when there is none.
func loadSchedule(log *eventlog.Log, codec *Codec, name string) (*Schedule, error) {
	s, from := NewState(), eventlog.Seq(1)
	cp, found, err := log.Checkpoint(ScheduleStream(name))
	if err != nil {
		return nil, err
	}
	if found && s.restoreSchedule(codec, cp) == nil {
		from = cp.At + 1
	}
	for rec, err := range log.ReadStream(ScheduleStream(name), from) {
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
	}
	return s.schedules[name], nil
}

// saveSchedules makes checkpoints of those schedules that are there, and names
// the streams of those that aren't.
func saveSchedules(log *eventlog.Log, codec *Codec, names []string) (save []eventlog.Checkpoint, gone []string, err error) {
	for _, name := range names {
		c, err := loadSchedule(log, codec, name)
		if err != nil {
			return nil, nil, err
		}
		if c == nil {
			gone = append(gone, ScheduleStream(name))
			continue
		}
		data, err := encodeSchedule(c)
		if err != nil {
			return nil, nil, err
		}
		save = append(save, eventlog.Checkpoint{Stream: ScheduleStream(name), At: c.Seq, Data: data})
	}
	return save, gone, nil
}

// checkAlarms holds the alarms against what they should be.
func (s *State) checkAlarms() error {
	n := 0
	for _, name := range slices.Sorted(maps.Keys(s.schedules)) {
		c := s.schedules[name]
		want := s.due(c)
		if !want.Equal(c.alarm) {
			return fmt.Errorf("schedule %s: its alarm is at %s and should be at %s", name, c.alarm, want)
		}
		if want.IsZero() {
			continue
		}
		n++
		if !s.alarms.Has(Alarm{want, name}) {
			return fmt.Errorf("schedule %s: no alarm at %s", name, want)
		}
	}
	if s.alarms.Len() != n {
		return fmt.Errorf("%d alarms, %d are needed", s.alarms.Len(), n)
	}
	return nil
}

// DumpSchedules writes the schedules as their checkpoints would, for
// comparison.
func (s *State) DumpSchedules() (string, error) {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.schedules)) {
		b, err := encodeSchedule(s.schedules[name])
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "%d %s\n", s.schedules[name].Seq, b)
	}
	return out.String(), nil
}
