package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// This file tells clients that don't want a call any more from those that only
// stop waiting for it. Both send notifications/cancelled, and many do so after a
// minute of their own accord: a run is not to end by that.

const cancelledMethod = "notifications/cancelled"

// impatient tells whether a cancellation means no more than that the client's
// patience is over, by what it says is the reason.
func impatient(params json.RawMessage) bool {
	var p struct {
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal(params, &p) // without a reason it isn't
	reason := strings.ToLower(p.Reason)
	for _, word := range []string{"timed out", "timeout", "time out", "deadline exceeded"} {
		if strings.Contains(reason, word) {
			return true
		}
	}
	return false
}

// tookBack tells whether a call's context has ended because the client took the
// call back, and not because the connection is gone.
func tookBack(ctx context.Context) bool { return errors.Is(context.Cause(ctx), context.Canceled) }

// patientTransport leaves out the cancellations of impatient clients: their
// calls go on, and nobody reads the answers.
type patientTransport struct{ sdk.Transport }

// Connect connects.
func (t *patientTransport) Connect(ctx context.Context) (sdk.Connection, error) {
	c, err := t.Transport.Connect(ctx)
	return &patientConnection{c}, err
}

type patientConnection struct{ sdk.Connection }

// Read returns the next message that counts.
func (c *patientConnection) Read(ctx context.Context) (jsonrpc.Message, error) {
	for {
		m, err := c.Connection.Read(ctx)
		if r, ok := m.(*jsonrpc.Request); err == nil && ok && r.Method == cancelledMethod && impatient(r.Params) {
			continue
		}
		return m, err
	}
}
