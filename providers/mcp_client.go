package providers

import (
	"context"
	"strconv"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// This file is what we are to a server: the handlers of what it may tell and
// ask us, and with them the capabilities that we claim.

// clientOptions are the handlers for one session with the server. What has no
// handler here is refused, and not claimed: the capabilities are empty but for
// those that follow from a handler.
func (l *mcpLink) clientOptions(s *mcpServer) *mcp.ClientOptions {
	o := &mcp.ClientOptions{
		Capabilities:                &mcp.ClientCapabilities{},
		ToolListChangedHandler:      func(context.Context, *mcp.ToolListChangedRequest) { l.forgetTools() },
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { l.progress(r.Params) },
	}
	l.asks(s, o)
	return o
}

// progress passes a notification on to the call that it belongs to, for which
// it is a sign of life.
func (l *mcpLink) progress(p *mcp.ProgressNotificationParams) {
	token, _ := p.ProgressToken.(string)
	message := strconv.FormatFloat(p.Progress, 'g', -1, 64)
	if p.Total > 0 {
		message += " of " + strconv.FormatFloat(p.Total, 'g', -1, 64)
	}
	l.mu.Lock() // held, so that nothing comes after the call's end
	defer l.mu.Unlock()
	if call := l.calls[token]; call != nil {
		call.host.Progress(Progress{Message: strings.TrimSpace(message + " " + p.Message)})
	}
}
