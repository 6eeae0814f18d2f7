package eventlog

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleLogger passes what Pebble says to slog, and ends the log where Pebble
// would end the process.
type pebbleLogger struct {
	slog *slog.Logger
	doom *doom
	told sync.Map // the damaged files that were named, by path
}

func newPebbleLogger(to *slog.Logger, d *doom) *pebbleLogger {
	if to == nil {
		to = slog.New(slog.DiscardHandler)
	}
	return &pebbleLogger{slog: to, doom: d}
}

// Infof is for developers: Pebble is chatty.
func (p *pebbleLogger) Infof(format string, args ...any) {
	if p.slog.Enabled(context.Background(), slog.LevelDebug) {
		p.slog.Debug(fmt.Sprintf(format, args...))
	}
}

// Errorf is for what Pebble gets over by itself.
func (p *pebbleLogger) Errorf(format string, args ...any) {
	p.slog.Error(fmt.Sprintf(format, args...))
}

// Fatalf is called when a write fails; it keeps the cause for errors.Is.
func (p *pebbleLogger) Fatalf(format string, args ...any) {
	e := &storeError{text: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if err, ok := a.(error); ok {
			e.cause = err
		}
	}
	p.doom.fail(e)
}

// nothingToFlush is how Pebble reports a flush of nothing, as when a store is
// opened that was not written to; the error has no name.
const nothingToFlush = "pebble: empty table"

// listener says which of the things that happen in the background matter. A
// flush that fails would be tried again for ever while appends come to a halt,
// so it ends the log; so does a compaction, unless the cause is a damaged file,
// which does no more harm there than where it is.
func (p *pebbleLogger) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) { p.slog.Error("store: background", "error", firstLine(err)) },
		FlushEnd: func(i pebble.FlushInfo) {
			if i.Err != nil && i.Err.Error() != nothingToFlush {
				p.doom.fail(fmt.Errorf("write a table: %w", i.Err))
			}
		},
		CompactionEnd: func(i pebble.CompactionInfo) {
			if i.Err != nil && !pebble.IsCorruptionError(i.Err) {
				p.doom.fail(fmt.Errorf("merge tables: %w", i.Err))
			}
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			if _, told := p.told.LoadOrStore(i.Path, true); !told {
				p.slog.Error("store: a file is damaged", "path", i.Path, "error", firstLine(i.Details))
			}
		},
	}
}

// firstLine is what an error says first. Those of Pebble go on with lines about
// themselves, and as values with the places in its source, for pages.
func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

// storeError is an error that Pebble has put into words.
type storeError struct {
	text  string
	cause error
}

func (e *storeError) Error() string { return e.text }
func (e *storeError) Unwrap() error { return e.cause }
