package client_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

func TestMain(m *testing.M) {
	if child := os.Getenv("GLEITZEIT_TEST_CHILD"); child != "" {
		os.Exit(beChild(child))
	}
	goleak.VerifyTestMain(m)
}

// soon is a context for what should take no time.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// open opens a client that the test closes at its end.
func open(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.Open(soon(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func onDisk(dir string, f *servertest.Fake) client.Options {
	return client.Options{Store: dir, Scheduler: servertest.Options(f)}
}

func submit(t *testing.T, c *client.Client, p server.SubmitParams) string {
	t.Helper()
	var r server.RunResult
	if err := c.Call(soon(t), server.WorkflowSubmit, p, &r); err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// follow follows a run to its end and returns the entries.
func follow(t *testing.T, c *client.Client, id string) []replay.Entry {
	t.Helper()
	var entries []replay.Entry
	if err := c.Follow(soon(t), id, client.Follower{Entry: func(e replay.Entry) { entries = append(entries, e) }}); err != nil {
		t.Fatal(err)
	}
	return entries
}

// get returns a run in full.
func get(t *testing.T, c *client.Client, id string) *replay.RunView {
	t.Helper()
	var v replay.RunView
	if err := c.Call(soon(t), server.WorkflowGet, server.GetParams{ID: id, Values: true}, &v); err != nil {
		t.Fatal(err)
	}
	return &v
}

func types(entries []replay.Entry) string {
	var names []string
	for _, e := range entries {
		names = append(names, e.Type)
	}
	return strings.Join(names, " ")
}

func code(err error) protocols.Code {
	var e *protocols.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// A client alone holds the store, carries a run out, and shows all of it.
func TestAlone(t *testing.T) {
	for name, o := range map[string]client.Options{
		"memory": {Memory: true, Scheduler: servertest.Options(&servertest.Fake{})},
		"disk":   onDisk(t.TempDir(), &servertest.Fake{}),
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, o)
			if !c.Holder() {
				t.Error("it doesn't hold the store")
			}
			id := submit(t, c, servertest.Chain("Two <steps>", servertest.Work{Value: 1}, servertest.Work{Value: "<&>"}))
			if id != "two-steps-1" {
				t.Errorf("id %q", id)
			}
			const want = "workflow.submitted task.started task.completed task.started task.completed workflow.completed"
			entries := follow(t, c, id)
			if got := types(entries); got != want {
				t.Errorf("followed %s", got)
			}
			if e, ok := entries[5].Event.(*replay.WorkflowEnded); !ok || e.Status != replay.Completed {
				t.Errorf("the last event is %#v", entries[5].Event)
			}
			v := get(t, c, "@last")
			if v.Status != replay.Completed || string(v.Tasks[1].Result) != `"<&>"` {
				t.Errorf("got %+v", v)
			}
			var h server.HistoryResult
			if err := c.Call(soon(t), server.WorkflowHistory, server.RunParams{ID: "two"}, &h); err != nil {
				t.Fatal(err)
			}
			if got := types(h.Entries); got != want || h.ID != id {
				t.Errorf("history of %s: %s", h.ID, got)
			}
			if err := c.Close(soon(t)); err != nil {
				t.Error(err)
			}
			if err := c.Close(soon(t)); err != nil {
				t.Error("second Close:", err)
			}
			if err := c.Call(soon(t), server.SystemStatus, nil, nil); code(err) != protocols.SystemShutdown {
				t.Errorf("a call after Close gives %v", err)
			}
		})
	}
}

// A second client finds the first at its socket, hands its work over and
// follows it; when the first leaves, the second goes on.
func TestGuestTakesOver(t *testing.T) {
	dir := t.TempDir()
	started := make(chan providers.Call)
	first := open(t, onDisk(dir, &servertest.Fake{Started: started}))
	second := open(t, onDisk(dir, &servertest.Fake{}))
	if !first.Holder() || second.Holder() {
		t.Fatal("who holds the store?")
	}
	id := submit(t, second, servertest.Chain("work", servertest.Work{Delay: 50 * time.Millisecond}, servertest.Work{Value: 2}, servertest.Work{Value: 3}))
	var entries []replay.Entry
	var following sync.WaitGroup
	following.Go(func() { entries = follow(t, second, id) })
	<-started // the first task runs in the first process
	if err := first.Close(soon(t)); err != nil {
		t.Error(err)
	}
	following.Wait()
	const want = "workflow.submitted task.started task.completed workflow.resumed task.started task.completed task.started task.completed workflow.completed"
	if got := types(entries); got != want {
		t.Errorf("followed %s", got)
	}
	if !second.Holder() {
		t.Error("the second didn't take the store over")
	}
	if v := get(t, second, id); v.Status != replay.Completed {
		t.Errorf("status %s", v.Status)
	}
}

// When patience with running attempts ends, they are stopped, and the next
// holder tries them again.
func TestCloseInterrupts(t *testing.T) {
	dir := t.TempDir()
	started := make(chan providers.Call)
	first := open(t, onDisk(dir, &servertest.Fake{Started: started}))
	second := open(t, onDisk(dir, &servertest.Fake{Released: closed()}))
	id := submit(t, second, servertest.Chain("work", servertest.Work{Hold: true}))
	var entries []replay.Entry
	var following sync.WaitGroup
	following.Go(func() { entries = follow(t, second, id) })
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.Close(ctx); err != nil {
		t.Error(err)
	}
	following.Wait()
	const want = "workflow.submitted task.started task.interrupted workflow.resumed task.started task.completed workflow.completed"
	if got := types(entries); got != want {
		t.Errorf("followed %s", got)
	}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// While the holder drains, everybody may look; a wish waits for the next one.
func TestDrainKeepsWishes(t *testing.T) {
	dir := t.TempDir()
	started, released := make(chan providers.Call, 10), make(chan struct{})
	first := open(t, onDisk(dir, &servertest.Fake{Started: started, Released: released}))
	second := open(t, onDisk(dir, &servertest.Fake{Released: closed()}))
	held := submit(t, second, servertest.Chain("held", servertest.Work{Hold: true}))
	<-started
	var working sync.WaitGroup
	working.Go(func() {
		if err := first.Close(soon(t)); err != nil {
			t.Error(err)
		}
	})
	waitFor(t, second, func(s *server.StatusResult) bool { return s.Leaving })
	var late string
	working.Go(func() { late = submit(t, second, servertest.Chain("late", servertest.Work{})) })
	if v := get(t, second, held); v.Status != replay.Running {
		t.Errorf("the held run is %s", v.Status)
	}
	if second.Holder() {
		t.Error("the first left too early")
	}
	close(released)
	working.Wait()
	if got := types(follow(t, second, late)); !strings.HasSuffix(got, "workflow.completed") {
		t.Errorf("the late run: %s", got)
	}
	if v := get(t, second, held); v.Status != replay.Completed {
		t.Errorf("the held run is %s", v.Status)
	}
}

// waitFor asks for the status until it is as wanted.
func waitFor(t *testing.T, c *client.Client, ok func(*server.StatusResult) bool) {
	t.Helper()
	for {
		var s server.StatusResult
		if err := c.Call(soon(t), server.SystemStatus, nil, &s); err != nil {
			t.Fatal(err)
		}
		if ok(&s) {
			return
		}
	}
}

// Five clients of one store open, submit, follow and close at once, in every
// order that chance brings: every run ends once and is seen in full.
func TestFiveAtOnce(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		dir := t.TempDir()
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				c, err := client.Open(soon(t), onDisk(dir, &servertest.Fake{}))
				if err != nil {
					t.Error(err)
					return
				}
				id := submit(t, c, servertest.Chain("five", servertest.Work{Delay: time.Millisecond}, servertest.Work{Delay: time.Millisecond}, servertest.Work{}))
				entries := follow(t, c, id)
				checkOnce(t, entries, 3)
				if err := c.Close(soon(t)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		last := open(t, onDisk(dir, &servertest.Fake{}))
		var l server.ListResult
		if err := last.Call(soon(t), server.WorkflowList, nil, &l); err != nil {
			t.Fatal(err)
		}
		if len(l.Runs) != 5 {
			t.Errorf("%d runs", len(l.Runs))
		}
		for _, r := range l.Runs {
			if r.Status != replay.Completed {
				t.Errorf("%s is %s: %s", r.ID, r.Status, r.Reason)
			}
		}
		last.Close(soon(t))
	}
}

// checkOnce checks that the entries tell of a whole run of so many tasks, in
// order, nothing twice.
func checkOnce(t *testing.T, entries []replay.Entry, tasks int) {
	t.Helper()
	if !slices.IsSortedFunc(entries, func(a, b replay.Entry) int { return int(a.Seq) - int(b.Seq) }) {
		t.Error("out of order")
	}
	seqs := map[uint64]bool{}
	completed := map[string]int{}
	for _, e := range entries {
		if seqs[uint64(e.Seq)] {
			t.Errorf("entry %d twice", e.Seq)
		}
		seqs[uint64(e.Seq)] = true
		if e.Type == "task.completed" {
			completed[e.Task]++
		}
	}
	if len(completed) != tasks {
		t.Errorf("%d tasks completed, want %d: %s", len(completed), tasks, types(entries))
	}
	for task, n := range completed {
		if n != 1 {
			t.Errorf("%s completed %d times", task, n)
		}
	}
	if n := len(entries); n == 0 || entries[0].Type != "workflow.submitted" || entries[n-1].Type != "workflow.completed" {
		t.Errorf("not a whole run: %s", types(entries))
	}
}

// A passive client runs nothing for anybody: who wishes something gets the
// store, and the passive one watches on.
func TestPassive(t *testing.T) {
	dir := t.TempDir()
	setup := open(t, onDisk(dir, &servertest.Fake{}))
	id := submit(t, setup, servertest.Chain("held", servertest.Work{Hold: true}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	setup.Close(ctx)

	o := onDisk(dir, nil)
	o.Passive = true
	looking := open(t, o)
	if !looking.Holder() {
		t.Fatal("it doesn't hold the store")
	}
	if err := looking.Call(soon(t), server.WorkflowResume, server.ResumeParams{ID: id}, nil); code(err) != protocols.SchedulerNotRunning {
		t.Errorf("its own wish gives %v", err)
	}
	var entries []replay.Entry
	first := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		err := looking.Follow(soon(t), id, client.Follower{Watch: true, Entry: func(e replay.Entry) {
			if entries = append(entries, e); len(entries) == 1 {
				close(first)
			}
		}})
		if err != nil {
			t.Error(err)
		}
	})
	<-first
	doing := open(t, onDisk(dir, &servertest.Fake{Released: closed()}))
	if got := follow(t, doing, id); !strings.HasSuffix(types(got), "workflow.completed") {
		t.Errorf("followed %s", types(got))
	}
	if !doing.Holder() {
		t.Error("who wished something didn't get the store")
	}
	watching.Wait()
	checkOnce(t, entries, 1)
	if looking.Holder() {
		t.Error("the passive client took the store back")
	}
}

// Two clients that wait for the same holder race for its store.
func TestTwoTakeOver(t *testing.T) {
	for range 5 {
		dir := t.TempDir()
		started := make(chan providers.Call, 2)
		first := open(t, onDisk(dir, &servertest.Fake{Started: started}))
		var racing sync.WaitGroup
		clients := [2]*client.Client{}
		for i := range clients {
			c := open(t, onDisk(dir, &servertest.Fake{Released: closed()}))
			clients[i] = c
			id := submit(t, c, servertest.Chain("race", servertest.Work{Hold: true}, servertest.Work{}, servertest.Work{}))
			racing.Go(func() { checkOnce(t, follow(t, c, id), 3) })
		}
		<-started
		<-started
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := first.Close(ctx); err != nil {
			t.Error(err)
		}
		racing.Wait()
		if clients[0].Holder() == clients[1].Holder() {
			t.Errorf("holders: %v, %v", clients[0].Holder(), clients[1].Holder())
		}
	}
}

// Signs of life reach the follower, from another process's scheduler too.
func TestProgress(t *testing.T) {
	dir := t.TempDir()
	holder := open(t, onDisk(dir, &servertest.Fake{Released: closed()}))
	guest := open(t, onDisk(dir, nil))
	for _, c := range []*client.Client{holder, guest} {
		// The watch may begin after the task did, so that many signs are tried.
		var work []servertest.Work
		for range 50 {
			work = append(work, servertest.Work{Say: "hello", Delay: time.Millisecond})
		}
		id := submit(t, c, servertest.Chain("talk", work...))
		heard := 0
		err := c.Follow(soon(t), id, client.Follower{Progress: func(p scheduler.Progress) {
			if p.Message == "hello" && p.Run == id {
				heard++
			}
		}})
		if err != nil {
			t.Error(err)
		}
		if heard == 0 {
			t.Error("no sign of life")
		}
	}
}

// Entry may use the client, and Follow ends with its context.
func TestCallWhileFollowing(t *testing.T) {
	c := open(t, onDisk(t.TempDir(), &servertest.Fake{}))
	id := submit(t, c, servertest.Chain("held", servertest.Work{}, servertest.Work{Hold: true}))
	ctx, cancel := context.WithCancel(soon(t))
	seen := 0
	err := c.Follow(ctx, id, client.Follower{Entry: func(e replay.Entry) {
		seen++
		get(t, c, id)
		if e.Type == "task.completed" {
			cancel()
		}
	}})
	if err != context.Canceled || seen < 3 {
		t.Errorf("%v after %d entries", err, seen)
	}
	// And from there on, as if nothing had happened.
	if err := c.Call(soon(t), server.WorkflowCancel, server.CancelParams{ID: id, By: "test"}, nil); err != nil {
		t.Fatal(err)
	}
	got := follow(t, c, id)
	if !strings.HasSuffix(types(got), "workflow.cancelled") {
		t.Errorf("followed %s", types(got))
	}
	err = c.Call(soon(t), server.WorkflowCancel, server.CancelParams{ID: id}, nil)
	if code(err) != protocols.WorkflowInvalidState || !strings.Contains(err.Error(), "cancelled") {
		t.Errorf("cancel again: %v", err)
	}
	// Following from beyond the end is over at once.
	err = c.Follow(soon(t), id, client.Follower{From: got[len(got)-1].Seq + 1, Entry: func(e replay.Entry) { t.Error("an entry") }})
	if err != nil {
		t.Error(err)
	}
}

// What a client had interrupted rests, also when the store changes hands, until
// it is resumed.
func TestInterruptedRests(t *testing.T) {
	dir := t.TempDir()
	started := make(chan providers.Call, 1)
	first := open(t, onDisk(dir, &servertest.Fake{Started: started}))
	second := open(t, onDisk(dir, &servertest.Fake{Released: closed()}))
	id := submit(t, second, servertest.Chain("rest", servertest.Work{Hold: true}, servertest.Work{}))
	<-started
	ctx, cancel := context.WithCancel(soon(t))
	var following sync.WaitGroup
	interrupted := make(chan struct{})
	following.Go(func() {
		err := second.Follow(ctx, id, client.Follower{Entry: func(e replay.Entry) {
			switch e.Type {
			case "workflow.interrupted":
				close(interrupted)
			case "workflow.resumed":
				t.Error("it was resumed")
			}
		}})
		if err != context.Canceled {
			t.Error(err)
		}
	})
	if err := second.Call(soon(t), server.WorkflowInterrupt, server.InterruptParams{ID: id, Force: true}, nil); err != nil {
		t.Fatal(err)
	}
	<-interrupted
	first.Close(soon(t))
	waitFor(t, second, func(s *server.StatusResult) bool { return s.PID == os.Getpid() && second.Holder() })
	for range 20 { // time enough for the follower to be back
		if v := get(t, second, id); v.Status != replay.Waiting {
			t.Errorf("it is %s", v.Status)
		}
	}
	cancel()
	following.Wait()
	if err := second.Call(soon(t), server.WorkflowResume, server.ResumeParams{ID: id}, nil); err != nil {
		t.Fatal(err)
	}
	if got := types(follow(t, second, id)); !strings.HasSuffix(got, "workflow.completed") {
		t.Errorf("followed %s", got)
	}
}

// What is no store, or damaged, is said so and doesn't take patience.
func TestNoStore(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST-000001"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := client.Open(soon(t), onDisk(dir, nil))
	var se *client.StoreError
	if !errors.As(err, &se) || !strings.Contains(err.Error(), "MANIFEST-000001") {
		t.Errorf("got %v", err)
	}
	if _, err := client.Open(soon(t), client.Options{}); err == nil {
		t.Error("neither folder nor memory")
	}
}
