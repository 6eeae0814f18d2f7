package server

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/sourcegraph/jsonrpc2"
)

// Patience with the other end of a network connection.
const (
	pingEvery  = 30 * time.Second
	pingWithin = 30 * time.Second
	writeIn    = 30 * time.Second // one message, or one event
)

// socket carries messages over a WebSocket: one message, one JSON text.
type socket struct {
	conn *websocket.Conn
	ctx  context.Context // ends when the socket is closed; it has no other owner
	stop context.CancelFunc
}

func newSocket(conn *websocket.Conn) *socket {
	ctx, stop := context.WithCancel(context.Background())
	return &socket{conn, ctx, stop}
}

func (s *socket) read() ([]byte, error) {
	_, message, err := s.conn.Read(s.ctx)
	return message, err
}

func (s *socket) write(message []byte) error {
	ctx, enough := context.WithTimeout(s.ctx, writeIn)
	defer enough()
	return s.conn.Write(ctx, websocket.MessageText, message)
}

// Close says goodbye, and waits a moment for the other end to say it, too.
func (s *socket) Close() error {
	enough := time.AfterFunc(parting, s.stop) // which ends the reader, and with it the wait
	defer enough.Stop()
	defer s.stop()
	return s.conn.Close(websocket.StatusGoingAway, "")
}

// keepAlive hangs up when the other end doesn't answer pings any more, or can't
// prove any more who it is.
func (s *socket) keepAlive(proven func() error) {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
		}
		ctx, enough := context.WithTimeout(s.ctx, pingWithin)
		err := s.conn.Ping(ctx)
		enough()
		if err != nil || proven() != nil {
			s.Close()
			return
		}
	}
}

// webSocket talks to a client over a WebSocket until it goes or we leave.
func (h *httpDoor) webSocket(w http.ResponseWriter, r *http.Request, p *Peer) {
	release, err := h.streams.take(p.name)
	if err != nil {
		refuse(w, err)
		return
	}
	defer release()
	// The guard has checked the origin.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // answered already
	}
	conn.SetReadLimit(h.o.MaxBody)
	s := newSocket(conn)
	go s.keepAlive(p.proven)
	h.server.serve(s, p, "")
}

// Reach connects to the server at an address, http://host:port, over a
// WebSocket, with a token unless that is "". No redirect is followed: net/http
// would take the token along to another port or a subdomain, and from https to
// http. For h see NewConn.
func Reach(ctx context.Context, address, token string, h jsonrpc2.Handler) (*Conn, error) {
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	conn, response, err := websocket.Dial(ctx, strings.TrimRight(address, "/")+"/rpc", &websocket.DialOptions{HTTPHeader: header, HTTPClient: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}})
	if err != nil {
		return nil, dialError(response, err)
	}
	conn.SetReadLimit(MaxFrame)
	s := newSocket(conn)
	go s.keepAlive(func() error { return nil })
	return newConn(context.Background(), newStream(s), h), nil
}
