package server_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
)

// npmModules is the folder of the packages that .ci/mcp installs, once.
func npmModules(t *testing.T) string {
	out, err := exec.Command("../../.ci/mcp").Output()
	if err == nil {
		return filepath.Join(strings.TrimSpace(string(out)), "node_modules")
	}
	if os.Getenv("GLEITZEIT_TEST_MCP") == "required" {
		t.Fatal("npm can't install the clients:", err)
	}
	t.Skip("SKIPPED: npm can't install the clients:", err)
	return ""
}

// Clients that others have written work: npm's jayson and json-rpc-2.0.
func TestNPMClients(t *testing.T) {
	modules := npmModules(t)
	tokens := server.NewTokens(t.TempDir())
	secret, err := tokens.Create(server.Token{Name: "npm", Role: server.Submit})
	if err != nil {
		t.Fatal(err)
	}
	w := listenHTTP(t, &servertest.Fake{}, func(o *server.HTTPOptions) { o.Tokens, o.TokenRequired = tokens, true })
	w.srv.TeachForTest()
	cmd := exec.CommandContext(soon(t), "node", "testdata/clients.cjs", w.url, secret)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules, "FLOW="+flow)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := map[string]any{
		"jayson": []any{19.0, 19.0, -32601.0, 2.0},
		"fetch":  []any{19.0, -28002.0},
		"socket": []any{4850.0, []any{"workflow.submitted", "task.started", "task.waiting", "task.completed", "workflow.completed"}},
	}
	for name := range want {
		if !reflect.DeepEqual(got[name], want[name]) {
			t.Errorf("%s: got %v, want %v", name, got[name], want[name])
		}
	}
}
