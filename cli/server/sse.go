package server

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// heartbeat is how often a stream of events says that it lives.
const heartbeat = 15 * time.Second

// ended is the id of the last event of a stream. Who comes back with it is told
// not to come back again.
const ended = "end"

// eventStream is what goes to one listener, in the form of server-sent events:
//
//	id: 17
//	event: log/event
//	data: {"seq":17,...}
type eventStream struct {
	mu   sync.Mutex
	w    http.ResponseWriter
	next *http.ResponseController
	over bool // nothing more is sent
}

// followStream answers GET /log/follow?id=RUN&from=SEQ&progress=true with the
// events of a run, or of all runs. It goes on after Last-Event-ID.
func (h *httpDoor) followStream(w http.ResponseWriter, r *http.Request, p *Peer) {
	params, over, err := followParams(r)
	if err != nil {
		refuse(w, err)
		return
	}
	if over {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	release, err := h.streams.take(p.name)
	if err != nil {
		refuse(w, err)
		return
	}
	defer release()
	e := &eventStream{w: w, next: http.NewResponseController(w)}
	p.notify = e.notify
	call := &Call{Peer: p, given: params}
	if _, err := h.server.handle(r.Context(), request{method: LogFollow}, call); err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	_ = e.send(": gleitzeit\n\n") // to whoever is gone nothing more can be sent either
	call.begin()
	e.untilOver(r.Context(), h.server.quit, p)
}

func followParams(r *http.Request) (p FollowParams, over bool, err error) {
	q := r.URL.Query()
	p.ID, p.Progress = q.Get("id"), q.Get("progress") == "true"
	last, from := r.Header.Get("Last-Event-ID"), q.Get("from")
	switch {
	case last == ended:
		return p, true, nil
	case last != "":
		n, wrong := strconv.ParseUint(last, 10, 63)
		p.From, err = eventlog.Seq(n+1), wrong
	case from != "":
		n, wrong := strconv.ParseUint(from, 10, 63)
		p.From, err = eventlog.Seq(n), wrong
	}
	if err != nil {
		err = protocols.Errorf(protocols.InvalidParams, "from and Last-Event-ID must be the seq of an event")
	}
	return p, false, err
}

// untilOver keeps the stream alive until all was sent, or the listener is gone
// or its token worth nothing any more, or we leave.
func (e *eventStream) untilOver(ctx context.Context, quit <-chan struct{}, p *Peer) {
	done := make(chan struct{})
	go func() {
		p.wait()
		close(done)
	}()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if p.proven() == nil && e.send(": alive\n\n") == nil {
				continue
			}
			e.end()
		case <-done:
		case <-ctx.Done():
		case <-quit:
		}
		p.leave()
		<-done
		return
	}
}

func (e *eventStream) notify(_ context.Context, method string, params any) error {
	id, body := "", params
	switch v := params.(type) {
	case Event:
		id, body = fmt.Sprintf("id: %d\n", v.Entry.Seq), v.Entry
	case Progress:
		body = v.Progress
	case End:
		id, body = "id: "+ended+"\n", map[string]any{"error": v.Error}
	}
	raw, err := marshal(body)
	if err != nil {
		return err
	}
	return e.send(id + "event: " + method + "\ndata: " + string(raw) + "\n\n")
}

func (e *eventStream) send(text string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return errUnheard
	}
	if err := e.next.SetWriteDeadline(time.Now().Add(writeIn)); err != nil {
		return err
	}
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.next.Flush()
}

// end sends nothing more, not even what there is already.
func (e *eventStream) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
}
