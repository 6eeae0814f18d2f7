package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sourcegraph/jsonrpc2"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/providers"
)

// This file holds the calls that a worker has: those under way, and what others
// came to, until it is certain that nobody asks for that again.

// How long an outcome is kept that the server has taken, and one that it
// hasn't; and how much of both.
const (
	keepTaken   = time.Minute
	keepUntaken = time.Hour
	keepWorks   = 10_000
	keepBytes   = 64 << 20
)

// maxResult is what fits into a message to the server, with room to spare.
const maxResult = 48 << 20

// errNoServer is what calls get while there is no connection.
var errNoServer = protocols.Errorf(protocols.ConnectionLost, "there is no connection to the server")

// desk has the calls of one worker, over all its connections.
type desk struct {
	o       Options
	ctx     context.Context // of all calls
	stop    context.CancelFunc
	working sync.WaitGroup // Do, and what is handed in

	mu    sync.Mutex
	conn  *server.Conn // nil: there is none
	works map[string]*work
	kept  []*work // of works: those that have ended, oldest first
	bytes int     // of their results
}

// work is a call by its key.
type work struct {
	id, key string
	cancel  context.CancelFunc
	ended   time.Time // zero: it is under way
	taken   bool      // the server has the outcome
	result  json.RawMessage
	failure *protocols.Error
	given   bool // it was given up: nobody knows what it came to
}

func newDesk(o Options) *desk {
	ctx, stop := context.WithCancel(context.Background())
	return &desk{o: o, ctx: ctx, stop: stop, works: map[string]*work{}}
}

// attend connects, registers and serves one connection until it is down, or ctx
// has ended. It reports whether the worker was registered.
func (d *desk) attend(ctx context.Context, r providers.Registration) (served bool, err error) {
	conn, err := server.Reach(ctx, d.o.Server, d.o.Token, inbox{d})
	if err != nil {
		return false, err
	}
	defer func() {
		d.use(nil)
		conn.Close()
		<-conn.Ended()
	}()
	r.Holds = d.holds()
	d.use(conn)
	var told server.RegisterResult
	if err := d.call(ctx, server.ProviderRegister, server.RegisterParams{Registration: r}, &told); err != nil {
		return false, err
	}
	d.o.Logger.Info("registered", "server", d.o.Server, "worker", r.Worker, "slots", r.Slots, "serves", told.Serves)
	err = d.beat(ctx, conn, time.Duration(told.Heartbeat*float64(time.Second)))
	if ctx.Err() != nil {
		d.leave()
	}
	return true, err
}

// use makes a connection the one that there is.
func (d *desk) use(conn *server.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn = conn
}

// beat gives signs of life until the connection is down or ctx has ended.
func (d *desk) beat(ctx context.Context, conn *server.Conn, every time.Duration) error {
	ticker := time.NewTicker(max(every, time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-conn.DisconnectNotify():
			return errNoServer
		case <-ticker.C:
		}
		patience, enough := context.WithTimeout(ctx, every)
		err := d.call(patience, server.ProviderHeartbeat, nil, nil)
		enough()
		if err != nil {
			return err
		}
	}
}

// leave lets calls end that are under way, within the grace, and tells the
// server of those that don't.
func (d *desk) leave() {
	ctx, enough := context.WithTimeout(context.Background(), d.o.Grace+time.Second)
	defer enough()
	if d.call(ctx, server.ProviderUnregister, nil, nil) != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.working.Wait()
	}()
	grace := time.NewTimer(d.o.Grace)
	defer grace.Stop()
	select {
	case <-done:
	case <-grace.C:
		d.giveUp()
		<-done
	}
}

// giveUp stops all calls that are under way. Nobody knows what they came to.
func (d *desk) giveUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.works {
		if w.ended.IsZero() {
			w.given = true
			w.cancel()
		}
	}
}

// close ends all calls and waits for them.
func (d *desk) close() {
	d.giveUp()
	d.stop()
	d.working.Wait()
}

