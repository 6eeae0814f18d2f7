package scheduler

import (
	"testing"
	"testing/synctest"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// What a rate holds back may have become free between the last look at the
// state and the setting of the alarm: then the alarm is set for now.
func TestWakeMissesNothing(t *testing.T) {
	c := newCore(t)
	c.setup.Providers[0].Rate = &replay.Rate{N: 1, Per: protocols.Duration(time.Second), Burst: 1}
	c.docs["two"] = compile(t, "name: two\ntasks:\n- {id: a, method: echo/echo}\n- {id: b, method: echo/echo}\n")
	cmd, err := (&Scheduler{}).submit(Submission{Workflow: c.docs["two"], Setup: c.setup})
	if err != nil {
		t.Fatal(err)
	}
	c.do(Start{PID: 1}, *cmd)
	for after, want := range map[time.Duration]time.Duration{0: time.Second, time.Millisecond: time.Second,
		time.Second: time.Second, 2 * time.Second: 2 * time.Second} {
		if at, ok := Wake(c.state, c.policy, epoch.Add(after)); !ok || !at.Equal(epoch.Add(want)) {
			t.Errorf("after %s: woken %t at %s", after, ok, at.Sub(epoch))
		}
	}
}

// A rate lets calls begin in time, whole scheduler and all.
func TestRateInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		setup := replay.Setup{Providers: []replay.ProviderSlots{{Name: "echo", Protocol: "echo/v1", Slots: 9,
			Rate: &replay.Rate{N: 2, Per: protocols.Duration(time.Second), Burst: 1}}}}
		w := compile(t, "name: five\ntasks:\n- {id: a, method: echo/echo, foreach: [1, 2, 3, 4, 5]}\n")
		log := eventlog.OpenMemory(eventlog.Options{})
		defer log.Close()
		began := time.Now()
		crashCase{}.finish(t, log, Submission{Workflow: w, Setup: setup, Key: "the-run"}, &calls{})
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("five calls, two a second, took %s", took)
		}
	})
}

// Behind a breaker that lets one call through at a time there is nothing to
// wake for: only the end of that call helps.
func TestWakeNotForATrial(t *testing.T) {
	c := newCore(t)
	p := &c.setup.Providers[0]
	p.Breaker = &replay.Breaker{Failures: 1, Open: protocols.Duration(time.Second), Successes: 2}
	cmd, err := (&Scheduler{}).submit(Submission{Setup: c.setup, Workflow: compile(t,
		"name: trial\nerror_strategy: continue\ntasks:\n- {id: a, method: echo/echo}\n- {id: b, method: echo/echo, needs: [a], if: always()}\n- {id: c, method: echo/echo, needs: [a], if: always()}\n")})
	if err != nil {
		t.Fatal(err)
	}
	c.do(Start{PID: 1}, *cmd)
	c.do(Finish{Run: 1, Task: 0, Attempt: 1, Called: true, Error: protocols.Errorf(protocols.ConnectionRefused, "nobody is there")})
	c.do(Answer{Run: 1, What: replay.AskCondition, Task: 1, Yes: true}, Answer{Run: 1, What: replay.AskCondition, Task: 2, Yes: true})
	if at, ok := Wake(c.state, c.policy, c.now); !ok || !at.Equal(epoch.Add(time.Second)) {
		t.Fatalf("before the trial: woken %t at %s", ok, at)
	}
	c.now = epoch.Add(time.Second)
	c.do()
	if at, ok := Wake(c.state, c.policy, c.now); ok || c.state.Running != 1 {
		t.Errorf("%d calls at once, woken %t at %s", c.state.Running, ok, at)
	}
}
