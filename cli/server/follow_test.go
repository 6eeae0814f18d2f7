package server_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sourcegraph/jsonrpc2"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/replay"
)

// ear collects notifications, in order. It hears nothing before hear is closed.
type ear struct {
	hear  chan struct{}
	heard chan string // methods, or the types of events
}

func newEar() *ear { return &ear{hear: make(chan struct{}), heard: make(chan string, 1000)} }

func (e *ear) Handle(_ context.Context, _ *jsonrpc2.Conn, req *jsonrpc2.Request) {
	<-e.hear
	what := req.Method
	if what == server.LogEvent {
		var v server.Event
		if err := json.Unmarshal(*req.Params, &v); err != nil {
			what = err.Error()
		} else {
			what = v.Entry.Type
		}
	}
	e.heard <- what
}

// all returns what was heard until the connection's end.
func (e *ear) all(conn *server.Conn) string {
	<-conn.Ended()
	close(e.heard)
	var all []string
	for what := range e.heard {
		all = append(all, what)
	}
	return strings.Join(all, " ")
}

// connect makes another connection, whose notifications e hears.
func (f *fixture) connect(e *ear) *server.Conn {
	conn := server.NewConn(context.Background(), f.srv.Pipe(), e)
	f.t.Cleanup(func() {
		conn.Close()
		<-conn.Ended()
	})
	return conn
}

// Who is slow still gets all there is when the server leaves.
func TestLastEvents(t *testing.T) {
	f := start(t, eventlog.OpenMemory(eventlog.Options{}), options(&servertest.Fake{}))
	id := f.submit(servertest.Chain("slow", servertest.Work{}))
	e := newEar()
	conn := f.connect(e)
	if err := conn.Call(soon(t), server.LogFollow, server.FollowParams{ID: id}, nil); err != nil {
		t.Fatal(err)
	}
	f.finish(servertest.Chain("other", servertest.Work{})) // and by then, so has the first
	f.waitFor(func(s *server.StatusResult) bool { return len(s.Runs) == 0 })
	stopped := make(chan struct{})
	go func() {
		f.stop()
		close(stopped)
	}()
	for f.ask(server.SystemHello, nil, nil) == nil { // until it leaves
	}
	close(e.hear)
	<-stopped
	if got := e.all(conn); got != "workflow.submitted task.started task.completed workflow.completed log/end" {
		t.Errorf("heard %s", got)
	}
}

// A subscription ends when it is told to, and the connection lives.
func TestUnfollow(t *testing.T) {
	f := start(t, eventlog.OpenMemory(eventlog.Options{}), options(&servertest.Fake{}))
	id := f.submit(servertest.Chain("held", servertest.Work{Hold: true}))
	e := newEar()
	close(e.hear)
	conn := f.connect(e)
	var r server.FollowResult
	if err := conn.Call(soon(t), server.LogFollow, server.FollowParams{ID: id, Progress: true}, &r); err != nil {
		t.Fatal(err)
	}
	<-e.heard
	for range 2 { // the second is about nothing
		if err := conn.Call(soon(t), server.LogUnfollow, server.UnfollowParams{Subscription: r.Subscription}, nil); err != nil {
			t.Fatal(err)
		}
	}
	f.must(server.WorkflowCancel, server.CancelParams{ID: id}, nil)
	f.stop()
	if got := e.all(conn); strings.Contains(got, "cancel") || strings.Contains(got, "end") {
		t.Errorf("heard %s", got)
	}
}

// A run that is deleted while it is followed ends its subscriptions with the
// reason.
func TestFollowDeleted(t *testing.T) {
	log := eventlog.OpenMemory(eventlog.Options{})
	f := start(t, log, options(&servertest.Fake{}))
	f.finish(servertest.Chain("first", servertest.Work{}))
	held := f.submit(servertest.Chain("held", servertest.Work{Hold: true}))
	f.waitFor(func(s *server.StatusResult) bool { return s.Running == 1 })
	other := start(t, copyOf(t, log), options(nil))
	e := newEar()
	close(e.hear)
	conn := other.connect(e)
	if err := conn.Call(soon(t), server.LogFollow, server.FollowParams{ID: held, From: 100}, nil); err != nil {
		t.Fatal(err)
	}
	if err := other.log.Delete("run/0000000002"); err != nil {
		t.Fatal(err)
	}
	for got := range e.heard {
		if got == server.LogEnd {
			break
		}
		t.Errorf("heard %s", got)
	}
	other.must(server.WorkflowList, nil, nil)
	if err := other.ask(server.WorkflowGet, server.GetParams{ID: held}, nil); err == nil {
		t.Error("it is still there")
	}
}

// Whoever follows all runs hears that some were removed, however that meets with
// reading them, and is never left with an error.
func TestFollowAllRemoved(t *testing.T) {
	log := eventlog.OpenMemory(eventlog.Options{})
	f := start(t, log, options(&servertest.Fake{}))
	const runs = 12
	for range runs {
		f.finish(servertest.Chain("some", servertest.Work{}))
	}
	for range 5 {
		other := start(t, copyOf(t, log), options(&servertest.Fake{}))
		e := newEar()
		close(e.hear)
		conn := other.connect(e)
		if err := conn.Call(soon(t), server.LogFollow, server.FollowParams{From: 1}, nil); err != nil {
			t.Fatal(err)
		}
		for n := range uint64(runs) {
			if err := other.log.Delete(replay.Stream(n + 1)); err != nil {
				t.Fatal(err)
			}
		}
		marks, err := other.log.Marks(soon(t), other.log.Last())
		if err == nil {
			err = other.log.Fold(marks[:len(marks)/2])
		}
		if err != nil {
			t.Fatal(err)
		}
		other.finish(servertest.Chain("the last", servertest.Work{}))
		heard := map[string]int{}
		for heard["workflow.completed"] == 0 || heard["last"] == 0 {
			switch what := <-e.heard; what {
			case server.LogEnd:
				t.Fatalf("it ended after %v", heard)
			case "workflow.completed":
				heard[what]++
				if heard[eventlog.StreamDeleted] > 0 {
					heard["last"]++
				}
			default:
				heard[what]++
			}
		}
		// Those of runs that were not folded, and the folded one.
		if n := heard[eventlog.StreamDeleted]; n < 1+runs-len(marks)/2 {
			t.Errorf("heard of %d removals: %v", n, heard)
		}
	}
}
