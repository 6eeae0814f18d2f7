package eventlog

import (
	"context"
	"fmt"
	"sync/atomic"
)

// Stats is what can be said about a log without reading it.
type Stats struct {
	// Engine is what keeps the log, in the layout of Format. Promise says
	// what an acknowledged append lives through.
	Engine  Engine
	Format  int
	Promise Promise
	// Last is the Seq of the last durable record.
	Last Seq
	// Records and Values exist now; ValueBytes are in the values.
	Records, Values, ValueBytes uint64
	// DiskBytes is about what the store takes on disk (in memory, if it
	// lives there), with what is left to be cleared away.
	DiskBytes int64

	// The rest counts from Open on.

	// Appends were made durable in Commits, with AppendedBytes of records
	// and values. Deletions count as appends.
	Appends, Commits, AppendedBytes uint64
	// Syncs of files and folders, of Open and of the background too.
	Syncs uint64
	// OpenBytesRead were read by Open, BytesRead in all, Open included.
	OpenBytesRead, BytesRead uint64
}

// Stats returns the figures of this moment; those of a closed log are zero.
func (l *Log) Stats() Stats {
	if l.enter() != nil {
		return Stats{}
	}
	defer l.leave()
	t, err := l.store.totals()
	if err != nil {
		return Stats{}
	}
	engine, format, promise := l.store.about()
	s := Stats{
		Engine:        engine,
		Format:        format,
		Promise:       promise,
		Last:          l.Last(),
		Records:       t.records,
		Values:        t.values,
		ValueBytes:    t.valueBytes,
		DiskBytes:     l.store.size(),
		Appends:       l.counts.appends.Load(),
		Commits:       l.counts.commits.Load(),
		AppendedBytes: l.counts.bytes.Load(),
	}
	if d := l.disk; d != nil {
		s.Syncs, s.BytesRead, s.OpenBytesRead = d.syncs.Load(), d.read.Load(), l.readByOpen
	}
	return s
}

// Compact gives back the room of what was deleted, as far as the engine can. The
// log can be read meanwhile; in SQLite appends wait.
func (l *Log) Compact(ctx context.Context) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	if l.readOnly != nil {
		return fmt.Errorf("compact: %w", l.readOnly)
	}
	if err := l.store.compact(ctx); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	return nil
}

// counts is what the log counts itself.
type counts struct{ appends, commits, bytes atomic.Uint64 }

func (c *counts) commit(group []*request, bytes int) {
	for _, r := range group {
		if r.err == nil {
			c.appends.Add(1)
		}
	}
	c.commits.Add(1)
	c.bytes.Add(uint64(bytes))
}
