package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
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

// This file has nodes of a real Redis, for the tests of the others.

func TestMain(m *testing.M) {
	lookPause = 50 * time.Millisecond // they mostly wait for it
	goleak.VerifyTestMain(m)
}

// soon bounds a wait that a bug would make endless.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// redisDir starts a Redis for the test, which writes everything down before it
// answers, and returns its folder: its socket is s.
func redisDir(t testing.TB) string {
	t.Helper()
	dir, _ := runRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	return dir
}

// runRedis starts a Redis for the test. Where there is none the test is skipped,
// unless GLEITZEIT_TEST_REDIS is "required".
func runRedis(t testing.TB, args ...string) (dir string, process *os.Process) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("GLEITZEIT_TEST_REDIS") == "required" {
			t.Fatal("there is no redis-server")
		}
		t.Skip("SKIPPED, NOT PROVEN: there is no redis-server")
	}
	dir, err := os.MkdirTemp("", "r") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	redis := exec.Command("redis-server", append([]string{"--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "",
		"--logfile", filepath.Join(dir, "log")}, args...)...)
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = redis.Process.Kill()
		_ = redis.Wait()
		os.RemoveAll(dir)
	})
	for ctx := soon(t); ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			return dir, redis.Process
		}
	}
	t.Fatal("redis-server does not start")
	return "", nil
}

// urlIn names a store in the Redis of a folder.
func urlIn(dir, what string) string { return "unix://" + filepath.Join(dir, "s") + "?store=c&" + what }

// member is a node with a front and a connection to it.
type member struct {
	t     testing.TB
	node  *Node
	front *server.Server
	conn  *server.Conn
	told  chan notice // what subscriptions bring
	once  sync.Once
}

// notice is what a subscription brings.
type notice struct {
	method string
	server.Event
	entry struct {
		Seq       eventlog.Seq
		Run, Type string
	}
}

func (m *member) Handle(_ context.Context, _ *jsonrpc2.Conn, r *jsonrpc2.Request) {
	n := notice{method: r.Method}
	if r.Params == nil {
		return
	}
	var body struct {
		Cursor string          `json:"cursor"`
		Entry  json.RawMessage `json:"entry"`
	}
	_ = json.Unmarshal(*r.Params, &body)
	_ = json.Unmarshal(body.Entry, &n.entry)
	n.Cursor = body.Cursor
	m.told <- n
}

// join makes a node: one that stays, or one like a command.
func join(t testing.TB, url string, serve bool, f *servertest.Fake) *member {
	t.Helper()
	store, err := eventlog.OpenPartitions(t.TempDir(), eventlog.Options{Engine: eventlog.Redis, RedisURL: url, Fatal: func(err error) { t.Errorf("a node ends: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	o := server.Options{Scheduler: servertest.Options(f)}
	o.Scheduler.Policy.Schedules = serve
	node, err := New(Options{Store: store, Server: o, Serve: serve, Begin: func(ctx context.Context, call func(context.Context, string, any, any) error) error {
		return call(ctx, server.WorkflowResumeAll, server.ResumeAllParams{}, nil)
	}})
	if err != nil {
		t.Fatal(err)
	}
	m := &member{t: t, node: node, front: server.NewFront(node, o), told: make(chan notice, 10_000)}
	m.conn = server.NewConn(context.Background(), m.front.Pipe(), m)
	t.Cleanup(m.leave)
	return m
}

// leave closes a node that hasn't been closed.
func (m *member) leave() {
	m.once.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := m.front.Close(ctx); err != nil {
			m.t.Errorf("close a node: %v", err)
		}
		m.conn.Close()
		<-m.conn.Ended()
	})
}

func (m *member) ask(method string, params, result any) error {
	return server.FromWire(m.conn.Call(soon(m.t), method, params, result))
}

func (m *member) must(method string, params, result any) {
	m.t.Helper()
	if err := m.ask(method, params, result); err != nil {
		m.t.Fatalf("%s: %v", method, err)
	}
}

func (m *member) submit(p server.SubmitParams) string {
	m.t.Helper()
	var r server.RunResult
	m.must(server.WorkflowSubmit, p, &r)
	return r.ID
}

// ends waits for a run's end.
func (m *member) ends(id string, status replay.Status) *replay.RunView {
	m.t.Helper()
	var v replay.RunView
	m.must(server.WorkflowWait, server.WaitParams{ID: id, Timeout: 15}, &v)
	if v.Status != status {
		m.t.Errorf("run %s is %s (%s), want %s: %v", id, v.Status, v.Reason, status, m.history(id))
	}
	return &v
}

// history is what happened to a run.
func (m *member) history(id string) (types []string) {
	m.t.Helper()
	var h struct {
		Entries []struct{ Type string }
	}
	m.must(server.WorkflowHistory, server.RunParams{ID: id}, &h)
	for _, e := range h.Entries {
		types = append(types, e.Type)
	}
	return types
}

// until waits for what must come.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for ctx := soon(t); !is(); time.Sleep(10 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("it never comes: %s", what)
		}
	}
}

// all waits until every partition has an owner.
func (m *member) all() {
	m.t.Helper()
	until(m.t, "all partitions have owners", func() bool {
		owners, err := m.node.owners(m.t.Context())
		for _, o := range owners {
			if o.Node == "" {
				return false
			}
		}
		return err == nil
	})
}

// has is how many partitions a node has.
func (m *member) has() int { return len(m.node.Servers()) }

func code(err error) protocols.Code {
	var e *protocols.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// overthrow makes a stranger the owner of a partition, who then dies: so it is
// for an owner that slept for longer than its lease. Its lease runs out by
// itself.
func overthrow(t testing.TB, dir string, number int) {
	t.Helper()
	script := `local n = tonumber(string.match(redis.call('GET', KEYS[1]) or '0', '^%d+')) + 1
redis.call('SET', KEYS[1], string.format('%d', n) .. ' stranger')
redis.call('DEL', KEYS[2], KEYS[3])
return n`
	p := fmt.Sprintf("gleitzeit:{c.p%d}:", number)
	out, err := exec.Command("redis-cli", "-s", filepath.Join(dir, "s"), "EVAL", script, "3", p+"owner", p+"lease", p+"inbox").CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli: %v: %s", err, out)
	}
}
