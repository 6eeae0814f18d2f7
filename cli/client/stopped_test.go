//go:build unix

package client_test

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server/servertest"
)

// A holder that lives and doesn't answer is named, after a while; when it goes
// on, so does everybody.
func TestStoppedHolder(t *testing.T) {
	dir := t.TempDir()
	o := order{Store: filepath.Join(dir, "store"), Tasks: 1, Delay: time.Minute, Notes: filepath.Join(dir, "notes")}
	holder := spawn(t, o)
	for s := range holder.signs {
		if s.Run != "" {
			break
		}
	}
	if err := holder.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(holder.cmd.Process.Pid, &ws, syscall.WUNTRACED, nil); err != nil || !ws.Stopped() {
		t.Fatalf("it has not stopped: %v %v", ws, err)
	}
	_, err := client.Open(soon(t), client.Options{Store: o.Store, Patience: 300 * time.Millisecond})
	var se *client.StoreError
	if !errors.As(err, &se) || se.PID != holder.cmd.Process.Pid || !strings.Contains(err.Error(), "not answered") {
		t.Errorf("got %v", err)
	}
	opened := make(chan *client.Client)
	go func() {
		c, err := client.Open(soon(t), onDisk(o.Store, &servertest.Fake{}))
		if err != nil {
			t.Error(err)
		}
		opened <- c
	}()
	holder.cmd.Process.Signal(syscall.SIGCONT)
	c := <-opened
	if c == nil {
		t.FailNow()
	}
	if c.Holder() {
		t.Error("two holders")
	}
	holder.cmd.Process.Kill()
	if v := get(t, c, "@last"); v.Reason == "" || !c.Holder() {
		t.Errorf("after the kill: %+v", v)
	}
	c.Close(soon(t))
}
