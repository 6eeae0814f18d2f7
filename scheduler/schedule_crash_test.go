package scheduler

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// TestCrashWhileSchedulesFire cuts a server off at every sync, in three ways,
// and lets another go on: every time of every schedule comes to something
// once, and has one run where it should.
func TestCrashWhileSchedulesFire(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	end := epoch.Add(5 * time.Minute)
	cutter := &cutter{mem: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 0))}
	log := openOn(t, errorfs.Wrap(cutter.mem, cutter))
	cutter.log.Store(log)
	first := &server{core: serving(log), t: t}
	first.do(Start{PID: 1})
	first.add()
	first.serve(end)
	cutter.cut()
	want := first.times()
	if len(want["allow"]) != 5 || len(want["skip"]) != 10 || len(want["queue"]) != 10 {
		t.Fatalf("%v", want)
	}
	appends := int(log.Stats().Appends)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if n := cutter.points(); n < appends {
		t.Fatalf("cut off after %d of %d appends", n, appends)
	}
	for i, cut := range cutter.cuts {
		log := openOn(t, cut.fs)
		again := &server{core: serving(log), t: t}
		again.resume()
		again.add()
		again.serve(end)
		got := again.times()
		if what := fmt.Sprintf("cut %d of %d, %s, after record %d", i, len(cutter.cuts), cut.mode, cut.last); fmt.Sprint(keys(got)) != fmt.Sprint(keys(want)) {
			t.Fatalf("%s: the times are\n%v\nuncut they are\n%v", what, got, want)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// server is the core as a server uses it, by a clock of its own. Its runs take
// a while.
type server struct {
	*core
	t *testing.T
}

func serving(log *eventlog.Log) *core {
	return &core{log: log, state: replay.NewState(), now: epoch, policy: Policy{Slots: 10, Schedules: true},
		setup: replay.Setup{Providers: []replay.ProviderSlots{{Name: "echo", Protocol: "echo/v1", Slots: 10}}}}
}

// add adds the schedules, each with a key that makes that safe to repeat. What
// isn't there any more begins as if it had just been added.
func (s *server) add() {
	for _, overlap := range []string{"allow", "skip", "queue"} {
		w := compile(s.t, "name: "+overlap+"\ntasks:\n- {id: a, method: echo/echo}\n")
		each, err := (&Scheduler{}).submit(Submission{Workflow: w, Setup: s.setup})
		if err != nil {
			s.t.Fatal(err)
		}
		spec := protocols.Schedule{Cron: "@every 30s", Overlap: overlap, CatchUp: true}
		if overlap == "allow" {
			spec.Cron = "* * * * *"
		}
		if _, err := s.step(AddSchedule{Name: overlap, Schedule: spec, Each: *each, Key: "once"}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// serve lets time pass up to a moment. A run ends when the third time after its
// beginning has come.
func (s *server) serve(end time.Time) {
	for {
		at, any := Wake(s.state, s.policy, s.state.Time)
		if !any || at.After(end) {
			return
		}
		s.now = later(s.now, at)
		s.step()
		for _, n := range s.live() {
			if r := s.state.Run(n); r.Running > 0 && s.now.Sub(r.At) >= 70*time.Second {
				s.step(Finish{Run: n, Task: 0, Attempt: r.Tasks[0].Attempts})
			}
		}
		if err := s.state.CheckIndexes(); err != nil {
			s.t.Fatal(err)
		}
	}
}

// resume is what a server does first.
func (s *server) resume() {
	state, err := replay.Load(s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	s.state, s.now = state, later(s.now, state.Time)
	s.step(Start{PID: 2})
	for _, n := range s.live() {
		if _, err := s.step(Resume{Run: n}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// live returns the live runs, the oldest first.
func (s *server) live() (live []uint64) {
	s.state.Each(func(r *replay.Run) { live = append(live, r.Number) })
	slices.Sort(live)
	return live
}

// times are what came of the times of each schedule, as the log has it. It
// fails when a time has come twice, or has not exactly the run that it says.
func (s *server) times() map[string]map[time.Time]string {
	all := map[string]map[time.Time]string{}
	runs, submitted := map[uint64]string{}, map[uint64]string{}
	codec := replay.NewCodec(s.log.Value)
	for _, rec := range allRecords(s.t, s.log) {
		f, known, err := codec.Decode(rec)
		if err != nil {
			s.t.Fatal(err)
		}
		switch e := f.Event.(type) {
		case *replay.ScheduleFired:
			if all[e.Name] == nil {
				all[e.Name] = map[time.Time]string{}
			}
			before := all[e.Name][e.At]
			if before != "" && !(strings.HasPrefix(before, "queued") && e.Outcome == replay.ScheduleStarted) {
				s.t.Fatalf("%s comes a second time: %s, %+v", e.At, before, e)
			}
			all[e.Name][e.At] = string(e.Outcome)
			if e.Outcome == replay.ScheduleStarted {
				runs[e.Run] = replay.ScheduleKey(e.Name, e.At)
			}
		case *replay.WorkflowSubmitted:
			if !known {
				continue
			}
			submitted[e.Number] = e.Key
		}
	}
	if !maps.Equal(runs, submitted) {
		s.t.Fatalf("started are\n%v\nsubmitted are\n%v", runs, submitted)
	}
	return all
}

// keys are the times that came to something.
func keys(all map[string]map[time.Time]string) (texts []string) {
	for name, times := range all {
		for at := range times {
			texts = append(texts, name+" "+at.Format(time.RFC3339))
		}
	}
	slices.Sort(texts)
	return texts
}
