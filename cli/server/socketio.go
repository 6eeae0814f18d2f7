package server

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"gleitzeit/cli/server/socketio"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// runsSpace is where the namespaces of runs begin: who enters /runs/ID follows
// that run.
const runsSpace = "/runs/"

// newSocketIO makes the engine that speaks Socket.IO behind a door.
func (h *httpDoor) newSocketIO() *socketio.Engine {
	return socketio.New(socketio.Options{
		MaxPayload: h.o.MaxBody, MaxStranger: maxStranger, MaxQueued: 1 << 20, MaxPackets: 1000, MaxNamespaces: 64,
		PingEvery: 25 * time.Second, PongWithin: 20 * time.Second, EnterWithin: greeting, TakeWithin: writeIn, PartWithin: parting,
		Quit: h.server.quit, Go: h.server.welcome, Body: h.bodyUpTo, Refuse: refuse,
		Explain: func(err error) any {
			e := asError(err)
			return map[string]any{"code": e.Code, "data": e.Data}
		},
	})
}

// serveSocketIO answers /socket.io/. A token may come with the first request or
// with each namespace.
func (h *httpDoor) serveSocketIO(w http.ResponseWriter, r *http.Request) {
	if !h.server.enter() {
		refuse(w, errLeaving)
		return
	}
	defer h.server.served.Done()
	h.socketIO.Serve(w, r, func() (socketio.Guest, error) {
		g := &ioGuest{door: h}
		name, _, _ := net.SplitHostPort(r.RemoteAddr)
		if r.Header.Get("Authorization") != "" || h.guard.free {
			v, err := h.guard.visitor(r)
			if err != nil {
				return nil, err
			}
			g.visitor, name = &v, v.name
		}
		release, err := h.streams.take(name)
		g.release = release
		return g, err
	})
}

// ioGuest is a client that speaks Socket.IO.
type ioGuest struct {
	door    *httpDoor
	visitor *visitor // nil: one that has to bring a token
	release func()

	mu      sync.Mutex
	leaving bool
	calls   int
	peers   []*Peer        // of all namespaces that it has entered
	working sync.WaitGroup // calls; added to under mu, and not once leaving
}

// ioAuth is what a client says as it enters a namespace.
type ioAuth struct {
	Token    string       `json:"token"`
	From     eventlog.Seq `json:"from"`     // of the namespace of a run, as in log/follow
	Progress bool         `json:"progress"` // likewise
}

// Join lets the client into "/", or into the namespace of a run.
func (g *ioGuest) Join(s *socketio.Socket, raw json.RawMessage) (socketio.Listener, error) {
	var auth ioAuth
	if raw != nil && json.Unmarshal(raw, &auth) != nil {
		return nil, protocols.Errorf(protocols.InvalidParams, "auth has a token, and from and progress, if anything")
	}
	v, err := g.who(auth.Token)
	if err != nil {
		return nil, err
	}
	l := &ioSocket{guest: g, socket: s, server: g.door.server, stories: map[uint64]string{}, protocols: map[string]map[string]*protocols.Method{},
		peer: &Peer{role: v.role, name: v.name, proof: v.proof, meter: g.door.meter}}
	l.peer.notify, l.peer.hangUp = l.notify, s.HangUp
	if err := l.prepare(auth); err != nil {
		return nil, err
	}
	return l, g.enter(l.peer)
}

// who says who enters.
func (g *ioGuest) who(token string) (visitor, error) {
	switch {
	case token != "":
		return g.door.guard.bearer(token)
	case g.visitor != nil:
		return *g.visitor, nil
	}
	return visitor{}, protocols.Errorf(protocols.AuthenticationFailed, "a token is needed: auth: {token}")
}

func (g *ioGuest) enter(p *Peer) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaving {
		p.leave()
		return errLeaving
	}
	g.peers = append(g.peers, p)
	return nil
}

// drop forgets a peer that has left, once it is done.
func (g *ioGuest) drop(p *Peer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaving {
		return // who set that waits for it
	}
	g.peers = slices.DeleteFunc(slices.Clone(g.peers), func(one *Peer) bool { return one == p })
	g.working.Go(p.wait)
}

// admit counts a call, or says why it may not be.
func (g *ioGuest) admit() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.leaving:
		return errLeaving
	case g.calls >= maxCalls:
		return protocols.Errorf(protocols.ResourceExhausted, "more than %d calls at once on one connection", maxCalls)
	}
	g.calls++
	g.working.Add(1)
	return nil
}

func (g *ioGuest) dismiss() {
	g.mu.Lock()
	g.calls--
	g.mu.Unlock()
	g.working.Done()
}

