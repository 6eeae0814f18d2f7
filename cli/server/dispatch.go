package server

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/providers"
)

// Call is one call as its handler sees it.
type Call struct {
	Params json.RawMessage // an object, an array in the order of the fields, or nothing
	Peer   *Peer
	// Name is what a front calls it, however often it passes it on; "" is of one
	// that comes once.
	Name  string
	given any  // the params, read already; else nil
	own   bool // they were made by this program, which may say what is so on its machine
	// vouched tells that given was read for a peer, with what it says of it.
	vouched bool
	link    providers.Link // the way to a worker that registers; nil: by notifications
	after   []func()       // what begins once the answer is out
}

// maxAnswers is how many bytes the answers to one batch may have before the rest
// of its calls is not carried out.
const maxAnswers = 32 << 20

var errTooMuch = protocols.Errorf(protocols.ResourceExhausted, "the answers to this batch have more than %d MiB already: this call was not carried out", maxAnswers>>20)

// respond carries out all that a message asks, one after the other, and
// returns the answer, nil if nobody wants one. after begins what follows once
// the answer is out.
func (s *Server) respond(ctx context.Context, p *Peer, m message) (answer []byte, after func()) {
	var answers [][]byte
	var calls []*Call
	size := 0
	for _, r := range m.calls {
		if size > maxAnswers {
			r.err = errTooMuch
		}
		c := &Call{Params: r.params, Peer: p}
		calls = append(calls, c)
		result, err := s.handle(ctx, r, c)
		if r.id != nil {
			answer := writeAnswer(r.id, result, err)
			answers, size = append(answers, answer), size+len(answer)
		}
	}
	return joinAnswers(answers, m.batch), func() {
		for _, c := range calls {
			c.begin()
		}
	}
}

// begin begins what follows the answer.
func (c *Call) begin() {
	for _, f := range c.after {
		f()
	}
}

// refusal is the answer to a message that is not looked at.
func refusal(m message, err error) []byte {
	var answers [][]byte
	for _, r := range m.calls {
		if r.id != nil {
			answers = append(answers, writeAnswer(r.id, nil, err))
		}
	}
	return joinAnswers(answers, m.batch)
}

func joinAnswers(answers [][]byte, batch bool) []byte {
	switch {
	case len(answers) == 0:
		return nil
	case !batch:
		return answers[0]
	}
	return append(append([]byte{'['}, bytes.Join(answers, []byte{','})...), ']')
}

// handle carries out one call, and counts it.
func (s *Server) handle(ctx context.Context, r request, c *Call) (result any, err error) {
	began := time.Now()
	result, err = s.carryOut(ctx, r, c)
	if !c.Peer.local {
		s.called(ctx, c.Peer, r.method, err, time.Since(began))
	}
	return result, err
}

// carryOut looks the method up and runs it, if the peer may.
func (s *Server) carryOut(ctx context.Context, r request, c *Call) (result any, err error) {
	if r.err != nil {
		return nil, r.err
	}
	m, found := s.methods[r.method]
	if !found {
		return nil, s.noMethod(r.method)
	}
	if err := c.Peer.may(m); err != nil {
		return nil, err
	}
	if m.Role != Worker { // how much a worker has to say is up to us
		if err := c.Peer.meter.take(c.Peer.name, time.Now()); err != nil {
			return nil, err
		}
	}
	return s.route(ctx, c, m)
}

func (s *Server) noMethod(name string) error {
	err := protocols.Errorf(protocols.MethodNotFound, "Method not found")
	if hint := protocols.Suggest(name, s.names); hint != "" {
		return err.With(map[string]string{"hint": hint})
	}
	return err
}
