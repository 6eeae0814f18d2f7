package scheduler

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// law is what facts are held against.
type law interface {
	// allow tells what the policy is now.
	allow(Policy)
	fact(replay.Fact) error
	// settled checks what must hold when nothing more follows.
	settled(now time.Time) error
}

// referee watches the facts go by and holds them against the laws. It keeps a
// model of its own, as plain as can be, and takes nothing from State.
type referee struct {
	policy Policy
	seq    uint64
	at     time.Time
	before time.Time // of the fact before
	runs   map[uint64]*watched
}

// watched is a run as the referee knows it.
type watched struct {
	plan        *replay.Plan
	priority    protocols.Priority
	held        bool
	interrupted bool
	parked      bool
	outputs     bool
	cancel      replay.CancelReason
	ended       bool
	deadline    time.Time
	at          time.Time // of its submission
	last        time.Time // of its last fact
	until       time.Time // when somebody held it for the last time
	tasks       []watchedTask
}

// watchedTask is a task as the referee knows it.
type watchedTask struct {
	stand     stand
	doubtful  bool // its attempt is that of a dead process, or waits for an answer
	attempts  int
	uncounted int
	due       time.Time
	ready     bool      // nothing but a slot keeps it from starting
	since     time.Time // when that came about
	provider  string    // of the last attempt
	tried     map[string]bool
}

// stand is where a task stands.
type stand int

const (
	unstarted stand = iota // never started, or to be started again
	runs
	delayed // until due
	asking
	completes
	fails
	isSkipped
	isCancelled
)

func (s stand) over() bool { return s >= completes }

func newReferee() *referee { return &referee{runs: map[uint64]*watched{}} }

func (l *referee) allow(p Policy) { l.policy = p }

// fact checks one fact and makes it part of the model.
func (l *referee) fact(f replay.Fact) error {
	if uint64(f.Seq) != l.seq+1 {
		return fmt.Errorf("record %d follows on %d", f.Seq, l.seq)
	}
	if f.At.Before(l.at) {
		return fmt.Errorf("time goes back from %s to %s", l.at, f.At)
	}
	l.seq, l.at, l.before = uint64(f.Seq), f.At, l.at
	if err := l.judge(f); err != nil {
		return fmt.Errorf("%s of run %d: %w", f.Event.Type(), f.Run, err)
	}
	return nil
}

func (l *referee) judge(f replay.Fact) error {
	switch e := f.Event.(type) {
	case *replay.SystemStarted:
		l.orphan()
		return nil
	case *replay.KeyTaken, *replay.SystemAlive, *replay.Acted:
		return nil
	case *replay.WorkflowSubmitted:
		return l.submitted(f.Run, e)
	}
	r := l.runs[f.Run]
	if r == nil {
		return errors.New("it was never submitted")
	}
	if r.ended {
		return errors.New("it has ended")
	}
	err := l.event(f, r)
	r.last = f.At
	r.lineUp(f.At)
	return err
}

// orphan notes that another process has the store now.
func (l *referee) orphan() {
	for _, r := range l.runs {
		if r.held {
			r.held, r.until = false, l.before
		}
		for i := range r.tasks {
			r.tasks[i].doubtful = r.tasks[i].doubtful || r.tasks[i].stand == runs
		}
	}
}

func (l *referee) submitted(number uint64, e *replay.WorkflowSubmitted) error {
	if l.runs[number] != nil {
		return errors.New("the number is taken")
	}
	plan := e.Plan()
	l.runs[number] = &watched{held: true, priority: e.Priority, deadline: e.Deadline, at: l.at, last: l.at,
		plan: plan, tasks: make([]watchedTask, len(plan.Workflow.Tasks))}
	l.runs[number].lineUp(l.at)
	return nil
}

