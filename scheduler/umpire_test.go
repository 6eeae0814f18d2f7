package scheduler

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// umpire holds facts of the whole language against laws that need no model of
// what should happen next: what may never happen, whatever the document says.
type umpire struct {
	policy Policy
	grace  time.Duration // that a cancelled attempt has to report, 0: not known
	seq    uint64
	at     time.Time
	before time.Time         // of the fact before
	runs   map[uint64]*match // those that live
	ended  map[uint64]*match
	kept   map[string]bool // results that the cache has
	picked bool            // the next retry names tasks
	load   func(eventlog.Hash) ([]byte, error)
	clocks *timekeeper
	ward   *warden
}

// match is a run as the umpire knows it.
type match struct {
	id          string
	plan        *replay.Plan
	parent      *replay.Parent
	deadline    time.Time
	retries     int
	last        time.Time // of its last fact
	until       time.Time // when somebody held it for the last time
	rested      time.Time // when it was paused
	held        bool
	paused      bool
	free        bool // it was let go on though its parent was paused
	interrupted bool
	parked      bool
	ended       bool
	how         replay.Status
	outputs     bool
	cancel      replay.CancelReason
	cancelHook  protocols.Hook
	hook        protocols.Hook
	signals     map[string]int
	tasks       []player
}

// player is a task as the umpire knows it.
type player struct {
	of         int // of an instance or a step: its foreach or agent plus 1
	step       *replay.Step
	form       *protocols.Task // of a step: what it is
	agent      agentPlayer
	runs       bool
	doubtful   bool
	over       replay.TaskStatus // 0: not over
	wait       *replay.Wait
	asked      replay.Question
	met        bool // its condition holds
	due        time.Time
	provider   string            // of the last attempt
	stop       time.Time         // when a cancelled attempt must have reported
	began      time.Time         // of its first attempt
	decided    bool              // a person has approved or rejected
	judged     protocols.OnCrash // what became of its attempt in doubt
	open, told map[string]bool   // questions to a person
	attempts, uncounted, earlier, iterations,
	first, count,
	round int // of a foreach: how often its run had been retried when it got its items
}

func newUmpire(load func(eventlog.Hash) ([]byte, error)) *umpire {
	return &umpire{runs: map[uint64]*match{}, ended: map[uint64]*match{}, kept: map[string]bool{}, load: load, clocks: newTimekeeper(), ward: newWarden()}
}

func (u *umpire) allow(p Policy) { u.policy, u.clocks.policy, u.ward.policy = p, p, p }

func (u *umpire) lives(run uint64) bool { return u.runs[run] != nil }

func (u *umpire) fact(f replay.Fact) error {
	if uint64(f.Seq) != u.seq+1 || f.At.Before(u.at) {
		return fmt.Errorf("record %d at %s follows on %d at %s", f.Seq, f.At, u.seq, u.at)
	}
	u.seq, u.at, u.before = uint64(f.Seq), f.At, u.at
	if err := u.judge(f); err != nil {
		return fmt.Errorf("%s of run %d: %w", f.Event.Type(), f.Run, err)
	}
	if err := u.ward.fact(f, u.runs[f.Run]); err != nil {
		return fmt.Errorf("%s of run %d: %w", f.Event.Type(), f.Run, err)
	}
	return nil
}

func (u *umpire) judge(f replay.Fact) error {
	switch e := f.Event.(type) {
	case *replay.SystemStarted:
		for _, m := range u.runs {
			if m.held {
				m.held, m.until = false, u.before
			}
			for i := range m.tasks {
				m.tasks[i].doubtful = m.tasks[i].doubtful || m.tasks[i].runs
			}
		}
		return nil
	case *replay.KeyTaken, *replay.SystemAlive, *replay.Acted, *replay.BreakerChanged, *replay.RateTaken, *replay.PoolScaled, *replay.WorkersChanged:
		return nil
	case replay.ScheduleEvent:
		return u.clocks.fact(f, e, u.lives)
	case *replay.CacheStored:
		u.kept[same(e.Result)] = true
		return nil
	case *replay.WorkflowSubmitted:
		if u.runs[f.Run] != nil || u.ended[f.Run] != nil {
			return errors.New("the number is taken")
		}
		if err := u.clocks.submitted(e); err != nil {
			return err
		}
		plan := e.Plan()
		u.runs[f.Run] = &match{id: e.ID, deadline: e.Deadline, last: f.At, held: true, parent: e.Parent, plan: plan, signals: map[string]int{}, tasks: make([]player, len(plan.Workflow.Tasks))}
		return nil
	}
	m := u.runs[f.Run]
	switch {
	case u.ended[f.Run] != nil:
		return u.goesOn(f)
	case m == nil:
		return errors.New("it was never submitted")
	}
	if err := u.event(f, m); err != nil {
		return err
	}
	if m.last = f.At; m.ended {
		delete(u.runs, f.Run)
		u.ended[f.Run] = m
	}
	return nil
}

