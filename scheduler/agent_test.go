package scheduler

import (
	"testing"

	"gleitzeit/replay"
)

// TestAgentKeys: no two calls of an agent have the same idempotency key, and
// an attempt whose outcome isn't known keeps its own.
func TestAgentKeys(t *testing.T) {
	own := replay.Step{Form: 3, Turn: 2, Call: 1}
	base := job{run: 1, def: 4, own: &own, began: 1, group: 1}
	again := base
	again.attempt = 2
	if base.key("s") != again.key("s") {
		t.Errorf("%s after a crash, %s before", again.key("s"), base.key("s"))
	}
	seen := map[string]bool{base.key("s"): true}
	for _, other := range []struct {
		what string
		job  job
	}{
		{"turn", job{run: 1, def: 4, own: &replay.Step{Form: 3, Turn: 3, Call: 1}, began: 1, group: 1}},
		{"call", job{run: 1, def: 4, own: &replay.Step{Form: 3, Turn: 2}, began: 1, group: 1}},
		{"form", job{run: 1, def: 4, own: &replay.Step{Form: 5, Turn: 2, Call: 1}, began: 1, group: 1}},
		{"iteration", job{run: 1, def: 4, own: &replay.Step{Form: 3, Turn: 2, Call: 1, Iteration: 2}, began: 1, group: 1}},
		{"conversation", job{run: 1, def: 4, own: &own, began: 2, group: 1}},
		{"item", job{run: 1, def: 4, own: &own, began: 1, group: 1, item: &itemPlace{index: 3}}},
		{"known outcome", job{run: 1, def: 4, own: &own, began: 1, group: 2}},
		{"task", job{run: 1, def: 4, group: 1}},
	} {
		if key := other.job.key("s"); seen[key] {
			t.Errorf("another %s has the same key %s", other.what, key)
		} else {
			seen[key] = true
		}
	}
}
