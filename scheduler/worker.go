package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"gleitzeit/eventlog"
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
	stop  context.CancelCauseFunc
	asked map[string]chan replay.Given // who waits for a person's answer, by question; nobody closes them
}

// job is all that a worker needs, taken from the state by the loop.
type job struct {
	run      uint64
	retries  int // how often the run has gone on after an end
	id       string
	trace    string // that of the run's submitter
	plan     *replay.Plan
	context  replay.Value
	source   string
	depth    int // of the run: 0 unless it is a child
	task     int
	def      int           // the task's place in the document
	form     int           // the place in the plan of what says how it runs; def but for an agent's step
	steps    []replay.Task // of an agent: what its steps came to, and what they are
	own      *replay.Step  // of an agent's step: what it does
	name     string        // its id
	attempt  int
	provider string // that it runs on
	group    int
	began    int                 // of an agent's step: how often the run had been retried when the agent began
	round    int                 // of an instance: which of its foreach's lists of items it is of
	item     *itemPlace          // of an instance of a foreach
	needs    map[int]replay.Task // the tasks that parameters refer to
	permit   *permit             // nil: the provider needs none
	family   []uint64            // whose secrets it may use: the run's, and of those that started it

	scheduled bool // a schedule started the run, or the first of those

	rejoined bool      // a worker elsewhere has the attempt since an earlier process
	started  time.Time // of such an attempt: when it began
}

// startWorker gives an attempt a goroutine of its own.
func (s *Scheduler) startWorker(run uint64, e *replay.TaskStarted) {
	r := s.state.Run(run)
	j := newJob(r, e.Task, r.Plan.Task(r.Def(e.Task)).References)
	j.attempt, j.provider = e.Attempt, e.Provider
	s.begin(r, j)
}

// rejoin waits for the outcome of an attempt that an earlier process began, and
// that a worker elsewhere may have.
func (s *Scheduler) rejoin(run uint64, task int) {
	r := s.state.Run(run)
	t := &r.Tasks[task]
	j := newJob(r, task, nil)
	j.attempt, j.provider = t.Attempts, s.state.OnProvider(r, task).Provider.Name
	j.rejoined, j.started = true, t.Started
	s.begin(r, j)
}

// begin gives a job a goroutine of its own.
func (s *Scheduler) begin(r *replay.Run, j job) {
	j.group = r.Tasks[j.task].Group()
	j.family, j.scheduled = s.family(r)
	j.permit = s.permitOf(attempt{j.run, j.task})
	ctx, stop := context.WithCancelCause(s.ctx)
	j.permit.stops(func() { stop(errPermitLost) })
	s.workers[attempt{j.run, j.task}] = &worker{stop: stop}
	s.working.Add(1) // until it has reported
	go func() {
		defer stop(nil)
		s.work(ctx, j)
	}()
}

// family is the run, and all that it is a child of; and whether a schedule
// started the first of them.
func (s *Scheduler) family(r *replay.Run) (runs []uint64, scheduled bool) {
	for r != nil {
		runs, scheduled = append(runs, r.Number), r.Submitted.Schedule != ""
		p := r.Submitted.Parent
		if p == nil {
			break
		}
		r = s.state.Run(p.Run)
	}
	return runs, scheduled
}

// newJob takes from the state what a worker needs that looks at other tasks.
func newJob(r *replay.Run, task int, references []int) job {
	j := job{run: r.Number, retries: r.Retries, id: r.ID(), plan: r.Plan, context: r.Submitted.Context,
		source: r.Submitted.Source, task: task, needs: values(r, references)}
	j.trace = r.Submitted.Trace
	if p := r.Submitted.Parent; p != nil {
		j.depth = p.Depth
	}
	if task >= 0 {
		j.def, j.form, j.name = r.Def(task), r.Form(task), r.TaskID(task)
		if j.own = r.Tasks[task].Step; j.own != nil {
			j.steps, j.began = stepsOf(r, task), r.Tasks[r.Tasks[task].Of-1].Agent.Round
		}
		if j.item = placeOf(r, task); j.item != nil {
			j.round = r.Tasks[j.def].Each.Round
		}
	}
	return j
}

