package server

import (
	"context"
	"net"
)

// ServeForTest talks to a client who has to prove himself.
func (s *Server) ServeForTest(ctx context.Context, conn net.Conn, token string) {
	s.serve(ctx, conn, token, false)
}
