package server

import (
	"context"
	"encoding/json"
	"reflect"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file is the seam to a store that no single log holds: then there is a
// front, a server without a log of its own, which talks to clients and has a
// Router find who carries their calls out; and behind it a server without
// clients for each part of the store (see package cluster).

// Router carries out the calls that come to a front.
type Router interface {
	// ID is the name of the store.
	ID() string
	// Trouble tells why nothing can be written just now, nil if it can.
	Trouble() error
	// Served tells whether any process that stays carries out what is wished.
	Served(ctx context.Context) bool
	// Here tells whether the front can carry a method out by itself.
	Here(method string) bool
	// Route carries out any other. params is what the method takes, read.
	Route(ctx context.Context, c *Call, m Method, params any) (any, error)
	// Servers are those of the parts that this process has now, by their number.
	Servers() map[int]*Server
	// Drain gives all parts up, as Server.Close does, and Close ends the use of
	// the store.
	Drain(ctx context.Context) error
	Close() error
}

// NewFront makes the server that talks to the clients of such a store. It owns
// the router from then on.
func NewFront(r Router, o Options) *Server {
	s := newServer(o)
	s.router = r
	return s
}

// IsFront tells whether it is one.
func (s *Server) IsFront() bool { return s.router != nil }

// route has the router carry a call out, unless it is the front's own.
func (s *Server) route(ctx context.Context, c *Call, m Method) (any, error) {
	if s.router == nil {
		return s.run(ctx, m, c)
	}
	if s.router.Here(m.Name) {
		return s.safely(ctx, m, c)
	}
	params, err := m.read(c)
	if err != nil {
		return nil, err
	}
	if err := s.takes(m, c.Peer); err != nil {
		return nil, err
	}
	return s.router.Route(ctx, c, m, params)
}

// trouble tells why nothing can be written just now, nil if it can.
func (s *Server) trouble() error {
	if s.router != nil {
		return s.router.Trouble()
	}
	return s.log.Trouble()
}

// takes refuses everything once we have left, and to a guest of a command that
// only looks what it can't have here: then that guest can have our place.
func (s *Server) takes(m Method, p *Peer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errLeaving
	case s.o.Passive && !p.local && m.Role != Read:
		s.wantOnce.Do(func() { close(s.wanted) })
		return errLeaving
	}
	return nil
}

// Do carries out a call for a front, once even if it comes again (again.go).
// params is what the method takes, read and vouched for.
func (s *Server) Do(ctx context.Context, c *Call, m Method, params any) (result any, err error) {
	own := &Call{Peer: c.Peer, given: params, vouched: true}
	defer func() { c.after = append(c.after, own.after...) }()
	return s.run(ctx, m.once(c.Name), own)
}

// within makes a call of the server's own, whoever carries it out.
func within[R any](ctx context.Context, s *Server, method string, params any) (r R, err error) {
	c := &Call{Peer: &Peer{local: true, trusted: true}, given: params, vouched: true}
	result, err := s.route(ctx, c, s.methods[method])
	if err != nil {
		return r, err
	}
	return result.(R), nil
}

// Decode reads what a method takes, as it was written by a front.
func (m Method) Decode(raw json.RawMessage) (any, error) {
	p := reflect.New(reflect.TypeOf(m.Params))
	if err := readParams(raw, false, p.Interface()); err != nil {
		return nil, err
	}
	return p.Elem().Interface(), nil
}

// DecodeResult reads what a method returns.
func (m Method) DecodeResult(raw json.RawMessage) (any, error) {
	p := reflect.New(reflect.TypeOf(m.Result))
	if err := json.Unmarshal(raw, p.Interface()); err != nil {
		return nil, err
	}
	return p.Elem().Interface(), nil
}

// Encode writes params, a result or an error.
func Encode(v any) (json.RawMessage, error) { return marshal(v) }

// AsError gives any error a code.
func AsError(err error) *protocols.Error { return asError(err) }

// Identity is who calls, for a server that it doesn't talk to itself.
type Identity struct {
	Trusted bool   `json:"trusted,omitempty"`
	Role    Role   `json:"role,omitempty"`
	Name    string `json:"name,omitempty"`
}

// Identity says who the peer is.
func (p *Peer) Identity() Identity { return Identity{p.trusted, p.role, p.name} }

// Left returns a channel that is closed once the peer is gone.
func (p *Peer) Left() <-chan struct{} { return p.left() }

// NewPeer is the peer of a call that came by way of another server. It is gone
// when ctx ends.
func NewPeer(ctx context.Context, i Identity) *Peer {
	p := &Peer{trusted: i.Trusted, role: i.Role, name: i.Name}
	context.AfterFunc(ctx, p.leave)
	return p
}

// FindResult is the run that an id stands for.
type FindResult struct {
	ID        string    `json:"id"` // in full
	Submitted time.Time `json:"submitted"`
}

// findRun answers workflow/find.
func (s *Server) findRun(_ context.Context, _ *Call, p RunParams) (FindResult, error) {
	ref, err := s.find(p.ID)
	if err != nil {
		return FindResult{}, err
	}
	for rec, err := range s.log.ReadStream(replay.Stream(ref.number), 1) {
		return FindResult{ID: ref.id, Submitted: rec.Time}, err
	}
	return FindResult{}, notFound(p.ID)
}

// RunningAttempts is how many attempts run here now.
func (s *Server) RunningAttempts() (n int) {
	if running := s.current(); running != nil {
		_ = running.Query(context.Background(), func(state *replay.State) { n = state.Running }) // 0 of one that has ended
	}
	return n
}
