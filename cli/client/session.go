package client

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/sourcegraph/jsonrpc2"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
)

// session is one way to the store. It lasts as long as the same process holds
// it: this one (server is set) or another.
type session struct {
	server *server.Server
	dir    string
	// address and token are those of a server that is reached over the network.
	address, token string
	room           chan struct{} // of maxCalls

	mu    sync.Mutex
	calls *server.Conn // for calls; what is followed has connections of its own
}

// maxCalls bounds the calls under way: a server refuses more than a few of them
// from one connection. The others wait here.
const maxCalls = 256

func newSession(dir string, srv *server.Server) *session {
	return &session{server: srv, dir: dir, room: make(chan struct{}, maxCalls)}
}

// errLost says that the connection broke before the answer came: nobody knows
// whether the call had an effect.
var errLost = errors.New("the connection to the process that holds the store is lost")

// connect makes a connection and greets.
func (s *session) connect(ctx context.Context, h jsonrpc2.Handler) (*server.Conn, server.HelloResult, error) {
	var hello server.HelloResult
	if s.server != nil {
		return server.NewConn(context.Background(), s.server.Pipe(), h), hello, nil
	}
	conn, token, err := s.dial(ctx, h)
	if err != nil {
		return nil, hello, err
	}
	if err := call(ctx, conn, server.SystemHello, server.HelloParams{Token: token}, &hello); err != nil {
		hangUp(conn)
		return nil, hello, err
	}
	return conn, hello, nil
}

// dial makes a connection, and returns what has to be said first on it.
func (s *session) dial(ctx context.Context, h jsonrpc2.Handler) (*server.Conn, string, error) {
	if s.address != "" {
		conn, err := server.Reach(ctx, s.address, s.token, h)
		return conn, "", err
	}
	nc, token, err := server.Knock(ctx, s.dir)
	if err != nil {
		return nil, "", err
	}
	return server.NewConn(context.Background(), nc, h), token, nil
}

// hangUp closes a connection and waits until its last message was handled.
func hangUp(conn *server.Conn) {
	conn.Close()
	<-conn.Ended()
}

// conn returns the connection for calls.
func (s *session) conn() *server.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// alive tells whether calls can be made.
func (s *session) alive() bool {
	select {
	case <-s.conn().DisconnectNotify():
		return false
	default:
		return true
	}
}

// revive makes a new connection to our own server, if it is ours.
func (s *session) revive() bool {
	if s.server == nil {
		return false
	}
	hangUp(s.conn())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = server.NewConn(context.Background(), s.server.Pipe(), nobody{})
	return true
}

// call makes a call over the connection for calls, which it returns, once
// there is room.
func (s *session) call(ctx context.Context, method string, params, result any) (*server.Conn, error) {
	conn := s.conn()
	select {
	case s.room <- struct{}{}:
		defer func() { <-s.room }()
	case <-ctx.Done():
		return conn, ctx.Err()
	}
	return conn, call(ctx, conn, method, params, result)
}

// close ends the session, and gives the store up if we hold it.
func (s *session) close(ctx context.Context) (err error) {
	if s.server != nil {
		err = s.server.Close(ctx)
	}
	hangUp(s.conn())
	return err
}

// call makes one call. The error is errLost if the connection broke, that of
// ctx, or a *protocols.Error.
func call(ctx context.Context, conn *server.Conn, method string, params, result any) error {
	var raw json.RawMessage
	err := conn.Call(ctx, method, params, &raw)
	var answered *jsonrpc2.Error
	switch {
	case err == nil:
	case errors.As(err, &answered):
		return server.FromWire(err)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, server.ErrTooLarge):
		return protocols.Errorf(protocols.InvalidRequest, "%s: %v", method, err)
	default:
		return errLost
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return protocols.Errorf(protocols.ParseError, "%s: read the answer: %v", method, err)
	}
	return nil
}

// nobody handles what isn't asked for.
type nobody struct{}

func (nobody) Handle(context.Context, *jsonrpc2.Conn, *jsonrpc2.Request) {}
