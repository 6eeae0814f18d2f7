package traces

import (
	"encoding/json"
	"strings"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file makes spans of what happened to a run.

// maxNotes is how many events a run's span has.
const maxNotes = 128

// tells tells whether a record of that type ends something that is a span.
func tells(kind string) bool {
	switch kind {
	case "task.completed", "task.iterated", "task.retrying", "task.failed", "task.cancelled", "task.interrupted", "task.in_doubt",
		"workflow.completed", "workflow.failed", "workflow.cancelled", "workflow.timed_out":
		return true
	}
	return false
}

// teller goes over the facts of a run.
type teller struct {
	log      *eventlog.Log
	from, to eventlog.Seq // what ended after from, up to to, is told
	emit     func(*tracepb.Span) error
	state    *replay.State
	number   uint64
	trace    replay.Trace
	began    time.Time
	retries  int
	open     map[int]begun
	notes    []*tracepb.Span_Event
	kinds    map[string]string // of providers, by name; found when asked for
}

// begun is an attempt that has begun.
type begun struct {
	*replay.TaskStarted
	at time.Time
}

// spansOf tells what of a run ended after from, up to to. A run that has been
// deleted has nothing to tell.
func spansOf(log *eventlog.Log, run uint64, from, to eventlog.Seq, emit func(*tracepb.Span) error) error {
	facts, err := replay.Facts(log, run)
	if err != nil {
		return err
	}
	t := &teller{log: log, from: from, to: to, emit: emit, state: replay.NewState(), number: run, open: map[int]begun{}}
	for _, f := range facts {
		if f.Seq > to {
			return nil
		}
		if err := t.fact(f); err != nil {
			return err
		}
		t.state.Apply(f)
	}
	return nil
}

// fact tells of one fact, which the state doesn't have yet.
func (t *teller) fact(f replay.Fact) error {
	r := t.state.Run(t.number)
	switch e := f.Event.(type) {
	case *replay.WorkflowSubmitted:
		t.begin(f.At, e, 0)
	case *replay.WorkflowRetried:
		t.begin(f.At, e.Submitted(), t.retries+1)
		t.note(f)
	case *replay.TaskStarted:
		t.open[e.Task] = begun{e, f.At}
	case *replay.TaskCompleted:
		outcome := "completed"
		if e.Cached {
			outcome = "cached"
		}
		return t.attempt(r, f, e.Task, ending{outcome: outcome, usage: e.Usage, result: e.Result})
	case *replay.TaskIterated:
		return t.attempt(r, f, e.Task, ending{outcome: "completed", usage: e.Usage, result: e.Result})
	case *replay.TaskRetrying:
		return t.attempt(r, f, e.Task, ending{outcome: "retried", usage: e.Usage, err: e.Error})
	case *replay.TaskFailed:
		return t.attempt(r, f, e.Task, ending{outcome: "failed", usage: e.Usage, err: e.Error})
	case *replay.TaskCancelled:
		return t.attempt(r, f, e.Task, ending{outcome: "cancelled", usage: e.Usage})
	case *replay.TaskInterrupted:
		return t.attempt(r, f, e.Task, ending{outcome: "interrupted"})
	case *replay.TaskInDoubt:
		return t.attempt(r, f, e.Task, ending{outcome: "in_doubt",
			err: protocols.Errorf(protocols.TaskExecutionFailed, "the process died while the attempt ran")})
	case *replay.WorkflowEnded:
		return t.end(r, f, e)
	case *replay.WorkflowResumed, *replay.WorkflowImported, *replay.WorkflowInterrupted, *replay.WorkflowPaused, *replay.WorkflowUnpaused, *replay.WorkflowParked,
		*replay.CancelRequested, *replay.SignalReceived, *replay.ApprovalDecided, *replay.QuestionAsked, *replay.QuestionAnswered:
		t.note(f)
	}
	return nil
}

// begin begins the span of the run.
func (t *teller) begin(at time.Time, e *replay.WorkflowSubmitted, retries int) {
	t.trace, t.began, t.retries, t.notes = replay.RunTrace(t.log.ID(), e.ID, retries, e.Trace), at, retries, nil
	clear(t.open)
}

// note adds an event to the run's span.
func (t *teller) note(f replay.Fact) {
	if len(t.notes) < maxNotes {
		t.notes = append(t.notes, &tracepb.Span_Event{TimeUnixNano: uint64(f.At.UnixNano()), Name: f.Event.Type()})
	}
}

// ending is how an attempt ended.
type ending struct {
	outcome string
	usage   replay.Usage
	result  replay.Value
	err     *protocols.Error
}

// attempt tells of an attempt that has ended, if it is new.
func (t *teller) attempt(r *replay.Run, f replay.Fact, task int, e ending) error {
	a, found := t.open[task]
	delete(t.open, task)
	if !found || f.Seq <= t.from || r == nil || task >= len(r.Tasks) {
		return nil
	}
	form, place := r.Task(task), t.trace.Attempt(task, a.Attempt)
	s := t.span(place, t.trace.Span[:], form.ID, a.at, f.At)
	s.Attributes = []*commonpb.KeyValue{
		text("gleitzeit.run.id", r.ID()), text("gleitzeit.task.id", r.TaskID(task)), number("gleitzeit.attempt", int64(a.Attempt)),
		text("gleitzeit.method", form.Method), text("gleitzeit.provider", a.Provider), text("gleitzeit.outcome", e.outcome),
	}
	if a.Waited > 0 {
		s.Attributes = append(s.Attributes, number("gleitzeit.waited_ms", time.Duration(a.Waited).Milliseconds()))
	}
	if a.Mocked {
		s.Attributes = append(s.Attributes, yes("gleitzeit.mocked"))
	}
	if e.usage != (replay.Usage{}) {
		s.Attributes = append(s.Attributes, number("gleitzeit.tokens", e.usage.Tokens), decimal("gleitzeit.cost_usd", e.usage.USD()))
	}
	if strings.HasPrefix(form.Method, "llm/") {
		t.model(s, r, form, a, e)
	}
	failed(s, e.err)
	return t.emit(s)
}

// model adds what the conventions for generative models want to know.
func (t *teller) model(s *tracepb.Span, r *replay.Run, form *protocols.Task, a begun, e ending) {
	var asked, says struct {
		Model        string `json:"model"`
		FinishReason string `json:"finish_reason"`
		Usage        struct {
			In  int64 `json:"prompt_tokens"`
			Out int64 `json:"completion_tokens"`
		} `json:"usage"`
	}
	_ = json.Unmarshal(form.Parameters, &asked) // a reference in it stays one
	if raw, err := e.result.Load(t.log.Value); err == nil {
		_ = json.Unmarshal(raw, &says)
	}
	if e.err != nil {
		_ = json.Unmarshal(e.err.Data, &says)
	}
	operation := map[string]string{"llm/chat": "chat", "llm/embed": "embeddings", "llm/complete": "text_completion"}[form.Method]
	if operation == "" {
		operation = strings.TrimPrefix(form.Method, "llm/")
	}
	s.Name, s.Kind = operation, tracepb.Span_SPAN_KIND_CLIENT
	s.Attributes = append(s.Attributes, text("gen_ai.operation.name", operation), text("gen_ai.provider.name", t.kind(r, a.Provider)))
	if name := asked.Model; name != "" && !strings.Contains(name, "${") {
		s.Name += " " + name
		s.Attributes = append(s.Attributes, text("gen_ai.request.model", name))
	}
	if says.Model != "" {
		s.Attributes = append(s.Attributes, text("gen_ai.response.model", says.Model))
	}
	if says.FinishReason != "" {
		s.Attributes = append(s.Attributes, texts("gen_ai.response.finish_reasons", says.FinishReason))
	}
	if says.Usage.In+says.Usage.Out > 0 {
		s.Attributes = append(s.Attributes, number("gen_ai.usage.input_tokens", says.Usage.In), number("gen_ai.usage.output_tokens", says.Usage.Out))
	}
}

// kind is a provider's kind, as the run's configuration has it, or its name.
func (t *teller) kind(r *replay.Run, provider string) string {
	if t.kinds == nil {
		var c struct {
			Providers map[string]struct {
				Kind string `json:"kind"`
			} `json:"providers"`
		}
		t.kinds = map[string]string{}
		if r.Plan.Setup != nil && json.Unmarshal(r.Plan.Setup.Config, &c) == nil {
			for name, p := range c.Providers {
				t.kinds[name] = p.Kind
			}
		}
	}
	if kind := t.kinds[provider]; kind != "" {
		return kind
	}
	return provider
}

// end tells of the run, if its end is new.
func (t *teller) end(r *replay.Run, f replay.Fact, e *replay.WorkflowEnded) error {
	if f.Seq <= t.from || r == nil {
		return nil
	}
	var above []byte
	if p, ok := replay.ParseTrace(r.Submitted.Trace); ok {
		above = p.Span[:]
	}
	s := t.span(t.trace, above, e.Name, t.began, f.At)
	s.Attributes = []*commonpb.KeyValue{
		text("gleitzeit.run.id", e.ID), text("gleitzeit.workflow", e.Name), text("gleitzeit.status", string(e.Status)),
		number("gleitzeit.tasks", int64(len(r.Plan.Workflow.Tasks))),
	}
	if e.Usage != (replay.Usage{}) {
		s.Attributes = append(s.Attributes, number("gleitzeit.tokens", e.Usage.Tokens), decimal("gleitzeit.cost_usd", e.Usage.USD()))
	}
	if above == nil {
		s.Kind = tracepb.Span_SPAN_KIND_SERVER
	}
	if t.retries > 0 {
		before := replay.RunTrace(t.log.ID(), e.ID, t.retries-1, r.Submitted.Trace)
		s.Links = []*tracepb.Span_Link{{TraceId: before.ID[:], SpanId: before.Span[:]}}
	}
	s.Events = t.notes
	if e.Status == replay.Failed || e.Status == replay.TimedOut {
		failed(s, e.Error)
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: s.Status.GetMessage()}
	}
	return t.emit(s)
}

func (t *teller) span(place replay.Trace, above []byte, name string, from, to time.Time) *tracepb.Span {
	return &tracepb.Span{TraceId: place.ID[:], SpanId: place.Span[:], ParentSpanId: above, Name: name, Kind: tracepb.Span_SPAN_KIND_INTERNAL,
		StartTimeUnixNano: uint64(from.UnixNano()), EndTimeUnixNano: uint64(to.UnixNano()), Flags: 1}
}

// maxMessage is how many bytes of an error are told.
const maxMessage = 1 << 10

// failed says what went wrong, if something did.
func failed(s *tracepb.Span, err *protocols.Error) {
	if err == nil {
		return
	}
	message := strings.ToValidUTF8(err.Message[:min(len(err.Message), maxMessage)], "")
	s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: message}
	s.Attributes = append(s.Attributes, text("error.type", err.Code.String()))
}
