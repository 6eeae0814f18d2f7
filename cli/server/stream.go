package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"

	"github.com/sourcegraph/jsonrpc2"
)

// MaxFrame bounds one message in bytes; the files of a submission ride in it.
const MaxFrame = math.MaxInt32

// maxStranger bounds a message of somebody who has not proved yet who he is.
const maxStranger = 64 << 10

// ErrTooLarge is what sending a message beyond MaxFrame gives. Nothing of it
// has been sent then.
var ErrTooLarge = errors.New("the message is larger than 2 GiB")

// lines carries messages as lines: one JSON text, one line.
type lines struct {
	conn  io.ReadWriteCloser
	r     *bufio.Reader
	limit int // of one inbound message; only who reads touches it
}

func newLines(conn io.ReadWriteCloser) *lines {
	return &lines{conn: conn, r: bufio.NewReader(conn), limit: MaxFrame}
}

// read reads up to the next line end. What it holds has arrived: the sender
// can't make it allocate by announcing.
func (l *lines) read() ([]byte, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		switch {
		case len(line)+len(part) > l.limit:
			return nil, ErrTooLarge
		case err == bufio.ErrBufferFull:
			line = append(line, part...)
		case err == io.EOF && len(line)+len(part) > 0:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case len(line)+len(bytes.TrimSpace(part)) == 0: // between messages
		case line == nil:
			return part, nil
		default:
			return append(line, part...), nil
		}
	}
}

func (l *lines) write(message []byte) error {
	if len(message) >= MaxFrame {
		return ErrTooLarge
	}
	if _, err := l.conn.Write(append(message, '\n')); err != nil {
		l.conn.Close() // half a line may be out: nothing can follow it
		return err
	}
	return nil
}

// Close closes the connection below.
func (l *lines) Close() error { return l.conn.Close() }

// stream makes an ObjectStream of jsonrpc2 of frames, for a client. It keeps two
// things from that library which it would do to the bytes: reading params
// through maps (which loses the order of keys) and escaping what HTML would
// mind.
type stream struct {
	frames
	// aside is what the message read last carries, its params or its result.
	aside json.RawMessage
	ended chan struct{} // closed by ReadObject with its first error
}

func newStream(f frames) *stream { return &stream{frames: f, ended: make(chan struct{})} }

// ReadObject reads the next message but for its load, which restore puts back.
func (s *stream) ReadObject(v any) error {
	err := s.readInto(v)
	if err != nil {
		close(s.ended)
	}
	return err
}

func (s *stream) readInto(v any) error {
	message, err := s.read()
	if err != nil {
		return err
	}
	head, err := s.unload(message)
	if err != nil {
		return err
	}
	return json.Unmarshal(head, v)
}

// unload takes the load off a message and returns the rest.
func (s *stream) unload(line []byte) ([]byte, error) {
	var m struct {
		Version json.RawMessage `json:"jsonrpc,omitempty"`
		ID      json.RawMessage `json:"id,omitempty"`
		Method  json.RawMessage `json:"method,omitempty"`
		Params  json.RawMessage `json:"params,omitempty"`
		Result  json.RawMessage `json:"result,omitempty"`
		Error   json.RawMessage `json:"error,omitempty"`
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return nil, err
	}
	s.aside = m.Params
	m.Params = nil
	if m.Result != nil {
		s.aside = m.Result
		m.Result = json.RawMessage("true")
	}
	return json.Marshal(m)
}

// restore is jsonrpc2's OnRecv: it puts the load back, in the read loop and
// before anybody else sees the message.
func (s *stream) restore(req *jsonrpc2.Request, resp *jsonrpc2.Response) {
	load := s.aside
	s.aside = nil
	switch {
	case load == nil:
	case resp == nil:
		req.Params = &load
	case resp.Error == nil:
		resp.Result = &load
	}
}

// WriteObject writes a message. The library lets one caller in at a time.
func (s *stream) WriteObject(v any) error {
	message, err := marshal(v)
	if err != nil {
		return err
	}
	return s.write(message)
}

// unescape undoes in place what encoding/json does for HTML's sake.
func unescape(b []byte) []byte {
	if !bytes.Contains(b, []byte(`\u00`)) {
		return b
	}
	out := b[:0]
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			out = append(out, b[i])
			continue
		}
		if c := htmlEscaped(b[i:]); c != 0 {
			out = append(out, c)
			i += len(`\u003c`) - 1
			continue
		}
		out = append(out, b[i], b[i+1])
		i++
	}
	return out
}

// htmlEscaped returns the character that an escape stands for, if it is one
// that only HTML needs.
func htmlEscaped(b []byte) byte {
	switch {
	case bytes.HasPrefix(b, []byte(`\u003c`)):
		return '<'
	case bytes.HasPrefix(b, []byte(`\u003e`)):
		return '>'
	case bytes.HasPrefix(b, []byte(`\u0026`)):
		return '&'
	}
	return 0
}