// event is the table of what each event of a run may follow on.
func (l *referee) event(f replay.Fact, r *watched) error {
	switch e := f.Event.(type) {
	case *replay.TaskStarted:
		return l.started(f.Run, r, e)
	case *replay.TaskCompleted:
		return r.outcome(e.Task, e.Attempt, completes)
	case *replay.TaskRetrying:
		return r.retrying(f.At, e)
	case *replay.TaskDue:
		t := &r.tasks[e.Task]
		if t.stand != delayed || f.At.Before(t.due) {
			return fmt.Errorf("task %d stands at %d, due %s", e.Task, t.stand, t.due)
		}
		t.stand = unstarted
		return nil
	case *replay.TaskFailed:
		if r.retries(e) {
			return fmt.Errorf("task %d should be tried again: %+v", e.Task, r.tasks[e.Task])
		}
		return r.outcome(e.Task, e.Attempt, fails)
	case *replay.TaskSkipped:
		return r.skipped(e)
	case *replay.TaskCancelled:
		if r.cancel == "" {
			return errors.New("nobody asked for it")
		}
		return r.outcome(e.Task, e.Attempt, isCancelled)
	case *replay.TaskInterrupted:
		r.tasks[e.Task].uncounted++
		return r.outcome(e.Task, e.Attempt, unstarted)
	case *replay.TaskInDoubt:
		return r.inDoubt(e)
	case *replay.TaskAnswered:
		return r.answered(e)
	}
	return l.whole(f, r)
}

// whole is the part of the table about a run as a whole.
func (l *referee) whole(f replay.Fact, r *watched) error {
	switch e := f.Event.(type) {
	case *replay.EvaluationRequested:
		if e.What != replay.AskOutputs || r.open() > 0 || r.cancel != "" || r.failedTask() >= 0 || len(r.plan.Workflow.Outputs) == 0 {
			return errors.New("it isn't the time")
		}
		r.outputs = true
	case *replay.CancelRequested:
		if r.cancel != "" {
			return errors.New("a second time")
		}
		if e.Reason == replay.RunTimeout && (!r.held || f.At.Before(r.deadline)) {
			return fmt.Errorf("its time is not over before %s", r.deadline)
		}
		r.cancel = e.Reason
	case *replay.WorkflowInterrupted:
		r.held, r.interrupted, r.until = false, true, f.At
	case *replay.WorkflowResumed:
		if r.held {
			return errors.New("it is held")
		}
		if r.parked && !e.Unparked {
			return errors.New("it is parked")
		}
		if want := r.deadline.Add(f.At.Sub(r.until)); !r.deadline.IsZero() && !e.Deadline.Equal(want) {
			return fmt.Errorf("its new deadline is %s, should be %s", e.Deadline, want)
		}
		r.held, r.interrupted, r.parked, r.deadline = true, false, false, e.Deadline
		for i := range r.tasks {
			r.tasks[i].since = f.At
		}
	case *replay.WorkflowParked:
		r.held, r.parked, r.until = false, true, f.At
	case *replay.WorkflowEnded:
		return r.end(e)
	default:
		return errors.New("unknown")
	}
	return nil
}

func (l *referee) started(number uint64, r *watched, e *replay.TaskStarted) error {
	t := &r.tasks[e.Task]
	switch {
	case l.policy.Closed:
		return errors.New("the process is about to leave")
	case !l.startable(r, e.Task):
		return fmt.Errorf("task %d may not start: %+v of %+v", e.Task, *t, *r)
	case l.better(number, r, e.Task):
		return fmt.Errorf("task %d is not the one that comes first", e.Task)
	case e.Attempt != t.attempts+1:
		return fmt.Errorf("attempt %d follows on %d", e.Attempt, t.attempts)
	case e.Provider != l.fewest(r, e.Task):
		return fmt.Errorf("task %d should run on %s, not %s", e.Task, l.fewest(r, e.Task), e.Provider)
	}
	t.provider = e.Provider
	t.stand, t.attempts = runs, e.Attempt
	if made, most := t.attempts-t.uncounted, attempts(r.plan.Task(e.Task)); made > most {
		return fmt.Errorf("attempt %d of task %d that counts, of at most %d", made, e.Task, most)
	}
	return nil
}

func attempts(t *protocols.Task) int {
	if t.Retry == nil {
		return 1
	}
	return t.Retry.MaxAttempts
}

