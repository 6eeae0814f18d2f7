package server

import (
	"context"
	"sync"

	"gleitzeit/protocols"
	"gleitzeit/providers"
)

// maxSubscriptions is how much one client may follow at once.
const maxSubscriptions = 4096

// Peer is a client as methods know it, whatever connects it: whether it is
// this process itself, how to tell it something, and what it follows.
type Peer struct {
	local bool // it is this process itself
	// trusted tells that the transport lets only this process's user in: it may
	// do everything, and is believed who it says it is.
	trusted bool
	// patient tells that the peer still listens when it has said all: every
	// answer is waited for.
	patient bool
	role    Role   // of one that isn't trusted
	name    string // of one that isn't trusted: who it is, for the history
	trace   string // of one that isn't trusted: the traceparent of its request
	meter   *meter // of one that isn't trusted: how often it may call
	// proof is what shows that the peer is still who it was, nil if nothing has to.
	proof func() error
	// notify tells it something. It is nil if the peer only gets answers.
	notify func(ctx context.Context, method string, params any) error

	// hangUp ends the connection; nil: it can't.
	hangUp func()

	seating sync.Mutex // held while it gets a seat; before mu
	mu      sync.Mutex
	seat    *providers.Seat // of a worker
	away    chan struct{}   // closed when it leaves; made by left
	next    uint64
	subs    map[uint64]context.CancelCauseFunc
	gone    bool
	pumps   sync.WaitGroup
}

// proven tells, by nil, that the peer is still who it was.
func (p *Peer) proven() error {
	if p.proof == nil {
		return nil
	}
	return p.proof()
}

// left returns a channel that is closed once the peer is gone.
func (p *Peer) left() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leaving()
}

func (p *Peer) leaving() chan struct{} {
	if p.away == nil {
		p.away = make(chan struct{})
	}
	return p.away
}

// subscribe enters a subscription. pump runs from start on, which the
// transport calls once it has sent the number, until ctx ends, or
// unsubscribe, or leave.
func (p *Peer) subscribe(ctx context.Context, pump func(ctx context.Context, sub uint64)) (sub uint64, start func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return 0, nil, errLeaving
	}
	if len(p.subs) >= maxSubscriptions {
		return 0, nil, protocols.Errorf(protocols.ResourceExhausted, "more than %d subscriptions", maxSubscriptions)
	}
	if p.subs == nil {
		p.subs = map[uint64]context.CancelCauseFunc{}
	}
	p.next++
	sub = p.next
	ctx, cancel := context.WithCancelCause(ctx)
	p.subs[sub] = cancel
	p.pumps.Add(1)
	return sub, func() {
		go func() {
			defer p.pumps.Done()
			defer p.unsubscribe(sub)
			pump(ctx, sub)
		}()
	}, nil
}

// unsubscribe ends a subscription.
func (p *Peer) unsubscribe(sub uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cancel := p.subs[sub]; cancel != nil {
		cancel(nil)
		delete(p.subs, sub)
	}
}

// leave lets every subscription bring what there is and then ends it; no
// further one begins.
func (p *Peer) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		p.gone = true
		close(p.leaving())
		if p.seat != nil {
			p.seat.Leave()
		}
	}
	for _, cancel := range p.subs {
		cancel(errLeaving)
	}
}

// wait returns when all subscriptions have ended.
func (p *Peer) wait() { p.pumps.Wait() }
