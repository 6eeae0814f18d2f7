package providers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/protocols"
)

// This file is one life of an MCP server: the line to it and the session on
// that line.

const (
	mcpGrace   = time.Second // after stdin has closed, and again after SIGTERM
	mcpStderr  = 64 << 10    // bytes of stderr kept
	mcpQuoted  = 8 << 10     // bytes of stderr put into an error
	mcpMessage = 256 << 20   // bytes of one message
)

// mcpLink is a server that runs and has been greeted.
type mcpLink struct {
	server  string
	line    mcpLine
	session *mcp.ClientSession
	ending  chan struct{} // closed by watch: the server or the session has ended
	gone    chan struct{} // closed by watch: both have
	useful  atomic.Bool   // a call has been answered
	tokens  atomic.Int64

	mu      sync.Mutex
	calls   map[string]*mcpCall // under way, by progress token
	known   []mcpTool           // nil: to be asked for
	puzzles int                 // questions of which it isn't known whose they are
	stirred chan struct{}       // closed when calls, or what is asked for them, change; nil: nobody waits
}

// mcpCall is one call under way.
type mcpCall struct {
	host   Host
	ctx    context.Context // ends with the call
	number int64           // they count up
	run    string          // that it is of

	asks int  // questions that are its own, under the link's mu, as what follows
	over bool // it isn't under way any more
	lost bool // and has no answer: it was given up
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

// dial starts the server, or reaches it, and greets it. When that fails
// nothing of it is left.
func (s *mcpServer) dial(ctx context.Context) (*mcpLink, error) {
	lines := []func() (mcpLine, error){func() (mcpLine, error) { return s.startPipes() }}
	if s.config.URL != "" {
		lines = s.httpLines()
	}
	var link *mcpLink
	var err error
	for _, open := range lines {
		var again bool
		if link, again, err = s.greet(ctx, open); !again {
			break
		}
	}
	return link, err
}

// greet opens a line and a session on it. again tells that another sort of
// line may be the right one.
func (s *mcpServer) greet(ctx context.Context, open func() (mcpLine, error)) (link *mcpLink, again bool, err error) {
	line, err := open()
	if err != nil {
		return nil, false, err
	}
	l := &mcpLink{
		server: s.name, line: line,
		ending: make(chan struct{}), gone: make(chan struct{}), calls: map[string]*mcpCall{},
	}
	raw := &rawResult{}
	client := mcp.NewClient(&mcp.Implementation{Name: "gleitzeit", Version: "1"}, l.clientOptions(s))
	//lint:ignore SA1019 servers of earlier revisions ask for roots
	client.AddRoots(s.config.roots()...)
	l.session, err = client.Connect(withRaw(ctx, raw), line, nil)
	if err != nil {
		answer := raw.got()
		return nil, slices.Contains(otherLine, answer.status), l.unreachable(ctx, answer, err)
	}
	line.forget(raw)
	return l, false, nil
}

// otherLine are the statuses with which a server of the older sort answers to
// what it doesn't know.
var otherLine = []int{http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed}

// unreachable ends a server that couldn't be greeted, and says why.
func (l *mcpLink) unreachable(ctx context.Context, answer mcpAnswer, err error) error {
	why := err.Error()
	fault := l.line.fault("initialize", answer)
	if pipes, is := l.line.(*mcpPipes); is && pipes.kid.endsWithin(drainTime) && pipes.kid.code() > 0 {
		why = pipes.kid.exit()
	} else if ctx.Err() != nil {
		why, fault = "no answer within "+mcpStart.String(), nil
	}
	l.line.end()
	l.line.drain()
	if fault != nil {
		return fault
	}
	return l.explain(protocols.ProviderUnhealthy, "MCP server "+l.server+" did not start: "+why)
}

// explain makes an error that quotes the end of what the server printed.
func (l *mcpLink) explain(code protocols.Code, message string) *protocols.Error {
	words := l.line.words()
	return protocols.Errorf(code, "%s%s", message, quoted(words)).With(struct {
		Server string `json:"server"`
		Exit   string `json:"exit,omitempty"`
		Stderr string `json:"stderr,omitempty"`
	}{l.server, l.line.fate(), lastBytes(words, mcpQuoted)})
}

// lost is the error of a server that is gone.
func (l *mcpLink) lost(during string) *protocols.Error {
	return l.explain(protocols.ConnectionLost, "MCP server "+l.server+" "+l.line.fate()+" ("+during+")")
}

// watch returns when the server and the session have both ended; the end of
// one is the end of the other.
func (l *mcpLink) watch() {
	over := make(chan struct{})
	go func() {
		_ = l.session.Wait() // the error is known from the line
		close(over)
	}()
	select {
	case <-l.line.ended():
	case <-over:
	}
	close(l.ending)
	l.line.end()
	l.line.drain()
	<-over
	_ = l.session.Close() // lets go of its subscriptions
	close(l.gone)
}

// close ends the server and waits for watch.
func (l *mcpLink) close() {
	l.line.end()
	<-l.gone
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
		err := l.eachPage(ctx, "tools/list", func(ctx context.Context, cursor string) (any, string, error) {
			page, err := l.session.ListTools(ctx, &mcp.ListToolsParams{Cursor: cursor})
			if err != nil {
				return nil, "", err
			}
			for _, t := range page.Tools {
				schema, _ := json.Marshal(t.InputSchema) // was read from JSON
				tools = append(tools, mcpTool{t.Name, t.Description, schema})
			}
			return page, page.NextCursor, nil
		})
		if err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	l.known = tools
	l.mu.Unlock()
	return tools, nil
}

// maxPages bounds a list that a server gives in parts.
const maxPages = 1000

// eachPage asks for a list until there is no more of it.
func (l *mcpLink) eachPage(ctx context.Context, request string, page func(ctx context.Context, cursor string) (any, string, error)) error {
	cursor := ""
	for range maxPages {
		_, err := l.ask(ctx, request, nil, func(ctx context.Context, _ string) (result any, err error) {
			result, cursor, err = page(ctx, cursor)
			return result, err
		})
		if err != nil || cursor == "" {
			return err
		}
	}
	return l.endless(request)
}

func (l *mcpLink) endless(request string) error {
	return protocols.Errorf(protocols.TaskResultInvalid, "MCP server %s, %s: the list has no end", l.server, request)
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
	_, err := l.ask(ctx, "ping", nil, func(ctx context.Context, _ string) (any, error) { return nil, l.session.Ping(ctx, nil) })
	var e *protocols.Error
	if errors.As(err, &e) && e.Code == protocols.MethodNotFound {
		return nil
	}
	return err
}

// callTool calls a tool. When ctx ends the server is told, and not waited for.
func (l *mcpLink) callTool(ctx context.Context, tool string, arguments json.RawMessage, host Host) (json.RawMessage, error) {
	raw, err := l.ask(ctx, "tool "+tool, host, func(ctx context.Context, token string) (any, error) {
		params := &mcp.CallToolParams{Name: tool, Arguments: arguments}
		params.SetProgressToken(token)
		if trace, _ := ctx.Value(traceKey{}).(string); trace != "" {
			params.Meta["traceparent"] = trace
		}
		return l.session.CallTool(ctx, params)
	})
	if err != nil {
		return nil, err
	}
	return toolResult(l.server, tool, raw)
}

// ask makes one request and returns the text of its result. While it lasts
// the server's notes of progress with the token go to the host.
func (l *mcpLink) ask(ctx context.Context, request string, host Host, do func(ctx context.Context, token string) (any, error)) (json.RawMessage, error) {
	inner, stop := context.WithCancelCause(ctx)
	number := l.tokens.Add(1)
	token := "gleitzeit-" + strconv.FormatInt(number, 10)
	if host != nil {
		call := &mcpCall{host: host, ctx: inner, number: number}
		inner = context.WithValue(inner, callKey{}, call)
		defer l.enter(ctx, token, call)()
	}
	raw := &rawResult{stop: stop}
	defer raw.release()
	defer l.line.forget(raw)
	result, err := do(withRaw(inner, raw), token)
	answer := raw.got()
	switch {
	case err != nil && (ctx.Err() != nil || answer.json == nil): // else the SDK can't read it, but we can
		stop(nil)
		return nil, l.failure(ctx, request, answer, err)
	case answer.json == nil: // the SDK had it already
		if answer.json, err = encode(result); err != nil {
			return nil, err
		}
	}
	l.useful.Store(true)
	return l.line.clean(answer.json), nil
}

// failure tells what became of a request: cancelled, answered with an error
// or with nonsense, or left without an answer by a server that is gone.
func (l *mcpLink) failure(ctx context.Context, request string, answer mcpAnswer, err error) error {
	if ctx.Err() != nil {
		return endedError(ctx)
	}
	if answer.noSession {
		l.line.end() // so that the next call greets the server anew
		return &noSession{protocols.Errorf(protocols.ConnectionLost, "MCP server %s has dropped the session (during %s)", l.server, request)}
	}
	if fault := l.line.fault(request, answer); fault != nil {
		if l.line.ended() != nil { // a fault of pipes is their end
			select {
			case <-l.gone:
			case <-ctx.Done():
			}
		}
		return fault
	}
	var refusal *jsonrpc.Error
	if errors.As(err, &refusal) && !errors.Is(err, mcp.ErrConnectionClosed) {
		return l.refused(request, refusal)
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

// noSession is the error of a request that the server didn't look at, since it
// has forgotten us.
type noSession struct{ err *protocols.Error }

func (e *noSession) Error() string { return e.err.Error() }

// Unwrap gives the error that crosses the border.
func (e *noSession) Unwrap() error { return e.err }

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
