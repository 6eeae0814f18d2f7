package client_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
)

// TestHold: a client that is of no use as a guest waits for one that is about
// to leave, and not for one that stays.
func TestHold(t *testing.T) {
	dir := t.TempDir()
	quick := open(t, client.Options{Store: dir, Passive: true})
	gone := time.AfterFunc(50*time.Millisecond, func() { quick.Close(context.Background()) })
	defer gone.Stop()
	o := onDisk(dir, &servertest.Fake{})
	o.Hold = true
	o.Scheduler.Policy.Schedules = true
	first := open(t, o)
	if !first.Holder() || first.Address() == "" {
		t.Errorf("holder %t at %q", first.Holder(), first.Address())
	}
	_, err := client.Open(soon(t), o)
	var trouble *client.StoreError
	if !errors.As(err, &trouble) || trouble.PID != os.Getpid() || !strings.Contains(err.Error(), "is locked by process") {
		t.Errorf("the second one: %v", err)
	}
	guest := open(t, onDisk(dir, &servertest.Fake{}))
	var hello server.HelloResult
	if err := guest.Call(soon(t), server.SystemHello, server.HelloParams{}, &hello); err != nil || !hello.Server || guest.Address() != "" {
		t.Errorf("a guest is told %+v (%v) and has the address %q", hello, err, guest.Address())
	}
	if err := first.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := guest.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if again := open(t, o); !again.Holder() {
		t.Error("it isn't free again")
	}
	ctx, cancel := context.WithCancel(soon(t))
	cancel()
	if _, err := client.Open(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}
