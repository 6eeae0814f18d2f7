package mcp

import (
	"context"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// newest is the revision of the protocol from which on there are no sessions:
// what a server wants to know is the result of a call, which is repeated with
// the answer.
const newest = "2026-07-28"

// session is one client, or with the newest revision over HTTP one request.
type session struct {
	desk  *Desk
	store Store
	sdk   *sdk.Server
	sessionOptions

	mu      sync.Mutex
	offered map[string]*Workflow     // as tools
	updates map[string]*subscription // of resources, by address

	attending sync.WaitGroup // calls and subscriptions that are with a run
}

// sessionOptions are how a session differs from others.
type sessionOptions struct {
	wait time.Duration // how long a call stays with its run; 0: until its end
	id   func() string // makes the session's id; nil: it has none
	// brief tells that the session is one request, which nobody can take back.
	brief bool
}

const instructions = `Each workflow of this server is a tool; calling it starts a durable run, and the result is the run's.
A run goes on even if the call ends early: its id is in the progress and in the result. Use run_wait with that id to stay with it again,
run_list to find runs, run_status and run_history to look at one, run_cancel to end one, run_decide and run_signal to give one what it waits for.`

func (d *Desk) newSession(store Store, o sessionOptions) *session {
	s := &session{desk: d, store: store, sessionOptions: o, offered: map[string]*Workflow{}, updates: map[string]*subscription{}}
	s.sdk = sdk.NewServer(&sdk.Implementation{Name: "gleitzeit", Title: "gleitzeit workflows", Version: d.o.Version}, &sdk.ServerOptions{
		Instructions: instructions,
		Logger:       d.sdkLogger,
		GetSessionID: o.id,
		Capabilities: &sdk.ServerCapabilities{
			Tools:     &sdk.ToolCapabilities{ListChanged: true},
			Resources: &sdk.ResourceCapabilities{Subscribe: true},
		},
		CompletionHandler:  s.complete,
		SubscribeHandler:   s.subscribe,
		UnsubscribeHandler: s.unsubscribe,
		SetCacheable:       private,
	})
	s.addRunTools()
	s.addResources()
	s.sdk.AddReceivingMiddleware(s.meanwhile)
	s.offer(d.o.Workflows())
	return s
}

// private lets nobody but the client itself keep what it was told.
func private(_ context.Context, _ sdk.Request, c *sdk.Cacheable) { c.CacheScope = "private" }

// meanwhile looks at the workflows before tools are listed or called, and lists
// the resources, of which the SDK can only have fixed ones.
func (s *session) meanwhile(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, req sdk.Request) (sdk.Result, error) {
		switch method {
		case "tools/list", "tools/call":
			s.offer(s.desk.o.Workflows())
		case "resources/list":
			if r, ok := req.(*sdk.ListResourcesRequest); ok {
				return s.listResources(ctx, r)
			}
		}
		return next(ctx, method, req)
	}
}

// offer makes tools of the workflows that are new or have changed, and takes
// those back that are gone.
func (s *session) offer(found []*Workflow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := map[string]bool{}
	for _, w := range found {
		there[w.Name] = true
		if old := s.offered[w.Name]; old == nil || old.Version != w.Version {
			s.sdk.AddTool(toolOf(w), s.tool(w.Name))
		}
		s.offered[w.Name] = w
	}
	for name := range s.offered {
		if !there[name] {
			delete(s.offered, name)
			s.sdk.RemoveTools(name)
		}
	}
}

// workflow returns the workflow behind a tool, as it is now.
func (s *session) workflow(name string) *Workflow {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offered[name]
}

// clientOf is the client's name for itself, "" if it has none.
func clientOf(ss *sdk.ServerSession) string {
	if p := ss.InitializeParams(); p != nil && p.ClientInfo != nil {
		return p.ClientInfo.Name
	}
	return ""
}

// by says who wishes something, for the history.
func (s *session) by(ss *sdk.ServerSession) string {
	client := "mcp"
	if name := clientOf(ss); name != "" {
		client += " " + shorten(name, 60)
	}
	if s.desk.o.By == "" {
		return client
	}
	return s.desk.o.By + " with " + client
}