// startable tells whether a task could start now: all of the laws about it.
func (l *referee) startable(r *watched, task int) bool {
	if r.ended || !r.held || r.interrupted || r.parked || r.cancel != "" || r.stopped() {
		return false
	}
	if r.tasks[task].stand != unstarted {
		return false
	}
	for _, d := range r.plan.Task(task).Dependencies {
		if !r.good(d) {
			return false
		}
	}
	most := r.plan.Workflow.MaxParallel
	return (most == 0 || r.running() < most) && l.running() < l.policy.Slots && l.fewest(r, task) != ""
}

// choices are the providers that a task may run on, by name: all that speak its
// protocol, or those that it names; but for those that have failed it, unless
// all have. Those of one tier are as good as each other.
func choices(p *replay.Plan, task int, tried map[string]bool) (tiers [][]string) {
	t := p.Task(task)
	for _, name := range append([]string{t.Provider}, t.Fallbacks...) {
		if name != "" {
			tiers = append(tiers, []string{name})
		}
	}
	if t.Provider == "" {
		var all []string
		for _, s := range p.Setup.Providers {
			if s.Protocol == t.Protocol {
				all = append(all, s.Name)
			}
		}
		if all == nil {
			return [][]string{{"gleitzeit"}}
		}
		tiers = [][]string{all}
	}
	var untried [][]string
	for _, tier := range tiers {
		tier = slices.DeleteFunc(slices.Clone(tier), func(name string) bool { return tried[name] })
		if len(tier) > 0 {
			untried = append(untried, tier)
		}
	}
	if len(untried) > 0 {
		return untried
	}
	return tiers
}

// slotsOf is how many calls a provider takes at once.
func slotsOf(p *replay.Plan, name string) int {
	for _, s := range p.Setup.Providers {
		if s.Name == name && s.Pool != nil {
			return s.Pool.Max // the warden knows better
		}
		if s.Name == name {
			return s.Slots
		}
	}
	return 1 << 20
}

// fewest returns a provider for the task that has room and no other fewer
// calls, "" if none has room. Without breakers only the first tier counts.
func (l *referee) fewest(r *watched, task int) (best string) {
	for _, name := range choices(r.plan, task, r.tasks[task].tried)[0] {
		n := l.busy(r.plan, name)
		if n < slotsOf(r.plan, name) && (best == "" || n < l.busy(r.plan, best)) {
			best = name
		}
	}
	return best
}

// lineUp notes since when tasks could start.
func (r *watched) lineUp(now time.Time) {
	for i := range r.tasks {
		t := &r.tasks[i]
		ready := t.stand == unstarted
		for _, d := range r.plan.Task(i).Dependencies {
			ready = ready && r.good(d)
		}
		if ready && !t.ready {
			t.since = now
		}
		t.ready = ready
	}
}

// better tells whether another task should have started instead.
func (l *referee) better(number uint64, r *watched, task int) bool {
	for n, other := range l.runs {
		for i := range other.tasks {
			sooner := cmp.Or(other.rank(i).Compare(r.rank(task)), cmp.Compare(n, number), cmp.Compare(i, task)) < 0
			if sooner && l.startable(other, i) {
				return true
			}
		}
	}
	return false
}

// rank is since when the task waits, of which counts what is no longer ago than
// its run and five minutes before it was ready; a priority is worth five more.
func (r *watched) rank(task int) time.Time {
	since := r.tasks[task].since.Add(-5 * time.Minute)
	if r.at.After(since) {
		since = r.at
	}
	return since.Add(-time.Duration(r.urgency(task)) * 5 * time.Minute)
}

// urgency is the task's own priority, or else that of its run.
func (r *watched) urgency(task int) protocols.Priority {
	return cmp.Or(r.plan.Task(task).Priority, r.priority)
}

// running counts the attempts of this process.
func (l *referee) running() (n int) {
	for _, r := range l.runs {
		n += r.running()
	}
	return n
}

