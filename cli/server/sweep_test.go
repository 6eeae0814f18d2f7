package server_test

import (
	"testing"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// TestSweepFolds removes runs for long: what is left of them stays small, the
// log is sound, and no number comes twice, not even when all runs are gone and
// the process is another one.
func TestSweepFolds(t *testing.T) {
	log := eventlog.OpenMemory(eventlog.Options{})
	o := options(&servertest.Fake{})
	o.Scheduler.CheckpointEvery = 100
	server.FoldForTest(t, 1)
	f := start(t, log, o)
	const rounds, some = 3, 200
	for range rounds {
		for range some {
			f.submit(servertest.Chain("one", servertest.Work{}))
		}
		for gone := 0; gone < some; { // all that have ended yet
			var swept server.GCResult
			f.must(server.SystemGC, server.GCParams{OlderThan: 1}, &swept)
			gone += swept.Runs
		}
	}
	// What is no run's lets the checkpoints go beyond the last run's mark.
	add := server.ScheduleAddParams{Name: "never", Schedule: protocols.Schedule{Cron: "0 0 1 1 *"}, Run: servertest.Chain("one", servertest.Work{})}
	f.must(server.ScheduleAdd, add, nil)
	for range 100 {
		f.must(server.SchedulePause, server.ScheduleParams{Name: "never"}, nil)
		f.must(server.ScheduleUnpause, server.ScheduleParams{Name: "never"}, nil)
	}
	f.must(server.SystemGC, server.GCParams{OlderThan: 1}, nil)
	if left := log.Stats().Records; left > 400 {
		t.Errorf("%d records are left", left)
	}
	if r, err := log.Verify(t.Context()); err != nil || len(r.Problems) > 0 {
		t.Errorf("verify: %v %v", err, r.Problems)
	}
	highest := rounds * some
	for _, how := range []string{"from the checkpoints", "from the beginning"} {
		state, err := replay.Load(log)
		if err != nil || state.NextRun != uint64(highest+1) {
			t.Errorf("%s: the next run would be %d, %v", how, state.NextRun, err)
		}
		if err := log.SaveCheckpoints(nil, []string{replay.SystemStream}); err != nil {
			t.Fatal(err)
		}
	}
}
