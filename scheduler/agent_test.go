package scheduler

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
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

// TestAgentLoads: what tools have answered is loaded for a turn of the model
// alone; 64 calls at once needn't have 64 copies of it.
func TestAgentLoads(t *testing.T) {
	log := eventlog.OpenMemory(eventlog.Options{})
	defer log.Close()
	s := &Scheduler{log: log}
	lost := replay.NewValue(json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`))
	lost = replay.Value{Big: &replay.BigValue{Hash: lost.Big.Hash}}
	w := compile(t, "name: w\ntasks: [{id: a, method: llm/agent, parameters: {prompt: x, tools: [{method: echo/echo}]}}]\n")
	base := job{plan: &replay.Plan{Workflow: w}, steps: []replay.Task{
		{Step: &replay.Step{Form: protocols.TurnForm, Turn: 1}, Result: replay.NewValue(json.RawMessage(`{"content":"hello"}`))},
		{Step: &replay.Step{Form: protocols.CallForm(0), Turn: 1}, Result: lost},
	}}
	for form, loads := range map[int]bool{-1: false, protocols.CallForm(0): false, protocols.TurnForm: true, protocols.AnswerForm: true} {
		j := base
		if form >= 0 {
			j.own = &replay.Step{Form: form, Turn: 2}
		}
		if v, err := s.conversation(j); (err != nil) != loads || err == nil && len(v.Steps[0].Result) == 0 {
			t.Errorf("form %d: %v", form, err)
		}
	}
}

// TestAgentsCancelled: as many agents as a foreach may have end together with
// their run; one after the other, with a look at all of them each time, it would
// take minutes in which nobody else gets a turn.
func TestAgentsCancelled(t *testing.T) {
	const many = 30_000
	c := newCore(t)
	c.setup = replay.Setup{Providers: []replay.ProviderSlots{{Name: "model", Protocol: "llm/v1", Slots: 2}}}
	w := compile(t, "name: many\ntasks: [{id: a, method: llm/agent, foreach: {items: [1]}, parameters: {prompt: x}}]\n")
	cmd, err := (&Scheduler{}).submit(Submission{Workflow: w, Setup: c.setup})
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []Command{Start{PID: 1}, *cmd, Answer{Run: 1, What: replay.AskItems, Count: many, Size: many}} {
		if _, err := c.step(command); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	ended, err := c.step(Cancel{Run: 1})
	if took := time.Since(began); err != nil || len(ended) < many-2 || took > 30*time.Second {
		t.Errorf("%d facts in %s: %v", len(ended), took, err)
	}
	c.laws(t)
}