func (r *watched) running() (n int) {
	for i := range r.tasks {
		if r.tasks[i].stand == runs && !r.tasks[i].doubtful {
			n++
		}
	}
	return n
}

// busy counts the attempts that use a provider of the plan's setup.
func (l *referee) busy(p *replay.Plan, provider string) (n int) {
	for _, r := range l.runs {
		for i := range r.tasks {
			if r.plan.SetupHash == p.SetupHash && r.tasks[i].stand == runs && !r.tasks[i].doubtful &&
				r.tasks[i].provider == provider {
				n++
			}
		}
	}
	return n
}

func (r *watched) good(task int) bool {
	s := r.tasks[task].stand
	return s == completes || s == fails && r.plan.Task(task).ContinueOnError
}

func (r *watched) open() (n int) {
	for i := range r.tasks {
		if !r.tasks[i].stand.over() {
			n++
		}
	}
	return n
}

// failedTask returns a task whose failure is the run's, or -1.
func (r *watched) failedTask() int {
	for i := range r.tasks {
		if r.tasks[i].stand == fails && !r.good(i) {
			return i
		}
	}
	return -1
}

func (r *watched) stopped() bool {
	return r.failedTask() >= 0 && r.plan.Workflow.ErrorStrategy != protocols.Continue
}

// outcome checks that it is the current attempt's, and that there is one.
func (r *watched) outcome(task, attempt int, to stand) error {
	t := &r.tasks[task]
	retry := r.plan.Task(task).Retry
	resolved := t.stand == asking && (to == fails || to == isSkipped) ||
		t.stand == delayed && to == fails && retry != nil && retry.Deadline > 0
	if t.stand != runs && !resolved || t.attempts != attempt {
		return fmt.Errorf("of attempt %d; task %d: %+v", attempt, task, *t)
	}
	if t.doubtful && t.stand == runs && to != isCancelled {
		return fmt.Errorf("of attempt %d of task %d, whose process is dead", attempt, task)
	}
	t.stand, t.doubtful = to, false
	return nil
}

// retries tells whether a failure is one after which the task is tried again.
func (r *watched) retries(e *replay.TaskFailed) bool {
	t := &r.tasks[e.Task]
	return t.stand == runs && t.attempts-t.uncounted < attempts(r.plan.Task(e.Task)) && r.cancel == "" && !r.stopped() &&
		(r.plan.Task(e.Task).Retry == nil || r.plan.Task(e.Task).Retry.Deadline == 0) && !e.Error.Code.Class().Hopeless()
}

func (r *watched) retrying(at time.Time, e *replay.TaskRetrying) error {
	t := &r.tasks[e.Task]
	if made, most := t.attempts-t.uncounted, attempts(r.plan.Task(e.Task)); made >= most {
		return fmt.Errorf("after attempt %d of %d", made, most)
	}
	if r.cancel != "" || r.stopped() {
		return errors.New("of a run that stops")
	}
	if !e.At.Equal(at.Add(time.Duration(e.Delay))) {
		return fmt.Errorf("due %s after %s", e.At.Sub(at), e.Delay)
	}
	t.due = e.At
	if e.Avoid {
		if t.tried == nil {
			t.tried = map[string]bool{}
		}
		t.tried[t.provider] = true
	}
	return r.outcome(e.Task, e.Attempt, delayed)
}

// skipped checks that the tasks had no hope, or that a person let them go.
func (r *watched) skipped(e *replay.TaskSkipped) error {
	for _, i := range e.Tasks {
		if t := &r.tasks[i]; t.stand == runs || t.stand.over() {
			return fmt.Errorf("task %d: %+v", i, *t)
		}
		if !r.hopeless(i, e.Tasks) && r.tasks[i].stand != asking && r.cancel == "" && !r.stopped() {
			return fmt.Errorf("task %d could have run", i)
		}
	}
	for _, i := range e.Tasks {
		r.tasks[i].stand, r.tasks[i].doubtful = isSkipped, false
	}
	return nil
}

