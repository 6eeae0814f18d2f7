package providers

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/protocols"
)

// This file is one life of an MCP server: a child process and the session
// with it.

const (
	mcpGrace   = time.Second // after stdin has closed, and again after SIGTERM
	mcpStderr  = 64 << 10    // bytes of stderr kept
	mcpQuoted  = 8 << 10     // bytes of stderr put into an error
	mcpMessage = 64 << 20    // bytes of one message
)

// mcpLink is a server that runs and has been greeted.
type mcpLink struct {
	server  string
	kid     *child
	session *mcp.ClientSession
	wire    *mcpWire
	stderr  excerpt        // and what was on stdout without being a message
	users   sync.WaitGroup // reads stderr
	ending  chan struct{}  // closed by watch: the process or the session has ended
	gone    chan struct{}  // closed by watch: both have
	useful  atomic.Bool    // a tool has answered
	tokens  atomic.Int64

	mu    sync.Mutex
	hosts map[string]Host // by progress token
	known []mcpTool       // nil: to be asked for
}

// mcpTool is what a server says of a tool.
type mcpTool struct {
	Name        string
	Description string
	InputSchema json.RawMessage
}

// mcpInfo is what a server says of itself.
type mcpInfo struct {
	Server          string `json:"server"`
	Name            string `json:"name"`
	Version         string `json:"version"`
	ProtocolVersion string `json:"protocol_version"`
	Instructions    string `json:"instructions,omitempty"`
	Capabilities    any    `json:"capabilities"`
}

// dial starts the server's process and greets it. When that fails nothing of
// it is left.
func (s *mcpServer) dial(ctx context.Context) (*mcpLink, error) {
	path, err := s.program()
	if err != nil {
		return nil, err
	}
	kid, err := s.children.start(command{
		Path: path, Args: s.config.Args, Dir: s.config.Cwd, Env: environment(s.env, nil, s.config.Env),
	})
	if err != nil {
		return nil, protocols.Errorf(protocols.ProviderNotAvailable, "MCP server %s: %v", s.name, err)
	}
	l := &mcpLink{
		server: s.name, kid: kid, stderr: excerpt{Last: mcpStderr},
		ending: make(chan struct{}), gone: make(chan struct{}), hosts: map[string]Host{},
	}
	l.users.Go(func() { l.stderr.readFrom(kid.Err) })
	if err := l.greet(ctx); err != nil {
		why := err.Error()
		if kid.endsWithin(drainTime) && kid.code() > 0 {
			why = kid.exit()
		} else if ctx.Err() != nil {
			why = "no answer within " + mcpStart.String()
		}
		kid.stop(mcpGrace)
		kid.drain(&l.users)
		return nil, l.explain(protocols.ProviderUnhealthy, "MCP server "+l.server+" did not start: "+why)
	}
	return l, nil
}

// greet opens the session. The capabilities are empty: no roots, sampling or
// elicitation yet.
func (l *mcpLink) greet(ctx context.Context) error {
	client := mcp.NewClient(&mcp.Implementation{Name: "gleitzeit", Version: "1"}, &mcp.ClientOptions{
		Capabilities:                &mcp.ClientCapabilities{},
		ToolListChangedHandler:      func(context.Context, *mcp.ToolListChangedRequest) { l.forgetTools() },
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { l.progress(r.Params) },
	})
	l.wire = newMCPWire(l.kid, &l.stderr)
	session, err := client.Connect(ctx, l.wire, nil)
	if err != nil {
		l.wire.end()
		return err
	}
	l.session = session
	return nil
}

// explain makes an error that quotes the end of stderr.
func (l *mcpLink) explain(code protocols.Code, message string) *protocols.Error {
	stderr := l.stderr.String()
	return protocols.Errorf(code, "%s%s", message, quoted(stderr)).With(struct {
		Server string `json:"server"`
		Exit   string `json:"exit"`
		Stderr string `json:"stderr,omitempty"`
	}{l.server, l.kid.exit(), lastBytes(stderr, mcpQuoted)})
}

// lost is the error of a server that is gone.
func (l *mcpLink) lost(during string) *protocols.Error {
	return l.explain(protocols.ConnectionLost, "MCP server "+l.server+" "+l.kid.exit()+" ("+during+")")
}

// watch returns when the process and the session have both ended; the end of
// one is the end of the other.
func (l *mcpLink) watch() {
	over := make(chan struct{})
	go func() {
		_ = l.session.Wait() // the error is known from the process
		close(over)
	}()
	select {
	case <-l.kid.ended:
	case <-over:
	}
	close(l.ending)
	l.end()
	l.kid.drain(&l.users)
	l.wire.end()
	<-over
	_ = l.session.Close() // lets go of its subscriptions
	close(l.gone)
}

// close ends the server and waits for watch.
func (l *mcpLink) close() {
	l.end()
	<-l.gone
}

// end ends the process in the order that the protocol asks for.
func (l *mcpLink) end() {
	l.kid.In.Close()
	if !l.kid.endsWithin(mcpGrace) {
		l.kid.stop(mcpGrace)
	}
}

