package mcp

import (
	"context"
	"errors"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// attendance is one call that stays with one run: until the run has ended, or
// needs somebody whom the client can't ask, or the call's time is over.
type attendance struct {
	*session
	req      *sdk.CallToolRequest
	id       string
	progress *progress
	news     chan news // of the follower; never closed

	quiet *time.Timer   // when to look at the run
	pause time.Duration // until the next look, if nothing happens
	asks  asking
}

// news is what a follower brings: an event, a sign of life, or its end.
type news struct {
	entry      *replay.Entry
	task, text string // of a sign of life
	end        bool
	err        error // of the end
}

// attend stays with a run for as long as wait says, 0 for until its end, and
// returns what has become of it.
func (s *session) attend(ctx context.Context, req *sdk.CallToolRequest, id string, wait time.Duration, asks asking) (*sdk.CallToolResult, error) {
	s.attending.Add(1)
	defer s.attending.Done()
	a := &attendance{session: s, req: req, id: id, progress: newProgress(req), news: make(chan news), quiet: time.NewTimer(quietFor), asks: asks}
	defer a.quiet.Stop()
	a.progress.begin(ctx, id, func() (*replay.RunView, error) { return s.run(ctx, id, false) })
	following, stop := context.WithCancel(ctx)
	var working sync.WaitGroup
	working.Go(func() { a.follow(following) })
	defer working.Wait()
	defer stop()
	defer a.asks.stop()
	var enough <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		enough = t.C
	}
	return a.stay(ctx, enough)
}

// stay takes what happens, one after the other.
func (a *attendance) stay(ctx context.Context, enough <-chan time.Time) (*sdk.CallToolResult, error) {
	for {
		var result *sdk.CallToolResult
		var err error
		select {
		case n := <-a.news:
			if n.end {
				return a.over(ctx, n.err)
			}
			a.take(ctx, n)
		case <-a.quiet.C:
			result, err = a.look(ctx)
		case r := <-a.asks.answered:
			err = a.answer(ctx, r)
		case <-enough:
			return a.standing(ctx, goesOn)
		case <-ctx.Done():
			return a.leave(ctx)
		}
		if result != nil || err != nil {
			return result, err
		}
	}
}

// follow brings what happens to the run.
func (a *attendance) follow(ctx context.Context) {
	bring := func(n news) {
		select {
		case a.news <- n:
		case <-ctx.Done():
		}
	}
	err := a.store.Follow(ctx, a.id,
		func(e replay.Entry) { bring(news{entry: &e}) },
		func(task, text string) { bring(news{task: task, text: text}) })
	bring(news{end: true, err: err})
}

// take tells the client what has happened. Whether the run needs somebody now
// is seen when nothing has happened for a moment.
func (a *attendance) take(ctx context.Context, n news) {
	if n.entry == nil {
		a.progress.sign(ctx, n.task, n.text)
		return
	}
	a.progress.entry(ctx, n.entry)
	a.pause = 0
	a.quiet.Reset(quietFor)
}

// over is the result of a run that has ended, or can't be followed any more.
func (a *attendance) over(ctx context.Context, err error) (*sdk.CallToolResult, error) {
	if ctx.Err() != nil {
		return a.leave(ctx)
	}
	if isCode(err, protocols.SystemShutdown) {
		return about(said("This server stops. The run %s goes on when it is started again: stay with it by run_wait.", a.id), a.id, "running"), nil
	}
	if err != nil {
		return failed(err), nil
	}
	v, err := a.run(ctx, a.id, true)
	if err != nil {
		return failed(err), nil
	}
	return outcome(v), nil
}

// leave ends a call that its client took back, or whose client is gone. The run
// goes on, unless the client said that it doesn't want it any more.
func (a *attendance) leave(ctx context.Context) (*sdk.CallToolResult, error) {
	if a.brief || !tookBack(ctx) {
		return nil, ctx.Err()
	}
	ctx, enough := context.WithTimeout(context.WithoutCancel(ctx), cancelIn)
	defer enough()
	err := a.store.Call(ctx, server.WorkflowCancel, server.CancelParams{ID: a.id, By: a.by(a.req.Session)}, nil)
	if err != nil && !isCode(err, protocols.WorkflowInvalidState) {
		return nil, err
	}
	return about(said("cancelled, and the run %s with it", a.id), a.id, string(replay.Cancelled)), nil
}

// cancelIn is how long a run may take to be told of its end.
const cancelIn = 30 * time.Second

// run asks for a run; with values also for what it returned, in full.
func (s *session) run(ctx context.Context, id string, values bool) (*replay.RunView, error) {
	var v replay.RunView
	return &v, s.store.Call(ctx, server.WorkflowGet, server.GetParams{ID: id, Values: values}, &v)
}

func isCode(err error, code protocols.Code) bool {
	var e *protocols.Error
	return errors.As(err, &e) && e.Code == code
}
