package server

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// maxCalls is how many messages of one connection may be under way. One more is
// refused, not queued: the loop that reads must go on, or an answer that a
// call waits for would never be read.
const maxCalls = 1024

// greeting is how long a connection has to prove itself, if it has to.
const greeting = 10 * time.Second

// parting is how long a connection has, when we leave, to take its last
// answers and events.
const parting = time.Second

// frames carries whole messages, one at a time each way. Every transport that
// stays is one.
type frames interface {
	// read returns the next message, which is good until the next read.
	read() ([]byte, error)
	// write sends a message. After an error, but for ErrTooLarge, nothing more
	// can be sent.
	write(message []byte) error
	Close() error
}

// caller is one connection of a client: it reads messages, has each handled in
// a goroutine of its own and sends the answers.
type caller struct {
	server *Server
	peer   *Peer
	frames frames
	// token is what the client has to prove itself with, "" once it has or
	// when the transport has seen to it. Only the read loop touches it.
	token  string
	proven chan struct{} // closed when it has proved itself
	ended  chan struct{} // closed when nothing more comes

	writing sync.Mutex
	broken  bool // nothing more can be sent; under writing

	mu      sync.Mutex
	calls   int
	leaving bool
	working sync.WaitGroup // calls; added to under mu, and not once leaving
}

// serve talks to a client until it goes or we leave. A token is what it has to
// greet with.
func (s *Server) serve(f frames, p *Peer, token string) {
	c := &caller{server: s, peer: p, frames: f, token: token, proven: make(chan struct{}), ended: make(chan struct{})}
	p.notify, p.hangUp = c.notify, func() { f.Close() }
	go c.readAll()
	if token == "" || c.awaitProof() {
		select {
		case <-c.ended:
		case <-s.quit:
		}
	}
	if p.patient {
		c.working.Wait() // nothing more comes, so that it isn't added to
	}
	c.part()
	f.Close()
	<-c.ended
	c.working.Wait()
	p.wait()
}

// awaitProof tells whether the client proves itself in time.
func (c *caller) awaitProof() bool {
	limit := time.NewTimer(greeting)
	defer limit.Stop()
	select {
	case <-c.proven:
		return true
	case <-limit.C:
	case <-c.ended:
	case <-c.server.quit:
	}
	return false
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
	case <-limit.C:
	}
}

// readAll is the loop that reads.
func (c *caller) readAll() {
	defer close(c.ended)
	for {
		frame, err := c.frames.read()
		if err != nil {
			return
		}
		m := parseMessage(frame)
		if c.token != "" && !c.prove(m) {
			c.send(refusal(m, protocols.Errorf(protocols.AuthenticationFailed, "the first call must be %s with the token", SystemHello)))
			c.frames.Close()
			return
		}
		c.take(m)
	}
}

// take has a message handled.
func (c *caller) take(m message) {
	if err := c.admit(); err != nil {
		c.send(refusal(m, err))
		return
	}
	go func() {
		defer c.dismiss()
		answer, after := c.server.respond(context.Background(), c.peer, m)
		c.send(answer)
		after()
	}()
}

// admit counts a message that is handled, or says why it may not be.
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

// send sends a message, if there is one.
func (c *caller) send(m []byte) error {
	if m == nil {
		return nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.broken {
		return errUnheard
	}
	err := c.frames.write(m)
	c.broken = err != nil && !errors.Is(err, ErrTooLarge)
	return err
}

func (c *caller) notify(_ context.Context, method string, params any) error {
	m, err := writeNotification(method, params)
	if err != nil {
		return err
	}
	return c.send(m)
}

// prove tells whether the message is the greeting that the transport demands.
func (c *caller) prove(m message) bool {
	var hello HelloParams
	if len(m.calls) != 1 || m.calls[0].method != SystemHello || json.Unmarshal(m.calls[0].params, &hello) != nil {
		return false
	}
	if !sameToken(hello.Token, c.token) {
		return false
	}
	c.token = ""
	if l, ok := c.frames.(*lines); ok {
		l.limit = MaxFrame
	}
	close(c.proven)
	return true
}