// key is the idempotency key of the attempt: another one after a known outcome,
// and for every item of every list that a foreach has gone over.
func (j job) key(store string) string {
	task := strconv.Itoa(j.def)
	if j.item != nil {
		task = fmt.Sprintf("%d.%d.%d", j.def, j.round, j.item.index)
	}
	if o := j.own; o != nil {
		task += fmt.Sprintf(".agent%d.%d.%d.%d.%d", j.began, o.Iteration, o.Turn, o.Form, o.Call)
	}
	return fmt.Sprintf("%s-%d-%s-%d", store, j.run, task, j.group)
}

// place is the attempt's in a trace, "" if nobody looks at that.
func (s *Scheduler) place(j job) string {
	if j.trace == "" && !s.opts.Traces {
		return ""
	}
	return replay.RunTrace(s.log.ID(), j.id, j.retries, j.trace).Attempt(j.task, j.attempt).String()
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
	if j.rejoined {
		began = j.started
	}
	var once sync.Once
	said := newSaid(s, j)
	report := func(came cameTo, err error) {
		once.Do(func() {
			defer s.working.Done()
			s.report(ctx, j, time.Since(began), came, err, said.end())
		})
	}
	if d := time.Duration(j.plan.Task(j.form).Timeout); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, began.Add(d))
		defer cancel()
	}
	if begin := s.unprovided(j); begin != nil {
		if err := safely("the task", func() error { return begin(ctx, j) }); err != nil {
			report(cameTo{}, err)
			return
		}
		once.Do(s.working.Done)
		return
	}
	watched := context.AfterFunc(ctx, func() { s.giveUp(ctx, report) })
	came, err := cameTo{}, errVanished
	defer func() {
		watched()
		j.permit.end(ctx, came, err)
		report(came, err)
	}()
	came, err = s.call(ctx, j, said)
}

// caught makes an error of a panic: one attempt must not end the process.
func caught(who string, err *error) {
	if p := recover(); p != nil {
		*err = protocols.Errorf(protocols.InternalError, "%s panicked: %v", who, p).With(
			map[string]string{"stack": string(debug.Stack())})
	}
}

// safely does something and makes an error of a panic.
func safely(who string, do func() error) (err error) {
	defer caught(who, &err)
	return do()
}

// cameTo is what a call came to.
type cameTo struct {
	result json.RawMessage
	called bool          // the provider was asked
	cached bool          // it is an earlier one
	call   eventlog.Hash // under which it is to be kept; zero: it isn't

	sampled replay.Usage // of the models that were asked on its behalf
}

// unprovided returns what begins a task that needs no provider: it finds out
// what the task waits for, and lets the loop know. It is nil for other tasks.
func (s *Scheduler) unprovided(j job) func(context.Context, job) error {
	switch j.plan.Task(j.form).Protocol {
	case replay.WaitProtocol:
		return s.await
	case replay.WorkflowProtocol:
		return s.spawn
	}
	return nil
}

// left takes a worker whose attempt has reported out of the loop's books.
func (s *Scheduler) left(j job) { delete(s.workers, attempt{j.run, j.task}) }

// giveUp reports an attempt whose provider doesn't obey. Its goroutine is left
// behind: nobody can end it.
func (s *Scheduler) giveUp(ctx context.Context, report func(cameTo, error)) {
	time.AfterFunc(s.opts.Grace, func() { report(cameTo{called: true}, context.Cause(ctx)) })
}

