package protocols

import (
	"bytes"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"
)

// Scope is everything that a reference may mean while one task's parameters
// (or a run's outputs) are filled in.
type Scope struct {
	Workflow *Workflow
	// Tasks holds the ended tasks by their index in Workflow.Tasks.
	Tasks  map[int]TaskValue
	Inputs map[string]json.RawMessage
	// Env is what was recorded of the caller's environment; Workflow.Env and
	// the task's own env come before it.
	Env map[string]string
	Run RunValue
	// Item is the foreach item that the parameters are filled in for; nil
	// outside of a foreach.
	Item *ItemValue
	// Args is what a model gave the tool whose parameters are filled in, an
	// object; nil outside of tools.
	Args json.RawMessage
	// Status is what the status functions of expressions answer.
	Status StatusValue
	// Secrets are the values of Workflow.SecretRefs, by the names there. They
	// go into parameters and environments, and nowhere else.
	Secrets map[string]string
}

// ItemValue is what ${item} and ${item_index} see.
type ItemValue struct {
	Value json.RawMessage
	Index int
	Key   string
}

// StatusValue is what success(), failure() and cancelled() answer.
type StatusValue struct {
	Success   bool // all direct dependencies ended well
	Failure   bool // some ancestor failed
	Cancelled bool // the run is being cancelled
}

// TaskValue is what a reference may see of an ended task.
type TaskValue struct {
	Status   string          // completed, failed, skipped, cancelled
	Result   json.RawMessage // the payload; null when there is none
	Error    *Error
	Attempts int
	Duration time.Duration
}

// RunValue is what ${run.…} sees.
type RunValue struct {
	ID      string
	Name    string
	Attempt int // of the task whose parameters are filled in
}

// Substituted is a task's parameters, ready for the call.
type Substituted struct {
	// Parameters is a JSON object without references.
	Parameters json.RawMessage
	// Bindings are the values that stand behind placeholders in source code:
	// identifiers such as __gz_ref_0__, which are nowhere else in the code.
	// Whoever runs the code makes of each a variable, or joins it to the
	// string that it stands in.
	Bindings map[string]json.RawMessage
}

// maxSubstituted is the size of filled-in parameters or outputs, in bytes.
const maxSubstituted = 256 << 20

// Substitute fills in the references of one task's parameters. What is put in
// is never looked at again. w must come from Compile, Expand or Decode; s need
// hold only the tasks in References.
//
// A reference without a value fails with TASK_PARAMETER_ERROR, whose data say
// which: task, reference, and the keys there are. The parameters still have
// to pass CheckParameters, unless the task is Literal.
func Substitute(w *Workflow, task int, s *Scope, r *Registry) (*Substituted, *Error) {
	t := w.Tasks[task]
	if t.Literal {
		return &Substituted{Parameters: t.Parameters}, nil
	}
	tmpl, err := w.taskTemplate(task, r)
	if err != nil {
		return nil, Errorf(TaskParameterError, "task %s: %v", t.ID, err)
	}
	f := w.filler(s, t)
	params, failed := f.fill(tmpl)
	if failed != nil {
		return nil, failed
	}
	return &Substituted{Parameters: params, Bindings: f.bindings}, nil
}

// SubstituteOutputs returns the run's result: an object of the outputs in
// their order, {} if there are none. It fails as Substitute does.
func SubstituteOutputs(w *Workflow, s *Scope) (json.RawMessage, *Error) {
	tmpl, err := w.outputTemplate()
	if err != nil {
		return nil, Errorf(TaskParameterError, "outputs: %v", err)
	}
	return w.filler(s, nil).fill(tmpl)
}

// templates keeps what was parsed of a workflow's references. It is filled
// as needed, by whoever needs it first.
type templates struct {
	names   *names
	tasks   []atomic.Pointer[template]
	outputs func() (*template, error)
	rest    sync.Map // of what else a task has: restKey to *template, *expression or error
}

// templates returns the workflow's templates, made on first use.
func (w *Workflow) templates() *templates {
	if t := w.cache.Load(); t != nil {
		return t
	}
	t := &templates{names: namesOf(w.Tasks, inputsOf(w.Inputs)), tasks: make([]atomic.Pointer[template], len(w.Tasks))}
	t.outputs = sync.OnceValues(func() (*template, error) { return newTemplate(w.rawOutputs(), t.names, nil) })
	w.cache.CompareAndSwap(nil, t)
	return w.cache.Load()
}

func (w *Workflow) taskTemplate(task int, r *Registry) (*template, error) {
	all := w.templates()
	if t := all.tasks[task].Load(); t != nil {
		return t, nil
	}
	source, err := sourceOf(w.Tasks[task].Method, r)
	if err != nil {
		return nil, err
	}
	t, err := newTemplate(w.Tasks[task].Parameters, w.namesIn(task), source)
	if err == nil {
		all.tasks[task].Store(t)
	}
	return t, err
}

// sourceOf tells which language a parameter of a method is source code of, "" if
// it is none.
func sourceOf(method string, r *Registry) (func(parameter string) string, error) {
	m, _, ok := r.Method(method)
	if !ok {
		return func(string) string { return "" }, nil
	}
	if err := m.load(); err != nil {
		return nil, err
	}
	return func(parameter string) string { return m.traits[parameter].source }, nil
}

func (w *Workflow) outputTemplate() (*template, error) { return w.templates().outputs() }

// rawOutputs returns the outputs as one object.
func (w *Workflow) rawOutputs() json.RawMessage {
	b := []byte{'{'}
	for i, o := range w.Outputs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, o.Name), ':')
		b = append(b, o.Value...)
	}
	return append(b, '}')
}

// filler fills in one template.
type filler struct {
	scope    *Scope
	task     *Task  // nil for outputs
	place    string // instead of the task or the outputs, for messages
	what     string // of the task, if not its parameters
	inputs   map[string]*Input
	bindings map[string]json.RawMessage
}

func (w *Workflow) filler(s *Scope, t *Task) *filler {
	return &filler{scope: s, task: t, inputs: w.templates().names.inputs}
}

func (f *filler) fill(t *template) (json.RawMessage, *Error) {
	var out []byte
	for _, p := range t.parts {
		if p.ref == nil {
			out = append(out, p.json...)
			continue
		}
		value, err := f.value(p.ref)
		if err != nil {
			return nil, err
		}
		if len(out)+len(value) > maxSubstituted {
			return nil, f.refuse(p.ref.text, nil, "the parameters would become larger than %d MiB", maxSubstituted>>20)
		}
		switch p.way {
		case asValue:
			out = append(out, value...)
		case asText:
			out = appendText(out, value)
		case asCode:
			if kindOf(value) != stringKind {
				return nil, f.refuse(p.ref.text, nil, "source code must be a text, not %s", kindOf(value))
			}
			out = appendString(out, unfence(rawText(value), p.name))
		case asSymbol:
			if f.bindings == nil {
				f.bindings = map[string]json.RawMessage{}
			}
			f.bindings[p.name] = value
		}
	}
	return out, nil
}

// appendText appends a value to the inside of a JSON string: text as it is,
// anything else as JSON.
func appendText(out, value []byte) []byte {
	value = bytes.TrimSpace(value)
	if kindOf(value) == stringKind && len(value) > 1 {
		return append(out, value[1:len(value)-1]...)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, value); err != nil {
		return appendInside(out, string(value)) // not JSON, whoever made it
	}
	return appendInside(out, b.String())
}
