package server

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"time"

	"gleitzeit/cli/server/metrics"
	"gleitzeit/protocols"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// This file answers GET /metrics.

// countWithin is how long a scrape waits until all of the log is counted. That
// takes so long only once in a store's life.
const countWithin = 5 * time.Second

// metrics answers with all figures in the text format of Prometheus.
func (h *httpDoor) metrics(w http.ResponseWriter, r *http.Request, p *Peer) {
	if err := p.may(Method{Name: "/metrics", Role: Read}); err != nil {
		refuse(w, err)
		return
	}
	text, err := h.scrape(r.Context())
	if err != nil {
		refuse(w, err)
		return
	}
	writeAs(w, http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", text)
}

// scrape makes the text. While the log can't be read it has only what is known
// without it, that there is trouble first of all.
func (h *httpDoor) scrape(ctx context.Context) ([]byte, error) {
	counting, enough := context.WithTimeout(ctx, countWithin)
	defer enough()
	var all [][]*metrics.Family
	parts := h.server.parts()
	if h.server.trouble() != nil {
		parts, all = nil, [][]*metrics.Family{{logTrouble(1)}}
	}
	for _, part := range parts {
		its, err := part.logged(ctx, counting)
		if err != nil {
			return nil, err
		}
		all = append(all, its)
	}
	var out bytes.Buffer
	_ = metrics.Write(&out, metrics.Sum(all...)) // a buffer takes everything
	_ = metrics.Write(&out, h.doorFigures())
	f := h.server.figures
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = metrics.Write(&out, []*metrics.Family{f.calls, f.callTime, f.requests})
	return out.Bytes(), nil
}

// parts are the servers of the logs that this process has: of a front many, else
// one.
func (s *Server) parts() []*Server {
	if s.router == nil {
		return []*Server{s}
	}
	return slices.Collect(maps.Values(s.router.Servers()))
}

// Count counts what happens in the log for the figures, until the server closes.
func (s *Server) Count() {
	s.welcome(func() { s.keeper.Keep(s.quit) })
}

// logged are the figures of the log, and of what runs.
func (s *Server) logged(ctx, counting context.Context) ([]*metrics.Family, error) {
	err := s.keeper.CatchUp(counting)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, protocols.Errorf(protocols.SystemShutdown, "what happened so far is still being counted").With(map[string]float64{"retry_after": 5})
	}
	if err != nil {
		return nil, err
	}
	now, err := s.nowadays(ctx)
	return append(append(s.keeper.Families(), now...), s.logFigures()...), err
}

// gauge makes a family of figures of this moment.
func gauge(name, help string, labels ...string) *metrics.Family {
	return &metrics.Family{Name: name, Help: help, Kind: metrics.Gauge, Labels: labels}
}

// one is a family of a single figure.
func one(kind metrics.Kind, name, help string, v float64) *metrics.Family {
	f := &metrics.Family{Name: name, Help: help, Kind: kind}
	f.Add(v)
	return f
}

// nowadays are the figures of what runs.
func (s *Server) nowadays(ctx context.Context) ([]*metrics.Family, error) {
	runs := gauge("gleitzeit_runs", "Runs that have not ended, by status.", "status")
	pending := gauge("gleitzeit_queue_pending_runs", "Runs of which nothing has started yet, by queue.", "queue")
	busy := gauge("gleitzeit_queue_running_attempts", "Attempts that run, by queue.", "queue")
	for _, status := range []replay.Status{replay.Pending, replay.Running, replay.Waiting, replay.Paused, replay.Parked} {
		runs.Add(0, string(status))
	}
	var own []replay.ProviderSlots
	if s.o.Local.Setup != nil {
		own = s.o.Local.Setup().Providers
	}
	providers := newProviderFigures()
	running, ready, now := 0, 0, time.Now()
	err := s.state(ctx, func(state *replay.State, started bool) {
		running, ready = state.Running, state.ReadyTasks()
		state.Each(func(r *replay.Run) {
			if !started {
				r.Abandon()
			}
			status, _, _ := state.Stand(r, now, replay.Bounds{})
			runs.Add(1, string(status))
		})
		state.EachQueue(func(name string, q *replay.QueueUse) {
			pending.Add(float64(q.Pending()), queueName(name))
			busy.Add(float64(q.Running), queueName(name))
		})
		providers.all(state, own, now)
	})
	most := s.o.Scheduler.Policy.Slots
	if most == 0 {
		most = scheduler.DefaultSlots
	}
	return append([]*metrics.Family{runs,
		one(metrics.Gauge, "gleitzeit_slots_in_use", "Attempts that run.", float64(running)),
		one(metrics.Gauge, "gleitzeit_slots", "Attempts that may run at once.", float64(most)),
		one(metrics.Gauge, "gleitzeit_ready_tasks", "Tasks that wait for nothing but a slot.", float64(ready)),
		pending, busy}, providers.families()...), err
}

