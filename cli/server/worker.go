package server

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// This file lets workers in: processes elsewhere that carry out the calls of
// remote providers. Who has which call is kept by providers.Workers; the
// scheduler is told how many calls at once workers take.

// The methods of workers.
const (
	ProviderRegister   = "provider/register"
	ProviderUnregister = "provider/unregister"
	ProviderHeartbeat  = "provider/heartbeat"
	ProviderProgress   = "provider/progress"
	ProviderResult     = "provider/result"
	ProviderFile       = "provider/file"
)

// The notifications that a worker gets.
const (
	WorkerCall   = "worker/call"   // something to carry out: providers.WorkerCall
	WorkerCancel = "worker/cancel" // nobody waits for that any more: providers.WorkerCancel
)

// RegisterParams are what a worker says of itself.
type RegisterParams struct{ providers.Registration }

// RegisterResult is what a worker has to know.
type RegisterResult struct {
	// Heartbeat is how many seconds there may be between two signs of life. Any
	// call is one. A worker that is silent for three times as long is lost.
	Heartbeat float64 `json:"heartbeat"`
	// Serves are those of its offers that the server has a use for: protocols,
	// after the provider and a colon if there is one.
	Serves []string `json:"serves"`
}

// CallResultParams say what a call came to: a result, or an error.
type CallResultParams struct {
	ID     string          `json:"id"` // of the call
	Result json.RawMessage `json:"result,omitempty"`
	// Error has the code, message and data of protocols.Error; a code that is
	// none of ours counts as TASK_EXECUTION_FAILED.
	Error *protocols.Error `json:"error,omitempty"`
	// Lost tells, instead of both, that the worker doesn't know what the call
	// came to: it is in doubt, and the task's on_crash says what becomes of it.
	Lost bool `json:"lost,omitempty"`
}

// CallResultResult says whether the outcome was taken. If not, nobody waits for
// it, or not yet: a worker keeps it for a while, under the call's key.
type CallResultResult struct {
	Taken bool `json:"taken"`
}

// CallProgressParams show how a call goes on. They may be lost.
type CallProgressParams struct {
	ID string `json:"id"` // of the call
	providers.Progress
}

// CallFileParams ask for a file that the call's run was submitted with.
type CallFileParams struct {
	ID   string `json:"id"` // of the call
	Name string `json:"name"`
}

// CallFileResult is the file.
type CallFileResult struct {
	Data []byte `json:"data"` // base64 on the wire
}

// workerMethods are the rows of the table that are for workers.
func workerMethods() []Method {
	return []Method{
		method(ProviderRegister, Worker, "Makes the connection that of a worker, which gets worker/call and worker/cancel from then on.",
			(*Server).register),
		method(ProviderUnregister, Worker, "Gives the worker no more calls. It hands in what it has and closes the connection.", (*Server).unregister),
		method(ProviderHeartbeat, Worker, "Is a sign of life of a worker.", (*Server).heartbeat),
		method(ProviderProgress, Worker, "Shows how a call goes on: a message, or more of a model's text with the stream tokens.", (*Server).callProgress),
		method(ProviderResult, Worker, "Says what a call came to. Of what nobody waits for nothing is taken.", (*Server).callResult),
		method(ProviderFile, Worker, "Returns a file that a call's run was submitted with.", (*Server).callFile),
	}
}

// register gives the peer a seat.
func (s *Server) register(ctx context.Context, c *Call, p RegisterParams) (r RegisterResult, err error) {
	switch {
	case s.o.Workers == nil:
		return r, errNotOffered
	case c.Peer.notify == nil:
		return r, protocols.Errorf(protocols.InvalidRequest, "%s needs a connection that stays: a WebSocket", ProviderRegister)
	}
	if s.router == nil {
		if _, err := s.wish(c.Peer); err != nil { // it is told what the worker offers
			return r, err
		}
	}
	p.Instance = c.Peer.name + " " + p.Instance // whoever has another token is another
	if p.Offers, err = s.useful(p.Offers); err != nil {
		return r, err
	}
	link := c.link
	if link == nil {
		link = peerLink{c.Peer}
	}
	if err := c.Peer.sit(func() (*providers.Seat, error) {
		return s.o.Workers.Join(link, p.Registration)
	}); err != nil {
		return r, err
	}
	s.o.Logger.Info("a worker came", "worker", p.Worker, "slots", p.Slots, "peer", c.Peer.name)
	r.Heartbeat = providers.Heartbeat.Seconds()
	for _, o := range p.Offers {
		r.Serves = append(r.Serves, o.Name())
	}
	return r, nil
}

// useful are the offers that the server has a use for: all that name a provider,
// and of the others those that are for one. If there are none, the error says why
// not.
func (s *Server) useful(offers []providers.WorkerOffer) (some []providers.WorkerOffer, err error) {
	for _, o := range offers {
		wrong := s.mayServe(o.Provider, o.Protocol)
		switch {
		case wrong == nil:
			some = append(some, o)
		case o.Provider != "":
			return nil, wrong
		default:
			err = wrong
		}
	}
	if len(some) > 0 {
		err = nil
	}
	return some, err
}

