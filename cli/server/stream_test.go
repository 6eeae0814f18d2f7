package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/sourcegraph/jsonrpc2"
)

// echo answers a call with its params.
type echo struct{}

func (echo) Handle(ctx context.Context, conn *jsonrpc2.Conn, req *jsonrpc2.Request) {
	conn.SendResponse(ctx, &jsonrpc2.Response{ID: req.ID, Result: req.Params})
}

// What goes over a connection and back is the same text: keys keep their
// order, numbers their digits, and nothing is escaped for HTML.
func TestStreamKeepsText(t *testing.T) {
	a, b := net.Pipe()
	var seen bytes.Buffer
	here := NewConn(t.Context(), &tap{a, &seen}, echo{})
	there := NewConn(t.Context(), b, echo{})
	defer closeConn(there)
	defer closeConn(here)
	for _, text := range []string{
		`{"b":1,"a":2,"b2":{"z":1,"y":[1.0,1e400,12345678901234567890]}}`,
		`{"x":"<b>&amp;</b>"}`,
		`{"x":"\\u003c is no escape \\\\"}`,
		`{"x":"` + strings.Repeat("long ", 100_000) + `"}`,
		`{}`,
		`[1,2]`,
		`null`,
	} {
		var got json.RawMessage
		if err := here.Call(t.Context(), "echo", json.RawMessage(text), &got); err != nil {
			t.Fatal(err)
		}
		if string(got) != text {
			t.Errorf("%.80s came back as %.80s", text, got)
		}
	}
	if bytes.Contains(seen.Bytes(), []byte(`:"\u003c`)) {
		t.Error("escaped on the wire")
	}
}

// tap copies what is written.
type tap struct {
	io.ReadWriteCloser
	to *bytes.Buffer
}

func (c *tap) Write(b []byte) (int, error) {
	c.to.Write(b)
	return c.ReadWriteCloser.Write(b)
}

func closeConn(c *Conn) {
	c.Close()
	<-c.Ended()
}

// rw is a connection that reads from one place and writes to nowhere.
type rw struct{ io.Reader }

func (rw) Write(b []byte) (int, error) { return len(b), nil }
func (rw) Close() error                { return nil }

func TestStreamLimit(t *testing.T) {
	s := newLines(rw{strings.NewReader(`{"jsonrpc":"2.0","method":"x"}` + "\n" + strings.Repeat("x", 20_000))})
	s.limit = 10_000
	if _, err := s.read(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.read(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	s = newLines(rw{strings.NewReader("half a li")})
	if _, err := s.read(); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
}

// endless is a sender who never ends his line.
type endless struct{ left int }

func (e *endless) Read(b []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	for i := range b {
		b[i] = 'x'
	}
	e.left -= len(b)
	return len(b), nil
}

// A line takes memory only as it comes in, and not for ever.
func TestStreamAllocates(t *testing.T) {
	const sent = 8 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := newLines(rw{&endless{sent}}).read(); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 10*sent {
		t.Errorf("%d bytes for %d sent", got, sent)
	}
}

func FuzzUnescape(f *testing.F) {
	f.Add("<a & b>")
	f.Add(`\u003c \\u003e`)
	f.Add("\u2028 \\")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := json.Marshal(text)
		if err != nil {
			t.Skip()
		}
		var want, got string
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(unescape(bytes.Clone(b)), &got); err != nil || got != want {
			t.Errorf("%q became %q: %v", want, got, err)
		}
	})
}

// FuzzStream reads whatever comes: messages or errors, no panic.
func FuzzStream(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"system/hello","params":{"token":""}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":null}`))
	f.Add([]byte(`{"id":-1,"method":3}`))
	f.Add([]byte("[]\n[{}]\n\n{\"method\":\"x\",\"result\":1}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ended := make(chan struct{})
		c := NewConn(t.Context(), rw{bytes.NewReader(data)}, handler(func(req *jsonrpc2.Request) {
			if req == nil {
				t.Error("no request")
			}
		}))
		go func() { <-c.Ended(); close(ended) }()
		<-ended
		c.Close()
	})
}

type handler func(*jsonrpc2.Request)

func (h handler) Handle(_ context.Context, _ *jsonrpc2.Conn, req *jsonrpc2.Request) { h(req) }

// Every name on the wire is in snake_case and told by a tag.
func TestNamesOnTheWire(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Methods() {
		if seen[m.Name] || m.Doc == "" || m.Name != Discover && strings.Count(m.Name, "/") != 1 {
			t.Errorf("method %q: twice, or without a text", m.Name)
		}
		seen[m.Name] = true
		checkNames(t, m.Name+" params", reflect.TypeOf(m.Params))
		checkNames(t, m.Name+" result", reflect.TypeOf(m.Result))
	}
	checkNames(t, LogEvent, reflect.TypeFor[Event]())
	checkNames(t, LogProgress, reflect.TypeFor[Progress]())
	checkNames(t, LogEnd, reflect.TypeFor[End]())
}

func checkNames(t *testing.T, where string, typ reflect.Type) {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		checkNames(t, where, typ.Elem())
	case reflect.Struct:
		if !strings.HasPrefix(typ.PkgPath(), "gleitzeit") {
			return
		}
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.PkgPath != "" || name == "-" || f.Anonymous && name == "" {
				continue
			}
			if name == "" || strings.ToLower(name) != name && name != "mcpServers" {
				t.Errorf("%s: %s.%s is called %q", where, typ, f.Name, name)
			}
			checkNames(t, where, f.Type)
		}
	}
}
