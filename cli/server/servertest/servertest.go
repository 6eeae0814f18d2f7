// Package servertest has what tests of servers and clients need: workflows
// without a file, and providers without a world.
package servertest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// Setup is the configuration of every run of this package: one provider.
func Setup() replay.Setup {
	return replay.Setup{Providers: []replay.ProviderSlots{{Name: "fake", Protocol: "fake/v1", Slots: 64}}}
}

// Work is what one task does: it waits and then gives Value back, or fails.
type Work struct {
	Delay time.Duration `json:"delay,omitempty"`
	Hold  bool          `json:"hold,omitempty"` // wait until Fake.Released is closed
	Fail  string        `json:"fail,omitempty"`
	Say   string        `json:"say,omitempty"` // a sign of life before that
	Value any           `json:"value,omitempty"`
}

// Chain is a submission of a workflow whose tasks run one after the other.
func Chain(name string, work ...Work) server.SubmitParams {
	w := &protocols.Workflow{Version: protocols.DocumentVersion, Name: name}
	for i, one := range work {
		t := &protocols.Task{ID: fmt.Sprintf("t%d", i+1), Protocol: "fake/v1", Method: "fake/work", Literal: true}
		t.Name = t.ID
		t.Parameters, _ = json.Marshal(one)
		if i > 0 {
			t.Dependencies = []int{i - 1}
		}
		w.Tasks = append(w.Tasks, t)
	}
	return server.SubmitParams{Document: w.Encode(), Setup: Setup()}
}

// Options are a scheduler's with the provider f.
func Options(f *Fake) scheduler.Options {
	return scheduler.Options{
		Open:    func([]byte) (scheduler.Providers, error) { return f, nil },
		Version: "test",
		Grace:   time.Second,
	}
}

// Fake does what a Work says. Its zero value holds for ever.
type Fake struct {
	// Started, if not nil, is told of every attempt that begins.
	Started chan<- providers.Call
	// Released is closed to let go what is on hold.
	Released chan struct{}
	// Note, if not nil, is told of every attempt that succeeds, before
	// anybody else knows.
	Note func(providers.Call)
}

// Call carries out one attempt.
func (f *Fake) Call(ctx context.Context, _ string, c providers.Call, host providers.Host) (json.RawMessage, error) {
	var w Work
	if err := json.Unmarshal(c.Parameters, &w); err != nil {
		return nil, err
	}
	if f.Started != nil {
		select {
		case f.Started <- c:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if w.Say != "" {
		host.Progress(providers.Progress{Message: w.Say})
	}
	if err := f.wait(ctx, w); err != nil {
		return nil, err
	}
	if w.Fail != "" {
		return nil, protocols.Errorf(protocols.TaskExecutionFailed, "%s", w.Fail)
	}
	if f.Note != nil {
		f.Note(c)
	}
	return json.Marshal(w.Value)
}

func (f *Fake) wait(ctx context.Context, w Work) error {
	if w.Hold {
		select {
		case <-f.Released:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if w.Delay > 0 {
		t := time.NewTimer(w.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Close does nothing.
func (f *Fake) Close() error { return nil }
