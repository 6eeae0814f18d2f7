package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// This file makes of a workflow file what a run is submitted with. Whatever
// is wrong is told before anything starts.

// wishes are what the command line adds to the file.
type wishes struct {
	inputs     []string                   // "name=value"
	inputsJSON string                     // a file with a JSON object, "-" for standard input
	values     map[string]json.RawMessage // of the inputs, as they are
	priority   string
}

// submission reads, checks and completes the workflow file. Warnings are told
// at once; the error holds every problem.
func (s *session) submission(name string, w wishes) (*server.SubmitParams, *config, error) {
	f, err := readWorkflow(s.env, name)
	if err != nil {
		return nil, nil, err
	}
	return s.submissionOf(f, name, w)
}

// submissionOf is the submission of a workflow that has been read; source says
// to people where it came from.
func (s *session) submissionOf(f *workflowFile, source string, w wishes) (*server.SubmitParams, *config, error) {
	if s.remote() != "" {
		f.sends, f.rel = sentFiles{}, "."
	}
	registry := s.registry(f.dir)
	document, _ := protocols.Parse(f.name, f.data)
	workflow, problems := registry.Compile(document)
	if err := s.tell(problems); err != nil {
		return nil, nil, err
	}
	c, err := s.config(f.dir)
	if err != nil {
		return nil, nil, err
	}
	if f.sends != nil && c.mocks != nil {
		return nil, nil, usage(fmt.Errorf("%s can't be sent to the server at %s, where all would be real: start a server with --mock", c.mocks.File, s.remote()))
	}
	p, workflow, problems := s.prepare(f, c, registry, workflow)
	var inputs map[string]json.RawMessage
	var wrong error
	if workflow != nil {
		inputs, wrong = s.inputs(workflow, w)
	}
	if err := s.tell(problems); err != nil {
		return nil, nil, err
	}
	if wrong != nil {
		return nil, nil, usage(wrong)
	}
	p.Inputs, p.Env = inputs, s.env.values(workflow.EnvRefs)
	p.Cwd, p.Roots, p.Source, p.By = f.cwd, c.Roots, source, s.env.user()
	p.Traceparent = s.env.trace()
	if err := json.Unmarshal([]byte(strconv.Quote(w.priority)), &p.Priority); err != nil {
		return nil, nil, usage(err)
	}
	if f.sends != nil {
		return &server.SubmitParams{Workflow: string(f.data), Files: f.sends, Inputs: p.Inputs, Env: p.Env, Source: source, Priority: p.Priority, By: s.env.user(), Traceparent: s.env.trace()}, c, nil
	}
	s.warnOfPlain(c)
	return p, c, nil
}

// prepare makes of a compiled workflow what a run of it is submitted with, but
// for what is given with each run. It returns the workflow with the tasks of a
// batch, nil if there can't be any.
func (s *session) prepare(f *workflowFile, c *config, registry *protocols.Registry, workflow *protocols.Workflow) (*server.SubmitParams, *protocols.Workflow, protocols.Problems) {
	workflow, problems := f.expand(registry, workflow)
	if len(problems.Errors()) > 0 {
		return nil, nil, problems
	}
	files, more := f.capture(workflow.Files)
	problems = append(problems, more...)
	problems = append(problems, misconfigured(f, c, workflow)...)
	problems = append(problems, badSchedule(f, workflow)...)
	kids := &children{s: s, registry: registry, config: c, all: map[string]server.ChildParams{}}
	names := kids.of(f, workflow)
	problems = append(problems, kids.problems...)
	limitAttempts(workflow, c.DefaultTimeout)
	return &server.SubmitParams{Document: workflow.Encode(), Setup: c.setup(), Files: files,
		Children: kids.all, Names: names, Dir: f.home()}, workflow, problems
}

// misconfigured finds what the configuration lacks for a workflow. What is sent
// to a server goes by the configuration there.
func misconfigured(f *workflowFile, c *config, w *protocols.Workflow) (ps protocols.Problems) {
	if f.sends != nil {
		return nil
	}
	ps = append(ps, undeclared(f, c, w)...)
	ps = append(ps, unroutable(f, c, w)...)
	ps = append(ps, foreseen(f, c, w)...)
	return append(ps, unmocked(f, c, w)...)
}

// tell shows the warnings and returns the errors.
func (s *session) tell(ps protocols.Problems) error {
	for _, p := range ps.Warnings() {
		s.print.say("%s", s.print.errInk.yellow(clean(p.Error())))
	}
	return ps.Err()
}

