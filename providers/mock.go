package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// mock stands in for other providers. It answers as a script says (Mocks), else
// invents what the original's mocks invented, else it fails, so that nothing is
// taken for real that isn't. What it answers depends on the call alone: the same
// call, made again after a crash, has the same answer.
//
//	call ─► Mocks.step ─► delay ─► stream ─► answer | result | fail | hang | crash | garbage
//	            │ no rule fits                                │
//	            ├─► invented (web-search/v1, text-processing/v1)
//	            ├─► the real provider, if the script lets it through
//	            └─► an error
type mock struct {
	name   string
	config ProviderConfig // of the provider that it stands in for
	script *mockScript
	prices map[string]Price
	open   func() (Provider, error) // the provider that it stands in for; nil: none

	mu   sync.Mutex
	real Provider // once a call went through
}

// newMock makes a provider that is configured as a mock.
func newMock(name string, c ProviderConfig, d deps) (Provider, error) {
	script := c.Mocks
	if script == nil {
		script = &Mocks{}
	}
	return mockOver(name, c, script, d.prices, nil)
}

// mockOver makes a mock that stands in for the provider that open opens.
func mockOver(name string, c ProviderConfig, script *Mocks, prices map[string]Price, open func() (Provider, error)) (Provider, error) {
	compiled, err := script.compile()
	if err != nil {
		return nil, protocols.Errorf(protocols.ConfigurationError, "provider %s: %v", name, err)
	}
	return &mock{name: name, config: c, script: compiled, prices: prices, open: open}, nil
}

// Call answers as the script says.
func (m *mock) Call(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	if m.stands(call.Method) {
		return m.through(ctx, call, host)
	}
	step, err := m.step(call, 0)
	switch {
	case err != nil:
		return nil, err
	case step.Passthrough:
		return m.through(ctx, call, host)
	case spokenBy(call.Method) == "llm" && step.Garbage == nil && len(step.Result) == 0:
		return listened(ctx, m.model(call), call, host)
	}
	if err := step.perform(ctx, call, host); err != nil {
		return nil, err
	}
	return m.result(step, call)
}

// stands tells whether a call is for the provider behind the mock, whose other
// protocols are mocked.
func (m *mock) stands(method string) bool {
	return m.open != nil && !m.script.covers(spokenBy(method)+"/")
}

// step finds what becomes of a call. round counts the questions that one
// attempt asks a model.
func (m *mock) step(call Call, round int) (*MockStep, error) {
	if call.Method == "mock/play" {
		return played(call)
	}
	step, nearly, err := m.script.step(m.name, call, round)
	switch {
	case step != nil || err != nil:
		return step, err
	case invents(call.Method):
		return &MockStep{}, nil
	case m.script.Passthrough && m.open != nil:
		return &MockStep{Passthrough: true}, nil
	}
	return nil, m.unscripted(call, nearly)
}

// unscripted is the error of a call that nothing was written for.
func (m *mock) unscripted(call Call, nearly []string) error {
	where, why := m.script.File, ""
	if where == "" {
		where = "the script of provider " + m.name
	}
	if len(nearly) > 0 {
		why = " (" + strings.Join(nearly, "; ") + ")"
	}
	return protocols.Errorf(protocols.MethodNotSupported, "%s mocks %s, but nothing fits the call of task %q, attempt %d%s; add a mock for it, a default, or passthrough: true",
		where, spokenBy(call.Method), call.Task, call.Attempt, why)
}

// through has the real provider carry the call out.
func (m *mock) through(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	if m.open == nil {
		return nil, protocols.Errorf(protocols.ProviderNotFound, "%s lets the call of %s through, but there is no real provider behind %s", m.script.File, call.Method, m.name)
	}
	p, err := m.behind()
	if err != nil {
		return nil, err
	}
	return kept(ctx, p, call, host)
}

// behind opens the real provider, once.
func (m *mock) behind() (Provider, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.real == nil {
		p, err := m.open()
		if err != nil {
			return nil, err
		}
		m.real = p
	}
	return m.real, nil
}