// call fills in the parameters and calls the provider.
func (s *Scheduler) call(ctx context.Context, j job, said *said) (came cameTo, err error) {
	defer caught("the provider", &err)
	c, err := s.context(j.context)
	if err != nil {
		return came, err
	}
	task := j.plan.Task(j.form)
	s.opts.Registry.Admit(task.Protocol) // of a remote provider, in a configuration that isn't ours
	secrets, err := s.openSecrets(j, c)
	if j.rejoined {
		return s.callAgain(ctx, j, c, said, err)
	}
	if err != nil {
		return came, err
	}
	filled, err := s.parameters(j, c, secrets)
	if err != nil {
		return came, err
	}
	env, err := s.environment(j, c, secrets)
	if err != nil {
		return came, err
	}
	if task.Cache != nil {
		if came, err = s.cached(j, c, filled, secrets); err != nil || came.cached {
			return came, err
		}
	}
	set, err := s.sets.get(s.configuration(j))
	if err != nil {
		return came, err
	}
	defer s.sets.put(set)
	if !j.permit.covers() {
		return came, errPermitLost
	}
	came.called = true
	call := s.providerCall(j, c, filled)
	call.Env = env
	err = s.callProvider(ctx, j, set.providers, call, said, &came)
	return came, err
}

// callAgain waits for what an attempt comes to that an earlier process gave to
// a worker. Nothing is given to anybody: a worker has it still, or it is lost.
// Without its secrets, which its result might hold, it is lost, too.
func (s *Scheduler) callAgain(ctx context.Context, j job, c replay.Context, said *said, lacks error) (came cameTo, err error) {
	if lacks != nil {
		return came, &providers.Lost{Worker: j.provider}
	}
	set, err := s.sets.get(s.configuration(j))
	if err != nil {
		return came, err
	}
	defer s.sets.put(set)
	came.called = true
	call := s.providerCall(j, c, &protocols.Substituted{})
	call.Rejoin = true
	err = s.callProvider(ctx, j, set.providers, call, said, &came)
	return came, err
}

// callProvider makes the call itself.
func (s *Scheduler) callProvider(ctx context.Context, j job, set Providers, call providers.Call, said *said, came *cameTo) (err error) {
	name := j.plan.NameFor(j.form, j.provider) // an alias means something to the provider
	h := &host{s: s, j: j, said: said, samples: newSampler(set)}
	defer func() { came.sampled = h.samples.usage() }()
	came.result, err = set.Call(ctx, name, call, h)
	return err
}

// context reads what the run got from outside.
func (s *Scheduler) context(v replay.Value) (c replay.Context, err error) {
	raw, err := v.Load(s.log.Value)
	if err != nil || raw == nil {
		return c, err
	}
	return c, json.Unmarshal(raw, &c)
}

// parameters are the task's, filled in and checked.
func (s *Scheduler) parameters(j job, c replay.Context, secrets opened) (*protocols.Substituted, error) {
	task := j.plan.Task(j.form)
	if task.Literal && j.own == nil {
		return &protocols.Substituted{Parameters: task.Parameters}, nil
	}
	filled, err := s.fill(j, c, secrets.values)
	if err != nil {
		return nil, err
	}
	wrong := s.opts.Registry.CheckParameters(task.Method, filled.Parameters)
	switch {
	case wrong == nil:
		return filled, nil
	case len(secrets.values) == 0:
		return nil, wrong
	}
	return nil, s.withoutQuotes(j, c, secrets)
}

// withoutQuotes is the error of parameters with secrets that don't fit: it
// must not quote them, not even in part.
func (s *Scheduler) withoutQuotes(j job, c replay.Context, secrets opened) error {
	masks := maps.Clone(secrets.values)
	for name := range masks {
		masks[name] = scrubbed
	}
	filled, err := s.fill(j, c, masks)
	if err != nil {
		return err
	}
	method := j.plan.Task(j.form).Method
	if wrong := s.opts.Registry.CheckParameters(method, filled.Parameters); wrong != nil {
		return wrong
	}
	return protocols.Errorf(protocols.TaskParameterError, "the parameters of %s don't fit with the secrets put in, which are not shown", method)
}