// call makes a call over the connection that there is.
func (d *desk) call(ctx context.Context, method string, params, result any) error {
	d.mu.Lock()
	conn := d.conn
	d.mu.Unlock()
	if conn == nil {
		return errNoServer
	}
	err := conn.Call(ctx, method, params, result)
	var answered *jsonrpc2.Error
	switch {
	case errors.As(err, &answered):
		return server.FromWire(err)
	case err != nil:
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// inbox gets what the server says.
type inbox struct{ *desk }

// Handle takes a call, or stops one. It is called by the loop that reads.
func (d inbox) Handle(_ context.Context, _ *jsonrpc2.Conn, r *jsonrpc2.Request) {
	if r.Params == nil {
		return
	}
	switch r.Method {
	case server.WorkerCall:
		var c providers.WorkerCall
		if json.Unmarshal(*r.Params, &c) == nil {
			d.take(c)
		}
	case server.WorkerCancel:
		var c providers.WorkerCancel
		if json.Unmarshal(*r.Params, &c) == nil {
			d.cancel(c)
		}
	}
}

// take begins a call, or goes on with it.
func (d *desk) take(c providers.WorkerCall) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.works[c.Key]
	switch {
	case w == nil && c.Rejoin: // it was dropped meanwhile
		w = &work{id: c.ID, key: c.Key, ended: time.Now(), given: true}
		d.working.Go(func() { d.handIn(w) })
	case w == nil:
		d.begin(c)
	default:
		if w.id = c.ID; !w.ended.IsZero() {
			d.working.Go(func() { d.handIn(w) })
		}
	}
}

// begin has a new call carried out. The caller holds mu.
func (d *desk) begin(c providers.WorkerCall) {
	ctx, cancel := context.WithCancel(d.ctx)
	if c.Timeout > 0 {
		ctx, cancel = context.WithTimeout(d.ctx, time.Duration(c.Timeout*float64(time.Second)))
	}
	w := &work{id: c.ID, key: c.Key, cancel: cancel}
	d.works[c.Key] = w
	d.working.Go(func() {
		defer cancel()
		result, err := d.do(ctx, Call{WorkerCall: c, desk: d, own: w})
		d.ends(w, result, err)
		d.handIn(w)
	})
}

// do is Do, of which a panic harms its own call alone.
func (d *desk) do(ctx context.Context, c Call) (result json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = protocols.Errorf(protocols.InternalError, "the worker panicked: %v", p)
		}
	}()
	result, err = d.o.Do(ctx, c)
	if len(result) > maxResult {
		return nil, protocols.Errorf(protocols.TaskResultInvalid, "the worker's result has %d bytes, the limit is %d", len(result), maxResult)
	}
	if err == nil && !json.Valid(result) {
		return nil, protocols.Errorf(protocols.TaskResultInvalid, "the worker's result is not JSON")
	}
	return result, err
}

// ends notes what a call came to.
func (d *desk) ends(w *work, result json.RawMessage, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.ended, w.result = time.Now(), result
	if err != nil && !errors.As(err, &w.failure) {
		w.failure = protocols.Errorf(protocols.TaskExecutionFailed, "%v", err)
	}
	if d.works[w.key] == w {
		d.kept = append(d.kept, w)
		d.bytes += len(w.result)
	}
	d.sweep()
}

// sweep lets go of what nobody will ask for again, and of what is too much. The
// caller holds mu.
func (d *desk) sweep() {
	now := time.Now()
	d.kept = slices.DeleteFunc(d.kept, func(w *work) bool {
		keep := keepUntaken
		if w.taken {
			keep = keepTaken
		}
		gone := now.Sub(w.ended) > keep
		if gone {
			d.drop(w)
		}
		return gone
	})
	for len(d.kept) > keepWorks || d.bytes > keepBytes && len(d.kept) > 1 {
		d.drop(d.kept[0])
		d.kept = d.kept[1:]
	}
}

func (d *desk) drop(w *work) {
	d.bytes -= len(w.result)
	if d.works[w.key] == w {
		delete(d.works, w.key)
	}
}

// handIn says what a call came to. Without a connection it is said when the
// server asks for it: it is told of it (holds) when there is one.
func (d *desk) handIn(w *work) {
	d.mu.Lock()
	p := server.CallResultParams{ID: w.id, Result: w.result, Error: w.failure, Lost: w.given && w.result == nil}
	d.mu.Unlock()
	if p.Lost || p.Error != nil {
		p.Result = nil
	}
	var r server.CallResultResult
	err := d.call(context.Background(), server.ProviderResult, p, &r)
	var refused *protocols.Error
	if errors.As(err, &refused) && refused != errNoServer && p.Error == nil && !p.Lost { // such as one that is too long
		p.Result, p.Error = nil, protocols.Errorf(protocols.TaskResultInvalid, "the server didn't take the result: %s", refused.Message)
		err = d.call(context.Background(), server.ProviderResult, p, &r)
	}
	if err != nil {
		d.o.Logger.Debug("an outcome is kept until the server asks for it", "call", p.ID, "error", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w.taken = w.taken || r.Taken
}

// cancel stops a call.
func (d *desk) cancel(c providers.WorkerCancel) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w := d.works[c.Key]; w != nil && w.ended.IsZero() && (c.ID == "" || c.ID == w.id) {
		delete(d.works, w.key) // should the same come again, it begins anew
		w.cancel()
	}
}

// progress shows how a call goes on.
func (d *desk) progress(w *work, p providers.Progress) {
	d.mu.Lock()
	conn, id := d.conn, w.id
	d.mu.Unlock()
	if conn != nil {
		_ = conn.Notify(context.Background(), server.ProviderProgress, server.CallProgressParams{ID: id, Progress: p}) // it may be lost
	}
}

func (d *desk) idOf(w *work) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return w.id
}

// holds lists the keys of all that there is.
func (d *desk) holds() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	keys := []string{}
	for key := range d.works {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