// same tells values apart.
func same(v replay.Value) string {
	if v.Big != nil {
		return v.Big.Hash.String()
	}
	return string(v.Inline)
}

func (m *match) def(i int) int {
	for m.tasks[i].of > 0 {
		i = m.tasks[i].of - 1
	}
	return i
}

func (m *match) task(i int) *protocols.Task {
	if m.tasks[i].step != nil {
		return m.tasks[i].form
	}
	return m.plan.Task(m.def(i))
}

// own is the task of the document that the task belongs to.
func (m *match) own(i int) *protocols.Task { return m.plan.Task(m.def(i)) }

// name is what the provider is told that the task is called.
func (m *match) name(i int) string {
	id := m.task(i).ID
	if of := m.tasks[i].of; of > 0 {
		return fmt.Sprintf("%s[%d]", id, i-m.tasks[of-1].first)
	}
	return id
}

// open tells whether the task exists and isn't over.
func (m *match) open(i int) error {
	if i < 0 || i >= len(m.tasks) {
		return fmt.Errorf("there is no task %d", i)
	}
	if t := m.tasks[i]; t.over != 0 {
		return fmt.Errorf("task %d is over: %s", i, t.over)
	}
	return nil
}

// named returns the tasks that an event is about.
func named(e replay.Event) []int {
	switch e := e.(type) {
	case *replay.TaskStarted:
		return []int{e.Task}
	case *replay.TaskCompleted:
		return []int{e.Task}
	case *replay.TaskRetrying:
		return []int{e.Task}
	case *replay.TaskDue:
		return []int{e.Task}
	case *replay.TaskFailed:
		return []int{e.Task}
	case *replay.TaskSkipped:
		return e.Tasks
	case *replay.TaskCancelled:
		return []int{e.Task}
	case *replay.TaskInterrupted:
		return []int{e.Task}
	case *replay.TaskInDoubt:
		return []int{e.Task}
	case *replay.TaskAnswered:
		return []int{e.Task}
	case *replay.TaskWaiting:
		return []int{e.Task}
	case *replay.ApprovalDecided:
		return []int{e.Task}
	case *replay.TextStreamed:
		return []int{e.Task}
	case *replay.QuestionAsked:
		return []int{e.Task}
	case *replay.QuestionAnswered:
		return []int{e.Task}
	case *replay.QuestionWithdrawn:
		return []int{e.Task}
	case *replay.SecretOffered:
		return e.Tasks
	case *replay.EvaluationRequested:
		return e.Tasks
	case *replay.ConditionMet:
		return []int{e.Task}
	case *replay.TaskExpanded:
		return []int{e.Task}
	case *replay.AgentStepped:
		return []int{e.Task}
	case *replay.TaskIterated:
		return []int{e.Task}
	case *replay.TaskRepeating:
		return []int{e.Task}
	}
	return nil
}

