package socketio

import (
	"bytes"
	"encoding/json"
)

// This file handles what a client sends, one packet after the other. An error
// ends the session: its client speaks something else.

// receive handles a packet.
func (s *session) receive(f frame) error {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	err := s.handle(f)
	if err != nil {
		s.close(false)
	}
	return err
}

func (s *session) handle(f frame) error {
	if f.binary {
		return s.engine.message(s, f)
	}
	if err := f.check(); err != nil {
		return err
	}
	switch f.data[0] {
	case engineClose:
		s.close(true)
	case enginePong:
		select {
		case s.pong <- struct{}{}:
		default:
		}
	case engineMessage:
		f.data = f.data[1:]
		return s.engine.message(s, f)
	default:
		return errMalformed
	}
	return nil
}

// message handles a packet of Socket.IO, once its attachments are there.
func (s *session) message(f frame) error {
	if f.binary {
		return s.attachment(f.data)
	}
	if s.pending != nil {
		return errMalformed
	}
	p, err := parsePacket(f.data)
	if err != nil {
		return err
	}
	if p.attachments > 0 {
		if !s.entered() {
			return errMalformed
		}
		p.data = bytes.Clone(p.data)
		s.pending, s.parts, s.partBytes = &p, nil, int64(len(p.data))
		return nil
	}
	return s.deliver(p, nil)
}

func (s *session) attachment(data []byte) error {
	if s.pending == nil {
		return errMalformed
	}
	s.partBytes += int64(len(data))
	if s.partBytes > s.engine.o.MaxPayload {
		return errMalformed
	}
	if s.parts = append(s.parts, data); len(s.parts) < s.pending.attachments {
		return nil
	}
	p, parts := *s.pending, s.parts
	s.pending, s.parts = nil, nil
	return s.deliver(p, parts)
}

func (s *session) deliver(p packet, attachments [][]byte) error {
	s.mu.Lock()
	socket := s.sockets[p.namespace]
	s.mu.Unlock()
	switch {
	case p.kind == kindConnect && socket == nil:
		return s.enter(p)
	case socket == nil, p.kind == kindConnect:
		return errMalformed
	case p.kind == kindDisconnect:
		s.mu.Lock()
		_, in := s.sockets[p.namespace] // unless end took all
		delete(s.sockets, p.namespace)
		s.mu.Unlock()
		if in {
			socket.leave()
		}
		return nil
	case p.kind == kindAck, p.kind == kindBinaryAck:
		return socket.acknowledged(p, attachments)
	}
	return socket.event(p, attachments)
}

// enter lets the client into a namespace, if it may.
func (s *session) enter(p packet) error {
	socket := newSocket(s, p.namespace)
	listener, err := s.guest.Join(socket, bytes.Clone(p.data))
	if err != nil {
		why, _ := json.Marshal(struct {
			Message string `json:"message"`
			Data    any    `json:"data,omitempty"`
		}{err.Error(), s.engine.o.Explain(err)})
		return s.push(text(engineMessage, (&packet{kind: kindConnectError, namespace: p.namespace, data: why}).write()...))
	}
	socket.listener = listener
	if !s.admit(socket) {
		socket.leave()
		return errMalformed
	}
	id, _ := json.Marshal(map[string]string{"sid": socket.ID})
	if err := socket.send(&packet{kind: kindConnect, data: id}); err != nil {
		return err
	}
	listener.Connected()
	return nil
}

// admit enters a socket, unless the session is over or has too many.
func (s *session) admit(socket *Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || len(s.sockets) >= s.engine.o.MaxNamespaces {
		return false
	}
	if s.sockets[socket.Namespace] = socket; s.conn != nil {
		s.conn.SetReadLimit(s.engine.o.MaxPayload)
	}
	return true
}
