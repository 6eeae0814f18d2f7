package server_test

import (
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/replay"
)

// scraped are the figures of GET /metrics, as Prometheus's own parser reads them.
type scraped map[string]*dto.MetricFamily

func (w *web) scrape(headers ...string) scraped {
	w.t.Helper()
	status, text := w.do("GET", "/metrics", "", headers...)
	if status != http.StatusOK {
		w.t.Fatalf("%d: %s", status, text)
	}
	families, err := new(expfmt.TextParser).TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		w.t.Fatalf("%v in:\n%s", err, text)
	}
	return families
}

// value is that of the series with those labels, in order; of a histogram the
// number of observations.
func (s scraped) value(name string, labels ...string) float64 {
	for _, m := range s[name].GetMetric() {
		var have []string
		for _, l := range m.Label {
			have = append(have, l.GetValue())
		}
		if strings.Join(have, " ") != strings.Join(labels, " ") {
			continue
		}
		switch {
		case m.Counter != nil:
			return m.Counter.GetValue()
		case m.Gauge != nil:
			return m.Gauge.GetValue()
		}
		return float64(m.Histogram.GetSampleCount())
	}
	return -1
}

func (s scraped) must(t *testing.T, want map[string]float64) {
	t.Helper()
	for key, v := range want {
		words := strings.Split(key, " ")
		if got := s.value("gleitzeit_"+words[0], words[1:]...); got != v {
			t.Errorf("%s: %g, want %g", key, got, v)
		}
	}
}

func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	open := func() *eventlog.Log {
		log, err := eventlog.Open(dir, eventlog.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return log
	}
	counts := map[string]float64{
		"runs_submitted_total outside": 3, "runs_ended_total completed": 1, "runs_ended_total failed": 1,
		"run_duration_seconds completed": 1, "tasks_ended_total completed": 2, "tasks_ended_total failed": 1,
		"attempts_ended_total fake completed ": 2, "attempts_ended_total fake failed execution": 1, "attempt_duration_seconds fake": 3,
		"log_events_total workflow.submitted": 3,
	}
	fake := &servertest.Fake{Released: make(chan struct{})}
	w := listenOn(t, open(), fake, nil)
	w.scrape().must(t, map[string]float64{"runs running": 0, "slots": 64, "slots_in_use": 0, "followers": 0})
	w.finish(servertest.Chain("good", servertest.Work{}, servertest.Work{}))
	w.finish(servertest.Chain("bad", servertest.Work{Fail: "no"}))
	started := make(chan struct{})
	held := w.submit(servertest.Chain("held", servertest.Work{Hold: true}))
	go func() {
		defer close(started)
		number, _ := replay.NumberOf(held)
		for rec := range w.log.FollowStream(soon(t), replay.Stream(number), 1) {
			if rec.Type == "task.started" {
				return
			}
		}
	}()
	<-started
	w.rpc(server.WorkflowGet, server.GetParams{ID: "nothing"})
	w.rpc("no/such", nil)
	w.do("GET", "/nowhere", "")
	got := w.scrape()
	got.must(t, counts)
	got.must(t, map[string]float64{
		"runs running": 1, "slots_in_use": 1, "queue_running_attempts default": 1, "queue_pending_runs default": 0, "ready_tasks": 0,
		"provider_slots_in_use fake": 1, "provider_slots fake": 64, "provider_waiting_tasks fake": 0,
		"rpc_calls_total workflow/get WORKFLOW_NOT_FOUND": 1, "rpc_calls_total other METHOD_NOT_FOUND": 1, "rpc_call_duration_seconds workflow/get": 1,
		"http_requests_total other 404": 1, "http_requests_total POST /rpc 200": 2, "http_requests_total GET /metrics 200": 1,
		"log_trouble": 0, "build_info test": 1, "log_last": float64(w.log.Last()),
	})

	docs, err := os.ReadFile("../../docs/server.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range got {
		if !strings.Contains(string(docs), "`"+name+"`") {
			t.Errorf("docs/server.md doesn't name %s", name)
		}
	}

	// Another process goes on counting, though the past is gone.
	w.stop()
	again := listenOn(t, open(), fake, nil)
	got = again.scrape()
	counts["attempts_ended_total fake interrupted "], counts["attempt_duration_seconds fake"] = 1, 4
	got.must(t, counts)
	if v := got.value("gleitzeit_rpc_calls_total", "workflow/get", "WORKFLOW_NOT_FOUND"); v != -1 {
		t.Errorf("calls of another process: %g", v)
	}
	for _, run := range []uint64{1, 2} {
		if err := again.log.Delete(replay.Stream(run)); err != nil {
			t.Fatal(err)
		}
	}
	again.scrape().must(t, counts)
	again.stop()
	last := listenOn(t, open(), fake, nil)
	last.scrape().must(t, counts)
}

// Who follows is counted while he does.
func TestMetricsOfFollowers(t *testing.T) {
	w := listenHTTP(t, &servertest.Fake{}, nil)
	followers := func(want float64) {
		t.Helper()
		for ctx := soon(t); w.scrape().value("gleitzeit_followers") != want; time.Sleep(time.Millisecond) {
			if ctx.Err() != nil {
				t.Fatalf("there are never %g followers", want)
			}
		}
	}
	resp, err := w.client.Get(w.url + "/log/follow")
	if err != nil {
		t.Fatal(err)
	}
	followers(1)
	w.scrape().must(t, map[string]float64{"http_streams": 1})
	resp.Body.Close()
	followers(0)
}

// A line of the log says who asked for what, and nothing of what was sent.
func TestLog(t *testing.T) {
	tokens := server.NewTokens(t.TempDir())
	secret, _ := tokens.Create(server.Token{Name: "ann", Role: server.Admin})
	var log lockedBuffer
	f := start(t, eventlog.OpenMemory(eventlog.Options{}), server.Options{Scheduler: servertest.Options(&servertest.Fake{}),
		Logger: slog.New(slog.NewTextHandler(&log, nil))})
	url, err := f.srv.ListenHTTP(server.HTTPOptions{Host: "127.0.0.1", Tokens: tokens})
	if err != nil {
		t.Fatal(err)
	}
	w := &web{f, url, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}}
	w.rpc(server.WorkflowGet, server.GetParams{ID: "hushhush"}, "Authorization: Bearer "+secret)
	w.do("GET", "/hushhush?hushhush=hushhush", "")
	f.stop()
	for _, want := range []string{`msg=call method=workflow/get outcome=WORKFLOW_NOT_FOUND client="token ann" took=`,
		`msg=request route="POST /rpc" status=200 from=127.0.0.1:`, `msg=request route=other status=404 from=127.0.0.1:`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "hushhush") || strings.Contains(log.String(), secret) {
		t.Errorf("the log says what was sent:\n%s", log.String())
	}
}

// lockedBuffer is a buffer that many goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestMetricsNeedRole(t *testing.T) {
	tokens := server.NewTokens(t.TempDir())
	reader, _ := tokens.Create(server.Token{Name: "prometheus", Role: server.Read})
	worker, _ := tokens.Create(server.Token{Name: "worker", Role: server.Worker})
	w := listenHTTP(t, nil, func(o *server.HTTPOptions) { o.Tokens, o.TokenRequired = tokens, true })
	for header, want := range map[string]int{"X: y": 401, "Authorization: Bearer gz_x": 401, "Authorization: Bearer " + worker: 403, "Authorization: Bearer " + reader: 200} {
		if status, text := w.do("GET", "/metrics", "", header); status != want {
			t.Errorf("%s: %d, want %d: %s", header, status, want, text)
		}
	}
}