func (u *umpire) event(f replay.Fact, m *match) error {
	for _, i := range named(f.Event) {
		if err := m.open(i); err != nil {
			return err
		}
		if t := &m.tasks[i]; t.runs && !t.doubtful && !t.stop.IsZero() && f.At.After(t.stop) {
			return fmt.Errorf("task %d was told to stop until %s", i, t.stop)
		}
		if t := &m.tasks[i]; t.wait != nil && t.wait.Kind == replay.WaitSecret {
			switch f.Event.(type) {
			case *replay.SecretOffered, *replay.TaskSkipped, *replay.TaskCancelled:
			default:
				return fmt.Errorf("task %d waits for a secret: %s", i, f.Event.Type())
			}
		}
	}
	switch e := f.Event.(type) {
	case *replay.TaskStarted:
		return u.started(m, e)
	case *replay.TaskCompleted:
		if e.Cached && (m.task(e.Task).Cache == nil || !u.kept[same(e.Result)]) {
			return fmt.Errorf("task %d has an earlier result that nobody had", e.Task)
		}
		if err := m.early(e.Task, f.At); err != nil {
			return err
		}
		return m.completed(e)
	case *replay.TaskRetrying:
		t := &m.tasks[e.Task]
		if !m.mayRetry(e.Task, e.Error) || m.late(e.Task, e.At) || !e.At.Equal(f.At.Add(time.Duration(e.Delay))) {
			return fmt.Errorf("task %d: %+v after %v", e.Task, *t, e.Error)
		}
		if m.stopping() && !m.spared(e.Task) || m.failing(e.Task) {
			return errors.New("of what stops")
		}
		if !t.runs && t.wait == nil || t.doubtful || t.attempts != e.Attempt {
			return fmt.Errorf("task %d: %+v", e.Task, *t)
		}
		t.runs, t.wait, t.due = false, nil, e.At
		clear(t.open)
	case *replay.TaskDue:
		if t := &m.tasks[e.Task]; t.due.IsZero() || f.At.Before(t.due) {
			return fmt.Errorf("task %d is due at %s", e.Task, t.due)
		}
		m.tasks[e.Task].due = time.Time{}
	case *replay.TaskFailed:
		if t := &m.tasks[e.Task]; (t.runs && !t.doubtful || t.wait != nil && !t.decided) && m.mayRetry(e.Task, e.Error) && m.task(e.Task).Retry.Deadline == 0 {
			return fmt.Errorf("task %d should be tried again: %+v", e.Task, *t)
		}
		return m.over(e.Task, replay.TaskIsFailed)
	case *replay.TaskSkipped:
		for _, i := range e.Tasks {
			if m.tasks[i].runs && !m.tasks[i].doubtful {
				return fmt.Errorf("task %d runs", i)
			}
			if !m.maySkip(i) {
				return fmt.Errorf("task %d could have run: %+v", i, m.tasks[i])
			}
			if err := m.over(i, replay.TaskIsSkipped); err != nil {
				return err
			}
		}
	case *replay.TaskCancelled:
		if m.cancel == "" {
			return errors.New("nobody asked for it")
		}
		if m.tasks[e.Task].runs {
			m.tasks[e.Task].uncounted++
		}
		return m.over(e.Task, replay.TaskIsCancelled)
	case *replay.TaskInterrupted:
		t := &m.tasks[e.Task]
		if !t.runs || t.doubtful || t.attempts != e.Attempt {
			return fmt.Errorf("task %d: %+v", e.Task, *t)
		}
		t.runs = false
		t.uncounted++
	case *replay.TaskReattached:
		for _, i := range e.Tasks {
			t := &m.tasks[i]
			if !t.runs || !t.doubtful || !m.held {
				return fmt.Errorf("task %d: %+v", i, *t)
			}
			t.doubtful = false
		}
	case *replay.TaskInDoubt:
		t := &m.tasks[e.Task]
		if !t.runs || t.doubtful == (e.Worker != "") || t.attempts != e.Attempt {
			return fmt.Errorf("task %d: %+v", e.Task, *t)
		}
		t.runs, t.doubtful, t.judged = false, e.Action == protocols.CrashAsk, e.Action
		t.uncounted++
	case *replay.TaskAnswered:
		if t := &m.tasks[e.Task]; t.runs || !t.doubtful {
			return fmt.Errorf("task %d: %+v", e.Task, *t)
		}
		m.tasks[e.Task].judged = e.Action
		if e.Action == protocols.CrashRetry {
			m.tasks[e.Task].doubtful = false
		}
	case *replay.TaskWaiting:
		t := &m.tasks[e.Task]
		if !t.runs || t.doubtful || t.attempts != e.Attempt {
			return fmt.Errorf("task %d: %+v", e.Task, *t)
		}
		t.runs, t.wait, t.decided = false, &e.Wait, false
		if e.Wait.Kind == replay.WaitSecret {
			t.uncounted++
		}
	case *replay.SecretOffered:
		for _, i := range e.Tasks {
			if t := &m.tasks[i]; t.wait == nil || t.wait.Kind != replay.WaitSecret {
				return fmt.Errorf("task %d: %+v", i, *t)
			}
			m.tasks[i].wait = nil
		}
	case *replay.EvaluationRequested:
		if e.What == replay.AskOutputs {
			m.outputs = true
		}
		for _, i := range e.Tasks {
			t := &m.tasks[i]
			if t.asked != "" && t.asked != e.What || t.runs || t.wait != nil {
				return fmt.Errorf("%q of task %d: %+v", e.What, i, *t)
			}
			t.asked = e.What
		}
	case *replay.ConditionMet:
		t := &m.tasks[e.Task]
		if t.asked != replay.AskCondition || t.met {
			return fmt.Errorf("task %d: %+v", e.Task, *t)
		}
		t.met, t.asked = true, ""
	case *replay.TaskExpanded:
		return u.expanded(m, e)
	case *replay.AgentStepped:
		return m.stepped(e)
	case *replay.TaskIterated:
		t := &m.tasks[e.Task]
		t.iterations++
		if m.task(e.Task).Agent != nil {
			return m.agentIterated(t, e)
		}
		if !t.runs && t.wait == nil || t.attempts != e.Attempt || t.iterations != e.Iteration || m.task(e.Task).Repeat == nil {
			return fmt.Errorf("task %d: %+v", e.Task, *t)
		}
		if err := m.early(e.Task, f.At); err != nil {
			return err
		}
		if err := m.takes(t); err != nil {
			return err
		}
		t.runs, t.wait, t.open, t.told = false, nil, nil, nil
	case *replay.TaskRepeating:
		t := &m.tasks[e.Task]
		if t.asked != replay.AskUntil || t.iterations+1 != e.Iteration || e.Iteration > m.task(e.Task).Repeat.MaxIterations {
			return fmt.Errorf("task %d: %+v", e.Task, *t)
		}
		t.began = time.Time{}
		t.asked, t.due, t.earlier = "", e.At, t.attempts-t.uncounted
	case *replay.TextStreamed:
		if t := &m.tasks[e.Task]; !t.runs || t.doubtful || t.attempts != e.Attempt {
			return fmt.Errorf("task %d: %+v", e.Task, *t)
		}
	case *replay.QuestionAsked:
		t := &m.tasks[e.Task]
		if !t.runs || t.doubtful || t.attempts != e.Attempt || t.open[e.ID] || t.told[e.ID] || m.cancel != "" && m.stopping() {
			return fmt.Errorf("task %d: %+v", e.Task, *t)
		}
		if t.open == nil {
			t.open, t.told = map[string]bool{}, map[string]bool{}
		}
		t.open[e.ID] = true
	case *replay.QuestionAnswered:
		t := &m.tasks[e.Task]
		if !t.open[e.ID] {
			return fmt.Errorf("nobody asked: task %d: %+v", e.Task, *t)
		}
		delete(t.open, e.ID)
		t.told[e.ID] = true
	case *replay.QuestionWithdrawn:
		t := &m.tasks[e.Task]
		if !t.runs || t.doubtful || t.attempts != e.Attempt || !t.open[e.ID] {
			return fmt.Errorf("task %d: %+v", e.Task, *t)
		}
		delete(t.open, e.ID)
	case *replay.SignalReceived:
		m.signals[e.Name]++
	case *replay.ApprovalDecided:
		t := &m.tasks[e.Task]
		if t.wait == nil || t.wait.Kind != replay.WaitApproval || t.decided {
			return fmt.Errorf("task %d: %+v", e.Task, *t)
		}
		t.decided = true
	default:
		return u.whole(f, m)
	}
	return nil
}

