package providers

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// This file keeps each configured MCP server running while it is wanted:
//
//	not running ── a call ──► opening ── it answered ──► linked
//	     ▲                       │                         │
//	     └─── with a delay ◄─────┴──── failed, ended ◄─────┘

const (
	mcpStart    = time.Minute      // for the start; npx may have to fetch the server
	mcpPerson   = 10 * time.Minute // for the start, with a person who logs in
	mcpSteady   = 10 * time.Second // a server that lived as long wasn't broken from the start
	mcpMaxDelay = 30 * time.Second // between two starts
)

// mcpServers are all servers of one configuration, sorted by name.
type mcpServers struct {
	list []*mcpServer
}

func newMCPServers(c Config, o Options, kids *children) *mcpServers {
	all := &mcpServers{}
	for _, name := range slices.Sorted(maps.Keys(c.MCPServers)) {
		ctx, cancel := context.WithCancel(context.Background())
		s := &mcpServer{
			name: name, config: c.MCPServers[name], env: o.Env, children: kids, life: ctx, end: cancel, limit: mcpMessage,
			keeper: o.Tokens, person: o.Login,
		}
		s.sampler, _ = c.sampler(s.config) // was checked
		all.list = append(all.list, s)
	}
	return all
}

func (all *mcpServers) get(name string) (*mcpServer, error) {
	var names []string
	for _, s := range all.list {
		if s.name == name {
			return s, nil
		}
		names = append(names, s.name)
	}
	return nil, protocols.Errorf(protocols.ProviderNotFound, "no MCP server %q is configured%s", name, choices(name, names))
}

// close ends every server, all at once, and waits for them.
func (all *mcpServers) close() {
	eachServer(all.list, func(_ int, s *mcpServer) { s.close() })
}

// mcpServer is one configured server.
type mcpServer struct {
	name     string
	config   MCPServer
	sampler  sampler // that it may ask
	env      func(string) string
	children *children
	life     context.Context // of the set, not of a call: a server outlives the call that started it
	end      context.CancelFunc
	limit    int    // bytes of one message
	keeper   Tokens // of logins
	person   *Login
	afresh   bool         // what is kept of logins is not looked at
	login    *mcpLogin    // nil: not wanted, or not reached yet; only open writes it
	tokens   *tokenSource // login's

	mu       sync.Mutex
	opening  *mcpOpening
	current  *mcpLink // nil when not linked
	failures int      // starts in a row that came to nothing
	next     time.Time
	last     error // of the last failure
	closed   bool
	busy     sync.WaitGroup // opening and watching
}

// mcpOpening is a start in progress, for which any number of calls wait.
type mcpOpening struct {
	done chan struct{} // closed by open
	link *mcpLink
	err  error
}

// link returns the link to the running server, starting it if need be. While
// a server that failed before must wait for its next start, the error is that
// of the failure and says how long.
func (s *mcpServer) link(ctx context.Context) (*mcpLink, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, protocols.Errorf(protocols.SystemShutdown, "the providers are closed")
	}
	if s.current != nil {
		defer s.mu.Unlock()
		return s.current, nil
	}
	if s.opening == nil {
		if wait := time.Until(s.next); wait > 0 {
			defer s.mu.Unlock()
			return nil, s.resting(wait)
		}
		s.opening = &mcpOpening{done: make(chan struct{})}
		opening := s.opening
		s.busy.Go(func() { s.open(opening) })
	}
	opening := s.opening
	s.mu.Unlock()
	select {
	case <-opening.done:
		return opening.link, opening.err
	case <-ctx.Done():
		return nil, endedError(ctx)
	}
}

// do has something done on the link to the running server. What a server
// didn't look at, having dropped the session, is done once more on a new one.
func (s *mcpServer) do(ctx context.Context, what func(*mcpLink) (json.RawMessage, error)) (json.RawMessage, error) {
	for tried := false; ; tried = true {
		link, err := s.link(ctx)
		if err != nil {
			return nil, err
		}
		result, err := what(link)
		var dropped *noSession
		if tried || !errors.As(err, &dropped) {
			return result, err
		}
		select {
		case <-link.gone:
		case <-ctx.Done():
			return nil, endedError(ctx)
		}
	}
}

