package socketio

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"sync/atomic"
	"unicode/utf8"
)

// Socket is a client in one namespace.
type Socket struct {
	ID        string // random; the client knows it, too
	Namespace string
	session   *session
	listener  Listener
	gone      atomic.Bool
}

func newSocket(s *session, namespace string) *Socket {
	return &Socket{ID: rand.Text(), Namespace: namespace, session: s}
}

// Emit sends an event, once the client takes what came before. An error is
// ErrClosed, or one of writing args as JSON.
func (s *Socket) Emit(name string, args ...any) error {
	data, err := json.Marshal(append([]any{name}, args...))
	if err != nil {
		return err
	}
	return s.send(&packet{kind: kindEvent, data: data})
}

func (s *Socket) send(p *packet) error {
	if s.gone.Load() {
		return ErrClosed
	}
	if p.namespace = s.Namespace; !utf8.Valid(p.data) { // a WebSocket would be closed for that
		p.data = bytes.ToValidUTF8(p.data, []byte("\uFFFD"))
	}
	return s.session.push(text(engineMessage, p.write()...))
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
		e.Acknowledge = func(args json.RawMessage) error {
			return s.send(&packet{kind: kindAck, hasID: true, id: p.id, data: args})
		}
	}
	s.listener.Event(e)
	return nil
}

// leave ends it.
func (s *Socket) leave() {
	s.gone.Store(true)
	s.listener.Left()
}
