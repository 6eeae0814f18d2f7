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
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// This file is the wire between the SDK and a server's pipes. It differs from
// the SDK's own in four points: a message may be 64 MiB; a line on stdout
// that is no message is kept as diagnosis instead of ending the session, for
// many servers print something there; a write that the server doesn't read
// ends with its caller's context; and the text of a result can be had as the
// server wrote it.

// mcpWire is a transport for one connection, and that connection.
type mcpWire struct {
	mcp.Connection
	in   *os.File
	out  io.ReadCloser
	turn chan struct{} // holds one token while somebody writes

	mu    sync.Mutex
	wants map[jsonrpc.ID]*rawResult
}

// newMCPWire puts a wire on a child's stdin and stdout.
func newMCPWire(kid *child, stray io.Writer) *mcpWire {
	return &mcpWire{
		in:    kid.In,
		out:   &messageLines{file: kid.Out, buffer: bufio.NewReaderSize(kid.Out, 64<<10), stray: stray, atStart: true},
		turn:  make(chan struct{}, 1),
		wants: map[jsonrpc.ID]*rawResult{},
	}
}

// Connect is what the SDK calls first.
func (w *mcpWire) Connect(ctx context.Context) (mcp.Connection, error) {
	t := &mcp.IOTransport{Reader: w.out, Writer: w.in, MaxLineLength: mcpMessage}
	var err error
	w.Connection, err = t.Connect(ctx)
	return w, err
}

// end closes the connection if there is one.
func (w *mcpWire) end() {
	if w.Connection != nil {
		_ = w.Connection.Close() // of pipes that are closed already
	}
}

// rawResult is a place for the text of one result.
type rawResult struct {
	id   jsonrpc.ID
	json json.RawMessage
}

type rawKey struct{}

// withRaw asks that the result of a request made with the context be put
// into r.
func withRaw(ctx context.Context, r *rawResult) context.Context {
	return context.WithValue(ctx, rawKey{}, r)
}

// forget drops a wish that may never be fulfilled.
func (w *mcpWire) forget(r *rawResult) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.wants, r.id)
}

// Read hands the texts that were asked for to those who asked.
func (w *mcpWire) Read(ctx context.Context) (jsonrpc.Message, error) {
	message, err := w.Connection.Read(ctx)
	if response, is := message.(*jsonrpc.Response); is && err == nil && response.Error == nil {
		w.mu.Lock()
		if r := w.wants[response.ID]; r != nil {
			r.json = response.Result
		}
		w.mu.Unlock()
	}
	return message, err
}

// writeGrace is how long a message may still take once nobody waits for it.
const writeGrace = 300 * time.Millisecond

// Write sends a message. One that is cut off by the end of ctx ends the
// connection, since the server could make nothing of what follows.
func (w *mcpWire) Write(ctx context.Context, message jsonrpc.Message) error {
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if r, asked := ctx.Value(rawKey{}).(*rawResult); asked {
		if request, is := message.(*jsonrpc.Request); is && request.IsCall() {
			w.mu.Lock()
			delete(w.wants, r.id)
			r.id = request.ID
			w.wants[r.id] = r
			w.mu.Unlock()
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = w.in.SetWriteDeadline(time.Now().Add(writeGrace)) })
	err := w.Connection.Write(ctx, message)
	if !stop() {
		_ = w.in.SetWriteDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = w.Connection.Close()
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
	pending []byte
}

// messageStart is how a message or a batch of them begins; a log line such as
// "[info] ready" or "{x}" doesn't.
var messageStart = regexp.MustCompile(`^\s*(\[\s*)?\{\s*"`)

// Read reads what is left of a piece of a line, or the next one.
func (m *messageLines) Read(p []byte) (int, error) {
	for len(m.pending) == 0 {
		piece, err := m.buffer.ReadSlice('\n')
		if len(piece) > 0 {
			if m.atStart {
				m.passes = messageStart.Match(piece)
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