// tools are what the server has.
func (s *mcpServer) tools(ctx context.Context) (tools []mcpTool, err error) {
	_, err = s.do(ctx, func(l *mcpLink) (_ json.RawMessage, err error) {
		tools, err = l.tools(ctx)
		return nil, err
	})
	return tools, err
}

// resting is the error of a server whose next start is still to come.
func (s *mcpServer) resting(wait time.Duration) error {
	return protocols.Errorf(protocols.ProviderUnhealthy,
		"MCP server %s failed %d times in a row and is started again in %v: %v",
		s.name, s.failures, wait.Round(time.Millisecond), s.last).With(map[string]any{
		"server": s.name, "retry_after": wait.Seconds(),
	})
}

// open starts the server and greets it.
func (s *mcpServer) open(o *mcpOpening) {
	start := mcpStart
	if s.person != nil {
		start = mcpPerson
	}
	ctx, cancel := context.WithTimeout(s.life, start)
	defer cancel()
	link, err := s.dial(ctx)
	s.mu.Lock()
	s.opening, s.current = nil, link
	o.link, o.err = link, err
	if err != nil {
		s.failed(err)
	} else {
		s.busy.Go(func() { s.watch(link) })
	}
	closed := s.closed
	s.mu.Unlock()
	close(o.done)
	if closed && link != nil {
		link.close() // close came while it was being greeted
	}
}

// failed puts the next start off: the first one not at all, the others for
// 250 ms, 500 ms, … up to mcpMaxDelay. The caller holds mu.
func (s *mcpServer) failed(err error) {
	s.failures++
	s.last = err
	delay := time.Duration(0)
	if s.failures > 1 {
		delay = min(250*time.Millisecond<<min(s.failures-2, 10), mcpMaxDelay)
	}
	s.next = time.Now().Add(delay)
}

// watch waits for the link's end and makes room for the next.
func (s *mcpServer) watch(link *mcpLink) {
	started := time.Now()
	link.watch()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = nil
	if time.Since(started) >= mcpSteady || link.useful.Load() {
		s.failures = 0
	}
	s.failed(link.lost("ended"))
}

// close ends the server: its stdin closes, then it is asked, then killed.
func (s *mcpServer) close() {
	s.mu.Lock()
	s.closed = true
	link := s.current
	s.mu.Unlock()
	s.end()
	if link != nil {
		link.close()
	}
	s.busy.Wait()
}

// loginAfresh has the person log in, whatever is kept. It reports false for a
// server that wants no login.
func (s *mcpServer) loginAfresh(ctx context.Context) (bool, error) {
	s.afresh = true
	if _, err := s.do(ctx, func(l *mcpLink) (json.RawMessage, error) { _, err := l.tools(ctx); return nil, err }); err != nil {
		return false, err
	}
	return s.tokens != nil && len(s.tokens.secrets()) > 1, nil
}

// ping returns how long the server took to answer, its start not counted.
func (s *mcpServer) ping(ctx context.Context) (time.Duration, error) {
	var took time.Duration
	_, err := s.do(ctx, func(l *mcpLink) (json.RawMessage, error) {
		started := time.Now()
		err := l.ping(ctx)
		took = time.Since(started)
		return nil, err
	})
	return took, err
}

// program finds what to start: in the PATH of the server's own environment,
// a relative path below its working folder.
func (s *mcpServer) program() (string, error) {
	name := s.config.Command
	if strings.ContainsAny(name, `/\`) && !filepath.IsAbs(name) {
		name = filepath.Join(s.config.Cwd, name)
		if !strings.ContainsAny(name, `/\`) {
			name = "." + string(filepath.Separator) + name
		}
	}
	path, ok := lookPath(name, func(variable string) string {
		if value, set := s.config.Env[variable]; set {
			return value
		}
		return s.env(variable)
	})
	if !ok {
		return "", protocols.Errorf(protocols.ProviderNotAvailable,
			"MCP server %s: program %q not found%s", s.name, s.config.Command, installHint(s.config.Command))
	}
	return path, nil
}

// installHint says where the usual launchers come from.
func installHint(command string) string {
	switch filepath.Base(command) {
	case "npx", "node", "npm":
		return ": install Node.js"
	case "uvx", "uv":
		return ": install uv"
	case "docker":
		return ": install Docker"
	}
	return ": install it, or correct its command in the configuration"
}