// fill resolves the references in the task's parameters.
func (s *Scheduler) fill(j job, c replay.Context, secrets map[string]string) (*protocols.Substituted, error) {
	scope, err := s.scope(j, c)
	if err != nil {
		return nil, err
	}
	scope.Secrets = secrets
	if j.own != nil {
		return s.step(j, scope)
	}
	filled, failed := protocols.Substitute(j.plan.Workflow, j.def, scope, s.opts.Registry)
	if failed != nil {
		return nil, failed
	}
	return filled, nil
}

// scope loads all that references may mean.
func (s *Scheduler) scope(j job, c replay.Context) (scope *protocols.Scope, err error) {
	scope = &protocols.Scope{
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
	if j.item != nil {
		if scope.Item, err = j.item.load(&s.chunks, s.log.Value); err != nil {
			return nil, fmt.Errorf("item of %q: %w", j.name, err)
		}
	}
	return scope, nil
}

// providerCall is the attempt as the provider sees it.
func (s *Scheduler) providerCall(j job, c replay.Context, filled *protocols.Substituted) providers.Call {
	task := j.plan.Task(j.form)
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
		Dir: existing(c.Dir), Roots: roots(c),
		Key:          j.key(s.log.ID()),
		OutputSchema: task.OutputSchema, IdleTimeout: time.Duration(task.IdleTimeout),
		Run: j.id, Task: j.name, Attempt: j.attempt, Trace: s.place(j),
	}
}

// report sends the outcome home. It returns when the loop has taken it, or
// when there is no loop any more: then the attempt is in doubt.
func (s *Scheduler) report(ctx context.Context, j job, took time.Duration, came cameTo, err error, last *replay.TextStreamed) {
	f := Finish{Run: j.run, Task: j.task, Attempt: j.attempt, Duration: protocols.Duration(took), Jitter: rand.Float64(),
		Called: came.called, Cached: came.cached, Call: came.call}
	scrubber := s.vault.scrubber()
	var lacks errLacks
	var lost *providers.Lost
	switch {
	case errors.As(err, &lacks):
		s.send(context.Background(), request{command: lacking(j, lacks), act: func() { s.left(j) }})
		return
	case err == nil:
		var result json.RawMessage
		if result, f.Error = fitting(came.result); f.Error == nil {
			f.Result = replay.NewValue(scrubber.json(result))
		}
		if came.called && j.plan.Metered(j.form) {
			f.Usage = usageOf(came.result)
		}
	case errors.Is(context.Cause(ctx), errInterrupted):
		f.Interrupted = true
	case errors.Is(context.Cause(ctx), errPermitLost), errors.Is(err, errPermitLost):
		f.Interrupted, f.Why = true, errPermitLost.Error()
	case ctx.Err() == nil && errors.As(err, &lost):
		f.Lost = clip(protocols.Errorf(protocols.ConnectionLost, "%s", lost.Worker)).Message
	default:
		failure := failed(ctx, err)
		if f.Error = clip(scrubber.error(failure)); came.called && j.plan.Metered(j.form) {
			f.Usage = usageOf(failure.Data)
		}
	}
	f.Usage = f.Usage.Plus(came.sampled)
	if f.Error != nil || f.Interrupted {
		f.Text = last
	}
	s.send(context.Background(), request{command: f, act: func() { s.left(j) }})
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

// host is what a provider may ask of us during a call.
type host struct {
	s *Scheduler
	j job

	mu    sync.Mutex
	asked map[string]int // how often it has asked each question

	samples *sampler
	said    *said
}

func (h *host) Progress(p providers.Progress) {
	if p.Stream == "tokens" {
		p.Message = h.said.say(p.Message)
	} else {
		p.Message = h.s.vault.scrubber().text(p.Message)
	}
	h.s.live.publish(Progress{Run: h.j.id, Task: h.j.name, Attempt: h.j.attempt, Progress: p})
}
