package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// This file brings a call to the owner of its partition, again and again until
// there is an answer. Every method bears that: what would count twice has a key
// (see client.Call), what a call has changed is in the log under the call's name
// (server's again.go), and the owner knows calls that it has had.

// The times of a call.
const (
	ownerPatience = 15 * time.Second       // beyond a lease: how long a call waits for anybody to own its partition
	ownerLook     = 300 * time.Millisecond // how often it is looked whether the owner still is
	sendAgain     = 5 * time.Second        // after which a call that has no answer is sent again
	firstPause    = 5 * time.Millisecond
	maxPause      = 250 * time.Millisecond
)

// errAgain says that a call has to be made again: its owner is no more.
var errAgain = errors.New("the partition changes hands")

// errLeaving is what a call gets at a node that is about to leave, from which
// it can't be brought to its partition any more.
var errLeaving = protocols.Errorf(protocols.SystemShutdown, "this node is about to leave")

// sent is a call on its way.
type sent struct {
	id     string
	call   *server.Call
	method server.Method
	params any
	looks  bool // it changes nothing
}

// do has a call carried out in a partition.
func (n *Node) do(ctx context.Context, number int, s sent) (any, error) {
	s.id = rand.Text()
	s.call.Name = s.id
	patience := n.store.Lease() + ownerPatience
	pause := firstPause
	for alone := time.Now(); ; pause = min(2*pause, maxPause) {
		result, reached, err := n.try(ctx, number, s)
		if !errors.Is(err, errAgain) {
			return result, err
		}
		if reached {
			alone, pause = time.Now(), firstPause
		}
		switch {
		case n.isLeaving():
			return nil, errLeaving
		case time.Since(alone) > patience:
			return nil, nobody(number, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.call.Peer.Left():
			return nil, nobody(number, ctx.Err())
		}
	}
}

func (n *Node) isLeaving() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leaving
}

// nobody says that there was nobody to carry a call out.
func nobody(number int, why error) error {
	return &protocols.Error{Code: protocols.PersistenceConnectionFailed, Data: []byte(`{"retry_after":5}`),
		Message: fmt.Sprintf("nobody carries partition %d out just now; try again in a few seconds (%v)", number, why)}
}

// again makes an error one after which the call is made again.
func again(err error) error { return fmt.Errorf("%w: %w", errAgain, err) }

// try makes a call once. reached tells whether there was an owner.
func (n *Node) try(ctx context.Context, number int, s sent) (result any, reached bool, err error) {
	if p := n.owns(number); p != nil {
		result, err := p.server.Do(ctx, s.call, s.method, s.params)
		if isOver(err) {
			err = again(err)
		}
		return result, true, err
	}
	owners, err := n.store.Owners(ctx, number)
	switch {
	case ctx.Err() != nil:
		return nil, false, ctx.Err()
	case err != nil:
		return nil, false, again(err)
	case owners[0].Node == n.store.Node():
		return nil, true, again(errors.New("it is being taken, or given up"))
	case owners[0].Node != "":
		return n.ask(ctx, number, owners[0], s)
	case s.looks && !n.o.Serve:
		return n.lookAt(ctx, number, s)
	case n.o.Server.Passive && s.method.Name != server.SystemNote: // what a command did it may write down
		return nil, false, protocols.Errorf(protocols.SchedulerNotRunning, "this command only looks: it can't run anything, and no server does")
	}
	if n.o.Serve {
		n.poke()
		return nil, false, again(errors.New("nobody has it yet"))
	}
	// A server goes on with what is left there, which we don't.
	if served, err := n.store.Served(ctx); served || err != nil {
		return nil, false, again(errors.Join(errors.New("no server has it yet"), err))
	}
	if err := n.take(number); err != nil {
		return nil, false, again(err)
	}
	return nil, false, again(errors.New("it is being taken"))
}

// lookAt carries out a call that only looks, in a partition that nobody owns.
func (n *Node) lookAt(ctx context.Context, number int, s sent) (any, bool, error) {
	m, err := n.mirror(number)
	if err != nil {
		return nil, false, again(err)
	}
	result, err := m.Do(ctx, s.call, s.method, s.params)
	return result, true, err
}

// isOver tells whether an error means: ask whoever has the partition next.
func isOver(err error) bool {
	var e *protocols.Error
	return errors.As(err, &e) && e.Code == protocols.SystemShutdown || errors.Is(err, eventlog.ErrFenced) || errors.Is(err, eventlog.ErrClosed)
}

// message is a call on its way to another node, and reply what it came to.
type message struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	By     server.Identity `json:"by"`
}

type reply struct {
	Result json.RawMessage  `json:"result,omitempty"`
	Error  *protocols.Error `json:"error,omitempty"`
}

// ask has another node carry a call out.
func (n *Node) ask(ctx context.Context, number int, owner eventlog.Owner, s sent) (result any, reached bool, err error) {
	letter, err := n.letter(number, owner, s)
	if err != nil {
		return nil, true, err
	}
	answers := make(chan eventlog.Answer, 1)
	n.mu.Lock()
	n.asked[s.id] = answers
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.asked, s.id)
	}()
	look := time.NewTicker(ownerLook)
	defer look.Stop()
	var out time.Time // when the letter was sent
	for {
		if time.Since(out) > sendAgain {
			if err := n.store.Send(ctx, number, owner.Epoch, letter); err != nil {
				return nil, false, again(err)
			}
			out = time.Now()
		}
		select {
		case a := <-answers:
			return read(s.method, a)
		case <-ctx.Done():
			n.callOff(number, owner, s.id)
			return nil, true, ctx.Err()
		case <-s.call.Peer.Left():
			n.callOff(number, owner, s.id)
			return nil, true, nobody(number, errors.New("the caller has gone"))
		case <-n.ctx.Done():
			return nil, true, again(errors.New("this node leaves"))
		case <-look.C:
		}
		now, err := n.store.Owners(ctx, number)
		if err == nil && (now[0].Epoch != owner.Epoch || now[0].Node == "") {
			return nil, false, again(errors.New("its owner is gone"))
		}
	}
}

// letter seals a call.
func (n *Node) letter(number int, owner eventlog.Owner, s sent) (l eventlog.Letter, err error) {
	params, err := server.Encode(s.params)
	if err != nil {
		return l, err
	}
	text, err := json.Marshal(message{s.method.Name, params, s.call.Peer.Identity()})
	if err != nil {
		return l, err
	}
	l.ID = s.id
	l.Body, err = seal(owner.Key, matter(n.store.ID(), number, owner.Epoch, s.id), text)
	return l, err
}

// callOff tells the owner that nobody waits any more.
func (n *Node) callOff(number int, owner eventlog.Owner, id string) {
	ctx, cancel := context.WithTimeout(n.ctx, ownerLook)
	defer cancel()
	_ = n.store.Send(ctx, number, owner.Epoch, eventlog.Letter{ID: id, Over: true}) // else it ends by itself
}

// read reads an answer.
func read(m server.Method, a eventlog.Answer) (any, bool, error) {
	var r reply
	if err := json.Unmarshal(a.Body, &r); err != nil {
		return nil, true, fmt.Errorf("read the answer of another node: %w", err)
	}
	switch {
	case r.Error == nil:
		result, err := m.DecodeResult(r.Result)
		return result, true, err
	case isOver(r.Error):
		return nil, true, again(r.Error)
	}
	return nil, true, r.Error
}

// answered hands an answer to whoever waits for it.
func (n *Node) answered(a eventlog.Answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if waiting := n.asked[a.ID]; waiting != nil {
		select {
		case waiting <- a:
		default: // it has one
		}
	}
}