// whole is the part about a run as a whole.
func (u *umpire) whole(f replay.Fact, m *match) error {
	switch e := f.Event.(type) {
	case *replay.WorkflowPaused:
		if m.paused {
			return errors.New("it is paused")
		}
		m.paused, m.free, m.rested = true, false, f.At
	case *replay.WorkflowUnpaused:
		if !m.paused {
			return errors.New("it isn't paused")
		}
		if err := m.moved(e.Deadline, f.At.Sub(m.rested)); err != nil {
			return err
		}
		m.paused, m.free, m.deadline = false, true, e.Deadline
	case *replay.HooksStarted:
		for i := range m.tasks {
			h := m.task(i).Hook
			if (h == "" || e.Hook == protocols.Finally && h != e.Hook) && m.tasks[i].over == 0 {
				return fmt.Errorf("task %d has not ended", i)
			}
		}
		m.hook = e.Hook
	case *replay.CancelRequested:
		for i := range m.tasks {
			if t := &m.tasks[i]; t.runs && u.grace > 0 {
				t.stop = f.At.Add(u.grace)
			}
		}
		if m.cancel != "" && m.cancelHook == m.hook {
			return errors.New("a second time")
		}
		if e.Reason == replay.RunTimeout && (!m.active() || m.deadline.IsZero() || f.At.Before(m.deadline)) {
			return fmt.Errorf("its time is not over before %s", m.deadline)
		}
		if m.cancel == "" {
			m.cancel = e.Reason
		}
		m.cancelHook = m.hook
	case *replay.WorkflowInterrupted:
		m.held, m.interrupted, m.until = false, true, f.At
	case *replay.WorkflowResumed:
		if m.held || m.parked && !e.Unparked {
			return fmt.Errorf("held %v, parked %v", m.held, m.parked)
		}
		by := f.At.Sub(m.until)
		if m.paused {
			by = 0 // the end of the pause sees to it
		}
		if err := m.moved(e.Deadline, by); err != nil {
			return err
		}
		m.held, m.interrupted, m.parked, m.deadline = true, false, false, e.Deadline
	case *replay.WorkflowParked:
		m.held, m.parked, m.until = false, true, f.At
	case *replay.WorkflowEnded:
		return m.end(e)
	default:
		return errors.New("unknown")
	}
	return nil
}

