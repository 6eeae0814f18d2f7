package client

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/sourcegraph/jsonrpc2"

	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// Follower takes what happens to a run. Its functions are called one at a
// time, and not any more once Follow has returned. They may use the client
// (but for Close); one that is slow only slows its own Follow down.
type Follower struct {
	// From is the first place in the log that is of interest; 0: all.
	From eventlog.Seq
	// Cursor is where to begin with all runs of a store that is divided into
	// partitions, where From means nothing; "" is the beginning.
	Cursor string
	// Watch only looks. Otherwise Follow sees to it that somebody carries the
	// run out: it resumes the run when it begins and after each change of
	// hands, unless this client had it interrupted, and not explicitly: what
	// is parked stays parked.
	Watch bool
	// Entry gets every fact exactly once and in order. It may be nil.
	Entry func(replay.Entry)
	// Progress gets signs of life, of which some may be lost. It may be nil.
	Progress func(scheduler.Progress)
}

// Follow follows a run and returns nil once it has ended and f has had all of
// it, or ctx's error. What id may be is said at server.RunParams.
func (c *Client) Follow(ctx context.Context, id string, f Follower) error {
	f.Watch = f.Watch || c.o.Server != "" // a server carries out all that it has
	w := &watching{client: c, f: f, id: id, next: f.From, cursor: f.Cursor}
	var pauses wait
	for try := 0; try < maxTries; try++ {
		s, err := c.session(ctx)
		if err != nil {
			return err
		}
		before, at := w.next, w.cursor
		err = w.over(ctx, s)
		if err != errLost && !isLeaving(err) {
			return err
		}
		if w.next > before || w.cursor != at {
			try, pauses = 0, wait{}
		}
		if err := c.between(ctx, &pauses); err != nil {
			return err
		}
	}
	return errGivenUp("follow " + w.id)
}

// watching is what a Follow has come to.
type watching struct {
	client *Client
	f      Follower
	id     string
	next   eventlog.Seq
	cursor string // of the last event, if it had one

	mu   sync.Mutex
	live *listener // nil: nobody may call f any more
}

// over follows the run over one connection, until the run has ended (nil) or
// the connection has (errLost).
func (w *watching) over(ctx context.Context, s *session) error {
	l := &listener{watching: w, end: make(chan error, 1)}
	conn, _, err := s.connect(ctx, l)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errLost
	}
	defer hangUp(conn)
	w.listen(l)
	defer w.listen(nil)
	var r server.FollowResult
	err = call(ctx, conn, server.LogFollow, server.FollowParams{ID: w.id, From: w.next, Cursor: w.cursor, Progress: w.f.Progress != nil}, &r)
	if err != nil {
		return err
	}
	w.id = r.ID
	if err := w.resume(ctx, conn); err != nil {
		return err
	}
	return l.wait(ctx, conn)
}

// resume sees to it that the run goes on with the process at the other end.
func (w *watching) resume(ctx context.Context, conn *server.Conn) error {
	if w.f.Watch || w.client.rests(w.id) {
		return nil
	}
	secrets, err := w.secrets(ctx, conn)
	if err == nil {
		err = call(ctx, conn, server.WorkflowResume, server.ResumeParams{ID: w.id, Secrets: secrets}, nil)
	}
	var e *protocols.Error
	if errors.As(err, &e) && (e.Code == protocols.WorkflowInvalidState || isLeaving(err)) {
		return nil // it has ended; or the other end is leaving: we shall see
	}
	return err
}

// secrets looks for the secrets that the run needs: the process at the other
// end may be another than the one that had them.
func (w *watching) secrets(ctx context.Context, conn *server.Conn) (map[string]string, error) {
	if w.client.o.Secrets == nil {
		return nil, nil
	}
	var r server.ReferencesResult
	err := call(ctx, conn, server.SecretReferences, server.ReferencesParams{ID: w.id}, &r)
	if err != nil || len(r.References) == 0 {
		return nil, err
	}
	return w.client.o.Secrets(r.References), nil
}

// listen says whose messages count.
func (w *watching) listen(l *listener) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live = l
}

// listener handles the messages of one connection, in the loop that reads it:
// while f is busy nothing is read, and the other end waits.
type listener struct {
	*watching
	end chan error // gets what log/end said
}

// Handle takes one notification.
func (l *listener) Handle(_ context.Context, _ *jsonrpc2.Conn, req *jsonrpc2.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live != l || req.Params == nil {
		return
	}
	switch req.Method {
	case server.LogEvent:
		l.event(*req.Params)
	case server.LogProgress:
		var p server.Progress
		if json.Unmarshal(*req.Params, &p) == nil && l.f.Progress != nil {
			l.f.Progress(p.Progress)
		}
	case server.LogEnd:
		var e server.End
		if err := json.Unmarshal(*req.Params, &e); err != nil {
			l.finish(err)
		} else if e.Error != nil {
			l.finish(e.Error)
		} else {
			l.finish(nil)
		}
	}
}

func (l *listener) event(raw json.RawMessage) {
	var e server.Event
	if err := json.Unmarshal(raw, &e); err != nil {
		l.finish(protocols.Errorf(protocols.ParseError, "read an event: %v", err))
		return
	}
	switch {
	case e.Cursor != "":
		l.cursor = e.Cursor
	case e.Entry.Seq < l.next:
		return
	default:
		l.next = e.Entry.Seq + 1
	}
	if l.f.Entry != nil {
		l.f.Entry(e.Entry)
	}
}

// finish ends the following; what comes after the first doesn't count.
func (l *listener) finish(err error) {
	l.live = nil
	l.end <- err
}

// wait returns when all has been had, or nothing more can come this way.
func (l *listener) wait(ctx context.Context, conn *server.Conn) error {
	select {
	case err := <-l.end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-conn.Ended():
	}
	select {
	case err := <-l.end: // it came last of all
		return err
	default:
		return errLost
	}
}

// endedAs returns how the run had ended that an error is about.
func endedAs(e *protocols.Error) replay.Status {
	var d struct {
		Status replay.Status `json:"status"`
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return ""
	}
	return d.Status
}
