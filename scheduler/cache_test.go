package scheduler

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// TestCache: the same call is made once while its result stands, also by
// another process, and again when it no longer does; another call is made.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := eventlog.OpenMemory(eventlog.Options{})
		defer log.Close()
		w := compile(t, "name: c\ntasks:\n- {id: a, method: echo/echo, parameters: {n: 1}, cache: {ttl: 60}}\n"+
			"- {id: b, method: echo/echo, dependencies: [a], parameters: {n: 1}, cache: {ttl: 60}}\n"+
			"- {id: other, method: echo/echo, dependencies: [a], parameters: {n: 2}, cache: true}\n"+
			"- {id: keyed, method: echo/echo, dependencies: [a], parameters: {n: '${a.n}', run: '${run.id}'}, cache: {key: 'k-${a.n}'}}\n")
		first := runOnce(t, log, w)
		if first["a"] != 1 || first["b"] != 0 || first["other"] != 1 || first["keyed"] != 1 {
			t.Errorf("first run: %v", first)
		}
		if again := runOnce(t, log, w); len(again) != 0 {
			t.Errorf("second run: %v", again)
		}
		time.Sleep(time.Hour)
		if late := runOnce(t, log, w); late["a"] != 1 || late["other"] != 0 || late["keyed"] != 0 {
			t.Errorf("an hour later: %v", late)
		}
	})
}

// runOnce runs the workflow in a process of its own and returns how often each
// task was called.
func runOnce(t *testing.T, log *eventlog.Log, w *protocols.Workflow) map[string]int {
	t.Helper()
	c := &calls{workflow: w}
	s, err := New(log, Options{Open: c.open})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	id, err := s.Submit(ctx, Submission{Workflow: w, Setup: echoSetup})
	if err != nil {
		t.Fatal(err)
	}
	waitEnd(t, ctx, log, id)
	return c.seen()
}
