//go:build unix

package providers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// This file measures what the provider adds to what a real server takes: the
// same call by the provider, and by hand on the bare pipes or connection.

// BenchmarkMCPEverything calls the echo tool of the reference server.
func BenchmarkMCPEverything(b *testing.B) {
	b.Run("stdio/provider", func(b *testing.B) { callEcho(b, npmServer(b, "server-everything")) })
	b.Run("stdio/by hand", echoOverPipes)
	address := everythingAt(b, "streamableHttp", "/mcp")
	b.Run("http/provider", func(b *testing.B) { callEcho(b, MCPServer{URL: address}) })
	b.Run("http/by hand", func(b *testing.B) { echoOverHTTP(b, address) })
	b.Run("sse/provider", func(b *testing.B) { callEcho(b, MCPServer{URL: everythingAt(b, "sse", "/sse")}) })
}

func callEcho(b *testing.B, m MCPServer) {
	s := openSet(b, Config{MCPServers: map[string]MCPServer{"everything": m}})
	call := Call{Method: "mcp/tool.echo", Parameters: json.RawMessage(`{"message":"x"}`)}
	if _, err := s.Call(patience(b, tooLong), "everything", call, nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Call(context.Background(), "everything", call, nil); err != nil {
			b.Fatal(err)
		}
	}
}

const (
	bareInitialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bare","version":"1"}}}`
	bareReady      = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	bareEcho       = `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"message":"x"},"_meta":{"progressToken":"t"}}}`
)

func echoOverPipes(b *testing.B) {
	m := npmServer(b, "server-everything")
	cmd := exec.Command(m.Command, m.Args...)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	lines := bufio.NewReaderSize(out, 1<<20)
	until := func(mark string) {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				b.Fatal(err)
			}
			if strings.Contains(line, mark) {
				return
			}
		}
	}
	fmt.Fprintln(in, bareInitialize)
	until(`"id":1`)
	fmt.Fprintln(in, bareReady)
	for n := 2; b.Loop(); n++ {
		fmt.Fprintf(in, bareEcho+"\n", n)
		until("Echo: x")
	}
}

func echoOverHTTP(b *testing.B, address string) {
	session := ""
	post := func(body string) string {
		r, _ := http.NewRequest(http.MethodPost, address, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		if session != "" {
			r.Header.Set("Mcp-Session-Id", session)
			r.Header.Set("Mcp-Protocol-Version", "2025-11-25")
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		if session == "" {
			session = resp.Header.Get("Mcp-Session-Id")
		}
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			b.Fatal(err)
		}
		return string(answer)
	}
	post(bareInitialize)
	post(bareReady)
	for n := 2; b.Loop(); n++ {
		if answer := post(fmt.Sprintf(bareEcho, n)); !strings.Contains(answer, "Echo: x") {
			b.Fatal(answer)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// BenchmarkMCPIdle tells what a server costs that has been greeted and has
// nothing to do: of our heap, of our goroutines, and of its own memory.
func BenchmarkMCPIdle(b *testing.B) {
	b.Run("stdio", func(b *testing.B) { idle(b, npmServer(b, "server-everything")) })
	b.Run("http", func(b *testing.B) { idle(b, MCPServer{URL: everythingAt(b, "streamableHttp", "/mcp")}) })
}

func idle(b *testing.B, m MCPServer) {
	const servers = 8
	for b.Loop() {
		config := Config{MCPServers: map[string]MCPServer{}}
		for i := range servers {
			config.MCPServers[fmt.Sprint("s", i)] = m
		}
		heap, goroutines := inUse()
		s, err := Open(config, Options{Env: os.Getenv})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Call(patience(b, 2*tooLong), "mcp", Call{Method: "mcp/ping"}, nil); err != nil {
			b.Fatal(err)
		}
		after, more := inUse()
		b.ReportMetric(float64(after-heap)/1024/servers, "KiB/server")
		b.ReportMetric(float64(more-goroutines)/servers, "goroutines/server")
		if m.Command != "" {
			b.ReportMetric(float64(residentChildren())/1024/servers, "MiB-of-its-own")
		}
		s.Close()
	}
}

// inUse is what is alive on the heap, in bytes, and how many goroutines.
func inUse() (heap int64, goroutines int) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), runtime.NumGoroutine()
}

// residentChildren is the resident memory of our children, in KiB.
func residentChildren() (sum int) {
	for _, child := range childrenOf(os.Getpid()) {
		pid, _, _ := strings.Cut(child, " ")
		status, _ := os.ReadFile("/proc/" + pid + "/status")
		for _, line := range bytes.Split(status, []byte("\n")) {
			var kib int
			if _, err := fmt.Sscanf(string(line), "VmRSS: %d kB", &kib); err == nil {
				sum += kib
			}
		}
	}
	return sum
}
