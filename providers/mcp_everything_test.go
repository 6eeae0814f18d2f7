package providers

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// This file holds the provider to servers that others have written.

// npmFolder is the folder with the servers from npm: GLEITZEIT_MCP_SERVERS, or
// the one into which .ci/mcp installs them, once.
func npmFolder(t testing.TB) string {
	t.Helper()
	for _, tool := range []string{"node", "npm", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			absent(t, tool+" is not installed")
		}
	}
	if dir := os.Getenv("GLEITZEIT_MCP_SERVERS"); dir != "" {
		return dir
	}
	out, err := exec.Command("../.ci/mcp").Output()
	if err != nil {
		absent(t, "npm can't install the MCP servers: "+err.Error())
	}
	return strings.TrimSpace(string(out))
}

// npmServer configures a server from npm that is started.
func npmServer(t testing.TB, name string, args ...string) MCPServer {
	t.Helper()
	script := filepath.Join(npmFolder(t), "node_modules/@modelcontextprotocol", name, "dist/index.js")
	if _, err := os.Stat(script); err != nil {
		absent(t, err.Error())
	}
	return MCPServer{Command: "node", Args: append([]string{script}, args...)}
}

// everythingAt starts the everything server on HTTP and returns its URL.
func everythingAt(t testing.TB, transport, path string) string {
	t.Helper()
	m := npmServer(t, "server-everything", transport)
	port := freePort(t)
	cmd := exec.Command(m.Command, m.Args...)
	cmd.Env = append(os.Environ(), "PORT="+port)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ready := make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if strings.Contains(lines.Text(), "on port "+port) {
				close(ready)
			}
		}
	}()
	select {
	case <-ready:
	case <-time.After(time.Minute):
		t.Fatal("the server did not start within a minute")
	}
	return "http://127.0.0.1:" + port + path
}

// freePort is a port that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// absent skips, but not where the servers have to be there.
func absent(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("GLEITZEIT_TEST_MCP") == "required" {
		t.Fatal(why)
	}
	t.Skip("SKIPPED: " + why)
}

// TestMCPEverything uses all that the reference server has, over each line.
func TestMCPEverything(t *testing.T) {
	for name, open := range map[string]func() MCPServer{
		"stdio": func() MCPServer { return npmServer(t, "server-everything") },
		"http":  func() MCPServer { return MCPServer{URL: everythingAt(t, "streamableHttp", "/mcp")} },
		"sse":   func() MCPServer { return MCPServer{URL: everythingAt(t, "sse", "/sse")} },
	} {
		t.Run(name, func(t *testing.T) { useEverything(t, open()) })
	}
}

func useEverything(t *testing.T, everything MCPServer) {
	s := openSet(t, Config{MCPServers: map[string]MCPServer{"everything": everything}})
	call := calling(t, s)
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
	useContent(t, call)
	useResources(t, s, call)
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
	cancelEverything(t, s)
}

// calling makes calls that must not fail.
func calling(t *testing.T, s *Set) func(method, params string) map[string]any {
	return func(method, params string) map[string]any {
		t.Helper()
		raw, err := s.Call(patience(t, time.Minute), "mcp", Call{Method: method, Parameters: json.RawMessage(params)}, nil)
		if err != nil {
			t.Fatalf("%s %s: %v", method, params, err)
		}
		var result map[string]any
		if err := json.Unmarshal(raw, &result); err != nil {
			t.Fatal(err)
		}
		return result
	}
}

// useContent asks for what is more than text.
func useContent(t *testing.T, call func(method, params string) map[string]any) {
	r := call("mcp/tool.get-tiny-image", `{}`)
	var images llmImages
	content, _ := json.Marshal(r["content"])
	if err := json.Unmarshal(content, &images); err != nil || len(images) != 1 || images[0].mediaType() != "image/png" {
		t.Errorf("get-tiny-image: %v, %d images in %s", err, len(images), content)
	}
	r = call("mcp/tool.get-resource-links", `{"count":2}`)
	if parts := r["content"].([]any); len(parts) != 3 || parts[1].(map[string]any)["type"] != "resource_link" || parts[1].(map[string]any)["uri"] == "" {
		t.Errorf("get-resource-links: %v", r)
	}
	r = call("mcp/tool.get-resource-reference", `{"resourceType":"Blob","resourceId":1}`)
	if text, _ := json.Marshal(r); !strings.Contains(string(text), `"blob":"`) {
		t.Errorf("get-resource-reference: %s", text)
	}
}

