package server

import (
	"context"
	"crypto/subtle"
	"errors"
	"net"
	"time"
)

// door is where other processes come in. Only whoever holds the store's lock
// opens one or clears away what a killed process left of its own.
type door struct {
	listener net.Listener
	address  string // for people
	token    string // what a caller has to prove himself with, or ""
	remove   func() // clears away what lies in the file system
}

// close lets nobody in any more. Those who are in may stay.
func (d *door) close() {
	d.remove()
	d.listener.Close()
}

// Listen lets other processes in, until Close. After an error the server is
// there for this process alone.
func (s *Server) Listen() error {
	d, err := openDoor(s.o.Dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		d.close()
		return errLeaving
	}
	s.door = d
	s.served.Go(func() { s.accept(d) })
	return nil
}

// Address returns where other processes come in, "" if they don't.
func (s *Server) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.door == nil {
		return ""
	}
	return s.door.address
}

func (s *Server) accept(d *door) {
	for {
		conn, err := d.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // no file descriptors, most likely
			s.o.Logger.Warn("let another process in", "error", err)
			if !s.pause(100 * time.Millisecond) {
				return
			}
		case !s.welcome(func() { s.serveLines(conn, &Peer{trusted: true}, d.token) }):
			conn.Close()
		}
	}
}

// pause waits, unless we leave.
func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.quit:
		return false
	}
}

// Knock connects to whoever serves the store in the folder dir. The token, if
// there is one, must go into the first call, which is SystemHello. An error
// says that nobody is there, or nobody yet.
func Knock(ctx context.Context, dir string) (conn net.Conn, token string, err error) {
	return knock(ctx, dir)
}

func sameToken(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
