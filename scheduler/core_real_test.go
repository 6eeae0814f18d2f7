package scheduler

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// This file has the commands of core scripts that do what workers do, with the
// values that the log has: what a provider would be told, and what an
// evaluation finds out.

// shell is a scheduler without a loop.
func (c *core) shell() *Scheduler {
	return &Scheduler{log: c.log, opts: Options{Registry: protocols.NewRegistry()}}
}

// call shows the call that a running attempt is, with secrets such as
// env:TOKEN=text at hand.
func (c *core) call(t *testing.T, d *datadriven.TestData) string {
	run := c.number(t, d)
	task := c.task(t, run, d.CmdArgs[1].Key)
	r := c.state.Run(run)
	j := newJob(r, task, r.Plan.Task(r.Def(task)).References)
	j.attempt, j.group = r.Tasks[task].Attempts, r.Tasks[task].Group()
	j.provider = c.state.OnProvider(r, task).Provider.Name
	s := c.shell()
	j.family = []uint64{run}
	for _, a := range d.CmdArgs[2:] {
		s.vault.offer(run, map[string]string{a.Key: a.Vals[0]})
	}
	known, err := s.context(j.context)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := s.openSecrets(j, known)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	filled, err := s.parameters(j, known, secrets)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	call := s.providerCall(j, known, filled)
	if call.Env, err = s.environment(j, known, secrets); err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintf("%s of %s attempt %d: %s on %s\n", call.Task, call.Run, call.Attempt, call.Method, j.provider)
	for _, line := range []struct {
		what string
		raw  any
	}{{"parameters", call.Parameters}, {"env", call.Env}, {"output_schema", call.OutputSchema}, {"idle_timeout", patience(call)}} {
		text, err := json.Marshal(line.raw)
		if err != nil {
			t.Fatal(err)
		}
		if string(text) != "{}" && string(text) != "null" {
			out += fmt.Sprintf("  %s %s\n", line.what, text)
		}
	}
	return out
}

// patience is how long a call may be silent, nil if that is not bounded.
func patience(call providers.Call) any {
	if call.IdleTimeout == 0 {
		return nil
	}
	return call.IdleTimeout.String()
}

// evaluate finds out what was asked about a task, and answers it.
func (c *core) evaluate(t *testing.T, d *datadriven.TestData) string {
	run := c.number(t, d)
	r, q := c.state.Run(run), replay.Question(d.CmdArgs[1].Key)
	a := Answer{Run: run, What: q, Retries: r.Retries}
	var j job
	var results []replay.Value
	status := protocols.StatusValue{}
	if q == replay.AskOutputs {
		j = newJob(r, -1, r.Plan.Workflow.OutputReferences())
	} else {
		a.Task = c.task(t, run, d.CmdArgs[2].Key)
		j = newJob(r, a.Task, lookedAt(r.Task(a.Task), q))
		j.attempt, a.Attempt = stage(r, a.Task, q), stage(r, a.Task, q)
		status = standing(r, a.Task)
	}
	switch q {
	case replay.AskUntil:
		needs := map[int]replay.Task{j.def: r.Tasks[a.Task]}
		maps.Copy(needs, j.needs)
		j.needs = needs
	case replay.AskAgent:
		j.steps = stepsOf(r, a.Task)
	case replay.AskCollect:
		results = itemResults(r, a.Task)
	}
	if err := c.shell().answerTo(&a, j, q, status, results); err != nil {
		a.Error = asError(err)
	}
	out := c.do(a)
	if !a.Value.IsZero() {
		raw, err := a.Value.Load(c.log.Value)
		if err != nil {
			t.Fatal(err)
		}
		out += fmt.Sprintf("  %s\n", raw)
	}
	return out
}

// about shows what a run carries along.
func (c *core) about(t *testing.T, d *datadriven.TestData) string {
	h, err := replay.LoadHistory(c.log, c.number(t, d))
	if err != nil {
		t.Fatal(err)
	}
	w := h.Run().Plan.Workflow
	out := fmt.Sprintf("%s id=%s description=%q tags=%s metadata=%s\n", w.Name, w.ID, w.Description, strings.Join(w.Tags, ","), w.Metadata)
	for _, task := range w.Tasks {
		out += fmt.Sprintf("  %s id=%s %s description=%q tags=%s metadata=%s\n", task.Name, task.ID, task.Protocol, task.Description,
			strings.Join(task.Tags, ","), task.Metadata)
	}
	return out
}

// expand makes the tasks of a batch, which gets these files.
func expand(t *testing.T, d *datadriven.TestData, w *protocols.Workflow) *protocols.Workflow {
	t.Helper()
	if w.Batch == nil {
		return w
	}
	files := []string{}
	for _, a := range d.CmdArgs {
		files = append(files, a.Key)
	}
	slices.Sort(files)
	expanded, problems := w.Expand(protocols.NewRegistry(), files)
	if len(problems.Errors()) > 0 {
		d.Fatalf(t, "%v", problems)
	}
	return expanded
}

// kept adds to an outcome that its result is kept, or is an earlier one.
func kept(d *datadriven.TestData, f *Finish) {
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "keep":
			f.Call = eventlog.Sum([]byte(a.Vals[0]))
		case "cached":
			f.Cached = true
		}
	}
}