// mayRetry tells whether the task's policy grants another attempt after that
// error, and nothing stops it.
func (m *match) mayRetry(i int, err *protocols.Error) bool {
	t, policy := &m.tasks[i], m.task(i).Retry
	return policy != nil && t.attempts-t.uncounted-t.earlier < policy.MaxAttempts && policy.Retries(err.Code.Class()) &&
		(!m.stopping() || m.spared(i)) && !m.failing(i)
}

// late tells whether the deadline of the task's retry is over at that moment.
func (m *match) late(i int, at time.Time) bool {
	policy := m.task(i).Retry
	return policy.Deadline > 0 && at.After(m.tasks[i].began.Add(time.Duration(policy.Deadline)))
}

// maySkip tells whether something speaks against the task.
func (m *match) maySkip(i int) bool {
	t, def := &m.tasks[i], m.task(i)
	switch {
	case m.stopping() && (!m.spared(i) || t.count > 0), t.judged == protocols.CrashSkip, t.asked == replay.AskCondition:
		return true
	case t.step != nil:
		return m.failing(t.of - 1)
	case t.of > 0:
		return m.failing(i)
	case def.Hook == protocols.OnSuccess || def.Hook == protocols.OnFailure:
		return m.hopeless(i) || m.hook == "" && def.Hook != m.suits()
	}
	return m.hopeless(i)
}

// hopeless tells whether a dependency went badly, or will never run itself.
func (m *match) hopeless(i int) bool {
	if m.spared(i) {
		return false
	}
	for _, d := range m.plan.Task(i).Dependencies {
		if over := m.tasks[d].over != 0; over && !m.good(d) || !over && m.hopeless(d) {
			return true
		}
	}
	return false
}

// suits is the hook that follows on how the ordinary tasks ended.
func (m *match) suits() protocols.Hook {
	switch {
	case m.cancel == replay.CancelledByUser:
		return ""
	case m.cancel == replay.RunTimeout, m.failed():
		return protocols.OnFailure
	}
	return protocols.OnSuccess
}

// early fails when a timer fires before its time.
func (m *match) early(i int, at time.Time) error {
	if w := m.tasks[i].wait; w != nil && w.Kind == replay.WaitTimer && at.Before(w.Until) {
		return fmt.Errorf("task %d waits until %s", i, w.Until)
	}
	return nil
}

// goesOn lets an ended run live again.
func (u *umpire) goesOn(f replay.Fact) error {
	e, ok := f.Event.(*replay.WorkflowRetried)
	if !ok {
		return errors.New("it has ended")
	}
	m := u.ended[f.Run]
	delete(u.ended, f.Run)
	u.runs[f.Run] = m
	return m.retried(f.At, e, u.picked)
}

// retried lets an ended run go on: what completed stays unless somebody named
// it, attempts go on counting.
func (m *match) retried(at time.Time, e *replay.WorkflowRetried, picked bool) error {
	if m.how == replay.Completed || m.parent != nil {
		return fmt.Errorf("it ended %s, child %v", m.how, m.parent != nil)
	}
	if d := m.plan.Workflow.Timeout; d > 0 != !e.Deadline.IsZero() || d > 0 && !e.Deadline.Equal(at.Add(time.Duration(d))) {
		return fmt.Errorf("its deadline is %s at %s", e.Deadline, at)
	}
	for _, i := range e.Tasks {
		t := &m.tasks[i]
		if t.over == replay.TaskIsCompleted && m.task(i).Hook == "" && !picked {
			return fmt.Errorf("task %d has completed", i)
		}
		m.again(i, slices.Contains(e.Anew, i))
	}
	m.compact()
	*m = match{id: m.id, retries: m.retries + 1, held: true, parent: m.parent, plan: m.plan, signals: m.signals, tasks: m.tasks, deadline: e.Deadline, last: at}
	return nil
}

