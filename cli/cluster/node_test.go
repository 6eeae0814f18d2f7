//go:build unix

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file tests what happens to a node in the middle of a call.

// startRedis starts a Redis that the test may stop.
func startRedis(t testing.TB) (url string, process *os.Process) {
	t.Helper()
	dir, process := runRedis(t)
	return "unix://" + filepath.Join(dir, "s") + "?lease=1h&partitions=", process
}

func openStore(t testing.TB, url string) *eventlog.Partitions {
	t.Helper()
	store, err := eventlog.OpenPartitions(t.TempDir(), eventlog.Options{Engine: eventlog.Redis, RedisURL: url,
		Fatal: func(err error) { t.Errorf("the node ends: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// startNode makes a node, which leaves with the test.
func startNode(t testing.TB, url string, serve bool) *Node {
	t.Helper()
	n, err := New(Options{Store: openStore(t, url), Serve: serve, Server: server.Options{Scheduler: servertest.Options(&servertest.Fake{})}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := errors.Join(n.Drain(ctx), n.Close()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// call is one of this node's own user.
func (n *Node) call(t testing.TB, m server.Method, params any) any {
	t.Helper()
	ctx := soon(t)
	result, err := n.Route(ctx, &server.Call{Peer: server.NewPeer(ctx, server.Identity{Trusted: true})}, m, params)
	if err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
	return result
}

// twice is the method when its owner is gone as often as it has carried a call
// out for the first time, before anybody heard.
func twice(m server.Method) server.Method {
	did, heard := m.Handler, false
	m.Handler = func(ctx context.Context, s *server.Server, c *server.Call) (any, error) {
		result, err := did(ctx, s, c)
		if !heard && err == nil {
			heard, err = true, eventlog.ErrFenced
		}
		return result, err
	}
	return m
}

// compiled is a workflow that waits for a signal and two approvals.
func compiled(t testing.TB) []byte {
	t.Helper()
	text := []byte(`{"name": "w", "tasks": [
		{"name": "go", "method": "wait/signal", "parameters": {"name": "go"}},
		{"name": "first", "method": "wait/approval", "dependencies": ["go"]},
		{"name": "second", "method": "wait/approval", "dependencies": ["first"]}]}`)
	d, problems := protocols.Parse("w.json", text)
	if problems.Err() != nil {
		t.Fatal(problems)
	}
	w, problems := protocols.NewRegistry().Compile(d)
	if problems.Err() != nil {
		t.Fatal(problems)
	}
	return w.Encode()
}

// TestAgain: a call that its owner carried out, but whose answer was lost with
// the owner, counts once, also of a client that gives no keys.
func TestAgain(t *testing.T) {
	t.Parallel()
	url, _ := startRedis(t)
	n := startNode(t, url+"2", false)
	id := n.call(t, twice(n.methods[server.WorkflowSubmit]), server.SubmitParams{Document: compiled(t)}).(server.SubmitResult).ID
	waits := func(task string) {
		t.Helper()
		for ctx := soon(t); ; time.Sleep(time.Millisecond) {
			v := n.call(t, n.methods[server.WorkflowGet], server.GetParams{ID: id}).(*replay.RunView)
			if slices.ContainsFunc(v.Tasks, func(one replay.TaskView) bool { return one.ID == task && one.Status == replay.TaskWaits }) {
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("%s doesn't wait: %+v", task, v)
			}
		}
	}
	waits("go")
	n.call(t, twice(n.methods[server.SignalSend]), server.SignalParams{ID: id, Name: "go"})
	waits("first")
	n.call(t, twice(n.methods[server.ApprovalDecide]), server.ApprovalParams{ID: id, Approved: true})
	waits("second")
	n.call(t, twice(n.methods[server.ApprovalDecide]), server.ApprovalParams{ID: id})
	n.call(t, n.methods[server.WorkflowWait], server.WaitParams{ID: id})
	n.call(t, twice(n.methods[server.WorkflowRetry]), server.RetryParams{ID: id})
	waits("second")
	for _, name := range []string{server.WorkflowPause, server.WorkflowUnpause, server.WorkflowInterrupt, server.WorkflowResume, server.WorkflowCancel} {
		m := twice(n.methods[name])
		if got := n.call(t, m, withID(m.Params, id)).(server.RunResult).ID; got != id {
			t.Errorf("%s is answered with %q", name, got)
		}
	}
	n.call(t, twice(n.methods[server.SystemNote]), server.NoteParams{Method: "test", Text: "once"})
	add := server.ScheduleAddParams{Schedule: protocols.Schedule{Cron: "0 0 1 1 *"}, Run: server.SubmitParams{Document: compiled(t)}}
	n.call(t, twice(n.methods[server.ScheduleAdd]), add)

	history := n.call(t, n.methods[server.WorkflowHistory], server.RunParams{ID: id}).(server.HistoryResult)
	came := map[string]int{}
	for _, e := range history.Entries {
		came[e.Type]++
	}
	for what, often := range map[string]int{"signal.received": 1, "approval.decided": 2, "workflow.retried": 1, "workflow.paused": 1,
		"workflow.unpaused": 1, "workflow.interrupted": 1, "workflow.resumed": 1, "workflow.cancel_requested": 1, "workflow.cancelled": 1} {
		if came[what] != often {
			t.Errorf("%s %d times, want %d: %v", what, came[what], often, came)
		}
	}
	if audit := n.call(t, n.methods[server.SystemAudit], server.AuditParams{}).(server.AuditResult); len(audit.Entries) != 1 {
		t.Errorf("noted: %+v", audit.Entries)
	}
	if runs := n.call(t, n.methods[server.WorkflowList], server.ListParams{}).(server.ListResult).Runs; len(runs) != 1 {
		t.Errorf("%d runs", len(runs))
	}
	list := n.methods[server.ScheduleList]
	all := n.call(t, list, list.Params).(server.ScheduleListResult).Schedules
	if len(all) != 1 {
		t.Fatalf("%d schedules", len(all))
	}
	change := server.ScheduleParams{Name: all[0].Name}
	paused := n.call(t, twice(n.methods[server.SchedulePause]), change).(server.ScheduleView)
	n.call(t, twice(n.methods[server.ScheduleUnpause]), change)
	removed := n.call(t, twice(n.methods[server.ScheduleRemove]), change).(server.ScheduleView)
	if !paused.Paused || removed.Name != change.Name || removed.Cron != "0 0 1 1 *" || removed.Paused {
		t.Errorf("paused %+v, removed %+v", paused, removed)
	}
	if all := n.call(t, list, list.Params).(server.ScheduleListResult).Schedules; len(all) != 0 {
		t.Errorf("%d schedules are left", len(all))
	}
}

// TestOwnerGone: the owner of a partition carries out what another node asks of
// it, and is gone before it can answer: the next owner answers as it would have.
func TestOwnerGone(t *testing.T) {
	t.Parallel()
	dir := redisDir(t)
	url := urlIn(dir, "partitions=2&lease=1h")
	owner, n := startNode(t, url, false), startNode(t, url, false)
	cancel := owner.methods[server.WorkflowCancel]
	did := cancel.Handler
	cancel.Handler = func(ctx context.Context, s *server.Server, c *server.Call) (any, error) {
		result, err := did(ctx, s, c)
		overthrow(t, dir, 1)
		return result, err
	}
	owner.methods[cancel.Name] = cancel
	if err := owner.take(1); err != nil {
		t.Fatal(err)
	}
	p := server.SubmitParams{Document: compiled(t)}
	for p.Key = "k"; n.partitionOf(p.Key) != 1; p.Key += "k" {
	}
	id := n.call(t, n.methods[server.WorkflowSubmit], p).(server.SubmitResult).ID
	if got := n.call(t, n.methods[server.WorkflowCancel], server.CancelParams{ID: id}).(server.RunResult).ID; got != id {
		t.Errorf("it is answered with %q", got)
	}
	v := n.call(t, n.methods[server.WorkflowGet], server.GetParams{ID: id}).(*replay.RunView)
	if v.Status != replay.Cancelled || n.owns(1) == nil {
		t.Errorf("the run is %s, and its partition ours: %v", v.Status, n.owns(1) != nil)
	}
}

// TestLeavingStaysAway: a node that is about to leave is no server any more, or
// the others would leave it its share.
func TestLeavingStaysAway(t *testing.T) {
	t.Parallel()
	url, _ := startRedis(t)
	n, other := startNode(t, url+"2", true), openStore(t, url+"2")
	serves := func() bool {
		nodes, err := other.Join(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(nodes, n.store.Node())
	}
	for ctx := soon(t); !serves() || len(n.Servers()) == 0; time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatal("it doesn't begin to serve")
		}
	}
	if err := n.Drain(soon(t)); err != nil {
		t.Fatal(err)
	}
	for range 10 { // it looks for partitions when it is poked
		n.poke()
		if time.Sleep(20 * time.Millisecond); serves() {
			t.Fatal("it is a server again")
		}
	}
}

// TestMirrorWhileAway: while a Redis says nothing, a node knows what it has all
// the same, and can end it.
func TestMirrorWhileAway(t *testing.T) {
	t.Parallel()
	url, process := startRedis(t)
	n := startNode(t, url+"2", false)
	if err := n.take(1); err != nil {
		t.Fatal(err)
	}
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	looked := make(chan error, 1)
	go func() {
		_, err := n.mirror(2)
		looked <- err
	}()
	time.Sleep(100 * time.Millisecond) // it waits for the Redis
	knows := make(chan int, 1)
	go func() { knows <- len(n.Servers()) }()
	select {
	case has := <-knows:
		if has != 1 {
			t.Errorf("it has %d partitions", has)
		}
	case <-soon(t).Done():
		t.Error("it waits for the Redis to say what it has itself")
	}
	if err := process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := <-looked; err != nil {
		t.Error(err)
	}
}

// TestManyCalls: calls that were answered take the room of none that is to come.
func TestManyCalls(t *testing.T) {
	most := maxIn
	maxIn = 20
	t.Cleanup(func() { maxIn = most })
	url, _ := startRedis(t)
	owner, n := startNode(t, url+"2", false), startNode(t, url+"2", false)
	if err := owner.take(1); err != nil {
		t.Fatal(err)
	}
	note := n.methods[server.SystemNote]
	for range 3 * maxIn {
		n.call(t, note, server.NoteParams{Method: "test", Text: "once more"})
	}
}

// TestGivenUpWhenLost: a partition that is another's by the time it is given up
// is given up well.
func TestGivenUpWhenLost(t *testing.T) {
	t.Parallel()
	url, _ := startRedis(t)
	n, other := startNode(t, url+"2", false), openStore(t, url+"2")
	if err := n.take(1); err != nil {
		t.Fatal(err)
	}
	ctx, p := soon(t), n.owns(1)
	submit := func() error {
		c := &server.Call{Peer: server.NewPeer(ctx, server.Identity{Trusted: true})}
		_, err := p.server.Do(ctx, c, n.methods[server.WorkflowSubmit], server.SubmitParams{Document: compiled(t)})
		return err
	}
	if err := submit(); err != nil {
		t.Fatal(err)
	}
	n.taking.Lock() // it doesn't lose it yet
	defer n.taking.Unlock()
	expire(t, url, 1)
	log, err := other.Take(1, n.private.PublicKey().Bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := submit(); !isOver(err) {
		t.Fatalf("an owner of old writes: %v", err)
	}
	if err := n.give(ctx, 1); err != nil {
		t.Errorf("give it up: %v", err)
	}
}

// TestOneIsIll: a partition that can't be taken keeps nobody from the others.
func TestOneIsIll(t *testing.T) {
	t.Parallel()
	dir := redisDir(t)
	n := startNode(t, urlIn(dir, "partitions=16"), false)
	out, err := exec.Command("redis-cli", "-s", filepath.Join(dir, "s"), "SET", "gleitzeit:{c.p3}:lease", "damaged").CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli: %v: %s", err, out)
	}
	own := balancing{orphans: map[int]time.Time{}}
	if err := n.look([]string{n.store.Node()}, &own); err == nil || !strings.Contains(err.Error(), "partition 3") {
		t.Errorf("it says %v", err)
	}
	if has := len(n.Servers()); has != 15 {
		t.Errorf("it has %d partitions", has)
	}
}

// TestProvidersOfOne: nodes that are configured differently are asked for the
// same providers.
func TestProvidersOfOne(t *testing.T) {
	t.Parallel()
	url, _ := startRedis(t)
	a, b := startNode(t, url+"2", false), startNode(t, url+"2", false)
	for i, n := range []*Node{a, b} {
		names := []string{"small", "large"}[i:]
		n.o.Server.Local.Setup = func() (s replay.Setup) {
			for _, name := range names {
				s.Providers = append(s.Providers, replay.ProviderSlots{Name: name, ID: name, Slots: len(name) + len(names)})
			}
			return s
		}
		if err := n.take(i + 1); err != nil {
			t.Fatal(err)
		}
	}
	for n, want := range map[*Node][]int{a: {14, 14}, b: {12}} {
		states := n.call(t, n.methods[server.ProviderState], server.ProviderStateParams{}).(server.ProviderStatesResult).States
		var slots []int
		for _, s := range states {
			slots = append(slots, s.Slots)
		}
		if !slices.Equal(slots, want) {
			t.Errorf("slots %v, want %v", slots, want)
		}
	}
}

// expire lets the lease of a partition run out.
func expire(t testing.TB, url string, partition int) {
	t.Helper()
	socket, _, _ := strings.Cut(strings.TrimPrefix(url, "unix://"), "?")
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := make([]byte, 4)
	if _, err := fmt.Fprintf(conn, "DEL gleitzeit:{%s.p%d}:lease\r\n", eventlog.RedisName, partition); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != ":1\r\n" {
		t.Fatalf("the Redis said %q (%v)", answer, err)
	}
}
