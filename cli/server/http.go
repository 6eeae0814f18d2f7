package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"gleitzeit/cli/server/socketio"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// HTTPOptions say where and how a server listens for HTTP.
type HTTPOptions struct {
	Host string
	Port int // 0 is any that is free
	// Tokens are who may come in. On an address of this machine alone nobody
	// needs one, unless TokenRequired.
	Tokens        *Tokens
	TokenRequired bool
	// TLSCert and TLSKey are files in PEM, "" for plain HTTP.
	TLSCert, TLSKey string
	// Hosts are the names under which the server is reached, beside addresses
	// and localhost. Origins are those whose pages may use it.
	Hosts, Origins []string
	// MaxBody bounds a message in bytes, MaxConns the connections, MaxStreams
	// the WebSockets and streams of events of one client, MaxRate its calls per
	// second. 0 is the default.
	MaxBody    int64
	MaxConns   int
	MaxStreams int
	MaxRate    float64
	// MCP serves the Model Context Protocol at /mcp; nil doesn't.
	MCP MCP
}

// The defaults of HTTPOptions.
const (
	DefaultMaxBody    = 64 << 20
	DefaultMaxConns   = 16_384
	DefaultMaxStreams = 2048
	DefaultMaxRate    = 5000
)

// ErrNoToken refuses to listen where strangers could come in.
var ErrNoToken = errors.New("an address that others can reach needs a token: make one with gleitzeit token create NAME --role ROLE")

// httpDoor is where programs come in over HTTP:
//
//	POST /rpc              JSON-RPC, batches included
//	GET  /rpc              the same over a WebSocket
//	/socket.io/            Socket.IO v4
//	GET  /log/follow       events as they happen (server-sent events)
//	POST /workflow/submit  a workflow file
//	/mcp                   the Model Context Protocol
//	GET  /healthz, /readyz whether the process lives, and takes work
//	GET  /metrics          figures, for Prometheus
type httpDoor struct {
	server  *Server
	o       HTTPOptions
	guard   *guard
	meter   *meter
	streams *streams
	room    *room
	// socketIO has the clients that speak Socket.IO.
	socketIO *socketio.Engine
	crowd    *crowd
	address  string
	http     *http.Server
}

// ListenHTTP lets programs in over HTTP, until Close, and returns the address.
func (s *Server) ListenHTTP(o HTTPOptions) (address string, err error) {
	o.setDefaults()
	if err := o.check(); err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
	if err != nil {
		return "", err
	}
	h := newHTTPDoor(s, o, isLoopback(l.Addr()))
	if h.address, err = h.open(l); err != nil {
		l.Close()
	}
	return h.address, err
}

func (o *HTTPOptions) setDefaults() {
	or := func(n *int, unless int) {
		if *n == 0 {
			*n = unless
		}
	}
	or(&o.MaxConns, min(DefaultMaxConns, openFiles()/2))
	or(&o.MaxStreams, DefaultMaxStreams)
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.MaxRate == 0 {
		o.MaxRate = DefaultMaxRate
	}
}

// check refuses what would let anybody in. A name is looked up for that.
func (o *HTTPOptions) check() error {
	if (o.TLSCert == "") != (o.TLSKey == "") {
		return errors.New("TLS needs both a certificate and its key")
	}
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
	if err != nil {
		return err
	}
	if (!isLoopback(addr) || o.TokenRequired) && o.Tokens.Count() == 0 {
		return ErrNoToken
	}
	return nil
}

func isLoopback(a net.Addr) bool {
	addr, ok := a.(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}

func newHTTPDoor(s *Server, o HTTPOptions, loopback bool) *httpDoor {
	h := &httpDoor{server: s, o: o, meter: &meter{rate: o.MaxRate, due: map[string]time.Time{}},
		streams: &streams{most: o.MaxStreams, count: map[string]int{}}, room: newRoom(o.MaxConns)}
	h.guard = &guard{tokens: o.Tokens, free: loopback && !o.TokenRequired, hosts: o.Hosts, origins: o.Origins}
	h.socketIO, h.crowd = h.newSocketIO(), &crowd{all: map[*ioSocket]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/socket.io/{$}", h.serveSocketIO)
	mux.HandleFunc("GET /healthz", h.healthz)
	mux.HandleFunc("GET /readyz", h.readyz)
	mux.HandleFunc("GET /metrics", h.known(h.metrics))
	mux.HandleFunc("POST /rpc", h.known(h.rpc))
	mux.HandleFunc("GET /rpc", h.known(h.webSocket))
	mux.HandleFunc("GET /log/follow", h.known(h.followStream))
	mux.HandleFunc("POST /workflow/submit", h.known(h.submitFile))
	mux.HandleFunc("/mcp", h.known(h.serveMCP))
	h.http = &http.Server{
		Handler: h.counted(inTime(h.guard.wrap(mux))), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug), ConnState: h.room.changed,
	}
	return h
}

// open serves what comes to the listener, until the server closes.
func (h *httpDoor) open(l net.Listener) (address string, err error) {
	scheme := "http"
	if h.o.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(h.o.TLSCert, h.o.TLSKey)
		if err != nil {
			return "", fmt.Errorf("the certificate: %w", err)
		}
		h.http.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
		l, scheme = tls.NewListener(l, h.http.TLSConfig), "https"
	}
	if !h.server.welcome(func() { h.serve(l) }) {
		return "", errLeaving
	}
	if h.server.router == nil {
		h.server.Count()
	}
	if h.o.MCP != nil {
		h.server.welcome(func() { h.o.MCP.Watch(h.server.quit) })
	}
	return scheme + "://" + l.Addr().String(), nil
}

