package socketio

import (
	"context"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// upgradeWithin is how long a WebSocket may take to replace polling.
const upgradeWithin = 10 * time.Second

// accept makes the request the session's WebSocket.
func (s *session) accept(w http.ResponseWriter, r *http.Request) bool {
	conn, err := open(w, r)
	if err != nil {
		return false // answered already
	}
	conn.SetReadLimit(s.engine.o.MaxStranger)
	s.conn = conn
	return true
}

// open opens a WebSocket. Which pages may, others have checked.
func open(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	return websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
}

// upgrade has a WebSocket replace polling: it says 2probe, hears 3probe, has the
// last GET answered, and says 5.
func (s *session) upgrade(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	late := s.over || s.upgrading || s.conn != nil
	s.upgrading = s.upgrading || !late
	s.mu.Unlock()
	conn, err := open(w, r)
	switch {
	case late && err == nil: // clients expect that, not an answer of 400
		conn.CloseNow()
		return
	case late:
		return
	case err != nil:
		s.settle(nil)
		return
	}
	if !s.probe(conn) || !s.settle(conn) {
		s.settle(nil)
		conn.CloseNow()
		return
	}
	s.carry(conn)
}

// probe tells whether the WebSocket works.
func (s *session) probe(conn *websocket.Conn) bool {
	ctx, enough := context.WithTimeout(context.Background(), upgradeWithin)
	defer enough()
	go func() {
		select {
		case <-s.closed:
			enough()
		case <-ctx.Done():
		}
	}()
	if !hears(ctx, conn, "2probe") || conn.Write(ctx, websocket.MessageText, []byte("3probe")) != nil {
		return false
	}
	s.mu.Lock()
	s.probed = true
	s.mu.Unlock()
	s.rouse()
	return hears(ctx, conn, "5")
}

func hears(ctx context.Context, conn *websocket.Conn, want string) bool {
	_, got, err := conn.Read(ctx)
	return err == nil && string(got) == want
}

// settle ends an upgrade: with the session's WebSocket, or with none. It returns
// false if the session is over.
func (s *session) settle(conn *websocket.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.upgrading, s.probed = false, false
	if s.over {
		return false
	}
	if conn != nil {
		conn.SetReadLimit(s.engine.o.MaxStranger)
		if len(s.sockets) > 0 {
			conn.SetReadLimit(s.engine.o.MaxPayload)
		}
		s.conn = conn
		s.rouse()
	}
	return true
}

// carry has the WebSocket carry all packets until the end.
func (s *session) carry(conn *websocket.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.writeAll(conn)
	}()
	s.readAll(conn)
	s.close(true)
	<-done
}

func (s *session) readAll(conn *websocket.Conn) {
	for {
		kind, data, err := conn.Read(context.Background()) // ended by hangUp
		if err != nil || s.receive(frame{binary: kind == websocket.MessageBinary, data: data}) != nil {
			return
		}
	}
}

// writeAll sends the queue, again and again.
func (s *session) writeAll(conn *websocket.Conn) {
	for {
		for _, f := range s.take() {
			if s.write(conn, f) != nil {
				s.close(true)
				return
			}
		}
		s.sent()
		select {
		case <-s.wake:
		case <-s.closed:
			return
		}
	}
}

func (s *session) write(conn *websocket.Conn, f frame) error {
	ctx, enough := context.WithTimeout(context.Background(), s.engine.o.TakeWithin)
	defer enough()
	kind := websocket.MessageText
	if f.binary {
		kind = websocket.MessageBinary
	}
	return conn.Write(ctx, kind, f.data)
}
