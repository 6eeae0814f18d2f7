//go:build unix

package client_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// fragile is a holder that dies at a chosen moment: when its first answer that
// holds a certain text is about to go out. The answer is lost.
type fragile struct {
	t    *testing.T
	srv  *server.Server
	door net.Listener
	text string
	die  sync.Once
	work sync.WaitGroup
}

func newFragile(t *testing.T, dir, text string, f *servertest.Fake) *fragile {
	t.Helper()
	log, err := eventlog.Open(dir, eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	door, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	h := &fragile{t: t, srv: server.New(log, server.Options{Dir: dir, Scheduler: servertest.Options(f)}), door: door, text: text}
	h.work.Go(h.accept)
	t.Cleanup(func() {
		h.die.Do(h.kill)
		h.work.Wait()
	})
	return h
}

func (h *fragile) accept() {
	for {
		conn, err := h.door.Accept()
		if err != nil {
			return
		}
		pipe := h.srv.Pipe()
		h.work.Go(func() { io.Copy(pipe, conn); pipe.Close() })
		h.work.Go(func() { h.answers(conn, pipe) })
	}
}

// answers passes the server's lines on, up to the one that it dies of.
func (h *fragile) answers(conn, pipe net.Conn) {
	defer conn.Close()
	defer pipe.Close()
	buf := make([]byte, 1<<20) // a line comes in one piece through a net.Pipe
	for {
		n, err := pipe.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(buf[:n], []byte(h.text)) {
			h.work.Go(func() { h.die.Do(h.kill) })
			return
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (h *fragile) kill() {
	h.door.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.srv.Close(ctx); err != nil {
		h.t.Error(err)
	}
}

// A call whose answer is lost is repeated, and yet has its effect once.
func TestLostAnswers(t *testing.T) {
	t.Run("submit", func(t *testing.T) {
		dir := t.TempDir()
		newFragile(t, dir, `"result":{"id":"once-1"}`, &servertest.Fake{})
		c := open(t, onDisk(dir, &servertest.Fake{Released: closed()}))
		if id := submit(t, c, servertest.Chain("once", servertest.Work{Hold: true})); id != "once-1" || !c.Holder() {
			t.Errorf("the second answer is %s", id)
		}
		checkOnce(t, follow(t, c, "once-1"), 1)
	})
	t.Run("cancel", func(t *testing.T) {
		dir := t.TempDir()
		// The first call is the greeting, 0; the second submits.
		newFragile(t, dir, `"id":2,"result":{"id":"once-1"}`, &servertest.Fake{})
		c := open(t, onDisk(dir, &servertest.Fake{}))
		id := submit(t, c, servertest.Chain("once", servertest.Work{Hold: true}))
		if err := c.Call(soon(t), server.WorkflowCancel, server.CancelParams{ID: id}, nil); err != nil {
			t.Error(err)
		}
		if v := get(t, c, id); v.Status != replay.Cancelled || !c.Holder() {
			t.Errorf("status %s", v.Status)
		}
	})
	t.Run("unpause", func(t *testing.T) {
		dir := t.TempDir()
		newFragile(t, dir, `"id":3,"result":{"id":"once-1"`, &servertest.Fake{})
		c := open(t, onDisk(dir, &servertest.Fake{}))
		id := submit(t, c, servertest.Chain("once", servertest.Work{Hold: true}))
		if err := c.Call(soon(t), server.WorkflowPause, server.PauseParams{ID: id}, nil); err != nil {
			t.Fatal(err)
		}
		p := server.UnpauseParams{ID: id, Grant: server.Grant{Tokens: 7}}
		if err := c.Call(soon(t), server.WorkflowUnpause, p, nil); err != nil || !c.Holder() {
			t.Errorf("%v, holder %v", err, c.Holder())
		}
		if err := c.Call(soon(t), server.WorkflowUnpause, p, nil); err == nil {
			t.Error("a run that isn't paused was given more")
		}
	})
	schedule := server.ScheduleAddParams{Name: "tick", Schedule: protocols.Schedule{Cron: "@daily"}, Run: servertest.Chain("once", servertest.Work{})}
	t.Run("schedule", func(t *testing.T) {
		dir := t.TempDir()
		newFragile(t, dir, `"name":"tick"`, &servertest.Fake{})
		c := open(t, onDisk(dir, &servertest.Fake{}))
		var v server.ScheduleView
		if err := c.Call(soon(t), server.ScheduleAdd, schedule, &v); err != nil || v.Name != "tick" || !c.Holder() {
			t.Errorf("%+v, %v", v, err)
		}
	})
	t.Run("remove", func(t *testing.T) {
		dir := t.TempDir()
		newFragile(t, dir, `"id":2,"result":{"name":"tick"`, &servertest.Fake{})
		c := open(t, onDisk(dir, &servertest.Fake{}))
		if err := c.Call(soon(t), server.ScheduleAdd, schedule, nil); err != nil {
			t.Fatal(err)
		}
		if err := c.Call(soon(t), server.ScheduleRemove, server.ScheduleParams{Name: "tick"}, nil); err != nil || !c.Holder() {
			t.Error(err)
		}
	})
}

// A follower whose holder dies at any of a run's events has each of them once.
func TestFollowAcrossDeaths(t *testing.T) {
	for _, text := range []string{"workflow.submitted", "task.started", "task.completed", `"task":"t2"`, "workflow.completed", `"log/end"`} {
		t.Run(text, func(t *testing.T) {
			dir := t.TempDir()
			newFragile(t, dir, text, &servertest.Fake{})
			c := open(t, onDisk(dir, &servertest.Fake{}))
			id := submit(t, c, servertest.Chain("deaths", servertest.Work{}, servertest.Work{}, servertest.Work{}))
			entries := follow(t, c, id)
			checkOnce(t, entries, 3)
			if !c.Holder() {
				t.Error("nobody died")
			}
			var h server.HistoryResult
			if err := c.Call(soon(t), server.WorkflowHistory, server.RunParams{ID: id}, &h); err != nil {
				t.Fatal(err)
			}
			if types(h.Entries) != types(entries) {
				t.Errorf("followed %s\nbut it was %s", types(entries), types(h.Entries))
			}
		})
	}
}
