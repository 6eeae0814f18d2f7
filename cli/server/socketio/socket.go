package socketio

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"sync"
	"unicode/utf8"
)

// Socket is a client in one namespace.
type Socket struct {
	ID        string // random; the client knows it, too
	Namespace string
	session   *session
	listener  Listener
	left      chan struct{} // closed by leave

	mu    sync.Mutex
	asked uint64                            // how often Call did
	asks  map[uint64]chan<- json.RawMessage // those whose acknowledgement is awaited
}

func newSocket(s *session, namespace string) *Socket {
	return &Socket{ID: rand.Text(), Namespace: namespace, session: s, left: make(chan struct{}), asks: map[uint64]chan<- json.RawMessage{}}
}

// Emit sends an event, once the client takes what came before. An argument that
// is Binary is sent as it is, others as JSON. An error is ErrClosed, or one of
// writing that.
func (s *Socket) Emit(name string, args ...any) error {
	return s.pack(packet{kind: kindEvent}, append([]any{name}, args...))
}

// Call emits an event and returns what the client acknowledges it with, an array
// that has binary as strings in base64. An error is one of Emit's, or ctx's.
func (s *Socket) Call(ctx context.Context, name string, args ...any) (json.RawMessage, error) {
	answer := make(chan json.RawMessage, 1)
	s.mu.Lock()
	s.asked++
	id := s.asked
	s.asks[id] = answer
	s.mu.Unlock()
	defer s.awaited(id)
	if err := s.pack(packet{kind: kindEvent, hasID: true, id: id}, append([]any{name}, args...)); err != nil {
		return nil, err
	}
	select {
	case got := <-answer:
		return got, nil
	case <-s.left:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// awaited takes who waits for an acknowledgement, nil if nobody does.
func (s *Socket) awaited(id uint64) chan<- json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := s.asks[id]
	delete(s.asks, id)
	return answer
}

// acknowledged hands an acknowledgement to who waits for it, if anybody does
// still.
func (s *Socket) acknowledged(p packet, attachments [][]byte) error {
	data, err := Inline(p.data, attachments)
	if answer := s.awaited(p.id); err == nil && answer != nil {
		answer <- bytes.Clone(data)
	}
	return err
}

// pack sends a packet with arguments.
func (s *Socket) pack(p packet, args []any) error {
	data, attachments, err := pack(args)
	if err != nil {
		return err
	}
	if p.data = data; len(attachments) > 0 {
		p.kind, p.attachments = p.kind.withBinary(), len(attachments)
	}
	return s.send(&p, attachments...)
}

func (s *Socket) send(p *packet, attachments ...[]byte) error {
	select {
	case <-s.left:
		return ErrClosed
	default:
	}
	if p.namespace = s.Namespace; !utf8.Valid(p.data) { // a WebSocket would be closed for that
		p.data = bytes.ToValidUTF8(p.data, []byte("\uFFFD"))
	}
	frames := []frame{text(engineMessage, p.write()...)}
	for _, a := range attachments {
		frames = append(frames, frame{binary: true, data: a})
	}
	return s.session.push(frames...)
}

// event hands an event to the listener.
func (s *Socket) event(p packet, attachments [][]byte) error {
	data, err := Inline(p.data, attachments)
	if err != nil {
		return err
	}
	var e Event
	if e.Name, e.Args, err = eventArgs(data); err != nil {
		return err
	}
	if p.hasID {
		e.Acknowledge = func(args ...any) error {
			return s.pack(packet{kind: kindAck, hasID: true, id: p.id}, args)
		}
	}
	s.listener.Event(e)
	return nil
}

// leave ends it.
func (s *Socket) leave() {
	close(s.left)
	s.listener.Left()
}
