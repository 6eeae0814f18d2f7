package server

import (
	"net"
	"net/http"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// This file keeps one client of the network from harming the others.

// streams counts what stays open, by client.
type streams struct {
	mu    sync.Mutex
	most  int
	count map[string]int
}

// take counts one more until it is released.
func (s *streams) take(client string) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count[client] >= s.most {
		return nil, protocols.Errorf(protocols.ResourceExhausted, "more than %d open connections of %s", s.most, client)
	}
	s.count[client]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.count[client]--; s.count[client] == 0 {
			delete(s.count, client)
		}
	}, nil
}

// open returns how many stay open.
func (s *streams) open() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, open := range s.count {
		n += open
	}
	return n
}

// meter bounds the calls of each client per second. A client may be a second
// ahead.
type meter struct {
	mu   sync.Mutex
	rate float64
	due  map[string]time.Time // when the client's calls so far are paid for
}

// maxMetered is how many clients the meter keeps in mind before it forgets those
// that have paid.
const maxMetered = 10_000

// take counts a call, or says that it comes too soon.
func (m *meter) take(client string, now time.Time) error {
	if m == nil || m.rate <= 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	due := m.due[client]
	if due.Before(now) {
		due = now
	}
	if ahead := due.Sub(now); ahead >= time.Second {
		return protocols.Errorf(protocols.RateLimitExceeded, "more than %g calls a second", m.rate).With(
			map[string]float64{"retry_after": (ahead - time.Second).Seconds() + 1/m.rate})
	}
	m.due[client] = due.Add(time.Duration(float64(time.Second) / m.rate))
	if len(m.due) > maxMetered {
		for other, due := range m.due {
			if due.Before(now) {
				delete(m.due, other)
			}
		}
	}
	return nil
}

// room bounds the connections of HTTP. When there are too many, those go that
// ask for nothing: first those that never have, and of these the oldest.
type room struct {
	most int

	mu    sync.Mutex
	all   map[net.Conn]*resting
	fresh resting // begins a ring of those that have asked for nothing yet
	idle  resting // begins a ring of those that have asked for nothing for a while
}

// resting is a connection, in a ring of those that rest.
type resting struct {
	conn       net.Conn
	prev, next *resting
}

func newRoom(most int) *room {
	r := &room{most: most, all: map[net.Conn]*resting{}}
	for _, ring := range []*resting{&r.fresh, &r.idle} {
		ring.prev, ring.next = ring, ring
	}
	return r
}

// changed is http.Server.ConnState.
func (r *room) changed(conn net.Conn, state http.ConnState) {
	if goes := r.note(conn, state); goes != nil {
		goes.Close()
	}
}

// note notes what a connection does now, and returns one that has to go.
func (r *room) note(conn net.Conn, state http.ConnState) (goes net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.all[conn]
	if c == nil {
		c = &resting{conn: conn}
		r.all[conn] = c
	}
	c.leaveRing()
	switch state {
	case http.StateNew:
		c.enter(&r.fresh)
	case http.StateIdle:
		c.enter(&r.idle)
	case http.StateHijacked, http.StateClosed:
		delete(r.all, conn)
	}
	for _, ring := range []*resting{&r.fresh, &r.idle} {
		if oldest := ring.next; len(r.all) > r.most && oldest != ring {
			oldest.leaveRing()
			return oldest.conn
		}
	}
	return nil
}

// size returns how many connections there are.
func (r *room) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

func (c *resting) enter(ring *resting) {
	c.prev, c.next = ring.prev, ring
	c.prev.next, c.next.prev = c, c
}

func (c *resting) leaveRing() {
	if c.next != nil {
		c.prev.next, c.next.prev = c.next, c.prev
		c.prev, c.next = nil, nil
	}
}