// useResources lists and reads resources and prompts.
func useResources(t *testing.T, s *Set, call func(method, params string) map[string]any) {
	r := call("mcp/resources/list", `{}`)
	resources, templates := r["resources"].([]any), r["templates"].([]any)
	if len(resources) < 5 || len(templates) < 2 || resources[0].(map[string]any)["server"] != "everything" {
		t.Errorf("resources/list: %v", r)
	}
	r = call("mcp/resources/read", `{"uri":"demo://resource/dynamic/text/7"}`)
	if text := r["response"].(string); !strings.HasPrefix(text, "Resource 7: ") || r["result"] != text {
		t.Errorf("a text: %v", r)
	}
	r = call("mcp/resources/read", `{"uri":"demo://resource/dynamic/blob/7","server":"everything"}`)
	p := r["content"].([]any)[0].(map[string]any)
	if data, err := base64.StdEncoding.DecodeString(p["data"].(string)); err != nil || !strings.HasPrefix(string(data), "Resource 7: ") || p["type"] != "blob" {
		t.Errorf("a blob: %v", r)
	}
	_, err := s.Call(patience(t, time.Minute), "mcp", Call{Method: "mcp/resources/read", Parameters: json.RawMessage(`{"uri":"demo://nothing"}`)}, nil)
	if _, is := err.(*protocols.Error); !is {
		t.Errorf("no such resource: %v", err)
	}
	if r = call("mcp/prompts/list", `{}`); len(r["prompts"].([]any)) < 4 {
		t.Errorf("prompts/list: %v", r)
	}
	for method, params := range map[string]string{
		"mcp/prompt.args-prompt": `{"city":"Wien","state":"Wien"}`,
		"mcp/prompts/get":        `{"name":"args-prompt","arguments":{"city":"Wien","state":"Wien"}}`,
	} {
		want := []any{map[string]any{"role": "user", "content": "What's weather in Wien, Wien?"}}
		if r = call(method, params); !reflect.DeepEqual(r["messages"], want) || r["response"] != "What's weather in Wien, Wien?" {
			t.Errorf("%s: %v", method, r)
		}
	}
	_, err = s.Call(patience(t, time.Minute), "mcp", Call{Method: "mcp/prompt.args-prompt", Parameters: json.RawMessage(`{}`)}, nil)
	wantError(t, err, protocols.InvalidParams)
}

// cancelEverything ends a call that would take long; the server goes on.
func cancelEverything(t *testing.T, s *Set) {
	ctx, cancel := context.WithCancel(context.Background())
	host := newLines()
	done := make(chan error, 1)
	go func() {
		_, err := s.Call(ctx, "everything", Call{
			Method: "mcp/tool.trigger-long-running-operation", Parameters: json.RawMessage(`{"duration":60,"steps":600}`),
		}, host)
		done <- err
	}()
	host.next(t)
	cancel()
	select {
	case err := <-done:
		wantError(t, err, protocols.TaskCancelled)
	case <-time.After(tooLong):
		t.Fatal("the cancel was not obeyed")
	}
	calling(t, s)("mcp/ping", `{}`)
}

// TestMCPFilesystem works on files through the server for them.
func TestMCPFilesystem(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := openSet(t, Config{MCPServers: map[string]MCPServer{"files": npmServer(t, "server-filesystem", dir)}})
	call := calling(t, s)
	file, _ := json.Marshal(filepath.Join(dir, "note.txt"))
	call("mcp/tool.write_file", `{"path":`+string(file)+`,"content":"Grüße\n"}`)
	if r := call("mcp/tool.read_text_file", `{"path":`+string(file)+`}`); r["response"] != "Grüße\n" {
		t.Errorf("%v", r)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "note.txt")); err != nil || string(data) != "Grüße\n" {
		t.Errorf("%q, %v", data, err)
	}
	_, err = s.Call(patience(t, time.Minute), "files", Call{Method: "mcp/tool.read_text_file", Parameters: json.RawMessage(`{"path":"/etc/hostname"}`)}, nil)
	if e := wantError(t, err, protocols.TaskExecutionFailed); !strings.Contains(e.Message, "outside allowed directories") {
		t.Errorf("%v", e)
	}
}

// TestMCPMemory keeps a graph in the server for it, beyond the server's life.
func TestMCPMemory(t *testing.T) {
	m := npmServer(t, "server-memory")
	m.Env = map[string]string{"MEMORY_FILE_PATH": filepath.Join(t.TempDir(), "memory.jsonl")}
	for life := range 2 {
		s := openSet(t, Config{MCPServers: map[string]MCPServer{"memory": m}})
		call := calling(t, s)
		if life == 0 {
			call("mcp/tool.create_entities", `{"entities":[{"name":"Ada","entityType":"person","observations":["wrote the first program"]}]}`)
		}
		r := call("mcp/tool.search_nodes", `{"query":"Ada"}`)
		if text, _ := json.Marshal(r["structured"]); !strings.Contains(string(text), "wrote the first program") {
			t.Errorf("life %d: %v", life, r)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
