package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sourcegraph/jsonrpc2"

	"gleitzeit/protocols"
)

// maxCalls is how many calls of one connection may be under way. One more is
// refused, not queued: the loop that reads must go on, or an answer that a
// call waits for would never be read.
const maxCalls = 1024

// greeting is how long a connection has to prove itself, if it has to.
const greeting = 10 * time.Second

// parting is how long a connection has, when we leave, to take its last
// answers and events.
const parting = time.Second

// caller is one connection of a client: it reads calls, has each handled in a
// goroutine of its own and sends the answers.
type caller struct {
	server *Server
	peer   *Peer
	conn   *Conn
	// token is what the client has to prove itself with, "" once it has or
	// when the transport has seen to it. Only the read loop touches it.
	token  string
	proven chan struct{} // closed when it has proved itself

	mu      sync.Mutex
	calls   int
	leaving bool
	working sync.WaitGroup // calls; added to under mu, and not once leaving
}

// serve talks to a client until it goes or we leave.
func (s *Server) serve(ctx context.Context, rwc io.ReadWriteCloser, token string, local bool) {
	c := &caller{server: s, peer: &Peer{local: local}, token: token, proven: make(chan struct{})}
	c.peer.notify = func(ctx context.Context, method string, params any) error {
		return c.conn.Notify(ctx, method, params)
	}
	st := newStream(rwc)
	if token != "" {
		st.limit = maxStranger
	}
	ready := make(chan struct{})
	c.conn = newConn(ctx, st, jsonrpc2.Handler(awaiting{ready, c}))
	close(ready)
	if token == "" || c.awaitProof() {
		select {
		case <-c.conn.Ended():
		case <-s.quit:
		}
	}
	c.part()
	c.conn.Close()
	<-c.conn.Ended()
	c.working.Wait()
	c.peer.wait()
}

// awaitProof tells whether the client proves himself in time.
func (c *caller) awaitProof() bool {
	limit := time.NewTimer(greeting)
	defer limit.Stop()
	select {
	case <-c.proven:
		return true
	case <-limit.C:
	case <-c.conn.Ended():
	case <-c.server.quit:
	}
	return false
}

// awaiting holds the first message until its caller knows its connection.
type awaiting struct {
	ready <-chan struct{}
	jsonrpc2.Handler
}

func (a awaiting) Handle(ctx context.Context, conn *jsonrpc2.Conn, req *jsonrpc2.Request) {
	<-a.ready
	a.Handler.Handle(ctx, conn, req)
}

// part takes no more calls, and waits a moment until the last answers and
// events are out.
func (c *caller) part() {
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	c.peer.leave()
	done := make(chan struct{})
	go func() {
		c.working.Wait()
		c.peer.wait()
		close(done)
	}()
	limit := time.NewTimer(parting)
	defer limit.Stop()
	select {
	case <-done:
	case <-c.conn.Ended():
	case <-limit.C:
	}
}

// Handle takes one call. It runs in the loop that reads.
func (c *caller) Handle(ctx context.Context, _ *jsonrpc2.Conn, req *jsonrpc2.Request) {
	if c.token != "" && !c.prove(req) {
		c.reply(ctx, req, nil, protocols.Errorf(protocols.AuthenticationFailed, "the first call must be %s with the token", SystemHello))
		c.conn.Close()
		return
	}
	if err := c.admit(); err != nil {
		c.reply(ctx, req, nil, err)
		return
	}
	go func() {
		defer c.dismiss()
		c.answer(ctx, req)
	}()
}

// admit counts a call that begins, or says why it may not.
func (c *caller) admit() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.leaving:
		return errLeaving
	case c.calls >= maxCalls:
		return protocols.Errorf(protocols.ResourceExhausted, "more than %d calls at once on one connection", maxCalls)
	}
	c.calls++
	c.working.Add(1)
	return nil
}

func (c *caller) dismiss() {
	c.mu.Lock()
	c.calls--
	c.mu.Unlock()
	c.working.Done()
}

// answer handles one call.
func (c *caller) answer(ctx context.Context, req *jsonrpc2.Request) {
	call := &Call{Peer: c.peer}
	if req.Params != nil {
		call.Params = *req.Params
	}
	result, err := c.handle(ctx, req.Method, call)
	c.reply(ctx, req, result, err)
	for _, f := range call.after {
		f()
	}
}

// handle looks the method up and runs it. A handler that panics harms its own
// call alone.
func (c *caller) handle(ctx context.Context, name string, call *Call) (result any, err error) {
	m, found := c.server.methods[name]
	if !found {
		return nil, protocols.Errorf(protocols.MethodNotFound, "no method %q", name)
	}
	defer func() {
		if p := recover(); p != nil {
			c.server.o.Logger.Error("a method panicked", "method", name, "panic", p, "stack", string(debug.Stack()))
			err = protocols.Errorf(protocols.InternalError, "%s panicked: %v", name, p)
		}
	}()
	return m.Handler(ctx, c.server, call)
}

// reply sends an answer; whoever didn't ask for one gets none.
func (c *caller) reply(ctx context.Context, req *jsonrpc2.Request, result any, err error) {
	if req.Notif {
		return
	}
	r := &jsonrpc2.Response{ID: req.ID}
	if err == nil {
		err = r.SetResult(result)
	}
	if err != nil {
		r.Result, r.Error = nil, toWire(err)
	}
	err = c.conn.SendResponse(ctx, r)
	if err == ErrTooLarge {
		c.reply(ctx, req, nil, fmt.Errorf("the answer of %s: %w", req.Method, err))
	}
}

// prove tells whether the call is the greeting that the transport demands.
func (c *caller) prove(req *jsonrpc2.Request) bool {
	var hello HelloParams
	if req.Method != SystemHello || req.Params == nil || json.Unmarshal(*req.Params, &hello) != nil {
		return false
	}
	if !sameToken(hello.Token, c.token) {
		return false
	}
	c.token, c.conn.stream.limit = "", MaxFrame
	close(c.proven)
	return true
}
