package eventlog

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// steadfast has whoever reads from a Redis wait while it is away: a writer that
// looks for the end of a stream, a worker that loads a value and a follower have
// no use for an error, since all will be there when it is back. It is a hook of
// the client, and asks again only for what is said with always; a commit is
// tried again by the store (insist).
type steadfast struct {
	patience time.Duration
	away     atomic.Pointer[error] // why the last command came back without an answer
}

// waits marks the context always.
type waits struct{}

var always = context.WithValue(context.Background(), waits{}, true)

// insist does something until Redis answers, if that is worth waiting for. What
// is said to a new connection on the way doesn't wait for itself: that connection
// may be dead, and only another one is of use.
func (h *steadfast) insist(ctx context.Context, do func(context.Context) error) error {
	once := context.WithValue(ctx, waits{}, nil)
	for began, pause := time.Now(), 20*time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := do(once)
		if err == nil || !comesBack(err) {
			h.away.Store(nil)
			return err
		}
		why := fmt.Errorf("the Redis can't be reached just now: %w", err)
		if ctx.Err() == nil { // else it is the one who asks that had enough
			h.away.Store(&why)
		}
		if ctx.Value(waits{}) == nil || time.Since(began) > h.patience {
			return err
		}
		time.Sleep(pause)
	}
}

// DialHook is a hook of go-redis.
func (h *steadfast) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook is a hook of go-redis.
func (h *steadfast) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return h.insist(ctx, func(ctx context.Context) error { return next(ctx, cmd) })
	}
}

// ProcessPipelineHook is a hook of go-redis.
func (h *steadfast) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return h.insist(ctx, func(ctx context.Context) error { return next(ctx, cmds) })
	}
}
