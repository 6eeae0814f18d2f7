//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// chaosNode is a server, and whoever starts it again when it has ended.
type chaosNode struct {
	t      *testing.T
	dir    string
	port   int
	redis  string // its URL, through the proxy
	proxy  *chaosProxy
	client http.Client
	hurt   atomic.Bool
	ended  atomic.Int64 // how often by itself

	mu     sync.Mutex
	cmd    *exec.Cmd
	killed bool // the next end is ours
	gone   chan struct{}
}

func newChaosNode(t *testing.T, i int, proxy *chaosProxy, lease time.Duration, provider string) *chaosNode {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	n := &chaosNode{t: t, dir: filepath.Join(t.TempDir(), fmt.Sprint("node", i)), port: free.Addr().(*net.TCPAddr).Port, proxy: proxy,
		redis:  fmt.Sprintf("redis://%s?store=chaos&partitions=%s&lease=%s", proxy.listen.Addr(), chaosPartitions(), lease),
		client: http.Client{Timeout: 5 * time.Second}}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("crash_limit: 0\nproviders:\n  far: {kind: openai, url: '%s', models: [m], slots: %d, scope: cluster}\n", provider, chaosSlots)
	if err := os.WriteFile(filepath.Join(n.dir, "gleitzeit.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.kill)
	return n
}

// chaosPartitions is into how many parts the store is divided.
func chaosPartitions() string {
	if n := os.Getenv("GLEITZEIT_CHAOS_PARTITIONS"); n != "" {
		return n
	}
	return "16"
}

// command is one of this node's machine.
func (n *chaosNode) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "gleitzeit", args...)
	cmd.Dir = n.dir
	cmd.Env = []string{"HOME=" + n.dir, "PATH=" + os.Getenv("PATH"), "GLEITZEIT_BACKEND=redis", "GLEITZEIT_REDIS_URL=" + n.redis,
		fmt.Sprint("GLEITZEIT_PORT=", n.port)}
	return cmd
}

// start starts the server, again and again when it ends by itself.
func (n *chaosNode) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	log, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Error(err)
		return
	}
	defer log.Close()
	cmd := n.command(context.Background(), "server", "start", "--log-level", "info")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		n.t.Error(err)
		return
	}
	gone := make(chan struct{})
	n.cmd, n.gone, n.killed = cmd, gone, false
	go func() {
		_ = cmd.Wait()
		n.mu.Lock()
		again := !n.killed
		n.mu.Unlock()
		close(gone)
		if again {
			n.ended.Add(1)
			n.t.Logf("a server has ended by itself:\n%s", n.tail(2000))
			time.Sleep(time.Second)
			n.start()
		}
	}()
}

func (n *chaosNode) pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd.Process.Pid
}

// kill is SIGKILL.
func (n *chaosNode) kill() {
	n.mu.Lock()
	if n.cmd == nil {
		n.mu.Unlock()
		return
	}
	n.killed = true
	_ = n.cmd.Process.Kill()
	gone := n.gone
	n.mu.Unlock()
	<-gone
}

// stopFor is SIGSTOP, and SIGCONT after a while.
func (n *chaosNode) stopFor(d time.Duration) {
	n.mu.Lock()
	process := n.cmd.Process
	n.mu.Unlock()
	_ = process.Signal(syscall.SIGSTOP)
	time.Sleep(d)
	_ = process.Signal(syscall.SIGCONT)
}

// end is SIGTERM; the server must obey.
func (n *chaosNode) end() error {
	n.mu.Lock()
	n.killed = true
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	gone := n.gone
	n.mu.Unlock()
	select {
	case <-gone:
		return nil
	case <-time.After(time.Minute):
	}
	_ = n.cmd.Process.Signal(syscall.SIGQUIT) // it tells what it does
	<-gone
	return fmt.Errorf("%s doesn't end:\n%s", n.dir, n.tail(100_000))
}

// await waits until the server answers.
func (n *chaosNode) await() {
	var err error
	for deadline := time.Now().Add(chaosPatience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = n.call("workflow/list", map[string]any{"limit": 1}, nil); err == nil {
			return
		}
	}
	n.t.Errorf("%s doesn't answer: %v\n%s", n.dir, err, n.tail(4000))
}

// tail is the end of what the server has said, but for its answers.
func (n *chaosNode) tail(most int) string {
	log, _ := os.ReadFile(filepath.Join(n.dir, "log"))
	var lines []string
	for line := range strings.Lines(string(log)) {
		if !strings.Contains(line, "msg=request") && !strings.Contains(line, "msg=call") {
			lines = append(lines, line)
		}
	}
	text := strings.Join(lines, "")
	return text[max(0, len(text)-most):]
}

// chaosError is an answer that is an error.
type chaosError struct {
	Code    int
	Message string
}

func (e *chaosError) Error() string { return fmt.Sprintf("%s (%d)", e.Message, e.Code) }

// call is one JSON-RPC call.
func (n *chaosNode) call(method string, params, result any) error {
	asked, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	said, err := n.client.Post(fmt.Sprintf("http://127.0.0.1:%d/rpc", n.port), "application/json", bytes.NewReader(asked))
	if err != nil {
		return err
	}
	defer said.Body.Close()
	var answer struct {
		Result json.RawMessage
		Error  *chaosError
	}
	if err := json.NewDecoder(said.Body).Decode(&answer); err != nil {
		return fmt.Errorf("HTTP %d: %w", said.StatusCode, err)
	}
	switch {
	case answer.Error != nil:
		return answer.Error
	case answer.Result == nil:
		return errors.New("an answer without a result")
	case result == nil:
		return nil
	}
	return json.Unmarshal(answer.Result, result)
}
