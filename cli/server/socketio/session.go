package socketio

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// ErrClosed is what sending to a client gives that is gone.
var ErrClosed = errors.New("the client is gone")

// Guest is a client as the user of this package knows it.
type Guest interface {
	// Join lets the client into a namespace, or says why not. auth is an object
	// or nil. Until Listener.Connected nothing may be sent.
	Join(s *Socket, auth json.RawMessage) (Listener, error)
	// Part is told that we leave: it takes nothing more, and returns once the
	// last was sent. Nobody waits for long.
	Part()
	// Gone is told once that nothing can be sent any more. The session ends when
	// it returns.
	Gone()
}

// Listener is a client's socket in a namespace as the user of this package knows
// it. What is called here comes from the loop that reads, and must not wait.
type Listener interface {
	Connected()    // the client is about to know that it is in
	Event(e Event) // one after the other
	Left()         // nothing more comes, or can be sent
}

// Event is one that a client has sent.
type Event struct {
	Name string
	Args []json.RawMessage // with binary as strings in base64
	// Acknowledge sends what the client gets as an acknowledgement, as Emit does.
	// It is nil if the client wants none.
	Acknowledge func(args ...any) error
}

// session is one client, whatever carries its packets.
type session struct {
	engine *Engine
	sid    string
	guest  Guest
	pong   chan struct{} // holds one that has come
	wake   chan struct{} // holds one for whoever sends the queue
	closed chan struct{} // closed by close

	posting   sync.Mutex // held by a POST
	receiving sync.Mutex // held by whoever handles what came
	pending   *packet    // one whose attachments have not all come; under receiving
	parts     [][]byte   // those that have; under receiving
	partBytes int64

	mu        sync.Mutex
	queue     []frame
	queued    int           // bytes in it
	room      chan struct{} // closed when what was taken is out
	polling   bool          // a GET waits
	sending   bool          // the queue was taken, and isn't out
	upgrading bool          // a WebSocket is trying
	probed    bool          // and has shown that it works
	conn      *websocket.Conn
	over      bool
	byClient  bool // that it is over
	sockets   map[string]*Socket
}

func newSession(e *Engine) *session {
	return &session{engine: e, sid: rand.Text(), pong: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		closed: make(chan struct{}), room: make(chan struct{}), sockets: map[string]*Socket{}}
}

// live keeps the session until it is closed, or the client is silent, or we
// leave.
func (s *session) live() {
	o := &s.engine.o
	enter, beat, waits := time.NewTimer(o.EnterWithin), time.NewTimer(o.PingEvery), false
	defer enter.Stop()
	defer beat.Stop()
	for {
		select {
		case <-s.pong:
			waits = false
			beat.Reset(o.PingEvery)
			continue
		case <-beat.C:
			if !waits {
				waits = true
				s.control(text(enginePing))
				beat.Reset(o.PongWithin)
				continue
			}
		case <-enter.C:
			if s.entered() {
				continue
			}
		case <-o.Quit:
			defer s.part()()
		case <-s.closed:
		}
		s.close(false)
		s.end()
		return
	}
}

// part gives the guest a moment to send its last. It isn't done with that before
// wait returns, which must follow end.
func (s *session) part() (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.guest.Part()
		s.flush()
	}()
	limit := time.NewTimer(s.engine.o.PartWithin)
	defer limit.Stop()
	select {
	case <-done:
	case <-s.closed:
	case <-limit.C:
	}
	return func() { <-done }
}

// flush waits until the queue is out, or the session is closed.
func (s *session) flush() {
	for {
		s.mu.Lock()
		room, out := s.room, len(s.queue) == 0 && !s.sending
		s.mu.Unlock()
		if out {
			return
		}
		select {
		case <-room:
		case <-s.closed:
			return
		}
	}
}

// end clears up after a session that is closed.
func (s *session) end() {
	s.engine.forget(s)
	s.mu.Lock()
	conn, sockets := s.conn, s.sockets
	s.sockets = nil
	s.mu.Unlock()
	for _, one := range sockets {
		one.leave()
	}
	if conn != nil {
		hangUp(conn, websocket.StatusNormalClosure)
	}
	s.guest.Gone()
}

// close ends the session. A second close does nothing.
func (s *session) close(byClient bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.over, s.byClient = true, byClient
		close(s.closed)
	}
}

func (s *session) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// entered tells whether the client is in a namespace.
func (s *session) entered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sockets) > 0
}

// push queues packets that belong together. While there is no room it waits,
// and hangs up on a client that takes nothing for long.
func (s *session) push(frames ...frame) error {
	size := 0
	for _, f := range frames {
		size += len(f.data)
	}
	patience := time.NewTimer(s.engine.o.TakeWithin)
	defer patience.Stop()
	for {
		room, err := s.enqueue(size, frames)
		if room == nil {
			return err
		}
		select {
		case <-room:
		case <-s.closed:
		case <-patience.C:
			s.close(false)
		}
	}
}

// enqueue queues packets, or returns what is closed when there may be room.
func (s *session) enqueue(size int, frames []frame) (room chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.engine.o
	switch {
	case s.over:
		return nil, ErrClosed
	case len(s.queue) > 0 && (s.queued+size > o.MaxQueued || len(s.queue)+len(frames) > o.MaxPackets):
		return s.room, nil
	}
	s.add(size, frames...)
	return nil, nil
}

func (s *session) add(size int, frames ...frame) {
	s.queue = append(s.queue, frames...)
	s.queued += size
	s.rouse()
}

// rouse has whoever sends the queue look again.
func (s *session) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// control queues what keeps the session alive, whatever room there is.
func (s *session) control(f frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(len(f.data), f)
}

// take takes the queue; sent must follow.
func (s *session) take() []frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.queue
	s.queue, s.queued, s.sending = nil, 0, len(all) > 0
	return all
}

// sent tells that what was taken is out.
func (s *session) sent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending = false
	close(s.room)
	s.room = make(chan struct{})
}

// hangUp says goodbye on a WebSocket, and waits a moment for the other end.
func hangUp(conn *websocket.Conn, status websocket.StatusCode) {
	ctx, enough := context.WithTimeout(context.Background(), time.Second)
	defer enough()
	defer context.AfterFunc(ctx, func() { conn.CloseNow() })()
	conn.Close(status, "")
}
