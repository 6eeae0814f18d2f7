package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"testing"

	"gleitzeit/protocols"
)

// ServeForTest talks to a client who has to prove himself.
func (s *Server) ServeForTest(conn net.Conn, token string) {
	s.serveLines(conn, &Peer{trusted: true}, token)
}

// TeachForTest adds the methods that the specification's examples call.
func (s *Server) TeachForTest() {
	type subtract struct {
		Minuend    int `json:"minuend"`
		Subtrahend int `json:"subtrahend"`
	}
	teach := func(m Method) { s.methods[m.Name] = m }
	teach(method("subtract", Read, "", func(_ *Server, _ context.Context, _ *Call, p subtract) (int, error) {
		return p.Minuend - p.Subtrahend, nil
	}))
	for _, name := range []string{"sum", "update", "notify_hello", "notify_sum"} {
		teach(Method{Name: name, Handler: func(_ context.Context, _ *Server, c *Call) (any, error) {
			var numbers []int
			if !isA(c.Params, &numbers) {
				return nil, protocols.Errorf(protocols.InvalidParams, "no numbers")
			}
			sum := 0
			for _, n := range numbers {
				sum += n
			}
			return sum, nil
		}})
	}
	type files struct {
		Files map[string][]byte `json:"files"`
	}
	teach(method("digest", Read, "", func(_ *Server, _ context.Context, _ *Call, p files) (map[string]string, error) {
		sums := map[string]string{}
		for name, content := range p.Files {
			sums[name] = fmt.Sprintf("%x", sha256.Sum256(content))
		}
		return sums, nil
	}))
	teach(method("get_data", Read, "", func(*Server, context.Context, *Call, empty) ([]any, error) {
		return []any{"hello", 5}, nil
	}))
}

// OpenHTTPForTest lets programs in over HTTP at a listener of the test's.
func (s *Server) OpenHTTPForTest(l net.Listener, o HTTPOptions) error {
	o.setDefaults()
	_, err := newHTTPDoor(s, o, true).open(l)
	return err
}

// FoldForTest has so many marks folded at once.
func FoldForTest(t *testing.T, some int) {
	usual := foldSome
	foldSome = some
	t.Cleanup(func() { foldSome = usual })
}
