package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

var (
	errCancelled   = errors.New("the run is being cancelled")
	errInterrupted = errors.New("the process has to leave")
	errVanished    = errors.New("the provider ended its goroutine without an answer")
)

// attempt names what a worker works on.
type attempt struct {
	run  uint64
	task int
}

// worker is the loop's end of a goroutine that carries out one attempt.
type worker struct {
	stop context.CancelCauseFunc
}

// job is all that a worker needs, taken from the state by the loop.
type job struct {
	run     uint64
	id      string
	plan    *replay.Plan
	context replay.Value
	task    int
	attempt int
	group   int
	needs   map[int]replay.Task // the tasks that parameters refer to
}

// startWorker gives an attempt a goroutine of its own.
func (s *Scheduler) startWorker(run uint64, e *replay.TaskStarted) {
	r := s.state.Run(run)
	j := job{run: run, id: r.ID(), plan: r.Plan, context: r.Submitted.Context, task: e.Task, attempt: e.Attempt,
		group: r.Tasks[e.Task].Group(), needs: values(r, r.Plan.Task(e.Task).References)}
	ctx, stop := context.WithCancelCause(s.ctx)
	s.workers[attempt{run, e.Task}] = &worker{stop}
	s.working.Add(1) // until it has reported
	go func() {
		defer stop(nil)
		s.work(ctx, j)
	}()
}

// values copies the tasks that something refers to.
func values(r *replay.Run, tasks []int) map[int]replay.Task {
	if len(tasks) == 0 {
		return nil
	}
	m := make(map[int]replay.Task, len(tasks))
	for _, i := range tasks {
		m[i] = r.Tasks[i]
	}
	return m
}

// stopWorkers tells the running attempts of a run to stop.
func (s *Scheduler) stopWorkers(run uint64, why error) {
	for a, w := range s.workers {
		if a.run == run {
			w.stop(why)
		}
	}
}

// work carries out one attempt and sends its outcome home, once: when the call
// returns, or when it was told to stop and didn't within the grace.
func (s *Scheduler) work(ctx context.Context, j job) {
	began := time.Now()
	var once sync.Once
	report := func(result json.RawMessage, err error) {
		once.Do(func() {
			defer s.working.Done()
			s.report(ctx, j, time.Since(began), result, err)
		})
	}
	if d := time.Duration(j.plan.Task(j.task).Timeout); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	watched := context.AfterFunc(ctx, func() { s.giveUp(ctx, report) })
	result, err := json.RawMessage(nil), errVanished
	defer func() {
		watched()
		report(result, err)
	}()
	result, err = s.call(ctx, j)
}

// giveUp reports an attempt whose provider doesn't obey. Its goroutine is left
// behind: nobody can end it.
func (s *Scheduler) giveUp(ctx context.Context, report func(json.RawMessage, error)) {
	time.AfterFunc(s.opts.Grace, func() { report(nil, context.Cause(ctx)) })
}

// call fills in the parameters and calls the provider.
func (s *Scheduler) call(ctx context.Context, j job) (result json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = protocols.Errorf(protocols.InternalError, "the provider panicked: %v", p).With(
				map[string]string{"stack": string(debug.Stack())})
		}
	}()
	c, err := s.context(j.context)
	if err != nil {
		return nil, err
	}
	task := j.plan.Task(j.task)
	filled := &protocols.Substituted{Parameters: task.Parameters}
	if !task.Literal {
		if filled, err = s.fill(j, c); err != nil {
			return nil, err
		}
	}
	set, err := s.sets.get(j.plan.SetupHash, j.plan.Setup.Config)
	if err != nil {
		return nil, err
	}
	defer s.sets.put(set)
	name := j.plan.Provider(j.task).Name
	if task.Provider != "" {
		name = task.Provider // an alias means something to the provider
	}
	return set.providers.Call(ctx, name, s.providerCall(j, c, filled), host{s, j})
}

// context reads what the run got from outside.
func (s *Scheduler) context(v replay.Value) (c replay.Context, err error) {
	raw, err := v.Load(s.log.Value)
	if err != nil || raw == nil {
		return c, err
	}
	return c, json.Unmarshal(raw, &c)
}

// fill resolves the references in the task's parameters and checks the result.
func (s *Scheduler) fill(j job, c replay.Context) (*protocols.Substituted, error) {
	scope, err := s.scope(j, c)
	if err != nil {
		return nil, err
	}
	filled, perr := protocols.Substitute(j.plan.Workflow, j.task, scope, s.opts.Registry)
	if perr != nil {
		return nil, perr
	}
	if perr := s.opts.Registry.CheckParameters(j.plan.Task(j.task).Method, filled.Parameters); perr != nil {
		return nil, perr
	}
	return filled, nil
}

