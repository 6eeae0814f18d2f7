package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// Options says how a scheduler works. Open is required; the zero value of the
// rest is the default.
type Options struct {
	// Policy bounds what runs at once. Slots 0 means DefaultSlots.
	Policy Policy
	// Open opens the providers of a run's setup, from its Config.
	Open func(config []byte) (Providers, error)
	// Setup changes what a run is submitted with; nil: nothing does.
	Setup func(*replay.Setup) error
	// Partition is which part of a divided store the log is; 0: the whole.
	Partition int
	// Registry checks parameters once they are filled in; nil means the
	// built-in protocols.
	Registry *protocols.Registry
	// Version is noted in the log when the scheduler starts.
	Version string
	// Secrets looks for the secrets with these references, for runs that
	// schedules start: no client offers them any. nil finds none. It is called
	// from many goroutines.
	Secrets func(references []string) map[string]string
	// Permits gives out what partitions share; nil: the log does, if it has any.
	Permits Permits
	// Grace is how long a provider may take to stop once its call was
	// cancelled; then the attempt is given up. 0 means 10 s.
	Grace time.Duration
	// Traces tells every provider the place of its call in a trace, also of runs
	// whose submitters named none.
	Traces bool
	// CheckpointEvery is after how many records checkpoints are written.
	// 0 means 10,000.
	CheckpointEvery int
	// Logger takes what an operator should know; nil means nothing.
	Logger *slog.Logger
	// Fatal is called when the log can't be written any more; it must not
	// return. nil means panic.
	Fatal func(error)
}

// Providers is what a scheduler needs of a set of providers.
type Providers interface {
	Call(ctx context.Context, provider string, call providers.Call, host providers.Host) (json.RawMessage, error)
	Close() error
}

// DefaultSlots is how many attempts run at once unless told otherwise.
const DefaultSlots = 64

// DefaultCrashLimit is the crash limit of design.md, rule 8.
const DefaultCrashLimit = 3

// maxBatch bounds how many commands share one append.
const maxBatch = 1024

// ErrClosed is what callers get from a scheduler that has been closed.
var ErrClosed = protocols.Errorf(protocols.SystemShutdown, "the scheduler has been closed")

// Scheduler runs the workflows of one log.
type Scheduler struct {
	log  *eventlog.Log
	opts Options

	inbox chan request
	quit  chan struct{} // closed by Close, once
	done  chan struct{} // closed by the loop when it has ended

	// Owned by the loop.
	state   *replay.State
	policy  Policy
	started bool // SystemStarted is in the log
	workers map[attempt]*worker
	permits *permits // nil: none are needed
	// evaluations find things out: conditions, items, outputs.
	evaluations pool
	idlers      []chan struct{} // each closed when no attempt runs
	batch       eventlog.Batch
	saving      chan struct{} // closed when the running checkpoint pass has ended
	saved       int           // what the last pass cost, in tasks
	broken      bool          // the state holds what the log has not

	ctx      context.Context // of everything that the scheduler starts
	stop     context.CancelCauseFunc
	working  sync.WaitGroup
	saver    *replay.Checkpointer
	sets     sets
	live     watchers
	vault    vault
	chunks   chunkReader
	quitOnce sync.Once
}

// request is a command, or a function to run inside the loop.
type request struct {
	command Command
	before  func() // runs first of all, before anything is decided
	query   func(*replay.State)
	end     eventlog.Seq      // of a Retry: the run's end as its sender knows it
	act     func()            // runs after the append; for what only the loop may do
	secrets map[string]string // of the run that the command submits or lets go on
	call    string            // that brings the command; see Called
	reply   chan reply
}

// reply is what became of a request.
type reply struct {
	Accepted        // of a submission
	made     uint64 // the number of the run that it made, or that goes on
	err      error
}

