package server_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
)

// pipes are a listener whose connections are in memory, so that time is the
// test's.
type pipes struct {
	come   chan net.Conn
	over   chan struct{}
	tokens *server.Tokens
	secret string // of the token "reader"
}

func newPipes(t *testing.T) *pipes {
	p := &pipes{come: make(chan net.Conn), over: make(chan struct{}), tokens: server.NewTokens(t.TempDir())}
	var err error
	if p.secret, err = p.tokens.Create(server.Token{Name: "reader", Role: server.Read}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.come:
		return c, nil
	case <-p.over:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.over)
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.come <- theirs
	return ours
}

// inPipes has a test talk to a server over HTTP in a time of its own.
func inPipes(t *testing.T, test func(t *testing.T, f *fixture, p *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, eventlog.OpenMemory(eventlog.Options{}), options(&servertest.Fake{}))
		p := newPipes(t)
		if err := f.srv.OpenHTTPForTest(p, server.HTTPOptions{Tokens: p.tokens}); err != nil {
			t.Fatal(err)
		}
		test(t, f, p)
	})
}

// A listener that is gone before its stream begins leaves nothing behind: in
// particular we can leave.
func TestListenerGoneAtOnce(t *testing.T) {
	inPipes(t, func(t *testing.T, f *fixture, p *pipes) {
		for _, query := range []string{"", "?id=" + f.submit(servertest.Chain("held", servertest.Work{Hold: true}))} {
			conn := p.dial()
			io.WriteString(conn, "GET /log/follow"+query+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
			conn.Close()
		}
		synctest.Wait()
		f.stop()
	})
}

// A body that nobody reads, and that doesn't come, holds no connection for ever.
func TestBodyThatNobodyReads(t *testing.T) {
	inPipes(t, func(t *testing.T, f *fixture, p *pipes) {
		for _, head := range []string{
			"POST /rpc HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer gz_wrong",
			"POST /rpc HTTP/1.1\r\nHost: elsewhere.example",
			"POST /nowhere HTTP/1.1\r\nHost: localhost",
			"GET /healthz HTTP/1.1\r\nHost: localhost",
			"GET /log/follow?from=x HTTP/1.1\r\nHost: localhost",
		} {
			conn, began := p.dial(), time.Now()
			io.WriteString(conn, head+"\r\nContent-Length: 100\r\n\r\n{")
			conn.SetReadDeadline(began.Add(time.Hour))
			_, err := io.Copy(io.Discard, conn)
			if took := time.Since(began); err != nil || took > 2*time.Minute {
				t.Errorf("%s: the connection was held for %s: %v", head, took, err)
			}
			conn.Close()
		}
	})
}

// Who follows with a token that is revoked is told nothing more soon, though it
// asks for nothing.
func TestRevokedWhileFollowing(t *testing.T) {
	for _, revoked := range []bool{false, true} {
		inPipes(t, func(t *testing.T, f *fixture, p *pipes) {
			bearer := http.Header{"Authorization": {"Bearer " + p.secret}}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
				DialContext: func(context.Context, string, string) (net.Conn, error) { return p.dial(), nil }}}
			r, _ := http.NewRequest("GET", "http://localhost/log/follow", nil)
			r.Header = bearer
			stream, err := client.Do(r)
			if err != nil || stream.StatusCode != http.StatusOK {
				t.Fatal(stream, err)
			}
			defer stream.Body.Close()
			socket, _, err := websocket.Dial(t.Context(), "http://localhost/rpc", &websocket.DialOptions{HTTPHeader: bearer, HTTPClient: client})
			if err != nil {
				t.Fatal(err)
			}
			defer socket.CloseNow()
			var over atomic.Int32
			go func() {
				io.Copy(io.Discard, stream.Body)
				over.Add(1)
			}()
			go func() {
				socket.Read(t.Context())
				over.Add(1)
			}()
			want := int32(0)
			if revoked {
				if err := p.tokens.Revoke("reader"); err != nil {
					t.Fatal(err)
				}
				want = 2
			}
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			if n := over.Load(); n != want {
				t.Errorf("revoked: %v, and %d of 2 are over", revoked, n)
			}
		})
	}
}
