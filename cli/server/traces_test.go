package server_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/cli/server/traces"
	"gleitzeit/eventlog"
)

// traced is a server whose collector is there.
func traced(t *testing.T, c *servertest.Collector) *fixture {
	collector := httptest.NewServer(c)
	t.Cleanup(collector.Close)
	o := options(&servertest.Fake{})
	o.Traces = traces.Options{URL: collector.URL + "/v1/traces", Resource: map[string]string{"service.name": "tested"}, Timeout: 200 * time.Millisecond}
	return start(t, eventlog.OpenMemory(eventlog.Options{}), o)
}

// come waits until so many spans have come, and returns them as text.
func come(t *testing.T, c *servertest.Collector, n int) string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if len(c.Spans()) >= n {
			return c.Lines()
		}
	}
	t.Fatalf("%d spans came, want %d:\n%s", len(c.Spans()), n, c.Lines())
	return ""
}

// TestTraces follows runs through a collector: a run is a span, below that of
// whoever submitted it, and its attempts are below it.
func TestTraces(t *testing.T) {
	c := &servertest.Collector{}
	f := traced(t, c)
	chain := servertest.Chain("chain", servertest.Work{Value: "kept to ourselves"}, servertest.Work{Fail: "it broke"})
	chain.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	id := f.finish(chain)
	lines := strings.Split(come(t, c, 3), "\n")
	root := field(lines[0], "span")
	for i, want := range [][]string{
		{"chain ", "trace=0af7651916cd43dd8448eb211c80319c", "parent=b7ad6b7169203331", "status=STATUS_CODE_ERROR", "gleitzeit.run.id=" + id, "gleitzeit.status=failed", "service.name=tested"},
		{"t1 ", "trace=0af7651916cd43dd8448eb211c80319c", "parent=" + root, "status=STATUS_CODE_UNSET", "gleitzeit.method=fake/work", "gleitzeit.provider=fake", "gleitzeit.outcome=completed"},
		{"t2 ", "parent=" + root, "status=STATUS_CODE_ERROR", `message="it broke"`, "error.type=TASK_EXECUTION_FAILED", "gleitzeit.attempt=1"},
	} {
		for _, part := range want {
			if !strings.Contains(lines[i], part) {
				t.Errorf("%s\nhas no %s", lines[i], part)
			}
		}
	}
	if strings.Contains(string(c.Sent()), "kept to ourselves") {
		t.Error("a result was told")
	}

	f.must(server.WorkflowRetry, server.RetryParams{ID: id}, nil)
	all := strings.Split(come(t, c, 5), "\n")
	i := slices.IndexFunc(all, func(line string) bool { return strings.Contains(line, "link="+root) })
	if i < 0 || field(all[i], "span") == root || field(all[i], "trace") != "0af7651916cd43dd8448eb211c80319c" || !strings.Contains(all[i], "+workflow.retried") {
		t.Errorf("tried again it is in\n%s", strings.Join(all, "\n"))
	}
}

func field(line, name string) string {
	_, rest, _ := strings.Cut(line, " "+name+"=")
	value, _, _ := strings.Cut(rest, " ")
	return value
}

// TestTracesAway has the collector hang, refuse and come back: nobody waits for
// it, and what happened meanwhile is told all the same.
func TestTracesAway(t *testing.T) {
	var status, asked atomic.Int64
	status.Store(http.StatusServiceUnavailable)
	hang := make(chan struct{})
	c := &servertest.Collector{Before: func() int {
		if asked.Add(1) == 1 {
			<-hang
		}
		return int(status.Load())
	}}
	defer func() { close(hang) }()
	f := traced(t, c)
	f.finish(servertest.Chain("first", servertest.Work{}))
	for deadline := time.Now().Add(30 * time.Second); asked.Load() < 2 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	f.finish(servertest.Chain("second", servertest.Work{})) // while it is away
	status.Store(0)
	lines := come(t, c, 4)
	for _, name := range []string{"first ", "second "} {
		if !strings.Contains(lines, name) {
			t.Errorf("no %sin\n%s", name, lines)
		}
	}
}
