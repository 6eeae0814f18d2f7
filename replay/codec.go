package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// table says which struct each name on disk is read into. An old version of
// an event stays a row for ever: one that lifts it to today's struct.
var table = map[string]func() Event{
	"system.started":            func() Event { return new(SystemStarted) },
	"system.alive":              func() Event { return new(SystemAlive) },
	"workflow.submitted":        func() Event { return new(WorkflowSubmitted) },
	"task.started":              func() Event { return new(TaskStarted) },
	"task.completed":            func() Event { return new(TaskCompleted) },
	"task.retrying":             func() Event { return new(TaskRetrying) },
	"task.due":                  func() Event { return new(TaskDue) },
	"task.failed":               func() Event { return new(TaskFailed) },
	"task.skipped":              func() Event { return new(TaskSkipped) },
	"task.cancelled":            func() Event { return new(TaskCancelled) },
	"task.interrupted":          func() Event { return new(TaskInterrupted) },
	"task.in_doubt":             func() Event { return new(TaskInDoubt) },
	"task.answered":             func() Event { return new(TaskAnswered) },
	"cache.stored":              func() Event { return new(CacheStored) },
	"key.taken":                 func() Event { return new(KeyTaken) },
	"system.acted":              func() Event { return new(Acted) },
	"breaker.closed":            func() Event { return new(BreakerChanged) },
	"breaker.opened":            func() Event { return new(BreakerChanged) },
	"breaker.half_opened":       func() Event { return new(BreakerChanged) },
	"provider.rate_taken":       func() Event { return new(RateTaken) },
	"pool.scaled":               func() Event { return new(PoolScaled) },
	"workers.changed":           func() Event { return new(WorkersChanged) },
	"task.reattached":           func() Event { return new(TaskReattached) },
	"task.waiting":              func() Event { return new(TaskWaiting) },
	"secret.offered":            func() Event { return new(SecretOffered) },
	"signal.received":           func() Event { return new(SignalReceived) },
	"approval.decided":          func() Event { return new(ApprovalDecided) },
	"task.text":                 func() Event { return new(TextStreamed) },
	"question.asked":            func() Event { return new(QuestionAsked) },
	"question.answered":         func() Event { return new(QuestionAnswered) },
	"question.withdrawn":        func() Event { return new(QuestionWithdrawn) },
	"workflow.paused":           func() Event { return new(WorkflowPaused) },
	"workflow.unpaused":         func() Event { return new(WorkflowUnpaused) },
	"evaluation.requested":      func() Event { return new(EvaluationRequested) },
	"task.condition_met":        func() Event { return new(ConditionMet) },
	"task.expanded":             func() Event { return new(TaskExpanded) },
	"agent.stepped":             func() Event { return new(AgentStepped) },
	"task.iterated":             func() Event { return new(TaskIterated) },
	"task.repeating":            func() Event { return new(TaskRepeating) },
	"workflow.hooks_started":    func() Event { return new(HooksStarted) },
	"workflow.cancel_requested": func() Event { return new(CancelRequested) },
	"workflow.interrupted":      func() Event { return new(WorkflowInterrupted) },
	"workflow.imported":         func() Event { return new(WorkflowImported) },
	"workflow.resumed":          func() Event { return new(WorkflowResumed) },
	"workflow.parked":           func() Event { return new(WorkflowParked) },
	"workflow.retried":          func() Event { return new(WorkflowRetried) },
	"workflow.completed":        func() Event { return new(WorkflowEnded) },
	"workflow.failed":           func() Event { return new(WorkflowEnded) },
	"workflow.cancelled":        func() Event { return new(WorkflowEnded) },
	"workflow.timed_out":        func() Event { return new(WorkflowEnded) },
	"schedule.added":            func() Event { return new(ScheduleAdded) },
	"schedule.paused":           func() Event { return new(SchedulePaused) },
	"schedule.unpaused":         func() Event { return new(ScheduleUnpaused) },
	"schedule.removed":          func() Event { return new(ScheduleRemoved) },
	"schedule.fired":            func() Event { return new(ScheduleFired) },
}

// Types returns the names of all events, sorted.
func Types() []string { return slices.Sorted(maps.Keys(table)) }

// Encode adds the fact to the batch, with the values that it brings along.
func Encode(f Fact, b *eventlog.Batch) error {
	r := eventlog.Record{Time: f.At, Stream: stream(f.Event), Type: f.Event.Type()}
	if f.Run != 0 {
		r.Stream = Stream(f.Run)
	}
	if e, ok := f.Event.(ScheduleEvent); ok {
		r.Stream = ScheduleStream(e.Of())
	}
	switch e := f.Event.(type) {
	case *WorkflowSubmitted:
		e.put(b, &r)
	case *ScheduleAdded:
		e.put(b, &r)
	case *TaskCompleted:
		e.Result.put(b, &r)
	case *CacheStored:
		e.Result.put(b, &r)
	case *TaskIterated:
		e.Result.put(b, &r)
	case *TaskExpanded:
		for _, v := range e.Items {
			v.put(b, &r)
		}
	case *SignalReceived:
		e.Data.put(b, &r)
		r.Keys = sentKeys(e.Key)
	case *ApprovalDecided:
		r.Keys = sentKeys(e.Key)
	case *TextStreamed:
		r.Stream = TextStream(f.Run)
		e.Text.put(b, &r)
	case *QuestionAsked:
		e.Schema.put(b, &r)
	case *QuestionAnswered:
		e.Content.put(b, &r)
		r.Keys = sentKeys(e.Key)
	case *WorkflowEnded:
		e.Outputs.put(b, &r)
	case *WorkflowRetried:
		e.Run.put(b, &r)
	}
	if f.Call != "" {
		r.Keys = append(r.Keys, CallKey(f.Call))
	}
	data, err := marshal(f.Event)
	if err != nil {
		return fmt.Errorf("write %s: %w", r.Type, err)
	}
	r.Data = data
	b.Add(r)
	return nil
}

