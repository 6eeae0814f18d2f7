package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// This file tests schedules through the loop, in a bubble's time.

// schedule adds a schedule of one task.
func schedule(t *testing.T, s *Scheduler, text string, spec protocols.Schedule) {
	t.Helper()
	_, err := s.AddSchedule(soon(t), Recurrence{Submission: Submission{Workflow: compile(t, text), Setup: echoSetup}, Schedule: spec})
	if err != nil {
		t.Fatal(err)
	}
}

// told is what happened to a schedule, without the moments.
func told(t *testing.T, log *eventlog.Log, name string) string {
	t.Helper()
	entries, err := replay.ScheduleHistory(log, name, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if f, ok := e.Event.(*replay.ScheduleFired); ok {
			all = append(all, fmt.Sprintf("%s %s %s %d", f.At.Format("15:04:05"), f.Outcome, f.RunID, f.Missed))
		}
	}
	return strings.Join(all, ", ")
}

// lifetime runs a scheduler on the log for a while.
func lifetime(t *testing.T, log *eventlog.Log, o Options, do func(*Scheduler)) {
	t.Helper()
	if o.Open == nil {
		o.Open = provide(func(context.Context, providers.Call) (json.RawMessage, error) { return json.RawMessage("1"), nil })
	}
	s, err := New(log, o)
	if err != nil {
		t.Fatal(err)
	}
	do(s)
	synctest.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestScheduleLoop: the loop wakes for each time by itself; a scheduler that
// doesn't stay fires nothing, and one that comes later finds what was missed.
func TestScheduleLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := eventlog.OpenMemory(eventlog.Options{})
		defer log.Close()
		stays := Options{Policy: Policy{Schedules: true}}
		lifetime(t, log, Options{}, func(s *Scheduler) {
			schedule(t, s, "name: tick\nschedule: '*/10 * * * *'\ntasks: [{id: a, method: echo/echo}]\n", protocols.Schedule{})
			time.Sleep(15 * time.Minute)
		})
		if got := told(t, log, "tick"); got != "" {
			t.Errorf("fired by one that doesn't stay: %s", got)
		}
		lifetime(t, log, stays, func(*Scheduler) { time.Sleep(25 * time.Minute) })
		want := "00:10:00 missed  0, 00:20:00 started tick-1 0, 00:30:00 started tick-2 0, 00:40:00 started tick-3 0"
		if got := told(t, log, "tick"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		for i := range 3 {
			if v := view(t, log, fmt.Sprintf("tick-%d", i+1)); v.Status != replay.Completed {
				t.Errorf("%s %s", v.ID, v.Status)
			}
		}
		lifetime(t, log, stays, func(s *Scheduler) {
			if err := s.Drain(soon(t)); err != nil { // it is about to leave
				t.Fatal(err)
			}
			before := log.Last()
			time.Sleep(time.Hour)
			if log.Last() != before {
				t.Error("something happened after Drain")
			}
		})
	})
}

// TestScheduleSecrets: for a run that a schedule started the process looks for
// secrets itself; for others it waits until somebody offers them.
func TestScheduleSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := eventlog.OpenMemory(eventlog.Options{})
		defer log.Close()
		var asked atomic.Int32
		var heard atomic.Value
		o := Options{Policy: Policy{Schedules: true},
			Secrets: func(refs []string) map[string]string {
				asked.Add(1)
				return map[string]string{refs[0]: "open sesame"}
			},
			Open: provide(func(_ context.Context, c providers.Call) (json.RawMessage, error) {
				heard.Store(string(c.Parameters))
				return json.RawMessage("1"), nil
			})}
		text := "name: s\nschedule: '@every 1m'\nsecrets: {KEY: env:KEY}\ntasks: [{id: a, method: echo/echo, parameters: {with: '${secrets.KEY}'}}]\n"
		lifetime(t, log, o, func(s *Scheduler) {
			schedule(t, s, text, protocols.Schedule{})
			time.Sleep(61 * time.Second)
			synctest.Wait()
			if v := view(t, log, "s-1"); v.Status != replay.Completed || heard.Load() != `{"with":"open sesame"}` || asked.Load() != 1 {
				t.Errorf("%s, heard %v, asked %d times", v.Status, heard.Load(), asked.Load())
			}
			submit(t, s, Submission{Workflow: compile(t, text)})
			synctest.Wait()
			if asked.Load() != 1 {
				t.Error("it looked for the secrets of a run that somebody submitted")
			}
		})
	})
}
