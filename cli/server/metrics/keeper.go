package metrics

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"gleitzeit/eventlog"
)

// This file keeps the counters of a log, as a reader of it: it takes no part in
// what happens and may be late or die at any time.

// Stream names the checkpoint that holds the counters. The stream has no records.
const Stream = "metrics"

// saveEvery is how often the counters are brought up to date and saved when
// nobody asks. What came since is read once more after a crash.
const saveEvery = 15 * time.Second

// lastWords is how long a server that leaves counts on.
const lastWords = 2 * time.Second

// turn is how many records are counted before somebody else may.
const turn = 1000

// Keeper has the counters of a log. Its methods may be called from many
// goroutines.
type Keeper struct {
	log    *eventlog.Log
	logger *slog.Logger

	mu       sync.Mutex
	counters *Counters // nil before the first turn
	at       eventlog.Seq
	saved    eventlog.Seq
}

// NewKeeper returns the keeper of a log, which has read nothing yet.
func NewKeeper(log *eventlog.Log, logger *slog.Logger) *Keeper {
	return &Keeper{log: log, logger: logger}
}

// Keep keeps the counters close to the log's end, until quit is closed. The log
// must still be open then, for a moment.
func (k *Keeper) Keep(quit <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		k.keep(ctx)
		select {
		case <-quit:
			ctx, enough := context.WithTimeout(context.Background(), lastWords)
			defer enough()
			k.keep(ctx)
			return
		case <-ticker.C:
		}
	}
}

// keep brings the counters up to date and saves them.
func (k *Keeper) keep(ctx context.Context) {
	err := k.CatchUp(ctx)
	if err == nil || ctx.Err() != nil {
		err = k.Save()
	}
	if err != nil {
		k.logger.Warn("count what happened", "error", err)
	}
}

// CatchUp counts all that there is, as long as ctx lets it.
func (k *Keeper) CatchUp(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if more, err := k.turn(); err != nil || !more {
			return err
		}
	}
}

// Families returns the counters, as of the last record that was counted.
func (k *Keeper) Families() []*Family {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.counters == nil {
		return nil
	}
	return Sum(k.counters.families())
}

// turn counts some of the records, and tells whether there are more.
func (k *Keeper) turn() (more bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.counters == nil {
		if err := k.begin(); err != nil {
			return false, err
		}
	}
	last, n := k.log.Last(), 0
	for rec, err := range k.log.Read(k.at + 1) {
		if err != nil {
			return false, err
		}
		if n == turn || rec.Seq > last {
			return rec.Seq <= last, nil
		}
		if err := k.counters.count(rec, k.log.Value); err != nil {
			return false, err
		}
		k.at, n = rec.Seq, n+1
	}
	return false, nil
}

// begin goes on from the checkpoint, or from the beginning if there is none, or
// one of no use.
func (k *Keeper) begin() error {
	cp, found, err := k.log.Checkpoint(Stream)
	if err != nil {
		return err
	}
	if found && cp.At <= k.log.Last() {
		if k.counters = restore(cp.Data); k.counters != nil {
			k.at, k.saved = cp.At, cp.At
			return nil
		}
	}
	k.counters, k.at, k.saved = newCounters(), 0, 0
	return nil
}

// Save writes the checkpoint, if there is anything new.
func (k *Keeper) Save() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.counters == nil || k.at == k.saved || k.log.Trouble() != nil {
		return nil
	}
	data, err := k.counters.save()
	if err != nil {
		return err
	}
	if err := k.log.SaveCheckpoints([]eventlog.Checkpoint{{Stream: Stream, At: k.at, Data: data}}, nil); err != nil {
		return err
	}
	k.saved = k.at
	return nil
}
