package providers

import (
	"context"
	"fmt"
	"slices"
)

// This file finds out for which call a server asks something. Up to revision
// 2026-07-28 the protocol doesn't say. Among the calls of one run it makes no
// great difference: the answer goes back to the server, which knows. But what
// one run asks must not be put to another, so what could be of several waits
// until there is but one left that it can be of:
//
//	the server has answered a call      it doesn't ask for that any more
//	something of a call is being asked  it asks one thing at a time
//
// Where that can't come to an end, since all of them wait for an answer, the
// server is refused.

// runKey finds the run in the context of a call.
type runKey struct{}

// traceKey is the key of a call's place in a trace.
type traceKey struct{}

// enter counts a call among those under way until leave is called.
func (l *mcpLink) enter(ctx context.Context, token string, call *mcpCall) (leave func()) {
	call.run, _ = ctx.Value(runKey{}).(string)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls[token] = call
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.calls, token)
		call.over, call.lost = true, ctx.Err() != nil
		l.stir()
	}
}

// stir wakes those who wait to know whose a question is. The caller holds mu.
func (l *mcpLink) stir() {
	if l.stirred != nil {
		close(l.stirred)
	}
	l.stirred = make(chan struct{})
}

// asker finds the call on whose behalf the server asks, and a context that ends
// with that call and with the question. There is no call if none is under way.
func (l *mcpLink) asker(ctx context.Context) (*mcpCall, context.Context, func(), error) {
	call, err := l.whose(ctx)
	if call == nil {
		return nil, ctx, nil, err
	}
	inner, cancel := context.WithCancel(call.ctx)
	forget := context.AfterFunc(ctx, cancel)
	return call, inner, func() {
		forget()
		cancel()
		l.mu.Lock()
		defer l.mu.Unlock()
		call.asks--
		l.stir()
	}, nil
}

// whose returns the call that a question is of, and counts the question.
func (l *mcpLink) whose(ctx context.Context) (*mcpCall, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	call, _ := ctx.Value(callKey{}).(*mcpCall) // the question is part of the answer
	if call == nil {
		rivals := l.rivals()
		l.puzzles++
		defer func() { l.puzzles-- }()
		for told := false; severalRuns(rivals); told = true {
			if endless := slices.ContainsFunc(rivals, func(c *mcpCall) bool { return c.lost || c.asks > 0 }); endless || l.puzzles >= len(rivals) {
				return nil, l.puzzled(rivals)
			}
			if err := l.wait(ctx, rivals, told); err != nil {
				return nil, err
			}
			rivals = slices.DeleteFunc(rivals, func(c *mcpCall) bool { return c.over && !c.lost || c.asks > 0 })
		}
		call = youngest(rivals)
	}
	if call != nil {
		call.asks++
		l.stir()
	}
	return call, nil
}

// rivals are the calls that a question can be of: those of which nothing is
// being asked, or all if there are none. The caller holds mu.
func (l *mcpLink) rivals() (all []*mcpCall) {
	var asking []*mcpCall
	for _, call := range l.calls {
		if call.asks > 0 {
			asking = append(asking, call)
		} else {
			all = append(all, call)
		}
	}
	if len(all) == 0 {
		return asking
	}
	return all
}

// wait returns when something about the calls has changed. The caller holds mu.
func (l *mcpLink) wait(ctx context.Context, rivals []*mcpCall, told bool) error {
	if l.stirred == nil {
		l.stir()
	}
	stirred := l.stirred
	l.mu.Unlock()
	defer l.mu.Lock()
	if !told {
		for _, call := range rivals {
			call.host.Progress(Progress{Message: fmt.Sprintf("MCP server %s asks something, and doesn't say for which of %d calls: it waits until the others are answered", l.server, len(rivals))})
		}
	}
	select {
	case <-stirred:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ending:
		return fmt.Errorf("MCP server %s has ended", l.server)
	}
}

// puzzled is the error of a question that nobody can be given.
func (l *mcpLink) puzzled(rivals []*mcpCall) error {
	return fmt.Errorf("gleitzeit can't tell for which of %d calls of several runs this is asked; slots: 1 in mcpServers.%s leaves no doubt", len(rivals), l.server)
}

func severalRuns(calls []*mcpCall) bool {
	return slices.ContainsFunc(calls, func(c *mcpCall) bool { return c.run != calls[0].run })
}

// youngest is the call that began last, or nil.
func youngest(calls []*mcpCall) (last *mcpCall) {
	for _, call := range calls {
		if last == nil || call.number > last.number {
			last = call
		}
	}
	return last
}