// expand makes the tasks of a batch; anything else is returned as it is.
func (f *workflowFile) expand(r *protocols.Registry, w *protocols.Workflow) (*protocols.Workflow, protocols.Problems) {
	if w.Batch == nil {
		return w, nil
	}
	paths, problems := f.matches(w.Batch)
	if len(problems) > 0 {
		return nil, problems
	}
	expanded, problems := w.Expand(r, paths)
	for i := range problems {
		if problems[i].Line == 0 {
			problems[i] = f.problem(w.Batch.Directory, problems[i].Text, problems[i].Hint)
		}
	}
	return expanded, problems
}

// unroutable finds the tasks that no configured provider would take.
func unroutable(f *workflowFile, c *config, w *protocols.Workflow) (ps protocols.Problems) {
	infos, setup := c.providers().List(), c.setup()
	for _, t := range w.Tasks {
		if err := setup.Check(t); err != nil {
			ps = append(ps, f.problem(t.Provider, fmt.Sprintf("task %q: %v", t.ID, unserved(infos, t, err)), "see: gleitzeit provider list"))
		}
	}
	return ps
}

// foreseen finds the tasks whose first provider will refuse them.
func foreseen(f *workflowFile, c *config, w *protocols.Workflow) (ps protocols.Problems) {
	all := c.providers()
	infos := all.List()
	for _, t := range w.Tasks {
		if text, err := all.Foresee(firstProvider(infos, t), t.Parameters); err != nil {
			ps = append(ps, f.problem(text, fmt.Sprintf("task %q: %v", t.ID, err), ""))
		}
	}
	return ps
}

// firstProvider is the name of the provider that a task prefers, "" if there is
// none or several do equally well.
func firstProvider(infos []providers.Info, t *protocols.Task) string {
	if t.Provider != "" {
		return t.Provider
	}
	name := ""
	for _, info := range infos {
		if info.Protocol != t.Protocol || info.ByName {
			continue
		}
		if name != "" && !info.Spare {
			return ""
		}
		if name == "" {
			name = info.Name
		}
	}
	return name
}

// unserved says why no provider takes a task, as exactly as can be.
func unserved(infos []providers.Info, t *protocols.Task, err error) error {
	for _, name := range append([]string{t.Provider}, t.Fallbacks...) {
		if _, wrong := providers.Route(infos, t.Protocol, name); wrong != nil {
			return wrong
		}
	}
	return err
}

// needsProvider tells whether a task is work: what only waits, or is a run of
// its own, needs no provider and has no time limit but its own.
func needsProvider(t *protocols.Task) bool {
	return t.Protocol != replay.WaitProtocol && t.Protocol != replay.WorkflowProtocol
}

// inputs collects the values of the workflow's inputs; those given one by one
// beat those of the file.
func (s *session) inputs(workflow *protocols.Workflow, w wishes) (map[string]json.RawMessage, error) {
	given := map[string]json.RawMessage{}
	maps.Copy(given, w.values)
	if w.inputsJSON != "" {
		if err := s.readInputs(w.inputsJSON, &given); err != nil {
			return nil, err
		}
	}
	for _, text := range w.inputs {
		name, value, found := strings.Cut(text, "=")
		if !found {
			return nil, fmt.Errorf("input %q: write it as name=value", text)
		}
		parsed, failure := workflow.ParseInput(name, value)
		if failure != nil {
			return nil, failure
		}
		given[name] = parsed
	}
	s.anchorSecrets(workflow, given)
	values, failure := workflow.CheckInputs(given)
	if failure != nil {
		return nil, failure
	}
	return values, nil
}

func (s *session) readInputs(name string, to *map[string]json.RawMessage) error {
	var data []byte
	var err error
	if name == "-" {
		data, err = io.ReadAll(io.LimitReader(s.env.stdin, maxFile))
	} else {
		data, err = os.ReadFile(s.env.expand(name, s.env.cwd))
	}
	if err != nil {
		return fmt.Errorf("read the inputs: %w", err)
	}
	more := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &more); err != nil {
		return fmt.Errorf("%s: the inputs must be a JSON object: %w", name, err)
	}
	maps.Copy(*to, more)
	return nil
}

// values returns the variables that are set among those named.
func (e *environment) values(names []string) map[string]string {
	values := map[string]string{}
	for _, name := range names {
		if value, set := e.lookup(name); set {
			values[name] = value
		}
	}
	return values
}

// limitAttempts gives every task that is work, and has no timeout, the
// configured one.
func limitAttempts(w *protocols.Workflow, timeout duration) {
	for _, t := range w.Tasks {
		if t.Timeout == 0 && needsProvider(t) {
			t.Timeout = protocols.Duration(timeout)
		}
	}
}
