package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sourcegraph/jsonrpc2"
	"go.uber.org/goleak"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deaf takes no notice of what isn't an answer.
type deaf struct{}

func (deaf) Handle(context.Context, *jsonrpc2.Conn, *jsonrpc2.Request) {}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// fixture is a server in memory and a connection to it.
type fixture struct {
	t    testing.TB
	log  *eventlog.Log
	srv  *server.Server
	conn *server.Conn
}

func start(t testing.TB, log *eventlog.Log, o server.Options) *fixture {
	f := &fixture{t: t, log: log, srv: server.New(log, o)}
	f.conn = server.NewConn(context.Background(), f.srv.Pipe(), deaf{})
	t.Cleanup(f.stop)
	return f
}

func (f *fixture) stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.srv.Close(ctx); err != nil {
		f.t.Error(err)
	}
	f.conn.Close()
	<-f.conn.Ended()
}

// ask calls a method; the error is what came over the wire.
func (f *fixture) ask(method string, params, result any) error {
	return server.FromWire(f.conn.Call(soon(f.t), method, params, result))
}

func (f *fixture) must(method string, params, result any) {
	f.t.Helper()
	if err := f.ask(method, params, result); err != nil {
		f.t.Fatalf("%s: %v", method, err)
	}
}

func (f *fixture) submit(p server.SubmitParams) string {
	f.t.Helper()
	var r server.RunResult
	f.must(server.WorkflowSubmit, p, &r)
	return r.ID
}

// finish submits a run and waits for its end.
func (f *fixture) finish(p server.SubmitParams) string {
	f.t.Helper()
	id := f.submit(p)
	number, _ := replay.NumberOf(id)
	for rec, err := range f.log.FollowStream(soon(f.t), replay.Stream(number), 1) {
		if err != nil {
			f.t.Fatal(err)
		}
		if replay.Ends(rec) {
			return id
		}
	}
	f.t.Fatal("it doesn't end")
	return ""
}

