package providers

import (
	"context"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// This file has the texts of results as servers wrote them, for lines whose
// messages all pass through one connection.

// mcpWire is such a connection. The SDK would read a result into its own
// types, which round long numbers and know no new kinds of content.
type mcpWire struct {
	mcp.Connection

	mu    sync.Mutex
	wants map[jsonrpc.ID]*rawResult
}

func newMCPWire(c mcp.Connection) *mcpWire {
	return &mcpWire{Connection: c, wants: map[jsonrpc.ID]*rawResult{}}
}

// forget drops a wish.
func (w *mcpWire) forget(r *rawResult) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.wants, r.got().id)
}

// Read hands the texts that were asked for to those who asked.
func (w *mcpWire) Read(ctx context.Context) (jsonrpc.Message, error) {
	message, err := w.Connection.Read(ctx)
	if response, is := message.(*jsonrpc.Response); is && err == nil && response.Error == nil {
		w.mu.Lock()
		if r := w.wants[response.ID]; r != nil {
			r.change(func(a *mcpAnswer) { a.json = response.Result })
		}
		w.mu.Unlock()
	}
	return message, err
}

// Write notes whose answer is wanted.
func (w *mcpWire) Write(ctx context.Context, message jsonrpc.Message) error {
	request, is := message.(*jsonrpc.Request)
	if r := wanted(ctx); r != nil && is && request.IsCall() {
		w.mu.Lock()
		delete(w.wants, r.got().id)
		r.begin(request.ID)
		w.wants[request.ID] = r
		w.mu.Unlock()
	}
	return w.Connection.Write(ctx, message)
}
