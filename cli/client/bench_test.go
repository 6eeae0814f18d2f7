package client_test

import (
	"testing"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
)

// BenchmarkCommand is what one `run` does with its store: open, submit one
// task, follow it to its end, close.
func BenchmarkCommand(b *testing.B) {
	dir := b.TempDir()
	ctx := b.Context()
	for b.Loop() {
		c, err := client.Open(ctx, onDisk(dir, &servertest.Fake{}))
		if err != nil {
			b.Fatal(err)
		}
		var r server.RunResult
		if err := c.Call(ctx, server.WorkflowSubmit, servertest.Chain("bench", servertest.Work{}), &r); err != nil {
			b.Fatal(err)
		}
		if err := c.Follow(ctx, r.ID, client.Follower{}); err != nil {
			b.Fatal(err)
		}
		if err := c.Close(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCall is a call of a guest: there and back over the socket.
func BenchmarkCall(b *testing.B) {
	dir := b.TempDir()
	ctx := b.Context()
	for _, who := range []string{"holder", "guest"} {
		c, err := client.Open(ctx, onDisk(dir, &servertest.Fake{}))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close(ctx)
		b.Run(who, func(b *testing.B) {
			for b.Loop() {
				if err := c.Call(ctx, server.SystemHello, nil, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFollow is what one event of a run costs its follower.
func BenchmarkFollow(b *testing.B) {
	ctx := b.Context()
	c, err := client.Open(ctx, client.Options{Memory: true, Scheduler: servertest.Options(&servertest.Fake{})})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close(ctx)
	var r server.RunResult
	if err := c.Call(ctx, server.WorkflowSubmit, servertest.Chain("bench", make([]servertest.Work, 5000)...), &r); err != nil {
		b.Fatal(err)
	}
	if err := c.Follow(ctx, r.ID, client.Follower{}); err != nil {
		b.Fatal(err)
	}
	events := 0
	for b.Loop() {
		if events == 0 {
			if err := c.Follow(ctx, r.ID, client.Follower{}); err != nil {
				b.Fatal(err)
			}
			events = 10_002
		}
		events--
	}
}
