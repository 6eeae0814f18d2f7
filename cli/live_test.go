package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// watched is a run of three tasks as it is found, and then changes.
func watched(tasks int) *track {
	v := &replay.RunView{ID: "flow-1", Status: replay.Running}
	for i := range tasks {
		v.Tasks = append(v.Tasks, replay.TaskView{ID: fmt.Sprintf("task%d", i)})
	}
	return newTrack(v)
}

func happens(t *track, task string, e replay.Event) {
	t.apply(replay.Entry{Type: e.Type(), Task: task, Time: time.Now(), Event: e})
}

func TestLiveRows(t *testing.T) {
	run := watched(3)
	happens(run, "task0", &replay.TaskStarted{Task: 0, Attempt: 1})
	happens(run, "task0", &replay.TaskCompleted{Task: 0, Duration: protocols.Duration(1500 * time.Millisecond)})
	happens(run, "task1", &replay.TaskStarted{Task: 1, Attempt: 2})
	happens(run, "task1", &replay.TaskFailed{Task: 1, Error: protocols.Errorf(protocols.TaskExecutionFailed, "bad\x1b[2J\nluck")})
	happens(run, "task2", &replay.TaskSkipped{Tasks: []int{2}, Reason: "no reason"})
	rows := newLive(nil, false, run).rows(10, 79)
	want := []string{
		"✓ task0  1.5s",
		"✗ task1  0s        attempt 2, bad[2J luck",
		"- task2            no reason",
		"flow-1 · 1 completed · 1 failed · 1 skipped · 0s",
	}
	if got := strings.Join(rows, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("rows:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

// However many tasks there are and however narrow the screen is, the rows fit,
// and what runs is among them.
func TestLiveFits(t *testing.T) {
	run := watched(500)
	happens(run, "task400", &replay.TaskStarted{Task: 400, Attempt: 1})
	run.byID["task400"].message = strings.Repeat("字", 200)
	for _, across := range []int{30, 79, 200} {
		rows := newLive(nil, false, run).rows(10, across)
		if len(rows) != 11 {
			t.Fatalf("%d rows", len(rows))
		}
		if !strings.Contains(strings.Join(rows, "\n"), "task400") {
			t.Error("the running task is not shown")
		}
		for _, row := range rows {
			if columns(row) > across {
				t.Errorf("%d columns of %d: %s", columns(row), across, row)
			}
		}
	}
}

func TestTrackStuck(t *testing.T) {
	run := watched(2)
	if run.stuck() {
		t.Error("a fresh run is stuck")
	}
	happens(run, "task0", &replay.TaskStarted{Task: 0, Attempt: 1})
	happens(run, "", &replay.WorkflowInterrupted{})
	if run.stuck() {
		t.Error("stuck while an attempt runs")
	}
	happens(run, "task0", &replay.TaskInterrupted{Task: 0, Attempt: 1})
	if !run.stuck() {
		t.Error("not stuck after an interrupt")
	}
	happens(run, "", &replay.WorkflowResumed{})
	if run.stuck() {
		t.Error("stuck after a resume")
	}
	happens(run, "task0", &replay.TaskInDoubt{Task: 0, Attempt: 1, Action: protocols.CrashAsk})
	if !run.stuck() {
		t.Error("not stuck though it asks")
	}
}