func (h *httpDoor) serve(l net.Listener) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := h.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			h.server.o.Logger.Error("HTTP ends", "error", err)
		}
	}()
	<-h.server.quit
	ctx, enough := context.WithTimeout(context.Background(), parting)
	defer enough()
	if h.http.Shutdown(ctx) != nil {
		h.http.Close()
	}
	<-done
}

// known has a request handled for whom the guard let in.
func (h *httpDoor) known(handle func(http.ResponseWriter, *http.Request, *Peer)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := h.guard.visitor(r)
		if err != nil {
			refuse(w, err)
			return
		}
		if !h.server.enter() {
			refuse(w, errLeaving)
			return
		}
		defer h.server.served.Done()
		p := &Peer{role: v.role, name: v.name, proof: v.proof, meter: h.meter}
		if _, ok := replay.ParseTrace(r.Header.Get("Traceparent")); ok && r.Method == http.MethodPost { // a stream's is not that of its calls
			p.trace = r.Header.Get("Traceparent")
		}
		defer p.leave()
		handle(w, r, p)
	}
}

// enter counts a request that Close waits for, unless we are closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.served.Add(1)
	return true
}

// rpc answers POST /rpc.
func (h *httpDoor) rpc(w http.ResponseWriter, r *http.Request, p *Peer) {
	body, err := h.body(w, r)
	if err != nil {
		refuse(w, err)
		return
	}
	stop := h.leaveWith(r, p)
	defer stop()
	answer, _ := h.server.respond(context.WithoutCancel(r.Context()), p, parseMessage(body))
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// leaveWith has a peer leave when its request ends or we do: then nobody waits
// for an answer any more. What it wished happens all the same.
func (h *httpDoor) leaveWith(r *http.Request, p *Peer) (stop func()) {
	done := make(chan struct{})
	go func() {
		select {
		case <-r.Context().Done():
		case <-h.server.quit:
		case <-done:
		}
		p.leave()
	}()
	return func() { close(done) }
}

// The slowest that a body may come, in bytes per second, after a moment's grace.
const (
	bodyGrace = 30 * time.Second
	bodyRate  = 64 << 10
)

// inTime bounds how long a body may take that nobody reads: net/http waits for
// the rest of it before it answers. A request without one has no such bound, for
// a deadline would end it as if its client had gone.
func inTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 && http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyGrace)) != nil {
			return
		}
		next.ServeHTTP(w, r)
	})
}

// body reads what was sent, if it isn't too large and doesn't take for ever.
func (h *httpDoor) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	return h.bodyUpTo(w, r, h.o.MaxBody)
}

func (h *httpDoor) bodyUpTo(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	limited := http.MaxBytesReader(unwrapped(w), r.Body, most)
	body, err := io.ReadAll(&steady{limited, http.NewResponseController(w), time.Now(), 0})
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, tooLarge{large.Limit}
	}
	if err != nil {
		return nil, protocols.Errorf(protocols.ConnectionTimeout, "read the body: %v", err)
	}
	return body, nil
}

// steady is a body that has to keep coming.
type steady struct {
	io.Reader
	conn  *http.ResponseController
	began time.Time
	read  int64
}

// Read reads what comes in time.
func (s *steady) Read(b []byte) (int, error) {
	inTime := s.began.Add(bodyGrace + time.Duration(s.read/bodyRate)*time.Second)
	if err := s.conn.SetReadDeadline(inTime); err != nil {
		return 0, err
	}
	n, err := s.Reader.Read(b)
	s.read += int64(n)
	return n, err
}

// writeJSON answers with JSON, and writeAs with anything, that the other end takes in time.
func writeJSON(w http.ResponseWriter, status int, raw []byte) {
	writeAs(w, status, "application/json", raw)
}

func writeAs(w http.ResponseWriter, status int, kind string, raw []byte) {
	inTime := time.Now().Add(bodyGrace + time.Duration(len(raw)/bodyRate)*time.Second)
	if http.NewResponseController(w).SetWriteDeadline(inTime) != nil {
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(raw)
}

func (h *httpDoor) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, []byte(`{"status":"ok"}`+"\n"))
}

// readyz tells whether we take work.
func (h *httpDoor) readyz(w http.ResponseWriter, r *http.Request) {
	health, err := h.server.health(r.Context(), nil, empty{})
	status := http.StatusOK
	if err != nil || !health.Ready {
		status = http.StatusServiceUnavailable
	}
	raw, _ := marshal(health)
	writeJSON(w, status, append(raw, '\n'))
}
