package mcp

import (
	"context"
	"slices"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/replay"
)

// This file finds out whether a run needs a person: one whom the client can
// ask, or somebody else, and then nobody has to wait here.

// A look reads all that happened to a run, so it is made when nothing has
// happened for a moment, and again ever less often: a run may wait for another
// one, of whose events we hear nothing.
const (
	quietFor  = 100 * time.Millisecond
	maxPause  = 5 * time.Second
	lookShare = 10 // a look may cost a tenth of the time
)

// look looks at the run. It returns a result if nobody has to wait any more.
func (a *attendance) look(ctx context.Context) (*sdk.CallToolResult, error) {
	began := time.Now()
	v, err := a.run(ctx, a.id, false)
	if err != nil {
		return failed(err), nil
	}
	asked, err := a.questions(ctx, v)
	if err != nil {
		return failed(err), nil
	}
	if a.canAsk() {
		if result := a.ask(ctx, asked); result != nil {
			return about(result, v.ID, string(v.Status)), nil
		}
	}
	stuck, err := a.stuck(ctx, v)
	if err != nil {
		return failed(err), nil
	}
	if stuck && !a.asks.pending() {
		return a.standing(ctx, needsSomebody)
	}
	a.pause = min(max(2*a.pause, quietFor, lookShare*time.Since(began)), maxPause)
	a.quiet.Reset(a.pause)
	return nil, nil
}

// stuck tells whether nothing of a run goes on until a person does something. A
// task that asks somebody waits for that, though it runs.
func (s *session) stuck(ctx context.Context, v *replay.RunView) (bool, error) {
	return asWaiting(v).NeedsPerson(true, func(id string) (*replay.RunView, error) {
		child, err := s.run(ctx, id, false)
		return asWaiting(child), err
	})
}

// asWaiting is the run with its tasks that ask as tasks that wait.
func asWaiting(v *replay.RunView) *replay.RunView {
	w := *v
	w.Tasks = slices.Clone(v.Tasks)
	for i := range w.Tasks {
		if w.Tasks[i].Question != nil {
			w.Tasks[i].Status, w.Tasks[i].WaitsFor = replay.TaskWaits, "approval"
			if w.Status == replay.Running {
				w.Status = replay.Waiting
			}
		}
	}
	return &w
}