// tools lists the server's tools; the list is kept until the server says that
// it has changed.
func (l *mcpLink) tools(ctx context.Context) ([]mcpTool, error) {
	l.mu.Lock()
	known := l.known
	l.mu.Unlock()
	if known != nil {
		return known, nil
	}
	tools := []mcpTool{}
	if c := l.session.InitializeResult().Capabilities; c == nil || c.Tools != nil {
		for t, err := range l.session.Tools(ctx, nil) {
			if err != nil {
				return nil, l.failure(ctx, "tools/list", err)
			}
			schema, _ := json.Marshal(t.InputSchema) // was read from JSON
			tools = append(tools, mcpTool{t.Name, t.Description, schema})
		}
	}
	l.mu.Lock()
	l.known = tools
	l.mu.Unlock()
	return tools, nil
}

func (l *mcpLink) forgetTools() {
	l.mu.Lock()
	l.known = nil
	l.mu.Unlock()
}

func (l *mcpLink) info() mcpInfo {
	r := l.session.InitializeResult()
	info := mcpInfo{Server: l.server, ProtocolVersion: r.ProtocolVersion, Instructions: r.Instructions, Capabilities: r.Capabilities}
	if r.ServerInfo != nil {
		info.Name, info.Version = r.ServerInfo.Name, r.ServerInfo.Version
	}
	return info
}

// ping returns nil when the server answers, though it be that it knows no ping.
func (l *mcpLink) ping(ctx context.Context) error {
	err := l.session.Ping(ctx, nil)
	var answer *jsonrpc.Error
	if err == nil || errors.As(err, &answer) && answer.Code == jsonrpc.CodeMethodNotFound {
		return nil
	}
	return l.failure(ctx, "ping", err)
}

// callTool calls a tool. When ctx ends the server is told, and not waited for.
func (l *mcpLink) callTool(ctx context.Context, tool string, arguments json.RawMessage, host Host) (json.RawMessage, error) {
	params := &mcp.CallToolParams{Name: tool, Arguments: arguments}
	token := "gleitzeit-" + strconv.FormatInt(l.tokens.Add(1), 10)
	params.SetProgressToken(token)
	l.mu.Lock()
	l.hosts[token] = host
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.hosts, token)
		l.mu.Unlock()
	}()
	var raw rawResult
	defer l.wire.forget(&raw)
	_, err := l.session.CallTool(withRaw(ctx, &raw), params)
	if err != nil && (ctx.Err() != nil || raw.json == nil) { // else the SDK can't read it, but we can
		return nil, l.failure(ctx, "tool "+tool, err)
	}
	l.useful.Store(true)
	return toolResult(l.server, tool, raw.json)
}

// progress passes a notification on to the call that it belongs to.
func (l *mcpLink) progress(p *mcp.ProgressNotificationParams) {
	token, _ := p.ProgressToken.(string)
	message := strconv.FormatFloat(p.Progress, 'g', -1, 64)
	if p.Total > 0 {
		message += " of " + strconv.FormatFloat(p.Total, 'g', -1, 64)
	}
	l.mu.Lock() // held, so that nothing comes after the call's end
	defer l.mu.Unlock()
	if host := l.hosts[token]; host != nil {
		host.Progress(Progress{Message: strings.TrimSpace(message + " " + p.Message)})
	}
}

// failure tells what became of a request: cancelled, answered with an error
// or with nonsense, or left without an answer by a server that is gone.
func (l *mcpLink) failure(ctx context.Context, request string, err error) error {
	if ctx.Err() != nil {
		return endedError(ctx)
	}
	var answer *jsonrpc.Error
	if errors.As(err, &answer) && !errors.Is(err, mcp.ErrConnectionClosed) {
		return l.refused(request, answer)
	}
	select {
	case <-l.ending:
	case <-ctx.Done():
		return endedError(ctx)
	case <-time.After(mcpGrace): // it lives
		return protocols.Errorf(protocols.TaskResultInvalid, "MCP server %s, %s: %v", l.server, request, err)
	}
	select {
	case <-l.gone:
		return l.lost("during " + request + ": " + err.Error())
	case <-ctx.Done():
		return endedError(ctx)
	}
}

// refused keeps the codes of JSON-RPC that mean something to a caller.
func (l *mcpLink) refused(request string, e *jsonrpc.Error) error {
	code := protocols.TaskExecutionFailed
	switch e.Code {
	case jsonrpc.CodeInvalidParams:
		code = protocols.InvalidParams
	case jsonrpc.CodeMethodNotFound:
		code = protocols.MethodNotFound
	case jsonrpc.CodeInternalError:
		code = protocols.InternalError
	}
	return protocols.Errorf(code, "MCP server %s refused %s: %s", l.server, request, e.Message).With(struct {
		Server string          `json:"server"`
		Code   int64           `json:"code"`
		Data   json.RawMessage `json:"data,omitempty"`
	}{l.server, e.Code, e.Data})
}
