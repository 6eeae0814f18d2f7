package providers

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/protocols"
)

// This file says what the ways to an MCP server have in common: the pipes of
// a child (mcp_pipes.go) and HTTP (mcp_http.go).

// mcpLine is the way to one server. The SDK's session sits on top of it.
type mcpLine interface {
	mcp.Transport
	// ended is closed when the server has ended by itself; nil where only the
	// session can tell.
	ended() <-chan struct{}
	// end ends the server, or the session with it, in the order that the
	// protocol asks for. It may be called twice.
	end()
	// drain is called after end, and waits for what is still being read.
	drain()
	// fate says in words what became of the server, once it has been drained.
	fate() string
	// words is the end of what the server printed for people.
	words() string
	// fault tells a failure of the line itself from one of the server's
	// answer, nil if it is none.
	fault(request string, answer mcpAnswer) *protocols.Error
	// clean takes out of a result what only the line knows to be secret.
	clean(json.RawMessage) json.RawMessage
	// forget drops a wish that may never be fulfilled.
	forget(*rawResult)
}

// rawResult is a place for the text of one result, and for what HTTP said
// about the request.
type rawResult struct {
	// stop ends the request, for a reason that its answer gave.
	stop context.CancelCauseFunc

	mu     sync.Mutex
	answer mcpAnswer
	open   int  // of HTTP's answers
	over   bool // nobody wants more of it
}

// mcpAnswer is what came of a request.
type mcpAnswer struct {
	id   jsonrpc.ID
	json json.RawMessage // nil: no result, or none that could be had as a text

	status     int           // of an answer that is no success, else 0
	spoken     bool          // it speaks JSON-RPC
	reason     string        // else the server's words for it
	retryAfter time.Duration // as it wishes
	noSession  bool          // the server knows our session no more
	failure    error         // no answer came, or none that could be taken
}

// begin makes room for the answer to a request. One call may take several;
// the last one's answer is the call's.
func (r *rawResult) begin(id jsonrpc.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = mcpAnswer{id: id}
}

// change adds to the answer.
func (r *rawResult) change(do func(*mcpAnswer)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do(&r.answer)
}

// refuse ends the request because of its answer.
func (r *rawResult) refuse(why error) {
	r.change(func(a *mcpAnswer) { a.failure = why })
	if r.stop != nil {
		r.stop(why)
	}
}

// release ends what is left of the request, once nobody wants more of it. An
// answer over HTTP that is about to end may do so, for then its connection is
// good for another request.
func (r *rawResult) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.open == 0 {
		r.stop(nil)
		return
	}
	time.AfterFunc(mcpGoodbye, func() { r.stop(nil) })
}

// opened and closed count HTTP's answers.
func (r *rawResult) opened() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open++
}

func (r *rawResult) closed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open--; r.over && r.open == 0 {
		r.stop(nil)
	}
}

// got is what there is so far.
func (r *rawResult) got() mcpAnswer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answer
}

type rawKey struct{}

// withRaw asks that the result of a request made with the context be put
// into r.
func withRaw(ctx context.Context, r *rawResult) context.Context {
	return context.WithValue(ctx, rawKey{}, r)
}

// wanted is the place that a request's result is wanted in, nil for none.
func wanted(ctx context.Context) *rawResult {
	r, _ := ctx.Value(rawKey{}).(*rawResult)
	return r
}
