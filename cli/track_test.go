package cli

import (
	"testing"
	"time"

	"gleitzeit/replay"
)

// A run may be found when its foreach has its items already, and then be
// followed from its beginning.
func TestTrackFoundLate(t *testing.T) {
	found := newTrack(&replay.RunView{ID: "r-1", Status: replay.Running, Tasks: []replay.TaskView{
		{ID: "each", Status: replay.TaskExpandedInto, Items: 2},
		{ID: "ask", Status: replay.TaskWaits, WaitsFor: "approval"},
		{ID: "each[0]", Of: "each", Status: replay.TaskIsCompleted},
		{ID: "each[1]", Of: "each", Status: replay.TaskRunning},
	}})
	fresh := newTrack(&replay.RunView{ID: "r-1", Status: replay.Running, Tasks: []replay.TaskView{{ID: "each"}, {ID: "ask"}}})
	wait := &replay.TaskWaiting{Task: 1, Wait: replay.Wait{Kind: replay.WaitApproval}}
	for _, e := range []replay.Entry{
		{Event: &replay.EvaluationRequested{What: replay.AskItems, Tasks: []int{0}}},
		{Task: "ask", Event: &replay.TaskStarted{Task: 1, Attempt: 1}},
		{Task: "ask", Event: wait},
		{Task: "each", Event: &replay.TaskExpanded{Task: 0, First: 2, Count: 2}, Time: time.Unix(1, 0)},
		{Task: "each[0]", Event: &replay.TaskStarted{Task: 2, Attempt: 1}},
		{Task: "each[1]", Event: &replay.TaskStarted{Task: 3, Attempt: 1}},
		{Task: "each[0]", Event: &replay.TaskCompleted{Task: 2, Attempt: 1}},
		{Event: &replay.TaskSkipped{Tasks: []int{3}}},
		{Event: &replay.EvaluationRequested{What: replay.AskCollect, Tasks: []int{0}}},
		{Task: "each", Event: &replay.TaskCompleted{Task: 0}},
	} {
		found.apply(e)
		fresh.apply(e)
	}
	for name, track := range map[string]*track{"found late": found, "from the beginning": fresh} {
		each := track.byID["each"]
		if len(track.tasks) != 4 || len(each.instances) != 2 || itemsText(2, each.items) != "2/2, 1 skipped" {
			t.Errorf("%s: %d tasks, %d instances, %s", name, len(track.tasks), len(each.instances), itemsText(2, each.items))
		}
		if track.counts["running"] != 0 || track.counts["completed"] != 2 || track.waits["approval"] != 1 || !track.stuck() {
			t.Errorf("%s: %v, %v", name, track.counts, track.waits)
		}
	}
}