// tried is the player with the attempts of another.
func (t player) tried(before player) player {
	t.attempts, t.uncounted, t.earlier = before.attempts, before.uncounted, before.attempts-before.uncounted
	return t
}

// again puts a task back, with those of its instances or last steps that didn't
// complete; a whole one without any.
func (m *match) again(i int, whole bool) {
	t := m.tasks[i]
	fresh := player{of: t.of, step: t.step, form: t.form, met: t.met && t.count+len(t.agent.steps) > 0 && !whole}.tried(t)
	var parts []int
	if !whole {
		fresh.first, fresh.count, fresh.round = t.first, t.count, t.round
		fresh.agent = t.agent
		fresh.agent.base = t.agent.turn
		for k := t.first; k < t.first+t.count; k++ {
			parts = append(parts, k)
		}
		parts = append(parts, t.agent.begun()...)
	}
	m.tasks[i] = fresh
	for _, k := range parts {
		if m.tasks[k].over != replay.TaskIsCompleted {
			m.again(k, false)
		}
	}
}

// compact drops the instances and steps that belong to nothing any more.
func (m *match) compact() {
	var reached []int
	for i := range m.plan.Workflow.Tasks {
		reached = m.reach(i, reached)
	}
	slices.Sort(reached)
	to := map[int]int{}
	var kept []player
	for n, i := range reached {
		to[i] = n
		kept = append(kept, m.tasks[i])
	}
	for i := range kept {
		t := &kept[i]
		if t.of > 0 {
			t.of = to[t.of-1] + 1
		}
		if t.count > 0 {
			t.first = to[t.first]
		}
		t.agent.steps = slices.Clone(t.agent.steps)
		for k, s := range t.agent.steps {
			t.agent.steps[k] = to[s]
		}
	}
	m.tasks = kept
}

// reach adds a task and all that it has begun.
func (m *match) reach(i int, reached []int) []int {
	t := m.tasks[i]
	reached = append(reached, i)
	for k := t.first; k < t.first+t.count; k++ {
		reached = m.reach(k, reached)
	}
	for _, k := range t.agent.steps {
		reached = m.reach(k, reached)
	}
	return reached
}

func (m *match) spared(i int) bool { return m.own(i).If != nil && m.own(i).If.Status }

func (m *match) good(i int) bool {
	s := m.tasks[i].over
	return s == replay.TaskIsCompleted || s == replay.TaskIsFailed && m.plan.Task(i).ContinueOnError
}

// failed tells whether a task's failure is the run's.
func (m *match) failed() bool {
	for i := range m.plan.Workflow.Tasks {
		if m.tasks[i].over == replay.TaskIsFailed && !m.good(i) {
			return true
		}
	}
	return false
}

func (m *match) stopping() bool {
	return m.cancel != "" && m.cancelHook == m.hook || m.hook == "" && m.failed() && m.plan.Workflow.ErrorStrategy != protocols.Continue
}

// failing tells whether the task is an instance that must not start because
// another has failed.
func (m *match) failing(i int) bool {
	of := m.tasks[i].of
	if of == 0 || m.tasks[i].step != nil || !m.plan.Task(of-1).Foreach.FailFast {
		return false
	}
	p := m.tasks[of-1]
	for k := p.first; k < p.first+p.count; k++ {
		if m.tasks[k].over == replay.TaskIsFailed {
			return true
		}
	}
	return false
}

