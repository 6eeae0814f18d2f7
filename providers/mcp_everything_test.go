package providers

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// everythingVersion is the version of @modelcontextprotocol/server-everything
// that is installed when there is none.
const everythingVersion = "2026.8.31"

// everything configures the reference server from npm: at
// GLEITZEIT_MCP_EVERYTHING (the script, or the folder that holds
// node_modules), else in the cache folder, where npm installs it once.
func everything(t *testing.T) MCPServer {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		absent(t, "node is not installed")
	}
	dir := os.Getenv("GLEITZEIT_MCP_EVERYTHING")
	if strings.HasSuffix(dir, ".js") {
		return MCPServer{Command: "node", Args: []string{dir}}
	}
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(cache, "gleitzeit-test")
	}
	script := filepath.Join(dir, "node_modules/@modelcontextprotocol/server-everything/dist/index.js")
	if _, err := os.Stat(script); err != nil {
		installEverything(t, dir)
	}
	return MCPServer{Command: "node", Args: []string{script}}
}

func installEverything(t *testing.T, dir string) {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		absent(t, "npm is not installed")
	}
	cmd := exec.Command("npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", dir,
		"@modelcontextprotocol/server-everything@"+everythingVersion)
	if out, err := cmd.CombinedOutput(); err != nil {
		absent(t, "npm install: "+string(out))
	}
}

// absent skips, but never in CI.
func absent(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip("SKIPPED: " + why)
}

func TestMCPEverything(t *testing.T) {
	s := openSet(t, Config{MCPServers: map[string]MCPServer{"everything": everything(t)}})
	call := func(method, params string) map[string]any {
		t.Helper()
		raw, err := s.Call(patience(t, time.Minute), "mcp", Call{Method: method, Parameters: json.RawMessage(params)}, nil)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		var result map[string]any
		if err := json.Unmarshal(raw, &result); err != nil {
			t.Fatal(err)
		}
		return result
	}
	if r := call("mcp/tool.get-sum", `{"a":2,"b":3}`); r["result"] != "The sum of 2 and 3 is 5." || r["response"] != r["result"] {
		t.Errorf("get-sum: %v", r)
	}
	if r := call("mcp/tool.echo", `{"message":"hi"}`); r["result"] != "Echo: hi" {
		t.Errorf("the server's echo comes before the built-in one: %v", r)
	}
	if r := call("mcp/tool.add", `{"a":2,"b":3}`); r["result"] != 5.0 {
		t.Errorf("the built-in add is still there: %v", r)
	}
	if r := call("mcp/tool.get-structured-content", `{"location":"New York"}`); r["structured"] == nil || r["result"].(map[string]any)["temperature"] == nil {
		t.Errorf("get-structured-content: %v", r)
	}
	if r := call("mcp/tools/list", `{"server":"everything"}`); len(r["tools"].([]any)) < 8 {
		t.Errorf("tools/list: %v", r)
	}
	if r := call("mcp/server_info", ``); r["servers"].([]any)[0].(map[string]any)["name"] != "mcp-servers/everything" {
		t.Errorf("server_info: %v", r)
	}
	call("mcp/ping", `{}`)
	host := newLines()
	_, err := s.Call(patience(t, time.Minute), "everything", Call{
		Method: "mcp/tool.trigger-long-running-operation", Parameters: json.RawMessage(`{"duration":0.2,"steps":2}`),
	}, host)
	if err != nil {
		t.Fatal(err)
	}
	if line := host.next(t); line != "1 of 2" { // the last one may come after the answer
		t.Errorf("progress %q", line)
	}
}
