package client

import (
	"context"
	"errors"
	"time"
)

// wait is the time between tries: short at first, for a handover takes
// milliseconds, and then longer.
type wait struct {
	patience time.Duration // with one holder; 0: without end
	pause    time.Duration
	pid      int    // of the holder that we are waiting for
	host     string // its machine, if that isn't ours
	since    time.Time
}

const (
	firstPause = time.Millisecond
	maxPause   = 50 * time.Millisecond
)

// errPatience says that one holder has been silent for too long.
var errPatience = errors.New("patience has run out")

// saw notes who holds the store. Another one has another chance.
func (w *wait) saw(pid int) {
	if w.since.IsZero() || pid != w.pid {
		w.pid, w.since = pid, time.Now()
	}
}

// where says on which machine the holder is.
func (w *wait) where() string {
	if w.host == "" {
		return ""
	}
	return " on " + w.host
}

// left is how long to wait still.
func (w *wait) left() time.Duration {
	if w.since.IsZero() {
		w.since = time.Now()
	}
	return w.patience - time.Since(w.since)
}

// next waits until the next try.
func (w *wait) next(ctx context.Context) error {
	if w.patience > 0 && w.left() <= 0 {
		return errPatience
	}
	w.pause = min(max(firstPause, w.pause*2), maxPause)
	t := time.NewTimer(w.pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