// scope loads all that references may mean.
func (s *Scheduler) scope(j job, c replay.Context) (*protocols.Scope, error) {
	scope := &protocols.Scope{
		Workflow: j.plan.Workflow, Inputs: c.Inputs, Env: c.Env,
		Run:   protocols.RunValue{ID: j.id, Name: j.plan.Workflow.Name, Attempt: j.attempt},
		Tasks: make(map[int]protocols.TaskValue, len(j.needs)),
	}
	for i, t := range j.needs {
		raw, err := t.Result.Load(s.log.Value)
		if err != nil {
			return nil, fmt.Errorf("result of task %q: %w", j.plan.Task(i).ID, err)
		}
		scope.Tasks[i] = protocols.TaskValue{Status: t.Status.String(), Result: raw, Error: t.Error,
			Attempts: t.Attempts, Duration: t.Duration}
	}
	return scope, nil
}

// providerCall is the attempt as the provider sees it.
func (s *Scheduler) providerCall(j job, c replay.Context, filled *protocols.Substituted) providers.Call {
	task := j.plan.Task(j.task)
	return providers.Call{
		Method: task.Method, Parameters: filled.Parameters, Bindings: filled.Bindings,
		File: func(name string) ([]byte, bool, error) {
			h, found := c.Files[name]
			if !found {
				return nil, false, nil
			}
			b, err := s.log.Value(h)
			return b, err == nil, err
		},
		Env: environment(j.plan.Workflow, task), Dir: existing(c.Dir), Roots: roots(c),
		Key: fmt.Sprintf("%s-%d-%d-%d", s.log.ID(), j.run, j.task, j.group),
		Run: j.id, Task: task.ID, Attempt: j.attempt,
	}
}

// report sends the outcome home. It returns when the loop has taken it, or
// when there is no loop any more: then the attempt is in doubt.
func (s *Scheduler) report(ctx context.Context, j job, took time.Duration, result json.RawMessage, err error) {
	f := Finish{Run: j.run, Task: j.task, Attempt: j.attempt, Duration: protocols.Duration(took), Jitter: rand.Float64()}
	switch {
	case err == nil:
		if result, f.Error = fitting(result); f.Error == nil {
			f.Result = replay.NewValue(result)
		}
	case errors.Is(context.Cause(ctx), errInterrupted):
		f.Interrupted = true
	default:
		f.Error = clip(failed(ctx, err))
	}
	done := func() { delete(s.workers, attempt{j.run, j.task}) }
	s.send(context.Background(), request{command: f, act: done})
}

// failed gives an error its code: why the call was stopped if it was, or what
// the provider said. What the provider could tell of a call that was stopped,
// such as a script's output, stays with the error.
func failed(ctx context.Context, err error) *protocols.Error {
	var e *protocols.Error
	known := errors.As(err, &e) && e != nil
	var stopped *protocols.Error
	switch {
	case errors.Is(context.Cause(ctx), errCancelled):
		stopped = protocols.Errorf(protocols.TaskCancelled, "cancelled while it ran")
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		stopped = protocols.Errorf(protocols.TaskTimeout, "no result within the timeout")
	case known:
		return e
	default:
		return protocols.Errorf(protocols.TaskExecutionFailed, "%v", err)
	}
	if known {
		stopped.Data = e.Data
	}
	return stopped
}

// startOutputs makes a run's outputs in a goroutine of its own.
func (s *Scheduler) startOutputs(run uint64) {
	r := s.state.Run(run)
	j := job{run: run, id: r.ID(), plan: r.Plan, context: r.Submitted.Context, needs: values(r, r.Plan.Workflow.OutputReferences())}
	s.evaluating++
	s.working.Go(func() {
		o := Outputs{Run: run}
		if value, err := s.outputs(j); err != nil {
			o.Error = clip(err)
		} else {
			o.Value = replay.NewValue(value)
		}
		s.send(context.Background(), request{command: o, act: func() { s.evaluating-- }})
	})
}

func (s *Scheduler) outputs(j job) (json.RawMessage, *protocols.Error) {
	c, err := s.context(j.context)
	if err != nil {
		return nil, protocols.Errorf(protocols.PersistenceReadFailed, "%v", err)
	}
	scope, err := s.scope(j, c)
	if err != nil {
		return nil, protocols.Errorf(protocols.PersistenceReadFailed, "%v", err)
	}
	value, perr := protocols.SubstituteOutputs(j.plan.Workflow, scope)
	if perr != nil {
		return nil, perr
	}
	return fitting(value)
}

// host is what a provider may ask of us during a call.
type host struct {
	s *Scheduler
	j job
}

func (h host) Progress(p providers.Progress) {
	h.s.live.publish(Progress{Run: h.j.id, Task: h.j.plan.Task(h.j.task).ID, Attempt: h.j.attempt, Progress: p})
}