// mayServe tells whether a worker may carry out a provider's calls; "" are all
// that are remote and speak the protocol.
func (s *Server) mayServe(provider, protocol string) error {
	if s.o.Local.Setup == nil {
		return nil
	}
	for _, p := range s.o.Local.Setup().Providers {
		switch {
		case provider == "" && p.Remote && p.Protocol == protocol, provider == p.Name && p.Remote && p.Protocol == protocol:
			return nil
		case provider == p.Name && !p.Remote:
			return protocols.Errorf(protocols.InvalidParams, "the provider %q is one that the server has itself: give kind remote to one, or choose another name", provider)
		}
	}
	if provider == "" {
		return protocols.Errorf(protocols.ProviderNotFound,
			"no remote provider of the server's configuration speaks %s: add one of kind remote with protocols: [%[1]s], or name the provider that you carry out", protocol)
	}
	return nil
}

// sit gives the peer the seat that join makes, if it has none.
func (p *Peer) sit(join func() (*providers.Seat, error)) error {
	p.seating.Lock()
	defer p.seating.Unlock()
	switch p.mu.Lock(); {
	case p.gone:
		p.mu.Unlock()
		return errLeaving
	case p.seat != nil:
		p.mu.Unlock()
		return protocols.Errorf(protocols.InvalidRequest, "this connection is a worker's already")
	}
	p.mu.Unlock()
	seat, err := join()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seat = seat; p.gone {
		seat.Leave()
	}
	return nil
}

// worker returns the peer's seat, and notes the sign of life.
func (p *Peer) worker() (*providers.Seat, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seat == nil {
		return nil, protocols.Errorf(protocols.InvalidRequest, "this connection is no worker's: call %s first", ProviderRegister)
	}
	p.seat.Touch()
	return p.seat, nil
}

func (s *Server) unregister(_ context.Context, c *Call, _ empty) (empty, error) {
	seat, err := c.Peer.worker()
	if err == nil {
		seat.Drain()
	}
	return empty{}, err
}

func (s *Server) heartbeat(_ context.Context, c *Call, _ empty) (empty, error) {
	_, err := c.Peer.worker()
	return empty{}, err
}

// maxProgress bounds one sign of life of a call, in bytes: as many followers as
// there are have some of them in memory.
const maxProgress = 256 << 10

func (s *Server) callProgress(_ context.Context, c *Call, p CallProgressParams) (empty, error) {
	seat, err := c.Peer.worker()
	if err == nil && len(p.Message)+len(p.Stream) > maxProgress {
		err = protocols.Errorf(protocols.InvalidParams, "message: more than %d KiB: say it in pieces", maxProgress>>10)
	}
	if err == nil {
		seat.Progress(p.ID, p.Progress)
	}
	return empty{}, err
}

func (s *Server) callResult(_ context.Context, c *Call, p CallResultParams) (r CallResultResult, err error) {
	seat, err := c.Peer.worker()
	if err != nil {
		return r, err
	}
	var failure error
	switch {
	case p.Lost:
		failure = &providers.Lost{}
	case p.Error != nil:
		if !p.Error.Code.Known() {
			p.Error.Code = protocols.TaskExecutionFailed
		}
		failure = p.Error
	case p.Result == nil:
		return r, protocols.Errorf(protocols.InvalidParams, "%s: a call ends with a result or an error, or is lost", ProviderResult)
	}
	r.Taken = seat.Finish(p.ID, p.Result, failure)
	return r, nil
}

func (s *Server) callFile(_ context.Context, c *Call, p CallFileParams) (r CallFileResult, err error) {
	seat, err := c.Peer.worker()
	if err != nil {
		return r, err
	}
	data, found, err := seat.File(p.ID, p.Name)
	if err == nil && !found {
		err = protocols.Errorf(protocols.InvalidParams, "the call %q has no file %q", p.ID, p.Name)
	}
	return CallFileResult{Data: data}, err
}

// peerLink is the way to a worker that is a peer.
type peerLink struct{ peer *Peer }

// Call sends worker/call, which may hold secrets, while the worker is who it was.
func (l peerLink) Call(c providers.WorkerCall) error {
	if err := l.peer.proven(); err != nil {
		return err
	}
	return l.peer.notify(context.Background(), WorkerCall, c)
}

// Cancel sends worker/cancel.
func (l peerLink) Cancel(c providers.WorkerCancel) error {
	return l.peer.notify(context.Background(), WorkerCancel, c)
}

// Close hangs up.
func (l peerLink) Close() {
	if l.peer.hangUp != nil {
		l.peer.hangUp()
	}
}

// employing is how long the scheduler may take to hear of workers.
const employing = time.Minute

// employ lets the scheduler know what workers offer, whenever that changes.
func (s *Server) employ(to *scheduler.Scheduler) {
	var told []replay.Offer
	for {
		changed := s.o.Workers.Changed()
		offers := []replay.Offer{}
		for _, c := range s.o.Workers.Capacities() {
			offers = append(offers, replay.Offer(c))
		}
		if !slices.Equal(offers, told) {
			ctx, enough := context.WithTimeout(context.Background(), employing)
			err := to.Employ(ctx, offers)
			enough()
			if errors.Is(err, scheduler.ErrClosed) {
				return
			} else if err != nil {
				s.o.Logger.Warn("tell the scheduler of workers", "error", err)
			}
			told = offers
		}
		select {
		case <-changed:
		case <-s.quit:
			return
		}
	}
}