func (u *umpire) started(m *match, e *replay.TaskStarted) error {
	t, def := &m.tasks[e.Task], m.task(e.Task)
	switch {
	case u.policy.Closed:
		return errors.New("the process is about to leave")
	case !m.held, m.paused, m.interrupted, m.parked, m.stopping() && !m.spared(e.Task):
		return fmt.Errorf("nothing may start: %+v", *m)
	case t.runs, t.wait != nil, t.asked != "", t.doubtful, !t.due.IsZero(), e.Attempt != t.attempts+1:
		return fmt.Errorf("task %d: %+v", e.Task, *t)
	case def.Foreach != nil && t.of == 0:
		return errors.New("a foreach does not start itself")
	case def.Agent != nil:
		return errors.New("an agent does not start itself")
	case m.own(e.Task).If != nil && !m.tasks[m.def(e.Task)].met:
		return errors.New("its condition was not asked")
	case m.failing(e.Task):
		return errors.New("another instance has failed")
	case def.Hook != "" && def.Hook != m.hook:
		return fmt.Errorf("it is one of %s", def.Hook)
	}
	for _, d := range def.Dependencies {
		if m.tasks[d].over == 0 || !m.good(d) && !m.spared(e.Task) {
			return fmt.Errorf("dependency %d: %+v", d, m.tasks[d])
		}
	}
	clear(t.open)
	t.runs, t.attempts, t.stop, t.judged, t.provider = true, e.Attempt, time.Time{}, "", e.Provider
	if t.began.IsZero() {
		t.began = u.at
	}
	if made, most := t.attempts-t.uncounted-t.earlier, attempts(def); made > most {
		return fmt.Errorf("attempt %d of task %d that counts, of at most %d", made, e.Task, most)
	}
	return u.limits(m, e.Task)
}

// limits counts what runs.
func (u *umpire) limits(m *match, task int) error {
	all, provider, run, each := 0, 0, 0, map[int]bool{}
	for _, other := range u.runs {
		for i := range other.tasks {
			if t := other.tasks[i]; !t.runs || t.doubtful {
				continue
			}
			all++
			if other.plan.SetupHash == m.plan.SetupHash && other.tasks[i].provider == m.tasks[task].provider {
				provider++
			}
			if other == m {
				run++
				if at := m.among(i, m.crowd(task)); at >= 0 {
					each[at] = true
				}
			}
		}
	}
	mostRun, mostEach := m.plan.Workflow.MaxParallel, 0
	if f := m.own(task).Foreach; f != nil {
		mostEach = f.MaxParallel
	}
	if err := m.stepLimit(task); err != nil {
		return err
	}
	if all > u.policy.Slots || provider > slotsOf(m.plan, m.tasks[task].provider) || mostRun > 0 && run > mostRun || mostEach > 0 && len(each) > mostEach {
		return fmt.Errorf("%d run, %d of the provider, %d of the run, %d of the foreach", all, provider, run, len(each))
	}
	return nil
}

// crowd is the foreach that a task is an instance of, or a step of one, or -1.
func (m *match) crowd(i int) int {
	if def := m.def(i); m.plan.Task(def).Foreach != nil {
		return def
	}
	return -1
}

// among is the instance of the foreach that a task is or belongs to, or -1.
func (m *match) among(i, foreach int) int {
	for m.tasks[i].of > 0 {
		if m.tasks[i].of-1 == foreach {
			return i
		}
		i = m.tasks[i].of - 1
	}
	return -1
}

func (m *match) completed(e *replay.TaskCompleted) error {
	t, def := &m.tasks[e.Task], m.task(e.Task)
	each := def.Foreach != nil && t.of == 0
	switch {
	case each && t.asked != replay.AskItems && t.asked != replay.AskCollect:
		return fmt.Errorf("foreach %d: %+v", e.Task, *t)
	case each:
	case def.Agent != nil && def.Repeat == nil:
		if t.asked != replay.AskAgent {
			return fmt.Errorf("nobody asked what the agent does next: %+v", *t)
		}
	case def.Repeat != nil && t.asked != replay.AskUntil:
		return fmt.Errorf("nobody asked whether the repeat is over: %+v", *t)
	case def.Repeat == nil && !t.runs && t.wait == nil, t.doubtful, t.attempts != e.Attempt:
		return fmt.Errorf("task %d: %+v", e.Task, *t)
	}
	return m.over(e.Task, replay.TaskIsCompleted)
}

// over ends a task.
func (m *match) over(i int, how replay.TaskStatus) error {
	t := &m.tasks[i]
	for k := t.first; k < t.first+t.count; k++ {
		if m.tasks[k].over == 0 {
			return fmt.Errorf("foreach %d ends before its instance %d", i, k)
		}
	}
	for _, k := range t.agent.steps {
		if m.tasks[k].over == 0 {
			return fmt.Errorf("agent %d ends before its step %d", i, k)
		}
	}
	if how == replay.TaskIsCompleted {
		if err := m.takes(t); err != nil {
			return err
		}
	}
	t.over, t.runs, t.wait, t.asked, t.doubtful = how, false, nil, "", false
	t.open, t.told = nil, nil
	return nil
}