// CacheStream is the stream of what a call came to; its last record stands.
func CacheStream(call eventlog.Hash) string { return CachePrefix + call.String() }

// Cached returns what a call came to, if that still stands at now.
func Cached(log *eventlog.Log, call eventlog.Hash, now time.Time) (Value, bool, error) {
	rec, found, err := log.Head(CacheStream(call))
	if err != nil || !found || rec.Type != (*CacheStored)(nil).Type() {
		return Value{}, false, err
	}
	var e CacheStored
	if err := json.Unmarshal(rec.Data, &e); err != nil {
		return Value{}, false, fmt.Errorf("record %d (%s): %w", rec.Seq, rec.Type, err)
	}
	return e.Result, now.Before(e.Until), nil
}

// marshal writes v as JSON without escaping what HTML would mind.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// put adds the submission's values and names to the batch and record.
func (e *WorkflowSubmitted) put(b *eventlog.Batch, r *eventlog.Record) {
	for _, v := range e.values {
		b.Put(v)
	}
	r.Refs = append(r.Refs, e.Document, e.Setup)
	r.Refs = append(r.Refs, e.Files...)
	e.Context.put(b, r)
	r.Keys = e.keys()
}

// kept is the event as State keeps it: without what the log alone needs.
func (e *WorkflowSubmitted) kept() *WorkflowSubmitted {
	c := *e
	c.Context, c.Files, c.plan, c.values = e.Context.kept(), nil, nil, nil
	return &c
}

// Bring gives a new submission its plan and the values that go into the log
// with it: document, setup and files.
func (e *WorkflowSubmitted) Bring(p *Plan, values ...[]byte) { e.plan, e.values = p, values }

// Plan returns the plan that the event was read or made with.
func (e *WorkflowSubmitted) Plan() *Plan { return e.plan }

// Codec reads facts from records. It is not for use by several goroutines.
type Codec struct {
	values func(eventlog.Hash) ([]byte, error)
	plans  map[planKey]*Plan
}

// NewCodec returns a codec that finds documents and setups with values, for
// example (*eventlog.Log).Value.
func NewCodec(values func(eventlog.Hash) ([]byte, error)) *Codec {
	return &Codec{values: values, plans: map[planKey]*Plan{}}
}

// Decode reads the record. Records that aren't ours (a deleted stream's
// trace) give found false. An error means that the log is damaged or newer
// than this program.
func (c *Codec) Decode(r eventlog.Record) (f Fact, found bool, err error) {
	f = Fact{Seq: r.Seq, At: r.Time}
	if _, ofSchedule := scheduleOf(r.Stream); r.Stream != SystemStream && r.Stream != aliveStream && r.Stream != auditStream && !ofSchedule && !isProvider(r.Stream) {
		if f.Run, found = RunOf(r.Stream); !found {
			if f.Run, found = textOf(r.Stream); !found {
				return f, false, nil
			}
		}
	}
	if r.Type == eventlog.StreamDeleted {
		return f, false, nil
	}
	fresh, known := table[r.Type]
	if !known {
		return f, false, fmt.Errorf("record %d: unknown event %q: was the store written by a newer gleitzeit?", r.Seq, r.Type)
	}
	f.Event = fresh()
	if err := json.Unmarshal(r.Data, f.Event); err != nil {
		return f, false, fmt.Errorf("record %d (%s): %w", r.Seq, r.Type, err)
	}
	if err := c.complete(f.Event, r); err != nil {
		return f, false, fmt.Errorf("record %d (%s): %w", r.Seq, r.Type, err)
	}
	return f, true, nil
}

// complete finds what an event needs that lies in the log elsewhere.
func (c *Codec) complete(event Event, r eventlog.Record) (err error) {
	switch e := event.(type) {
	case *WorkflowSubmitted:
		e.plan, err = c.Plan(e.Document, e.Setup)
	case *ScheduleAdded:
		err = e.read(c, r)
	case *WorkflowRetried:
		raw, err := e.Run.Load(c.values)
		if err != nil {
			return fmt.Errorf("the run: %w", err)
		}
		if err := json.Unmarshal(raw, &e.saved); err != nil {
			return fmt.Errorf("the run: %w", err)
		}
		e.plan, err = c.Plan(e.saved.Submitted.Document, e.saved.Submitted.Setup)
		return err
	}
	return err
}

// Plan returns the plan of a document and setup that the log has.
func (c *Codec) Plan(document, setup eventlog.Hash) (*Plan, error) {
	key := planKey{document, setup}
	if p := c.plans[key]; p != nil {
		return p, nil
	}
	raw, err := c.values(document)
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	w, err := protocols.Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	if raw, err = c.values(setup); err != nil {
		return nil, fmt.Errorf("setup: %w", err)
	}
	var s Setup
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("setup: %w", err)
	}
	p, err := NewPlan(document, w, setup, &s)
	if err != nil {
		return nil, err
	}
	c.plans[key] = p
	return p, nil
}
