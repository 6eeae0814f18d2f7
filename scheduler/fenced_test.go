package scheduler

import (
	"context"
	"errors"
	"testing"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/replay"
)

// TestCloseAfterFence: a loop that ended because another node has the log takes
// nothing any more, so that whoever asks it, however often, must not be kept;
// and it can be closed.
func TestCloseAfterFence(t *testing.T) {
	s, err := New(eventlog.OpenMemory(eventlog.Options{}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ask(t.Context(), request{act: func() { s.broken = true }}); err != nil {
		t.Fatal(err)
	}
	<-s.done
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for range 2 * maxBatch {
		if err := s.Query(ctx, func(*replay.State) {}); !errors.Is(err, ErrClosed) {
			t.Fatalf("a question gets %v", err)
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Fatal("it can't be closed")
	}
}