// Part takes no more calls, and waits until the last answers and events are
// sent.
func (g *ioGuest) Part() {
	g.mu.Lock()
	g.leaving = true
	peers := g.peers
	g.mu.Unlock()
	for _, p := range peers {
		p.leave()
	}
	g.working.Wait()
	for _, p := range peers {
		p.wait()
	}
}

// Gone clears up after the client.
func (g *ioGuest) Gone() {
	g.Part()
	g.release()
}

// ioSocket is a client in one namespace.
type ioSocket struct {
	guest  *ioGuest
	socket *socketio.Socket
	server *Server
	peer   *Peer
	begin  func() // what follows once the client is in
	once   sync.Once

	mu        sync.Mutex
	stories   map[uint64]string                       // subscriptions that are told as the original did, with their runs
	protocols map[string]map[string]*protocols.Method // that it has registered, by id and name
	described int                                     // how many bytes it has said of them
}

// prepare gets ready what the namespace is for.
func (l *ioSocket) prepare(auth ioAuth) error {
	id, ofRun := strings.CutPrefix(l.socket.Namespace, runsSpace)
	switch {
	case l.socket.Namespace == "/":
		l.begin = func() {
			l.guest.door.crowd.enter(l)
			l.socket.Emit("connected", map[string]string{"message": "Connected to gleitzeit"})
		}
		return nil
	case !ofRun || id == "":
		return protocols.Errorf(protocols.InvalidParams, "Invalid namespace")
	}
	call := &Call{Peer: l.peer, given: FollowParams{ID: id, From: auth.From, Progress: auth.Progress}}
	_, err := l.server.handle(context.Background(), request{method: LogFollow}, call)
	l.begin = call.begin
	return err
}

// Connected begins what the namespace is for.
func (l *ioSocket) Connected() { l.once.Do(l.begin) }

// Left ends all that the client follows here. A subscription that was made has
// to begin for that.
func (l *ioSocket) Left() {
	l.peer.leave()
	l.once.Do(l.begin)
	l.guest.door.crowd.leave(l)
	l.guest.drop(l.peer)
}

// Event carries out what a client asks, in a goroutine of its own.
func (l *ioSocket) Event(e socketio.Event) {
	if err := l.guest.admit(); err != nil {
		l.answer(e, nil, err)
		return
	}
	go func() {
		defer l.guest.dismiss()
		call := &Call{Peer: l.peer}
		result, err := l.carryOut(e, call)
		l.answer(e, result, err)
		call.begin()
	}()
}

// carryOut finds out what an event means: a method's name is a call of it, and
// others are those of the first gleitzeit.
func (l *ioSocket) carryOut(e socketio.Event, call *Call) (any, error) {
	call.Params = ioParams(e.Args)
	if old, found := originals[e.Name]; found {
		return old(l, call)
	}
	return l.server.handle(context.Background(), request{method: e.Name, params: call.Params}, call)
}

// ioParams makes params of arguments: one object or array is the params, others
// are the fields in their order.
func ioParams(args []json.RawMessage) json.RawMessage {
	switch {
	case len(args) == 0 || len(args) == 1 && string(args[0]) == "null":
		return nil
	case len(args) == 1 && (args[0][0] == '{' || args[0][0] == '['):
		return args[0]
	}
	raw, _ := json.Marshal(args) // each is JSON
	return raw
}

// answer acknowledges an event with {result} or {error}. Without somebody who
// waits for that an error is an event of its own.
func (l *ioSocket) answer(e socketio.Event, result any, err error) {
	switch {
	case e.Acknowledge != nil:
		e.Acknowledge(acknowledgement(result, err))
	case err != nil:
		failure := asError(err)
		l.socket.Emit("error", map[string]any{"event": e.Name, "message": failure.Message, "code": failure.Code, "data": failure.Data})
	}
}

func acknowledgement(result any, failure error) json.RawMessage {
	member := map[string]any{"result": result}
	if failure != nil {
		member = map[string]any{"error": asError(failure)}
	}
	raw, err := marshal(member)
	if err != nil {
		return acknowledgement(nil, protocols.Errorf(protocols.InternalError, "write the answer: %v", err))
	}
	return raw
}

// notify tells the client what it follows.
func (l *ioSocket) notify(ctx context.Context, method string, params any) error {
	switch v := params.(type) {
	case Event:
		if run := l.story(v.Subscription); run != "" {
			return l.tell(ctx, run, v.Entry)
		}
	case End:
		if run := l.story(v.Subscription); run != "" {
			return l.endStory(v)
		}
	}
	return l.socket.Emit(method, params)
}
