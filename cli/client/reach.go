package client

import (
	"context"
	"errors"
	"fmt"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
)

// reach makes a session with the server at an address. Once there was one, the
// server may be away for as long as Patience: it is being started again.
func (c *Client) reach(ctx context.Context) (*session, error) {
	ctx, stop := c.untilClosed(ctx)
	defer stop()
	w := wait{patience: c.o.Patience}
	for {
		s := newSession("", nil)
		s.address, s.token = c.o.Server, c.o.Token
		conn, hello, err := s.connect(ctx, nobody{})
		switch {
		case err == nil && hello.API != server.APIVersion:
			hangUp(conn)
			return nil, protocols.Errorf(protocols.ProtocolVersionMismatch, "the server at %s is another version of gleitzeit (%s): use the same", s.address, hello.Version)
		case err == nil:
			s.calls, c.reached = conn, true
			return s, nil
		case !c.reached || isRefusal(err) || errors.Is(w.next(ctx), errPatience):
			return nil, fmt.Errorf("reach the server at %s: %w", s.address, err)
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
	}
}

// isRefusal tells whether the error means: with this token never.
func isRefusal(err error) bool {
	var e *protocols.Error
	return errors.As(err, &e) && (e.Code == protocols.AuthenticationFailed || e.Code == protocols.AuthorizationFailed)
}
