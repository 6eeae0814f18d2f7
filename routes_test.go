package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"gleitzeit/providers/llmtest"
)

// busy is a model server that counts its calls, and refuses every second one
// if it is moody.
type busy struct {
	llmtest.Server
	moody            bool
	calls, now, most atomic.Int32
}

func (b *busy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := b.now.Add(1)
	defer b.now.Add(-1)
	for most := b.most.Load(); n > most && !b.most.CompareAndSwap(most, n); most = b.most.Load() {
	}
	if b.calls.Add(1)%2 == 0 && b.moody {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	b.Server.ServeHTTP(w, r)
}

// Of three servers one is dead and one answers 503 half the time: 200 chats all
// complete, no server sees more calls at once than it has slots, and history
// says of each chat that didn't start at once what it waited for.
func TestThreeServers(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	moody, good := &busy{moody: true}, &busy{}
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("gleitzeit.yaml", fmt.Sprintf(`
store: store
providers:
  dead: {kind: ollama, url: 'http://%s', slots: 5, breaker: {open: 300ms}}
  moody: {kind: ollama, url: '%s', slots: 3, breaker: {open: 300ms}}
  good: {kind: ollama, url: '%s', slots: 4}
`, dead.Addr(), serve(t, moody), serve(t, good)))
	write("chats.yaml", `
name: Chats
tasks:
  - id: chat
    method: llm/chat
    foreach: {items: "${1..200}", collect: response}
    parameters: {model: tiny, prompt: "say ${item}"}
    retry: {max_attempts: 6, base_delay: 0.01, max_delay: 0.05}
outputs: {answers: "${len(chat)}"}
`)
	run := func(args ...string) []byte {
		cmd := exec.Command("gleitzeit", args...)
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "XDG_CONFIG_HOME=" + dir}
		var failure bytes.Buffer
		cmd.Stderr = &failure
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("gleitzeit %s: %v\n%s", args, err, failure.Bytes())
		}
		return out
	}
	if out := run("run", "-q", "chats.yaml"); strings.TrimSpace(string(out)) != "200" {
		t.Errorf("answers: %s", out)
	}
	if n := moody.most.Load(); n < 1 || n > 3 {
		t.Errorf("the moody server had %d calls at once", n)
	}
	if n := good.most.Load(); n < 1 || n > 4 {
		t.Errorf("the good server had %d calls at once", n)
	}
	checkWaits(t, run("history", "@last", "-o", "json"))
}

func serve(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// checkWaits wants a reason for each start that came later than the items did,
// and the dead server's breaker among the rest.
func checkWaits(t *testing.T, history []byte) {
	var entries []struct {
		Type, Task, Text string
		Event            struct {
			Provider, Waited, For string
		}
	}
	if err := json.Unmarshal(history, &entries); err != nil {
		t.Fatal(err)
	}
	waited, on, opened := 0, map[string]int{}, false
	for _, e := range entries {
		switch e.Type {
		case "breaker.opened":
			opened = opened || strings.Contains(e.Text, "the breaker of dead opens")
		case "task.started":
			on[e.Event.Provider]++
			if (e.Event.Waited == "") != (e.Event.For == "") || e.Event.For != "" && !strings.Contains(e.Text, "it waited for "+e.Event.For) {
				t.Errorf("%s: %s waited for %q: %s", e.Task, e.Event.Waited, e.Event.For, e.Text)
			}
			if e.Event.For != "" {
				waited++
			}
		}
	}
	// 12 slots, of which the dead server's serve nobody.
	if waited < 200-12 {
		t.Errorf("only %d of 200 chats waited", waited)
	}
	if !opened {
		t.Error("the dead server's breaker never opened")
	}
	if on["good"] < 50 || on["moody"] == 0 {
		t.Errorf("starts: %v", on)
	}
}
