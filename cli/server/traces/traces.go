// Package traces tells a collector of OpenTelemetry what happens to runs: a run is
// a trace, or a part of its submitter's, and an attempt a span in it.
//
// It reads the log and takes no part in what happens. The log is also its memory:
// what a collector that is away doesn't take is read again when it is back, also
// by the next process. So a span may come twice, but always under the same name,
// since names are made of what the log says (replay.RunTrace).
//
// No parameter, input or result of a task is told, and of a model's answer only
// its model and its tokens. Messages of errors are told as the log has them:
// without secrets.
package traces

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"gleitzeit/eventlog"
	"gleitzeit/replay"
)

// Options say whom to tell. The zero value tells nobody.
type Options struct {
	// URL is where spans are posted as OTLP in protobuf, "" for nowhere.
	URL string
	// Headers go with each request; they may be secret.
	Headers map[string]string
	// Timeout bounds one request, 0 is 10 s.
	Timeout time.Duration
	// Resource says who we are, as service.name.
	Resource map[string]string
}

// Stream names the checkpoint that says up to where the log was told. The stream
// has no records.
const Stream = "traces"

const (
	// pause is how long what happened may wait until it is told, at least, and
	// share that telling takes at most one part of so many of the time.
	pause = 500 * time.Millisecond
	share = 5
	// maxPause is how long a collector that is away is left alone at most.
	maxPause = time.Minute
	// lastWords is how long a process that leaves tells.
	lastWords = 2 * time.Second
	// maxRecords is how many records are told at once.
	maxRecords = 100_000
	// maxSpans is how many spans go in one request.
	maxSpans = 512
)

// Tracer tells of one log. Only Keep uses it.
type Tracer struct {
	log    *eventlog.Log
	logger *slog.Logger
	send   *sender
	at     eventlog.Seq // told
	began  bool
	away   bool // the collector didn't take the last
}

// New returns the tracer of a log, which tells what comes after from unless the
// log says that it was told more or less.
func New(log *eventlog.Log, from eventlog.Seq, o Options, logger *slog.Logger) *Tracer {
	return &Tracer{log: log, logger: logger, send: newSender(o), at: from}
}

// Forget is for a process that tells nobody: what happens now is not told later
// either.
func Forget(log *eventlog.Log) error {
	_, found, err := log.Checkpoint(Stream)
	if err != nil || !found {
		return err
	}
	return log.SaveCheckpoints(nil, []string{Stream})
}

// Keep tells what happens, until quit is closed. The log must still be open then,
// for a moment.
func (t *Tracer) Keep(quit <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	for rest := pause; ; {
		select {
		case <-quit:
			ctx, enough := context.WithTimeout(context.Background(), lastWords)
			defer enough()
			t.tell(ctx)
			return
		case <-time.After(rest):
		}
		began := time.Now()
		if t.tell(ctx) {
			rest = max(pause, share*time.Since(began))
		} else {
			rest = min(2*rest, maxPause)
		}
	}
}

// tell tells what there is, and whether that went well. That a collector is away
// is said once.
func (t *Tracer) tell(ctx context.Context) bool {
	for {
		more, err := t.pass(ctx)
		if ctx.Err() != nil && err != nil {
			return true
		}
		if err != nil && !t.away {
			t.logger.Warn("tell the collector what happened; it is tried again", "error", err)
		}
		if t.away = err != nil; t.away || !more {
			return !t.away
		}
	}
}

// pass tells of some records, and says whether there are more.
func (t *Tracer) pass(ctx context.Context) (more bool, err error) {
	if err := t.begin(); err != nil {
		return false, err
	}
	runs, to, more, err := t.gather()
	if err != nil || to == t.at {
		return false, err
	}
	var spans []*tracepb.Span
	for _, run := range slices.Sorted(maps.Keys(runs)) {
		err := spansOf(t.log, run, t.at, to, func(s *tracepb.Span) error {
			if spans = append(spans, s); len(spans) < maxSpans {
				return nil
			}
			err := t.post(ctx, spans)
			spans = spans[:0]
			return err
		})
		if err != nil {
			return false, err
		}
	}
	if err := t.post(ctx, spans); err != nil {
		return false, err
	}
	return more, t.save(to)
}

// begin goes on from where an earlier process was.
func (t *Tracer) begin() error {
	if t.began {
		return nil
	}
	cp, found, err := t.log.Checkpoint(Stream)
	if err != nil {
		return err
	}
	if found && cp.At <= t.log.Last() {
		t.at = cp.At
	}
	t.began = true
	return nil
}

// gather finds the runs of which something has ended since, up to a place.
func (t *Tracer) gather() (runs map[uint64]bool, to eventlog.Seq, more bool, err error) {
	runs, to = map[uint64]bool{}, t.at
	last := min(t.log.Last(), t.at+maxRecords)
	for rec, err := range t.log.Read(t.at + 1) {
		if err != nil {
			return nil, 0, false, err
		}
		if rec.Seq > last {
			return runs, to, true, nil
		}
		to = rec.Seq
		if run, ok := replay.RunOf(rec.Stream); ok && tells(rec.Type) {
			runs[run] = true
		}
		if to == last {
			break
		}
	}
	return runs, to, to < t.log.Last(), nil
}

// save says up to where the log was told.
func (t *Tracer) save(to eventlog.Seq) error {
	t.at = to
	if t.log.Trouble() != nil {
		return nil
	}
	return t.log.SaveCheckpoints([]eventlog.Checkpoint{{Stream: Stream, At: to, Data: []byte("{}")}}, nil)
}

// post sends spans. What a collector will never take is given up.
func (t *Tracer) post(ctx context.Context, spans []*tracepb.Span) error {
	if len(spans) == 0 {
		return nil
	}
	refused, err := t.send.post(ctx, spans)
	if refused {
		t.logger.Warn("the collector refuses spans; they are given up", "spans", len(spans), "error", err)
		return nil
	}
	return err
}