// takes lets a task that waits for a signal have it.
func (m *match) takes(t *player) error {
	if t.wait == nil || t.wait.Kind != replay.WaitSignal {
		return nil
	}
	if m.signals[t.wait.Signal]--; m.signals[t.wait.Signal] < 0 {
		return fmt.Errorf("the signal %q is taken twice", t.wait.Signal)
	}
	return nil
}

func (u *umpire) expanded(m *match, e *replay.TaskExpanded) error {
	t := &m.tasks[e.Task]
	if t.asked != replay.AskItems || t.count > 0 || e.First != len(m.tasks) || e.Count < 1 {
		return fmt.Errorf("task %d of %d: %+v", e.Task, len(m.tasks), *t)
	}
	items := 0
	for _, v := range e.Items {
		var chunk []replay.Item
		raw, err := v.Load(u.load)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &chunk); err != nil {
			return err
		}
		items += len(chunk)
	}
	if items != e.Count {
		return fmt.Errorf("%d items, %d instances", items, e.Count)
	}
	t.asked, t.first, t.count, t.round = "", e.First, e.Count, m.retries
	for range e.Count {
		m.tasks = append(m.tasks, player{of: e.Task + 1})
	}
	return nil
}

func (m *match) end(e *replay.WorkflowEnded) error {
	want := replay.Completed
	switch {
	case m.cancel == replay.RunTimeout:
		want = replay.TimedOut
	case m.cancel != "":
		want = replay.Cancelled
	case m.failed(), m.outputs && e.Error != nil:
		want = replay.Failed
	case len(m.plan.Workflow.Outputs) > 0 && !m.outputs:
		return errors.New("before its outputs were made")
	}
	for i := range m.tasks {
		if m.tasks[i].over == 0 {
			return fmt.Errorf("task %d has not ended", i)
		}
	}
	if e.Status != want {
		return fmt.Errorf("%s, should be %s", e.Status, want)
	}
	m.ended, m.how = true, e.Status
	return nil
}

// moved checks a new deadline: time in which the run could not go on doesn't
// count.
func (m *match) moved(to time.Time, by time.Duration) error {
	if !m.deadline.IsZero() && !to.Equal(m.deadline.Add(by)) {
		return fmt.Errorf("its deadline %s moves by %s to %s", m.deadline, by, to)
	}
	return nil
}

// active tells whether clocks go for the run.
func (m *match) active() bool { return m.held && !m.paused }

// settled checks what must hold when nothing more follows.
func (u *umpire) settled(now time.Time) error {
	if err := u.clocks.settled(now, u.lives); err != nil {
		return err
	}
	for n, m := range u.runs {
		if m.active() && m.cancel == "" && !m.deadline.IsZero() && !now.Before(m.deadline) {
			return fmt.Errorf("run %d: its time is over", n)
		}
		if p := u.parent(m); p != nil && p.paused && !m.paused && !m.free {
			return fmt.Errorf("run %d goes on though its parent is paused", n)
		}
		for i := range m.tasks {
			if err := u.rests(m, &m.tasks[i], now); err != nil {
				return fmt.Errorf("run %d task %d %w", n, i, err)
			}
		}
	}
	return nil
}

// parent is the live run whose task the run is the work of, or nil.
func (u *umpire) parent(m *match) *match {
	if m.parent == nil {
		return nil
	}
	return u.runs[m.parent.Run]
}

// rests checks that a task waits for something that isn't there.
func (u *umpire) rests(m *match, t *player, now time.Time) error {
	if m.active() && !t.due.IsZero() && t.over == 0 && !now.Before(t.due) {
		return errors.New("is due")
	}
	w := t.wait
	switch {
	case w == nil:
	case w.Kind == replay.WaitChild && u.runs[w.Child] == nil:
		return fmt.Errorf("waits for the run %d, which has ended", w.Child)
	case w.Kind == replay.WaitSignal && m.signals[w.Signal] > 0:
		return fmt.Errorf("waits for the signal %q, which is there", w.Signal)
	case m.active() && !w.Until.IsZero() && !now.Before(w.Until):
		return fmt.Errorf("has waited until %s", w.Until)
	}
	return nil
}