func code(err error) protocols.Code {
	var e *protocols.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func options(f *servertest.Fake) server.Options {
	return server.Options{Scheduler: servertest.Options(f)}
}

// Runs are named by id, number, beginning, or as the last.
func TestNames(t *testing.T) {
	f := start(t, eventlog.OpenMemory(eventlog.Options{}), options(&servertest.Fake{}))
	if err := f.ask(server.WorkflowGet, server.GetParams{ID: "@last"}, nil); code(err) != protocols.WorkflowNotFound {
		t.Errorf("@last of nothing: %v", err)
	}
	names := []string{"alpha", "beta", "betatron", "gamma", "77", "alpha"} // 1…6
	for _, name := range names {
		f.finish(servertest.Chain(name, servertest.Work{}))
	}
	for id, want := range map[string]string{
		"alpha-1":  "alpha-1",
		"6":        "alpha-6",
		"5":        "77-5",
		"77":       "77-5", // no run has that number
		"g":        "gamma-4",
		"beta-":    "beta-2",
		"betat":    "betatron-3",
		"@last":    "alpha-6",
		"alpha-6":  "alpha-6",
		"alpha":    "?",
		"b":        "?",
		"":         "",
		"8":        "",
		"delta":    "",
		"alpha-2":  "",
		"gamma-44": "",
		"@first":   "",
	} {
		var v replay.RunView
		err := f.ask(server.WorkflowGet, server.GetParams{ID: id}, &v)
		switch {
		case want == "?":
			var e *protocols.Error
			if code(err) != protocols.InvalidParams || !errors.As(err, &e) || !strings.Contains(string(e.Data), "candidates") {
				t.Errorf("%q: %v", id, err)
			}
		case want == "" && id != "":
			if code(err) != protocols.WorkflowNotFound {
				t.Errorf("%q: %v", id, err)
			}
		case want == "":
			if code(err) != protocols.InvalidParams {
				t.Errorf("%q: %v", id, err)
			}
		case err != nil || v.ID != want:
			t.Errorf("%q: %s, %v", id, v.ID, err)
		}
	}
}

// pages lists to the end and returns the ids and how many calls it took.
func (f *fixture) pages(p server.ListParams) (ids []string, calls int) {
	f.t.Helper()
	for {
		var r server.ListResult
		f.must(server.WorkflowList, p, &r)
		calls++
		for _, v := range r.Runs {
			ids = append(ids, v.ID)
		}
		if r.Next == 0 {
			return ids, calls
		}
		if p.Before != 0 && r.Next >= p.Before {
			f.t.Fatalf("the next page begins before %d, this one before %d", r.Next, p.Before)
		}
		p.Before = r.Next
	}
}

// Lists are the same whether the scheduler or the log tells of live runs, and
// pages join without a seam.
func TestList(t *testing.T) {
	log := eventlog.OpenMemory(eventlog.Options{})
	f := start(t, log, options(&servertest.Fake{}))
	for i := range 12 {
		switch i % 4 {
		case 0:
			f.finish(servertest.Chain("good", servertest.Work{}))
		case 1:
			f.finish(servertest.Chain("bad", servertest.Work{Fail: "no"}))
		case 2:
			f.submit(servertest.Chain("held", servertest.Work{Hold: true}))
		case 3:
			f.must(server.WorkflowCancel, server.CancelParams{ID: f.submit(servertest.Chain("gone", servertest.Work{Hold: true}))}, nil)
		}
	}
	f.waitFor(func(s *server.StatusResult) bool { return s.Running == 3 && s.Runs[replay.Running] == 3 })
	for _, one := range []struct {
		p    server.ListParams
		want string
	}{
		{server.ListParams{}, "gone-12 held-11 bad-10 good-9 gone-8 held-7 bad-6 good-5 gone-4 held-3 bad-2 good-1"},
		{server.ListParams{Before: 4}, "held-3 bad-2 good-1"},
		{server.ListParams{Name: "bad"}, "bad-10 bad-6 bad-2"},
		{server.ListParams{Tag: "none"}, ""},
		{server.ListParams{Status: []replay.Status{replay.Failed, replay.Running}}, "held-11 bad-10 held-7 bad-6 held-3 bad-2"},
		{server.ListParams{Status: []replay.Status{replay.Running, replay.Waiting}}, "held-11 held-7 held-3"},
		{server.ListParams{Status: []replay.Status{replay.Cancelled}}, "gone-12 gone-8 gone-4"},
	} {
		for limit := range 5 {
			one.p.Limit = limit
			if ids, _ := f.pages(one.p); strings.Join(ids, " ") != one.want {
				t.Errorf("%+v: %v", one.p, ids)
			}
		}
	}
	if err := f.ask(server.WorkflowList, server.ListParams{Status: []replay.Status{"lost"}}, nil); code(err) != protocols.InvalidParams {
		t.Errorf("unknown status: %v", err)
	}

	// Seen by a process that runs nothing: the same, but nobody runs them.
	other := start(t, copyOf(t, log), options(nil))
	ids, _ := other.pages(server.ListParams{Status: []replay.Status{replay.Waiting}})
	if got := strings.Join(ids, " "); got != "held-11 held-7 held-3" {
		t.Errorf("waiting: %s", got)
	}
	var v replay.RunView
	other.must(server.WorkflowGet, server.GetParams{ID: "held-3"}, &v)
	if v.Status != replay.Waiting || v.Tasks[0].Status != replay.TaskDoubtful {
		t.Errorf("held-3 is %s, its task %s", v.Status, v.Tasks[0].Status)
	}
	var s server.StatusResult
	other.must(server.SystemStatus, nil, &s)
	if s.Scheduler || s.Runs[replay.Waiting] != 3 || len(s.Runs) != 1 || s.Running != 0 {
		t.Errorf("status %+v", s)
	}
}

// copyOf returns a log with the same records: what a process finds that comes
// after a kill.
func copyOf(t *testing.T, log *eventlog.Log) *eventlog.Log {
	t.Helper()
	to := eventlog.OpenMemory(eventlog.Options{})
	for rec, err := range log.Read(1) {
		if err != nil {
			t.Fatal(err)
		}
		var b eventlog.Batch
		for _, h := range rec.Refs {
			v, err := log.Value(h)
			if err != nil {
				t.Fatal(err)
			}
			b.Put(v)
		}
		rec.Seq = 0
		b.Add(rec)
		if _, err := to.Append(&b); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func (f *fixture) waitFor(ok func(*server.StatusResult) bool) {
	f.t.Helper()
	ctx := soon(f.t)
	for {
		var s server.StatusResult
		if err := server.FromWire(f.conn.Call(ctx, server.SystemStatus, nil, &s)); err != nil {
			f.t.Fatalf("%v: %+v", err, s)
		}
		if ok(&s) {
			return
		}
	}
}

// A page that finds nothing ends all the same.
func TestListIsBounded(t *testing.T) {
	log := eventlog.OpenMemory(eventlog.Options{})
	f := start(t, log, options(nil))
	const runs = 6_000
	var b eventlog.Batch
	for n := uint64(1); n <= runs; n++ {
		end := &replay.WorkflowEnded{Status: replay.Completed, ID: fmt.Sprintf("r-%d", n), Name: "r"}
		if err := replay.Encode(replay.Fact{Run: n, At: time.Now(), Event: end}, &b); err != nil {
			t.Fatal(err)
		}
		if n%1000 == 0 {
			if _, err := log.Append(&b); err != nil {
				t.Fatal(err)
			}
			b.Reset()
		}
	}
	ids, calls := f.pages(server.ListParams{Status: []replay.Status{replay.Failed}})
	if len(ids) != 0 || calls != 2 {
		t.Errorf("%d runs in %d calls", len(ids), calls)
	}
	ids, calls = f.pages(server.ListParams{Limit: 1000})
	if len(ids) != runs || calls != 6 {
		t.Errorf("%d runs in %d calls", len(ids), calls)
	}
	if err := f.ask(server.WorkflowGet, server.GetParams{ID: "x"}, nil); code(err) != protocols.WorkflowNotFound {
		t.Error(err)
	}
}

// Looking starts nothing and writes nothing.
func TestLookingStartsNothing(t *testing.T) {
	before := start(t, eventlog.OpenMemory(eventlog.Options{}), options(&servertest.Fake{}))
	before.submit(servertest.Chain("held", servertest.Work{Hold: true}))
	before.waitFor(func(s *server.StatusResult) bool { return s.Running == 1 })
	log := copyOf(t, before.log)
	last := log.Last()
	f := start(t, log, options(nil))
	for method, params := range map[string]any{
		server.SystemHello: nil, server.SystemStatus: nil, server.SystemVerify: nil, server.WorkflowList: nil,
		server.WorkflowGet:       server.GetParams{ID: "1"},
		server.WorkflowHistory:   server.RunParams{ID: "1"},
		server.WorkflowInterrupt: server.InterruptParams{ID: "1"},
		server.LogFollow:         server.FollowParams{ID: "1", Progress: true},
		server.LogUnfollow:       server.UnfollowParams{Subscription: 1},
	} {
		f.must(method, params, nil)
	}
	var s server.StatusResult
	f.must(server.SystemStatus, nil, &s)
	if s.Scheduler || log.Last() != last {
		t.Errorf("scheduler %v, %d records more", s.Scheduler, log.Last()-last)
	}
	// A cancel of a run that nobody runs is a wish: it ends at once.
	f.must(server.WorkflowCancel, server.CancelParams{ID: "1"}, nil)
	var v replay.RunView
	f.must(server.WorkflowGet, server.GetParams{ID: "1"}, &v)
	if v.Status != replay.Cancelled {
		t.Errorf("status %s", v.Status)
	}
}

// Wishes about runs that have ended, and other nonsense, are refused with
// their reasons.
func TestRefused(t *testing.T) {
	f := start(t, eventlog.OpenMemory(eventlog.Options{}), options(&servertest.Fake{}))
	done := f.finish(servertest.Chain("done", servertest.Work{}))
	held := f.submit(servertest.Chain("held", servertest.Work{Hold: true}))
	other := servertest.Chain("other", servertest.Work{})
	keyed := servertest.Chain("keyed", servertest.Work{})
	keyed.Key, other.Key = "k", "k"
	f.submit(keyed)
	for _, one := range []struct {
		method string
		params any
		code   protocols.Code
		text   string
	}{
		{server.WorkflowCancel, server.CancelParams{ID: done}, protocols.WorkflowInvalidState, "completed"},
		{server.WorkflowResume, server.ResumeParams{ID: done}, protocols.WorkflowInvalidState, "completed"},
		{server.WorkflowResume, server.ResumeParams{ID: "nobody"}, protocols.WorkflowNotFound, "nobody"},
		{server.WorkflowResume, server.ResumeParams{ID: held, Answers: map[string]protocols.OnCrash{"t9": "retry"}}, protocols.TaskNotFound, "t9"},
		{server.WorkflowResume, server.ResumeParams{ID: held, Answers: map[string]protocols.OnCrash{"t1": "ask"}}, protocols.InvalidParams, "retry, fail or skip"},
		{server.WorkflowResume, server.ResumeParams{ID: held, Answers: map[string]protocols.OnCrash{"t1": "fail"}}, protocols.WorkflowInvalidState, "in doubt"},
		{server.WorkflowSubmit, server.SubmitParams{}, protocols.InvalidParams, "needs a workflow"},
		{server.WorkflowSubmit, server.SubmitParams{Document: json.RawMessage(`{"version":99}`)}, protocols.WorkflowValidationFailed, "99"},
		{"workflow/submit", map[string]any{"documents": 1}, protocols.InvalidParams, "documents"},
		{"workflow/get", []int{1}, protocols.InvalidParams, "id"},
		{"workflow/get", 7, protocols.InvalidRequest, "Invalid"},
		{"workflow/get", map[string]any{"id": 7}, protocols.InvalidParams, "id"},
		{"workflow/stop", nil, protocols.MethodNotFound, "Method not found"},
		{"workflow/list", server.ListParams{Limit: -1}, protocols.InvalidParams, "negative"},
	} {
		err := f.ask(one.method, one.params, nil)
		if code(err) != one.code || !strings.Contains(err.Error(), one.text) {
			t.Errorf("%s %+v: %d %v", one.method, one.params, code(err), err)
		}
	}
	if again := f.submit(keyed); again != "keyed-3" {
		t.Errorf("the same key gave %s", again)
	}
	f.must(server.WorkflowInterrupt, server.InterruptParams{ID: done}, nil)
}

// Close sends everybody away, and asking afterwards fails at once.
func TestClosed(t *testing.T) {
	f := start(t, eventlog.OpenMemory(eventlog.Options{}), options(&servertest.Fake{}))
	f.submit(servertest.Chain("held", servertest.Work{Hold: true}))
	f.must(server.LogFollow, server.FollowParams{ID: "@last", Progress: true}, nil)
	f.stop()
	if err := f.ask(server.SystemStatus, nil, nil); !errors.Is(err, jsonrpc2.ErrClosed) {
		t.Errorf("got %v", err)
	}
	late := server.NewConn(context.Background(), f.srv.Pipe(), deaf{})
	<-late.Ended()
	late.Close()
}

// Many calls at once are refused beyond a limit, and the connection lives.
func TestManyCalls(t *testing.T) {
	f := start(t, eventlog.OpenMemory(eventlog.Options{}), options(&servertest.Fake{}))
	f.finish(servertest.Chain("one", servertest.Work{}))
	var waiters []jsonrpc2.Waiter
	for range 2500 {
		w, err := f.conn.DispatchCall(soon(t), server.WorkflowGet, server.GetParams{ID: "1"})
		if err != nil {
			t.Fatal(err)
		}
		waiters = append(waiters, w)
	}
	for _, w := range waiters {
		if err := server.FromWire(w.Wait(soon(t), nil)); err != nil && code(err) != protocols.ResourceExhausted {
			t.Fatal(err)
		}
	}
	f.must(server.SystemStatus, nil, nil)
}
