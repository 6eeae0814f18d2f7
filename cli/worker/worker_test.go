package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sourcegraph/jsonrpc2"

	"gleitzeit/cli/server"
	"gleitzeit/cli/worker"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// patience tells hanging from slow.
const patience = 30 * time.Second

// site is a server that may be stopped and started again at the same address,
// on the same log, as after a crash: nothing is said goodbye to.
type site struct {
	t      *testing.T
	dir    string
	url    string
	port   int
	server *server.Server
}

var setup = replay.Setup{
	Config:    json.RawMessage(`{"providers":{"far":{"kind":"remote","protocols":["fake/v1"]}}}`),
	Providers: []replay.ProviderSlots{{Name: "far", Protocol: "fake/v1", Slots: 100, Remote: true, ID: "far"}},
}

func newSite(t *testing.T) *site {
	s := &site{t: t, dir: t.TempDir()}
	s.open()
	t.Cleanup(s.close)
	return s
}

func (s *site) open() {
	s.t.Helper()
	log, err := eventlog.Open(s.dir, eventlog.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	workers := providers.NewWorkers()
	s.server = server.New(log, server.Options{Workers: workers, Local: server.Local{Setup: func() replay.Setup { return setup }},
		Scheduler: scheduler.Options{Grace: time.Second, Open: func(config []byte) (scheduler.Providers, error) {
			var c providers.Config
			if err := json.Unmarshal(config, &c); err != nil {
				return nil, err
			}
			return providers.Open(c, providers.Options{Workers: workers})
		}}})
	url, err := s.server.ListenHTTP(server.HTTPOptions{Host: "127.0.0.1", Port: s.port})
	if err != nil {
		s.t.Fatal(err)
	}
	s.url = url
	s.port, _ = strconv.Atoi(url[strings.LastIndex(url, ":")+1:])
}

// close stops what runs, and gives the store up.
func (s *site) close() {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := s.server.Close(ctx); err != nil && !errors.Is(err, context.Canceled) {
		s.t.Error(err)
	}
}

// deaf hears nothing.
type deaf struct{}

func (deaf) Handle(context.Context, *jsonrpc2.Conn, *jsonrpc2.Request) {}

// call calls a method of the server.
func call[R any](s *site, method string, params any) (r R) {
	s.t.Helper()
	ctx, enough := context.WithTimeout(context.Background(), patience)
	defer enough()
	conn := server.NewConn(ctx, s.server.Pipe(), deaf{})
	defer func() {
		conn.Close()
		<-conn.Ended()
	}()
	if err := conn.Call(ctx, method, params, &r); err != nil {
		s.t.Fatalf("%s: %v", method, server.FromWire(err))
	}
	return r
}

// submit begins a run of tasks with these parameters, all at once.
func (s *site) submit(parameters ...string) string {
	w := &protocols.Workflow{Version: protocols.DocumentVersion, Name: "w", ErrorStrategy: "continue"}
	for i, p := range parameters {
		id := fmt.Sprintf("t%d", i)
		w.Tasks = append(w.Tasks, &protocols.Task{ID: id, Name: id, Protocol: "fake/v1", Method: "fake/work", Literal: true,
			Parameters: json.RawMessage(p), OnCrash: protocols.CrashFail})
	}
	return call[server.SubmitResult](s, server.WorkflowSubmit, server.SubmitParams{Document: w.Encode(), Setup: setup}).ID
}

// ended waits for the end of a run.
func (s *site) ended(id string) replay.RunView {
	return call[replay.RunView](s, server.WorkflowWait, server.WaitParams{ID: id, Timeout: patience.Seconds(), Values: true})
}

// hire runs a worker until the test ends.
func hire(t *testing.T, s *site, do func(context.Context, worker.Call) (json.RawMessage, error)) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- worker.Run(ctx, worker.Options{Server: s.url, Name: "w", Slots: 8, Do: do, Grace: patience, Offers: []providers.WorkerOffer{
			{Protocol: "fake/v1", Methods: []*protocols.Method{{Name: "fake/work"}}}}})
	}()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the worker doesn't leave")
		}
	})
}

// TestRun: results, errors with their codes, and a panic come home, each to its
// own call.
func TestRun(t *testing.T) {
	s := newSite(t)
	hire(t, s, func(_ context.Context, c worker.Call) (json.RawMessage, error) {
		switch string(c.Parameters) {
		case `{"do":"fail"}`:
			return nil, protocols.Errorf(protocols.RateLimitExceeded, "slowly")
		case `{"do":"panic"}`:
			panic("ouch")
		case `{"do":"garbage"}`:
			return json.RawMessage("}{"), nil
		}
		c.Progress(providers.Progress{Message: "soon"})
		return c.Parameters, nil
	})
	v := s.ended(s.submit(`{"do":"echo"}`, `{"do":"fail"}`, `{"do":"panic"}`, `{"do":"garbage"}`))
	if string(v.Tasks[0].Result) != `{"do":"echo"}` {
		t.Errorf("%+v", v.Tasks[0])
	}
	for i, want := range map[int]protocols.Code{1: protocols.RateLimitExceeded, 2: protocols.InternalError, 3: protocols.TaskResultInvalid} {
		if e := v.Tasks[i].Error; e == nil || e.Code != want {
			t.Errorf("task %d: %+v", i, v.Tasks[i])
		}
	}
}

// TestServerRestarts: what a worker has when its server stops it goes on with,
// and hands in to the next one, once.
func TestServerRestarts(t *testing.T) {
	s := newSite(t)
	var begun atomic.Int32
	let, began := make(chan struct{}), make(chan struct{}, 8)
	hire(t, s, func(ctx context.Context, c worker.Call) (json.RawMessage, error) {
		begun.Add(1)
		began <- struct{}{}
		select {
		case <-let:
			return json.RawMessage(`"done"`), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	id := s.submit(`{}`, `{}`, `{}`)
	for range 3 {
		<-began
	}
	for range 3 {
		s.close()
		s.open()
		call[server.RunsResult](s, server.WorkflowResumeAll, nil)
	}
	close(let)
	v := s.ended(id)
	if v.Status != replay.Completed || begun.Load() != 3 {
		t.Errorf("%s: %d calls were begun for 3 tasks", v.Status, begun.Load())
	}
}

// TestRefused: a worker that the server has no use for is told so.
func TestRefused(t *testing.T) {
	s := newSite(t)
	ctx, enough := context.WithTimeout(context.Background(), patience)
	defer enough()
	err := worker.Run(ctx, worker.Options{Server: s.url, Offers: []providers.WorkerOffer{{Protocol: "echo/v1"}}})
	var e *protocols.Error
	if !errors.As(err, &e) || e.Code != protocols.ProviderNotFound {
		t.Errorf("%v", err)
	}
}
