package socketio

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// Options say how an engine works. All of them are needed.
type Options struct {
	// MaxPayload bounds a message in bytes, with its attachments. Before a client
	// has entered a namespace it is MaxStranger.
	MaxPayload, MaxStranger int64
	// MaxQueued and MaxPackets bound what waits for one client: bytes, of which
	// one message may be more, and packets.
	MaxQueued, MaxPackets int
	MaxNamespaces         int // of one session
	// PingEvery and PongWithin are the heartbeat, EnterWithin the time to enter
	// a namespace in, TakeWithin to take what was sent, PartWithin to take what
	// is left when we leave.
	PingEvery, PongWithin, EnterWithin, TakeWithin, PartWithin time.Duration
	// Quit is closed when we leave. Go starts what is to be waited for then, or
	// returns false because nothing starts any more.
	Quit <-chan struct{}
	Go   func(func()) bool
	// Body reads a request's, up to so many bytes. Refuse answers a request with
	// an error. Explain is what clients get of one, beside its words.
	Body    func(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error)
	Refuse  func(w http.ResponseWriter, err error)
	Explain func(err error) any
}

// Engine has the sessions of all clients.
type Engine struct {
	o        Options
	message  func(*session, frame) error // handles Engine.IO's messages, as Socket.IO
	mu       sync.Mutex
	sessions map[string]*session
}

// New makes an engine.
func New(o Options) *Engine {
	return &Engine{o: o, message: (*session).message, sessions: map[string]*session{}}
}

// problem is what a request gets that fits no session, as Engine.IO's own server
// numbers them.
type problem struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

var (
	errTransport = problem{0, "Transport unknown"}
	errSession   = problem{1, "Session ID unknown"}
	errMethod    = problem{2, "Bad handshake method"}
	errRequest   = problem{3, "Bad request"}
	errVersion   = problem{5, "Unsupported protocol version"}
)

func (p problem) answer(w http.ResponseWriter) {
	raw, _ := json.Marshal(p)
	answer(w, http.StatusBadRequest, "application/json", raw)
}

// Serve answers a request. If it begins a session, open says whose that is, or
// why there is none.
func (e *Engine) Serve(w http.ResponseWriter, r *http.Request, open func() (Guest, error)) {
	q := r.URL.Query()
	transport, sid := q.Get("transport"), q.Get("sid")
	socket := transport == "websocket"
	switch s := e.find(sid); {
	case q.Get("EIO") != "4":
		errVersion.answer(w)
	case !socket && transport != "polling":
		errTransport.answer(w)
	case socket && (r.Method != http.MethodGet || r.Header.Get("Upgrade") == ""):
		errRequest.answer(w)
	case sid == "" && r.Method != http.MethodGet:
		errMethod.answer(w)
	case sid == "":
		e.begin(w, r, socket, open)
	case s == nil:
		errSession.answer(w)
	case socket:
		s.upgrade(w, r)
	case r.Method == http.MethodGet:
		s.poll(w, r)
	case r.Method == http.MethodPost:
		s.post(w, r)
	default:
		errRequest.answer(w)
	}
}

// begin begins a session.
func (e *Engine) begin(w http.ResponseWriter, r *http.Request, socket bool, open func() (Guest, error)) {
	guest, err := open()
	if err != nil {
		e.o.Refuse(w, err)
		return
	}
	s := newSession(e)
	s.guest = guest
	s.control(frame{data: s.greeting(socket)})
	if socket && !s.accept(w, r) {
		guest.Gone()
		return
	}
	e.mu.Lock()
	e.sessions[s.sid] = s
	e.mu.Unlock()
	if !e.o.Go(s.live) {
		s.close(false)
		s.end()
	}
	if socket {
		s.carry(s.conn)
	} else {
		s.poll(w, r)
	}
}

// greeting opens a session.
func (s *session) greeting(socket bool) []byte {
	o, upgrades := &s.engine.o, []string{"websocket"}
	if socket {
		upgrades = []string{}
	}
	raw, _ := json.Marshal(struct {
		SID          string   `json:"sid"`
		Upgrades     []string `json:"upgrades"`
		PingInterval int64    `json:"pingInterval"`
		PingTimeout  int64    `json:"pingTimeout"`
		MaxPayload   int64    `json:"maxPayload"`
	}{s.sid, upgrades, o.PingEvery.Milliseconds(), o.PongWithin.Milliseconds(), o.MaxPayload})
	return append([]byte{engineOpen}, raw...)
}

// find returns a session that isn't over, or nil.
func (e *Engine) find(sid string) *session {
	e.mu.Lock()
	s := e.sessions[sid]
	e.mu.Unlock()
	if s == nil || s.isOver() {
		return nil
	}
	return s
}

func (e *Engine) forget(s *session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sessions, s.sid)
}

// answer answers a request, whose client takes it in time.
func answer(w http.ResponseWriter, status int, contentType string, body []byte) {
	inTime := time.Now().Add(30*time.Second + time.Duration(len(body)/(64<<10))*time.Second)
	if http.NewResponseController(w).SetWriteDeadline(inTime) != nil {
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body)
}