// hopeless tells whether a dependency has ended badly or is skipped as well.
func (r *watched) hopeless(task int, too []int) bool {
	for _, d := range r.plan.Task(task).Dependencies {
		if r.tasks[d].stand.over() && !r.good(d) {
			return true
		}
		for _, i := range too {
			if i == d {
				return true
			}
		}
	}
	return false
}

func (r *watched) inDoubt(e *replay.TaskInDoubt) error {
	t := &r.tasks[e.Task]
	if t.stand != runs || t.doubtful == (e.Worker != "") || t.attempts != e.Attempt {
		return fmt.Errorf("task %d: %+v", e.Task, *t)
	}
	t.uncounted++
	t.stand = asking
	if e.Action == protocols.CrashRetry {
		t.stand, t.doubtful = unstarted, false
	}
	return nil
}

func (r *watched) answered(e *replay.TaskAnswered) error {
	t := &r.tasks[e.Task]
	if t.stand != asking {
		return fmt.Errorf("task %d: %+v", e.Task, *t)
	}
	if e.Action == protocols.CrashRetry {
		t.stand, t.doubtful = unstarted, false
	}
	return nil
}

// end checks that all tasks have ended, and that the status tells how.
func (r *watched) end(e *replay.WorkflowEnded) error {
	want := replay.Completed
	switch {
	case r.cancel == replay.RunTimeout:
		want = replay.TimedOut
	case r.cancel != "":
		want = replay.Cancelled
	case r.failedTask() >= 0:
		want = replay.Failed
	case r.outputs && e.Error != nil:
		want = replay.Failed
	case len(r.plan.Workflow.Outputs) > 0 && !r.outputs:
		return errors.New("before its outputs were made")
	}
	if r.open() > 0 || e.Status != want || e.Counts != r.counts() {
		return fmt.Errorf("%s %+v, should be %s %+v", e.Status, e.Counts, want, r.counts())
	}
	r.ended = true
	return nil
}

func (r *watched) counts() replay.Counts {
	c := replay.Counts{Total: len(r.tasks)}
	for i := range r.tasks {
		switch r.tasks[i].stand {
		case completes:
			c.Completed++
		case fails:
			c.Failed++
		case isSkipped:
			c.Skipped++
		case isCancelled:
			c.Cancelled++
		case runs:
			c.Running++
		default:
			c.Waiting++
		}
	}
	return c
}

// settled checks what must hold when nothing more follows: nothing that could
// start waits, and nothing that time or a failure has decided is undecided.
func (l *referee) settled(now time.Time) error {
	for n, r := range l.runs {
		if r.ended {
			continue
		}
		if err := r.settled(now); err != nil {
			return fmt.Errorf("run %d: %w: %+v", n, err, *r)
		}
		for i := range r.tasks {
			if !l.policy.Closed && l.startable(r, i) {
				return fmt.Errorf("run %d: task %d could start", n, i)
			}
		}
	}
	return nil
}

func (r *watched) settled(now time.Time) error {
	if r.held && r.cancel == "" && !r.deadline.IsZero() && !now.Before(r.deadline) {
		return errors.New("its time is over")
	}
	if r.open() == 0 && (!r.outputs || r.cancel != "") {
		return errors.New("all tasks have ended")
	}
	for i := range r.tasks {
		t := &r.tasks[i]
		if r.held && t.stand == delayed && !now.Before(t.due) {
			return fmt.Errorf("task %d is due", i)
		}
		if r.held && t.stand == runs && t.doubtful {
			return fmt.Errorf("task %d is in doubt though the run was taken on", i)
		}
		waits := t.stand == unstarted || t.stand == delayed || t.stand == asking
		if waits && !r.anyInDoubt() && (r.cancel != "" || r.stopped() || r.hopeless(i, nil)) {
			return fmt.Errorf("task %d waits in vain", i)
		}
	}
	return nil
}

// anyInDoubt tells whether an attempt of a dead process has to be judged first.
func (r *watched) anyInDoubt() bool {
	for i := range r.tasks {
		if r.tasks[i].stand == runs && r.tasks[i].doubtful {
			return true
		}
	}
	return false
}
