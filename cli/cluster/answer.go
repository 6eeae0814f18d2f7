package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// This file carries out the calls that other nodes send for partitions of ours.

// maxIn bounds the calls of other nodes that one partition carries out at once,
// with those that it remembers; a test may lower it.
var maxIn = 10_000

// remembered is how long a call that was answered is known, should it come
// again: its answer may have been lost.
const remembered = 30 * time.Second

// maxRemembered is how long an answer may be, in bytes, to be remembered.
const maxRemembered = 64 << 10

// inCall is one call of another node.
type inCall struct {
	stop   context.CancelFunc
	answer []byte // nil while it is carried out
	at     time.Time
}

// receive begins to carry a call out, unless we have it already.
func (n *Node) receive(p *partition, l eventlog.Letter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	had := p.calls[l.ID]
	switch {
	case l.Over && had != nil:
		had.stop()
		return
	case l.Over:
		return
	case had != nil && had.answer != nil:
		p.inbox.Go(func() { n.reply(p, l, had.answer) })
		return
	case had != nil:
		return
	}
	p.clear(time.Now())
	if len(p.calls) >= maxIn {
		p.inbox.Go(func() {
			n.reply(p, l, encode(nil, protocols.Errorf(protocols.ResourceExhausted, "more than %d calls at once for partition %d", maxIn, p.number)))
		})
		return
	}
	ctx, stop := context.WithCancel(p.ctx)
	in := &inCall{stop: stop}
	p.calls[l.ID] = in
	p.inbox.Go(func() {
		defer stop()
		answer := encode(n.carryOut(ctx, p, l))
		p.mu.Lock()
		if in.answer, in.at = answer, time.Now(); len(answer) > maxRemembered {
			delete(p.calls, l.ID) // what is as big only looked: it may look again
		}
		p.mu.Unlock()
		n.reply(p, l, answer)
	})
}

// clear forgets calls that were answered long ago, or if there is no room, all
// that were answered: what would count twice has a key.
func (p *partition) clear(now time.Time) {
	full := len(p.calls) >= maxIn
	if len(p.calls) < maxIn/10 {
		return
	}
	for id, in := range p.calls {
		if in.answer != nil && (full || now.Sub(in.at) > remembered) {
			delete(p.calls, id)
		}
	}
}

// carryOut carries a call out.
func (n *Node) carryOut(ctx context.Context, p *partition, l eventlog.Letter) (any, error) {
	text, err := unseal(n.private, matter(n.store.ID(), p.number, p.log.Epoch(), l.ID), l.Body)
	if err != nil {
		return nil, fmt.Errorf("a call that isn't for us: %w", err)
	}
	var m message
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, err
	}
	method, known := n.methods[m.Method]
	if !known {
		return nil, protocols.Errorf(protocols.MethodNotFound, "the node that has partition %d doesn't know %s: use the same version everywhere", p.number, m.Method)
	}
	params, err := method.Decode(m.Params)
	if err != nil {
		return nil, protocols.Errorf(protocols.InvalidParams, "%s: params: %v", m.Method, err)
	}
	result, err := p.server.Do(ctx, &server.Call{Peer: server.NewPeer(ctx, m.By), Name: l.ID}, method, params)
	if err != nil && p.ctx.Err() != nil || errors.Is(err, eventlog.ErrFenced) {
		err = protocols.Errorf(protocols.SystemShutdown, "%v", err)
	}
	return result, err
}

// encode writes what a call came to.
func encode(result any, failure error) []byte {
	var r reply
	if failure != nil {
		r.Error = server.AsError(failure)
	} else if raw, err := server.Encode(result); err != nil {
		r.Error = server.AsError(err)
	} else {
		r.Result = raw
	}
	raw, err := server.Encode(r)
	if err != nil {
		raw = encode(nil, fmt.Errorf("write the answer: %w", err))
	}
	return raw
}

// replyPatience is how long an answer is tried to be sent.
const replyPatience = 30 * time.Second

// reply sends an answer. Whoever misses it sends the call again.
func (n *Node) reply(p *partition, l eventlog.Letter, answer []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), replyPatience)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := n.store.Reply(ctx, p.log, l.From, eventlog.Answer{ID: l.ID, Body: answer})
		if err == nil || errors.Is(err, eventlog.ErrFenced) || ctx.Err() != nil {
			return
		}
		select {
		case <-time.After(pause):
		case <-n.ctx.Done():
			return
		}
	}
}
