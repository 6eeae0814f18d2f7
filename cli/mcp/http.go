package mcp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/cli/server"
)

// idleSession is how long a session may rest that nothing comes from.
const idleSession = time.Hour

// maxBody bounds a message over HTTP, in bytes.
const maxBody = 64 << 20

// maxSessions is how many sessions there may be at once.
const maxSessions = 4096

// httpEnds are the two that the SDK has for HTTP: one with sessions, for the
// older revisions of the protocol, and one without, for the newest.
type httpEnds struct {
	key             []byte // signs the ids of sessions
	lasting, single http.Handler
}

type sessionKey struct{}

func newHTTPEnds(d *Desk) *httpEnds {
	h := &httpEnds{key: make([]byte, 32)}
	rand.Read(h.key)
	unused := sdk.NewServer(&sdk.Implementation{Name: "gleitzeit"}, nil) // for requests of sessions that are there already
	find := func(r *http.Request) *sdk.Server {
		if s, ok := r.Context().Value(sessionKey{}).(*session); ok {
			return s.sdk
		}
		return unused
	}
	options := sdk.StreamableHTTPOptions{Logger: d.sdkLogger, MaxRequestBodyBytes: maxBody, SessionTimeout: idleSession,
		DisableLocalhostProtection: true, // the guard of the server has a stricter one
		EventStore:                 sdk.NewMemoryEventStore(nil)}
	h.lasting = sdk.NewStreamableHTTPHandler(find, &options)
	h.single = sdk.NewStreamableHTTPHandler(find, &sdk.StreamableHTTPOptions{Logger: d.sdkLogger, MaxRequestBodyBytes: maxBody,
		DisableLocalhostProtection: true, Stateless: true, PropagateRequestCancellation: true})
	return h
}

// ServeMCP answers a request of a visitor of the server, by whose rights the
// store is used. A session belongs to whoever began it.
func (d *Desk) ServeMCP(w http.ResponseWriter, r *http.Request, v *server.Visitor) {
	d.serve(w, r, v.Name(), v)
}

func (d *Desk) serve(w http.ResponseWriter, r *http.Request, who string, store Store) {
	wait, err := waitOf(r, d.o.Wait)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch id := r.Header.Get("Mcp-Session-Id"); {
	case r.Header.Get("Mcp-Protocol-Version") >= newest:
		d.serveOne(w, r, store, wait)
	case id == "":
		d.begin(w, r, who, store, wait)
	case !d.http.isOf(id, who):
		http.Error(w, "session not found", http.StatusNotFound)
	default:
		if noteOfImpatience(r) {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		d.http.lasting.ServeHTTP(w, r)
	}
}

// waitOf is how long calls of this client stay with their runs: /mcp?wait=50s.
func waitOf(r *http.Request, unless time.Duration) (time.Duration, error) {
	text := r.URL.Query().Get("wait")
	if text == "" {
		return unless, nil
	}
	return time.ParseDuration(text)
}

// serveOne answers a request of the newest revision, which is a session of its
// own.
func (d *Desk) serveOne(w http.ResponseWriter, r *http.Request, store Store, wait time.Duration) {
	s := d.newSession(store, sessionOptions{wait: wait, brief: true})
	d.enter(s)
	defer d.leave(s)
	d.http.single.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sessionKey{}, s)))
}

// begin begins a session.
func (d *Desk) begin(w http.ResponseWriter, r *http.Request, who string, store Store, wait time.Duration) {
	if len(d.present()) >= maxSessions {
		http.Error(w, "too many sessions: close one", http.StatusTooManyRequests)
		return
	}
	s := d.newSession(store, sessionOptions{wait: wait, id: func() string { return d.http.newID(who) }})
	d.enter(s)
	d.http.lasting.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sessionKey{}, s)))
	for ss := range s.sdk.Sessions() {
		go func() { // as long as the session, which the SDK ends
			_ = ss.Wait()
			d.leave(s)
		}()
		return
	}
	d.leave(s)
}

// newID is the id of a new session of somebody.
func (h *httpEnds) newID(who string) string {
	id := rand.Text()
	return id + "." + h.sign(id, who)
}

// isOf tells whether a session is somebody's.
func (h *httpEnds) isOf(id, who string) bool {
	text, signed, _ := strings.Cut(id, ".")
	return hmac.Equal([]byte(signed), []byte(h.sign(text, who)))
}

func (h *httpEnds) sign(id, who string) string {
	m := hmac.New(sha256.New, h.key)
	m.Write([]byte(id + "\n" + who))
	return hex.EncodeToString(m.Sum(nil)[:16])
}

// maxNote is how large a cancellation may be that is looked at here.
const maxNote = 64 << 10

// noteOfImpatience tells whether a request is the cancellation of an impatient
// client. The request can be read again.
func noteOfImpatience(r *http.Request) bool {
	if r.Method != http.MethodPost || r.ContentLength < 0 || r.ContentLength > maxNote {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxNote))
	r.Body = io.NopCloser(bytes.NewReader(body))
	var m struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	return err == nil && json.Unmarshal(body, &m) == nil && m.Method == cancelledMethod && impatient(m.Params)
}
