package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// This file lets a running attempt ask a language model something. That is a
// part of the attempt: it has no slot, no breaker and no event of its own, and
// what it costs is the attempt's.

// maxSamples is how often one attempt may ask a model.
const maxSamples = 64

// sampler is what a host knows of the models that its attempt asks.
type sampler struct {
	set   Providers
	turn  chan struct{} // holds one: they are asked one after the other
	asked int           // of whoever has the turn

	mu    sync.Mutex
	spent replay.Usage
}

func newSampler(set Providers) *sampler {
	s := &sampler{set: set, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// Sample asks the model, and counts what that costs.
func (h *host) Sample(ctx context.Context, q providers.Sample) (json.RawMessage, error) {
	s := h.samples
	select {
	case <-s.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { s.turn <- struct{}{} }()
	if s.asked++; s.asked > maxSamples {
		return nil, protocols.Errorf(protocols.ResourceExhausted, "a model was asked %d times for this call, the limit", maxSamples)
	}
	result, err := s.set.Call(ctx, q.Provider, providers.Call{Method: "llm/chat", Parameters: q.Parameters,
		File: func(string) ([]byte, bool, error) { return nil, false, nil },
		Run:  h.j.id, Task: h.j.name, Attempt: h.j.attempt}, sampled{h})
	var failure *protocols.Error
	switch {
	case err == nil:
		s.spend(usageOf(result))
	case errors.As(err, &failure) && failure != nil:
		s.spend(usageOf(failure.Data))
	}
	return result, err
}

func (s *sampler) spend(u replay.Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spent = s.spent.Plus(u)
}

// usage is what the models have cost that were asked and have answered: should
// one be asked still, though the call has ended, nobody waits for it.
func (s *sampler) usage() replay.Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spent
}

// sampled is the host of a model that is asked: all it may do is live, and its
// words are nobody's but the asker's.
type sampled struct{ of *host }

// Progress shows how far the answer is.
func (s sampled) Progress(p providers.Progress) {
	if p.Tokens > 0 {
		s.of.Progress(providers.Progress{Tokens: p.Tokens})
	}
}

// Ask finds nobody.
func (sampled) Ask(context.Context, providers.Question) (providers.Answer, error) {
	return providers.Answer{Action: providers.Cancel}, nil
}

// Sample is refused.
func (sampled) Sample(context.Context, providers.Sample) (json.RawMessage, error) {
	return nil, protocols.Errorf(protocols.MethodNotSupported, "a model that is asked asks no other")
}
