package socketio

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	mathrand "math/rand/v2"
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
	asked uint64                                  // the last id that Ask gave
	asks  map[uint64]func(json.RawMessage, error) // those whose acknowledgement is awaited; nil: it has left
}

// newSocket makes a socket, whose ids begin anywhere: what a client acknowledges
// late, in its next session, must be nothing that was asked there. They stay below
// 2^53, where JavaScript's numbers end.
func newSocket(s *session, namespace string) *Socket {
	return &Socket{ID: rand.Text(), Namespace: namespace, session: s, left: make(chan struct{}),
		asked: mathrand.Uint64N(1 << 52), asks: map[uint64]func(json.RawMessage, error){}}
}

// Emit sends an event, once the client takes what came before. An argument that
// is Binary is sent as it is, others as JSON. An error is ErrClosed, or one of
// writing that.
func (s *Socket) Emit(name string, args ...any) error {
	return s.pack(packet{kind: kindEvent}, append([]any{name}, args...))
}

// Ask emits an event and has answer called once: with what the client
// acknowledges it with, an array that has binary as strings in base64, or with
// ErrClosed when it has left before. answer comes from the loop that reads, and
// must not wait. After an error, which is one of Emit's, it isn't called.
func (s *Socket) Ask(name string, answer func(json.RawMessage, error), args ...any) error {
	id, err := s.await(answer)
	if err != nil {
		return err
	}
	err = s.pack(packet{kind: kindEvent, hasID: true, id: id}, append([]any{name}, args...))
	if err != nil && s.awaited(id) == nil {
		return nil // leave has told
	}
	return err
}

// await notes who waits for an acknowledgement.
func (s *Socket) await(answer func(json.RawMessage, error)) (id uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asks == nil {
		return 0, ErrClosed
	}
	s.asked++
	s.asks[s.asked] = answer
	return s.asked, nil
}

// awaited takes who waits for an acknowledgement, nil if nobody does.
func (s *Socket) awaited(id uint64) func(json.RawMessage, error) {
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
	if err != nil {
		return err // which ends the session
	}
	if answer := s.awaited(p.id); answer != nil {
		answer(bytes.Clone(data), nil)
	}
	return nil
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

// HangUp ends the client's session, with all its namespaces. Clients come again
// after that. Twice is fine.
func (s *Socket) HangUp() { s.session.close(false) }

// leave ends it.
func (s *Socket) leave() {
	close(s.left)
	s.mu.Lock()
	asks := s.asks
	s.asks = nil
	s.mu.Unlock()
	for _, answer := range asks {
		answer(nil, ErrClosed)
	}
	s.listener.Left()
}
