package server

import (
	"context"
	"encoding/json"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// Visitor is somebody who came in over HTTP, for a part of this program that
// calls methods in his name: he may what his token lets him.
type Visitor struct {
	server *Server
	role   Role
	name   string
	proof  func() error
	meter  *meter
}

func (h *httpDoor) visitor(p *Peer) *Visitor {
	return &Visitor{server: h.server, role: p.role, name: p.name, proof: p.proof, meter: p.meter}
}

// Name is who it is, for the history and for telling visitors apart.
func (v *Visitor) Name() string { return v.name }

// Submits tells, by nil, whether the visitor may submit.
func (v *Visitor) Submits() error { return v.peer().may(v.server.methods[WorkflowSubmit]) }

// Decides tells whether the visitor may decide approvals.
func (v *Visitor) Decides() bool { return v.role.May(Operate) }

// Call calls a method and reads its answer into result, which may be nil. Once
// the server leaves it is SYSTEM_SHUTDOWN.
func (v *Visitor) Call(ctx context.Context, method string, params, result any) error {
	raw, err := marshal(params)
	if err != nil {
		return err
	}
	if string(raw) == "null" {
		raw = nil
	}
	return v.call(ctx, request{method: method, params: raw}, &Call{Params: raw}, result)
}

// Submit submits a workflow that this program has read itself: unlike what a
// visitor sends, it may say what is so on this machine.
func (v *Visitor) Submit(ctx context.Context, p *SubmitParams) (r SubmitResult, err error) {
	return r, v.call(ctx, request{method: WorkflowSubmit}, &Call{given: *p, own: true}, &r)
}

func (v *Visitor) call(ctx context.Context, r request, c *Call, result any) error {
	if !v.server.enter() {
		return errLeaving
	}
	defer v.server.served.Done()
	c.Peer = v.peer()
	defer c.Peer.leave()
	answer, err := v.server.handle(ctx, r, c)
	if err != nil || result == nil {
		return asErrorOrNil(err)
	}
	raw, err := marshal(answer)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, result)
}

func asErrorOrNil(err error) error {
	if err == nil {
		return nil
	}
	return asError(err)
}

func (v *Visitor) peer() *Peer {
	return &Peer{role: v.role, name: v.name, proof: v.proof, meter: v.meter}
}

// Follow follows a run until it has ended (nil), or ctx has, or the server
// leaves. entry gets every event in order, sign the signs of life of tasks, of
// which some may be lost; neither is called any more once Follow has returned.
func (v *Visitor) Follow(ctx context.Context, id string, entry func(replay.Entry), sign func(task, text string)) error {
	if !v.server.enter() {
		return errLeaving
	}
	defer v.server.served.Done()
	end := make(chan error, 1)
	p := v.peer()
	p.notify = func(_ context.Context, _ string, params any) error {
		switch n := params.(type) {
		case Event:
			entry(n.Entry)
		case Progress:
			sign(n.Task, n.Message)
		case End:
			end <- endOf(n)
		}
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer p.wait()
	defer cancel()
	c := &Call{Peer: p, given: FollowParams{ID: id, Progress: true}}
	if _, err := v.server.handle(ctx, request{method: LogFollow}, c); err != nil {
		return asError(err)
	}
	c.begin()
	select {
	case err := <-end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-v.server.quit:
		return errLeaving
	}
}

func endOf(e End) error {
	if e.Error == nil {
		return nil
	}
	return protocols.Errorf(e.Error.Code, "%s", e.Error.Message)
}
