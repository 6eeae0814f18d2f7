package server

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gleitzeit/cli/server/metrics"
)

// This file counts what this process is asked for, and logs it. The figures begin
// anew with each process, as nothing of them is in the log.

// figures are those counts.
type figures struct {
	followers atomic.Int64

	mu       sync.Mutex
	calls    *metrics.Family
	callTime *metrics.Family
	requests *metrics.Family
}

// callTimes are the bounds of the time that calls take, in seconds.
var callTimes = []float64{0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30}

func newFigures() *figures {
	return &figures{
		calls: &metrics.Family{Name: "gleitzeit_rpc_calls_total", Kind: metrics.Counter, Labels: []string{"method", "outcome"},
			Help: "Calls of methods since the process started, over any transport; outcome is ok or the error's name."},
		callTime: &metrics.Family{Name: "gleitzeit_rpc_call_duration_seconds", Kind: metrics.Histogram, Labels: []string{"method"}, Bounds: callTimes,
			Help: "Time that calls of methods took."},
		requests: &metrics.Family{Name: "gleitzeit_http_requests_total", Kind: metrics.Counter, Labels: []string{"route", "status"},
			Help: "HTTP requests that have ended since the process started."},
	}
}

// called counts a call.
func (s *Server) called(ctx context.Context, p *Peer, method string, err error, took time.Duration) {
	if _, known := s.methods[method]; !known {
		method = metrics.Other
	}
	outcome := "ok"
	if err != nil {
		outcome = asError(err).Code.String()
	}
	s.figures.called(method, outcome, took)
	s.o.Logger.InfoContext(ctx, "call", "method", method, "outcome", outcome, "client", p.name, "took", took)
}

func (f *figures) called(method, outcome string, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls.Add(1, method, outcome)
	f.callTime.Observe(took.Seconds(), method)
}

// counted counts requests by route and status.
func (h *httpDoor) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, began := &answer{ResponseWriter: w}, time.Now()
		defer func() {
			route := r.Pattern
			if route == "" { // refused, or nothing there
				route = metrics.Other
			}
			if a.status == 0 {
				a.status = http.StatusOK // nothing was said, so net/http says that
			}
			h.server.figures.requested(route, a.status)
			h.server.o.Logger.InfoContext(r.Context(), "request", "route", route, "status", a.status, "from", r.RemoteAddr, "took", time.Since(began))
		}()
		next.ServeHTTP(a, r)
	})
}

func (f *figures) requested(route string, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests.Add(1, route, strconv.Itoa(status))
}

// answer notes the status of an answer.
type answer struct {
	http.ResponseWriter
	status int
}

// WriteHeader sends the status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 || a.status < http.StatusOK {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// unwrapped is the writer of net/http, which http.MaxBytesReader has to know to
// have the connection closed.
func unwrapped(w http.ResponseWriter) http.ResponseWriter {
	if a, ok := w.(*answer); ok {
		return a.ResponseWriter
	}
	return w
}
