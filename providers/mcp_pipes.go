package providers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/protocols"
)

// This file is the line to a server over its own stdin and stdout. It differs
// from the SDK's in four points: a message may be 256 MiB; a line on stdout
// that is no message is kept as diagnosis instead of ending the session, for
// many servers print something there; a write that the server doesn't read
// ends with its caller's context; and the text of a result can be had as the
// server wrote it.

// mcpPipes is a child that is a server.
type mcpPipes struct {
	server string
	kid    *child
	stderr excerpt        // and what was on stdout without being a message
	users  sync.WaitGroup // reads stderr
	limit  int            // bytes of one message
	turn   chan struct{}  // holds one token while somebody writes
	wire   *mcpWire       // nil before Connect
	long   atomic.Bool    // a message was over the limit
}

// startPipes starts a server's process.
func (s *mcpServer) startPipes() (*mcpPipes, error) {
	path, err := s.program()
	if err != nil {
		return nil, err
	}
	kid, err := s.children.start(command{
		Path: path, Args: s.config.Args, Dir: s.config.Cwd, Env: environment(s.env, nil, s.config.Env),
	})
	if err != nil {
		return nil, protocols.Errorf(protocols.ProviderNotAvailable, "MCP server %s: %v", s.name, err)
	}
	p := &mcpPipes{server: s.name, kid: kid, stderr: excerpt{Last: mcpStderr}, limit: s.limit, turn: make(chan struct{}, 1)}
	p.users.Go(func() { p.stderr.readFrom(kid.Err) })
	return p, nil
}

// Connect is what the SDK calls first.
func (p *mcpPipes) Connect(ctx context.Context) (mcp.Connection, error) {
	out := &messageLines{file: p.kid.Out, buffer: bufio.NewReaderSize(p.kid.Out, 64<<10), stray: &p.stderr, atStart: true,
		limit: p.limit, long: &p.long}
	t := &mcp.IOTransport{Reader: out, Writer: p.kid.In, MaxLineLength: -1} // messageLines has the limit
	c, err := t.Connect(ctx)
	if err != nil {
		return nil, err
	}
	p.wire = newMCPWire(&pipeConn{c, p.kid.In, p.turn})
	return p.wire, nil
}

func (p *mcpPipes) ended() <-chan struct{} { return p.kid.ended }

// end closes stdin, and asks and then forces the process to end.
func (p *mcpPipes) end() {
	p.kid.In.Close()
	if !p.kid.endsWithin(mcpGrace) {
		p.kid.stop(mcpGrace)
	}
}

func (p *mcpPipes) drain() {
	p.kid.drain(&p.users)
	if p.wire != nil {
		_ = p.wire.Close() // of pipes that are closed already
	}
}

func (p *mcpPipes) fate() string { return p.kid.exit() }

func (p *mcpPipes) words() string { return p.stderr.String() }

func (p *mcpPipes) clean(result json.RawMessage) json.RawMessage { return result }

func (p *mcpPipes) forget(r *rawResult) { p.wire.forget(r) }

// fault knows of one only: an answer that is too long.
func (p *mcpPipes) fault(request string, _ mcpAnswer) *protocols.Error {
	if p.long.Load() {
		return tooLongMessage(p.server, request, p.limit)
	}
	return nil
}

// tooLongMessage says that a message was over the limit.
func tooLongMessage(server, request string, limit int) *protocols.Error {
	return protocols.Errorf(protocols.TaskResultInvalid,
		"MCP server %s, %s: a message of over %d MiB; ask it for less, or have it write to a file", server, request, limit>>20)
}

// pipeConn writes one message after the other.
type pipeConn struct {
	mcp.Connection
	in   *os.File
	turn chan struct{}
}

// writeGrace is how long a message may still take once nobody waits for it.
const writeGrace = 300 * time.Millisecond

// Write sends a message. One that is cut off by the end of ctx ends the
// connection, since the server could make nothing of what follows.
func (c *pipeConn) Write(ctx context.Context, message jsonrpc.Message) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	stop := context.AfterFunc(ctx, func() { _ = c.in.SetWriteDeadline(time.Now().Add(writeGrace)) })
	err := c.Connection.Write(ctx, message)
	if !stop() {
		_ = c.in.SetWriteDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = c.Connection.Close()
	}
	return err
}

// messageLines passes on the lines that look like messages and keeps the
// others.
type messageLines struct {
	file    io.Closer
	buffer  *bufio.Reader
	stray   io.Writer
	atStart bool // of a line
	passes  bool // the line is a message
	length  int  // of the line so far
	limit   int
	long    *atomic.Bool // set when a message is over the limit
	pending []byte
}

var errTooLongMessage = errors.New("a message is too long")

// messageStart is how a message or a batch of them begins; a log line such as
// "[info] ready" or "{x}" doesn't.
var messageStart = regexp.MustCompile(`^\s*(\[\s*)?\{\s*"`)

// Read reads what is left of a piece of a line, or the next one.
func (m *messageLines) Read(p []byte) (int, error) {
	for len(m.pending) == 0 {
		piece, err := m.buffer.ReadSlice('\n')
		if len(piece) > 0 {
			if m.atStart {
				m.passes, m.length = messageStart.Match(piece), 0
			}
			if m.length += len(piece); m.passes && m.length > m.limit {
				m.long.Store(true)
				return 0, errTooLongMessage
			}
			m.atStart = piece[len(piece)-1] == '\n'
			if m.passes {
				m.pending = piece
			} else {
				_, _ = m.stray.Write(piece)
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && len(m.pending) == 0 {
			return 0, err
		}
	}
	n := copy(p, m.pending)
	m.pending = m.pending[n:]
	return n, nil
}

// Close closes the pipe.
func (m *messageLines) Close() error { return m.file.Close() }
