package mcp

import (
	"context"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/replay"
)

// This file tells clients when a run that they subscribed to has changed.

// badCursor refuses a place in a list that we didn't give.
var badCursor = &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "the cursor is none of this server's"}

// subscription is a resource that some clients of a session want to hear of.
type subscription struct {
	clients int
	stop    context.CancelFunc
}

// maxUpdates is how many resources a session may subscribe to.
const maxUpdates = 1000

// updateEvery is how often a change of a resource is told at most.
const updateEvery = 200 * time.Millisecond

func (s *session) subscribe(ctx context.Context, req *sdk.SubscribeRequest) error {
	uri := req.Params.URI
	a, ok := parseAddress(uri)
	if !ok {
		return sdk.ResourceNotFoundError(uri)
	}
	v, err := s.run(ctx, a.run, false)
	if err != nil {
		return sdk.ResourceNotFoundError(uri)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.updates[uri]; u != nil {
		u.clients++
		return nil
	}
	if len(s.updates) >= maxUpdates {
		return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "more subscriptions than one client may have"}
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.updates[uri] = &subscription{1, stop}
	s.attending.Go(func() { s.tellUpdates(following, v.ID, uri) })
	s.attending.Go(func() { // until the client is gone
		select {
		case <-following.Done():
		case <-gone(req.Session):
			stop()
		}
	})
	return nil
}

// gone is closed when a client is.
func gone(ss *sdk.ServerSession) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		_ = ss.Wait() // how it went doesn't matter
		close(done)
	}()
	return done
}

// tellUpdates tells of what happens to a run from now on.
func (s *session) tellUpdates(ctx context.Context, id, uri string) {
	changed := make(chan struct{}, 1)
	s.attending.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			_ = s.sdk.ResourceUpdated(ctx, &sdk.ResourceUpdatedNotificationParams{URI: uri}) // clients that are gone hear nothing
			select {
			case <-ctx.Done():
				return
			case <-time.After(updateEvery):
			}
		}
	})
	began := time.Now()
	_ = s.store.Follow(ctx, id, func(e replay.Entry) {
		if e.Time.Before(began) {
			return
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}, func(string, string) {})
}

func (s *session) unsubscribe(_ context.Context, req *sdk.UnsubscribeRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.updates[req.Params.URI]; u != nil {
		if u.clients--; u.clients == 0 {
			u.stop()
			delete(s.updates, req.Params.URI)
		}
	}
	return nil
}
