package server

import (
	"context"
	"io"

	"github.com/sourcegraph/jsonrpc2"
)

// Conn is a client's end of a JSON-RPC connection.
type Conn struct {
	*jsonrpc2.Conn
	stream *stream
}

// NewConn speaks JSON-RPC in lines over rwc, which it owns from then on, until
// ctx ends or Close. h gets what the other end asks, one after the other, in
// the loop that reads: it must not wait for an answer of the other end.
func NewConn(ctx context.Context, rwc io.ReadWriteCloser, h jsonrpc2.Handler) *Conn {
	return newConn(ctx, newStream(newLines(rwc)), h)
}

func newConn(ctx context.Context, s *stream, h jsonrpc2.Handler) *Conn {
	c := jsonrpc2.NewConn(ctx, s, h, jsonrpc2.OnRecv(s.restore), jsonrpc2.SetLogger(silence{}))
	return &Conn{Conn: c, stream: s}
}

// Ended is closed when the connection is down and its last message has been
// handled: the handler will not be called again.
func (c *Conn) Ended() <-chan struct{} { return c.stream.ended }

// silence is where jsonrpc2 may complain about the other end.
type silence struct{}

func (silence) Printf(string, ...any) {}