// providerFigures are those of the providers of the server's configuration, and
// of all that live runs may use. Those of the same name are taken together.
type providerFigures struct{ inUse, slots, waiting, breakers *metrics.Family }

func newProviderFigures() *providerFigures {
	return &providerFigures{
		gauge("gleitzeit_provider_slots_in_use", "Calls that a provider carries out.", "provider"),
		gauge("gleitzeit_provider_slots", "Calls that a provider may carry out at once.", "provider"),
		gauge("gleitzeit_provider_waiting_tasks", "Ready tasks by the provider that they would go to first.", "provider"),
		gauge("gleitzeit_provider_breaker", "1 for the state that the provider's breaker is in, else 0.", "provider", "state"),
	}
}

func (f *providerFigures) families() []*metrics.Family {
	return []*metrics.Family{f.inUse, f.slots, f.waiting, f.breakers}
}

func (f *providerFigures) all(state *replay.State, own []replay.ProviderSlots, now time.Time) {
	known := map[string]bool{}
	for i := range own {
		f.add(&own[i], state.Provider(&own[i], now))
		known[own[i].ID] = true
	}
	state.EachProvider(now, func(p *replay.ProviderSlots, v replay.ProviderView) {
		if p.ID == "" || !known[p.ID] {
			f.add(p, v)
		}
	})
}

func (f *providerFigures) add(p *replay.ProviderSlots, v replay.ProviderView) {
	f.inUse.Add(float64(v.InUse), p.Name)
	f.slots.Add(float64(v.Slots), p.Name)
	f.waiting.Add(float64(v.Waiting), p.Name)
	if v.Breaker == "" {
		return
	}
	for _, state := range []string{"closed", "open", "half_open"} {
		is := 0.0
		if v.Breaker == state {
			is = 1
		}
		f.breakers.Add(is, p.Name, state)
	}
}

// queueName is the label of a queue.
func queueName(name string) string {
	if name == "" {
		return "default"
	}
	return name
}

// logFigures are those of the log.
func (s *Server) logFigures() []*metrics.Family {
	st := s.log.Stats()
	trouble := 0.0
	if s.log.Trouble() != nil {
		trouble = 1
	}
	return []*metrics.Family{
		one(metrics.Gauge, "gleitzeit_log_last", "Number of the last durable record.", float64(st.Last)),
		one(metrics.Gauge, "gleitzeit_log_records", "Records that exist.", float64(st.Records)),
		one(metrics.Gauge, "gleitzeit_log_values", "Values that exist.", float64(st.Values)),
		one(metrics.Gauge, "gleitzeit_log_value_bytes", "Bytes in values.", float64(st.ValueBytes)),
		one(metrics.Gauge, "gleitzeit_log_disk_bytes", "What the store takes, about.", float64(st.DiskBytes)),
		logTrouble(trouble),
		one(metrics.Counter, "gleitzeit_log_appends_total", "Appends since the process opened the store.", float64(st.Appends)),
		one(metrics.Counter, "gleitzeit_log_commits_total", "Commits of appends since then.", float64(st.Commits)),
		one(metrics.Counter, "gleitzeit_log_appended_bytes_total", "Bytes of records and values appended since then.", float64(st.AppendedBytes)),
		one(metrics.Counter, "gleitzeit_log_syncs_total", "Syncs of files and folders since then.", float64(st.Syncs)),
		one(metrics.Counter, "gleitzeit_log_read_bytes_total", "Bytes read of the store since then.", float64(st.BytesRead)),
	}
}

func logTrouble(v float64) *metrics.Family {
	return one(metrics.Gauge, "gleitzeit_log_trouble", "1 while nothing can be written down, else 0.", v)
}

// doorFigures are those of connections and of the process.
func (h *httpDoor) doorFigures() []*metrics.Family {
	build := gauge("gleitzeit_build_info", "1, of the version that runs.", "version")
	build.Add(1, h.server.o.Scheduler.Version)
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return []*metrics.Family{
		one(metrics.Gauge, "gleitzeit_followers", "Subscriptions to events.", float64(h.server.figures.followers.Load())),
		one(metrics.Gauge, "gleitzeit_http_connections", "Connections of HTTP, without WebSockets.", float64(h.room.size())),
		one(metrics.Gauge, "gleitzeit_http_streams", "WebSockets and streams of events.", float64(h.streams.open())),
		build,
		one(metrics.Gauge, "gleitzeit_start_time_seconds", "When the server started, since 1970.", float64(h.server.since.UnixNano())/1e9),
		one(metrics.Gauge, "gleitzeit_goroutines", "Goroutines.", float64(runtime.NumGoroutine())),
		one(metrics.Gauge, "gleitzeit_memory_bytes", "Memory that the process got from the system.", float64(memory.Sys)),
	}
}