// structures tells Set.Call that answers of models are held to their schema here.
func (m *mock) structures(method string) bool {
	return spokenBy(method) == "llm" && method != "llm/embed"
}

// Check is always content, and says what it is.
func (m *mock) Check(context.Context) Health {
	message := "invents its answers"
	if m.script.File != "" {
		message = "mocked by " + m.script.File
	}
	return Health{Status: "healthy", Message: message, Details: map[string]any{"mock": true}}
}

// Models are those of the configuration.
func (m *mock) Models(context.Context) ([]Model, error) {
	models := []Model{}
	for _, name := range m.config.Wanted() {
		models = append(models, Model{Name: name})
	}
	return models, nil
}

// Close closes the provider behind the mock, if a call went through to it.
func (m *mock) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.real == nil {
		return nil
	}
	return m.real.Close()
}

// played reads the step that the parameters of mock/play are.
func played(call Call) (*MockStep, error) {
	var rule MockRule
	if err := readParameters(call, &rule); err != nil {
		return nil, err
	}
	step := rule.at(max(call.Attempt, 1) - 1)
	if step == nil {
		return nil, protocols.Errorf(protocols.TaskParameterError, "mock/play: its times are over at attempt %d; without times the last one goes on", call.Attempt)
	}
	var wrong error
	step.wrong("", func(key, text string) {
		if wrong == nil {
			wrong = protocols.Errorf(protocols.TaskParameterError, "mock/play: %s", text)
		}
	})
	if wrong == nil && step.Passthrough {
		wrong = protocols.Errorf(protocols.TaskParameterError, "mock/play: there is nothing to pass through to")
	}
	return step, wrong
}

// perform lets the time of a step pass, shows what it shows, and ends the call
// if it doesn't end in a result.
func (s *MockStep) perform(ctx context.Context, call Call, host Host) error {
	if err := pass(ctx, time.Duration(s.Delay)); err != nil {
		return err
	}
	for i, chunk := range s.Stream {
		if err := pass(ctx, time.Duration(chunk.Delay)); err != nil {
			return err
		}
		host.Progress(Progress{Stream: streamOf(call.Method), Message: chunk.Text, Tokens: i + 1})
	}
	return s.failure(ctx, call)
}

// failure is how the call ends if that isn't a result.
func (s *MockStep) failure(ctx context.Context, call Call) error {
	switch {
	case s.Fail != nil:
		return s.Fail.error()
	case s.Hang:
		<-ctx.Done()
		return endedError(ctx)
	case s.Crash == "process":
		return killOurselves()
	case s.Crash != "":
		return protocols.Errorf(protocols.ConnectionLost, "the other side is gone in the middle of %s", call.Method)
	}
	return nil
}

// killOurselves ends the process as kill -9 does: nothing is tidied up.
func killOurselves() error {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err == nil {
		select {} // the kernel is about to end us
	}
	return protocols.Errorf(protocols.InternalError, "end the process: %v", err)
}

// pass waits, unless the call is stopped before.
func pass(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		if ctx.Err() != nil {
			return endedError(ctx)
		}
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return endedError(ctx)
	}
}

// streamOf is what a method's signs of life are called.
func streamOf(method string) string {
	switch spokenBy(method) {
	case "llm":
		return "tokens"
	case "python", "shell":
		return "stdout"
	}
	return ""
}

// error makes the failure that a provider would report.
func (f *MockFailure) error() error {
	code := f.Code
	if code == 0 {
		if code = classCodes[f.Class]; code == 0 {
			code = protocols.TaskExecutionFailed
		}
	}
	message := f.Message
	if message == "" {
		message = fmt.Sprintf("failed with %s, as its mock says", code)
	}
	failure := protocols.Errorf(code, "%s", message)
	data := map[string]any{}
	if len(f.Data) > 0 && json.Unmarshal(f.Data, &data) != nil {
		return failure
	}
	if f.RetryAfter > 0 {
		data["retry_after"] = time.Duration(f.RetryAfter).Seconds()
	}
	if len(data) > 0 {
		failure = failure.With(data)
	}
	return failure
}