// New loads the state from the log and starts the loop. Nothing is written,
// and nothing runs, before the first command, unless Policy.Schedules says that
// this process stays.
func New(log *eventlog.Log, o Options) (*Scheduler, error) {
	if o.Policy.Slots == 0 {
		o.Policy.Slots = DefaultSlots
	}
	if o.Policy.QueueSize == 0 {
		o.Policy.QueueSize = DefaultQueueSize
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = 10_000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = protocols.NewRegistry()
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	state, err := replay.Load(log)
	if err != nil {
		return nil, err
	}
	state.Partition = o.Partition
	saver, err := replay.NewCheckpointer(log)
	if err != nil {
		return nil, err
	}
	s := &Scheduler{
		log: log, opts: o, state: state, policy: o.Policy, saver: saver,
		inbox: make(chan request, maxBatch), quit: make(chan struct{}), done: make(chan struct{}),
		workers: map[attempt]*worker{},
	}
	s.evaluations = pool{most: maxEvaluations, start: s.working.Go}
	s.sets.open = o.Open
	s.ctx, s.stop = context.WithCancelCause(context.Background())
	s.sharePermits(log)
	go s.loop()
	return s, nil
}

// loop is the one goroutine that decides and writes.
func (s *Scheduler) loop() {
	defer close(s.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var requests []request
	if s.policy.Schedules { // their times come whether anybody wishes anything or not
		s.turn([]request{{command: Serve{}}})
	}
	for !s.broken {
		s.arm(timer)
		requests = requests[:0]
		select {
		case r := <-s.inbox:
			requests = append(requests, r)
		case <-timer.C:
		case <-s.quit:
			return
		}
		requests = s.waiting(requests)
		s.turn(requests)
		clear(requests) // what they brought may be large
	}
}

// arm sets the timer to the next moment that the state waits for.
func (s *Scheduler) arm(timer *time.Timer) {
	at, ok := Wake(s.state, s.policy, time.Now())
	if !ok || !s.started {
		timer.Stop()
		return
	}
	timer.Reset(time.Until(at))
}

// waiting adds to the requests those that wait already, as many as one append
// should take.
func (s *Scheduler) waiting(requests []request) []request {
	size := 0
	for _, r := range requests {
		size += weight(r.command)
	}
	for len(requests) < maxBatch && size < maxTurn {
		select {
		case r := <-s.inbox:
			requests = append(requests, r)
			size += weight(r.command)
		default:
			return requests
		}
	}
	return requests
}

// turn carries out requests: decide and apply each, see what follows, append
// once, and only then let anybody know.
func (s *Scheduler) turn(requests []request) {
	now := time.Now().UTC().Round(0)
	if now.Before(s.state.Time) {
		now = s.state.Time
	}
	var fresh []replay.Fact
	replies := make([]reply, len(requests))
	for i, r := range requests {
		if r.before != nil {
			r.before()
		}
		if r.command == nil {
			continue
		}
		if !s.started {
			fresh = s.accept(fresh, mustDecide(s.state, s.policy, now, Start{PID: os.Getpid(), Version: s.opts.Version}))
			s.started = true
		}
		var decided []replay.Fact
		replies[i], decided = s.decide(now, r)
		fresh = s.accept(fresh, decided)
	}
	for s.started {
		followed := Tick(s.state, s.policy, now)
		if len(followed) == 0 {
			break
		}
		fresh = s.accept(fresh, followed)
	}
	if !s.append(fresh) {
		s.stop(errInterrupted)
		return // who waits for an answer sees that the loop has ended
	}
	for i, r := range requests {
		s.answer(r, replies[i])
	}
	for _, f := range fresh {
		s.effect(f)
	}
	s.rest()
	s.seekPermits(now)
	s.checkpoint()
}

// decide says what becomes of a command, and what its sender is told.
func (s *Scheduler) decide(now time.Time, r request) (reply, []replay.Fact) {
	c, err := s.complete(r)
	if err != nil {
		return reply{err: err}, nil
	}
	decided, err := Decide(s.state, s.policy, now, c)
	re := reply{err: err}
	if err != nil {
		return re, decided
	}
	if len(decided) > 0 {
		decided[0].Call = r.call
	}
	switch c := c.(type) {
	case Submit:
		re.Accepted, re.made = s.accepted(c, decided)
	case Retry:
		re.made = c.Run.Number
	}
	return re, decided
}

// complete adds to a command what the log knows of runs that State doesn't
// hold any more.
func (s *Scheduler) complete(r request) (Command, error) {
	switch c := r.command.(type) {
	case Submit:
		err := lookBack(s.log, &c)
		return c, err
	case Retry:
		head, _, err := s.log.Head(replay.Stream(c.Run.Number))
		if err == nil && head.Seq != r.end {
			err = errGoneOn
		}
		return c, err
	}
	return r.command, nil
}

// accepted names the run that a submission made, or that its key stands for.
func (s *Scheduler) accepted(c Submit, decided []replay.Fact) (a Accepted, made uint64) {
	for _, f := range decided {
		if e, ok := f.Event.(*replay.WorkflowSubmitted); ok {
			return Accepted{ID: e.ID}, e.Number
		}
	}
	return Accepted{ID: holder(s.state, c).Submitted.ID, Before: true}, 0
}

// rest lets those know who wait for the last attempt to end.
func (s *Scheduler) rest() {
	if len(s.workers)+s.evaluations.len() > 0 {
		return
	}
	for _, idle := range s.idlers {
		close(idle)
	}
	s.idlers = nil
}

func mustDecide(s *replay.State, p Policy, now time.Time, c Command) []replay.Fact {
	decided, err := Decide(s, p, now, c)
	if err != nil {
		panic(err)
	}
	return decided
}

// accept gives the facts their places in the log and applies them.
func (s *Scheduler) accept(fresh, decided []replay.Fact) []replay.Fact {
	for _, f := range decided {
		f.Seq = s.state.Seq + 1
		s.state.Apply(f)
		s.takePermit(f)
		fresh = append(fresh, f)
	}
	return fresh
}

// append makes the facts durable, all in one batch. It returns false when
// another node has taken the log over: then nothing of them is true, and the
// loop ends.
func (s *Scheduler) append(fresh []replay.Fact) bool {
	if len(fresh) == 0 {
		return true
	}
	for _, f := range fresh {
		if err := replay.Encode(f, &s.batch); err != nil {
			s.fatal(err)
		}
	}
	first, err := s.log.Append(&s.batch)
	if errors.Is(err, eventlog.ErrFenced) {
		s.broken = true
		return false
	}
	if err == nil && first != fresh[0].Seq {
		err = errForeign
	}
	if err != nil {
		s.fatal(err)
	}
	s.batch.Reset()
	return true
}

// fatal ends the process: the state holds what the log has not.
func (s *Scheduler) fatal(err error) {
	s.broken = true
	s.opts.Fatal(err)
	panic(err)
}

func (s *Scheduler) answer(r request, re reply) {
	if r.query != nil {
		r.query(s.state)
	}
	if r.act != nil {
		r.act()
	}
	if len(r.secrets) > 0 && re.made != 0 {
		s.vault.offer(re.made, r.secrets)
	}
	if r.reply != nil {
		r.reply <- re
	}
}

// effect does what a fresh fact asks for (design.md, rule 4).
func (s *Scheduler) effect(f replay.Fact) {
	switch e := f.Event.(type) {
	case *replay.TaskStarted:
		s.startWorker(f.Run, e)
	case *replay.TaskReattached:
		for _, task := range e.Tasks {
			s.rejoin(f.Run, task)
		}
	case *replay.CancelRequested:
		s.stopWorkers(f.Run, errCancelled)
	case *replay.QuestionAnswered:
		s.tell(f.Run, e)
	case *replay.EvaluationRequested:
		s.startEvaluation(f.Run, e)
	case *replay.WorkflowEnded:
		s.vault.forget(f.Run)
	case *replay.ScheduleFired:
		s.opts.Logger.Info("schedule "+e.Name, "what", replay.DescribeSchedule(f).Text)
	}
}

// checkpoint starts a pass off the loop when the log has grown enough.
func (s *Scheduler) checkpoint() {
	if s.saving != nil {
		select {
		case <-s.saving:
			s.saving = nil
		default:
			return
		}
	}
	if s.saver.Behind() < max(s.opts.CheckpointEvery, 2*s.saved) {
		return // so that what passes cost stays in proportion to what happened
	}
	done := make(chan struct{})
	s.saving = done
	s.working.Go(func() {
		defer close(done)
		s.save()
	})
}

// save writes checkpoints. They are only a shortcut for the next start, so
// that a failure is no more than worth a line; the next pass comes when the
// log has grown by as much again.
func (s *Scheduler) save() {
	var err error
	if s.saved, err = s.saver.Save(); err != nil {
		s.saved = max(s.saved, s.saver.Behind())
		s.opts.Logger.Warn("write checkpoints", "error", err)
	}
}

// send gives a request to the loop.
func (s *Scheduler) send(ctx context.Context, r request) error {
	select {
	case s.inbox <- r:
		return nil
	case <-s.quit:
		return ErrClosed
	case <-s.done: // it was fenced: nobody empties the inbox any more
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask gives a request to the loop and waits until what came of it is durable.
func (s *Scheduler) ask(ctx context.Context, r request) error {
	_, err := s.request(ctx, r)
	return err
}

// request is ask for who wants to know more than that it went well.
func (s *Scheduler) request(ctx context.Context, r request) (reply, error) {
	r.reply, r.call = make(chan reply, 1), CallOf(ctx)
	if err := s.send(ctx, r); err != nil {
		return reply{}, err
	}
	select {
	case re := <-r.reply:
		return re, re.err
	case <-s.done:
		return answered(r.reply)
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
}

// answered returns the answer that the loop gave before it ended, if it did.
func answered(replies chan reply) (reply, error) {
	select {
	case re := <-replies:
		return re, re.err
	default:
		return reply{}, ErrClosed
	}
}
