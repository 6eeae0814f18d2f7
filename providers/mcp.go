package providers

import (
	"context"
	"encoding/json"

	"gleitzeit/protocols"
)

type mcpProvider struct {
	servers *mcpServers
	only    string
}

type mcpServers struct{}

func newMCPServers(map[string]MCPServer, func(string) string, *children) *mcpServers {
	return &mcpServers{}
}

func (*mcpServers) close() {}

func newMCP(name string, c ProviderConfig, d deps) (Provider, error) {
	return &mcpProvider{servers: d.servers}, nil
}

func (m *mcpProvider) Call(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	return nil, protocols.Errorf(protocols.MethodNotSupported, "mcp/v1 has no method %s", call.Method)
}

func (m *mcpProvider) Check(ctx context.Context) Health { return Health{Status: "healthy"} }

func (m *mcpProvider) Close() error { return nil }
