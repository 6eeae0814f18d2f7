package scheduler

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// Policy is what the configuration allows.
type Policy struct {
	// Slots bounds the running attempts of all runs together.
	Slots int
	// CrashLimit is how many attempts of one task may be lost to crashes
	// before its run is parked; 0 means no limit.
	CrashLimit int
	// MaxSignals is how many signals a run keeps that no task has taken; 0 means
	// DefaultMaxSignals.
	MaxSignals int
	// KeyLife is how long an idempotency key stands for its run, from the
	// submission on; 0 means for ever.
	KeyLife time.Duration
	// Queues are the named queues; "" is that of runs that name none.
	Queues map[string]Queue
	// QueueSize is the Size of queues that don't say it.
	QueueSize int
	// Closed lets nothing start: the process is about to leave.
	Closed bool
	// Permits are those at hand for providers whose bounds are shared; nil: those
	// are bounds like all others.
	Permits replay.Permits
	// Schedules lets schedules fire: this process stays. One that holds the
	// store for a moment leaves their times to a server.
	Schedules bool
	// ScheduleGrace is how late a time of a schedule may be looked at and still
	// count as come in time; 0 means DefaultScheduleGrace.
	ScheduleGrace time.Duration
}

// Decide says what becomes of a command. It only reads. The facts have no
// Seq yet; they all happen at now. An error means that nothing happened.
func Decide(s *replay.State, p Policy, now time.Time, c Command) ([]replay.Fact, error) {
	switch c := c.(type) {
	case Start:
		return []replay.Fact{{At: now, Event: &replay.SystemStarted{PID: c.PID, Version: c.Version}}}, nil
	case Submit:
		return decideSubmit(s, p, now, c)
	case Finish:
		return decideFinish(s, p, now, c), nil
	case Hear:
		return decideHear(s, now, c), nil
	case Await:
		return decideAwait(s, now, c), nil
	case Offer:
		return decideOffer(s, now, c)
	case Spawn:
		return decideSpawn(s, now, c), nil
	case Signal:
		return decideSignal(s, p, now, c)
	case Approve:
		return decideApprove(s, now, c)
	case Say:
		return decideSay(s, now, c), nil
	case Ask:
		return decideAsk(s, now, c)
	case Withdraw:
		return decideWithdraw(s, now, c), nil
	case Pause:
		return decidePause(s, now, c)
	case Unpause:
		return decideUnpause(s, now, c)
	case Retry:
		return decideRetry(s, now, c)
	case Answer:
		return decideAnswer(s, now, c), nil
	case Resume:
		return decideResume(s, p, now, c)
	case Interrupt:
		return decideInterrupt(s, now, c)
	case Cancel:
		return decideCancel(s, now, c)
	case Serve:
		return nil, nil
	case Note:
		return []replay.Fact{{At: now, Event: &replay.Acted{Method: c.Method, By: shorten(c.By, maxBy), Text: shorten(c.Text, maxNote)}}}, nil
	case Employ:
		return decideEmploy(s, now, c)
	case AddSchedule:
		return decideAddSchedule(s, now, c)
	case PauseSchedule:
		return decidePauseSchedule(s, now, c)
	case UnpauseSchedule:
		return decideUnpauseSchedule(s, now, c)
	case RemoveSchedule:
		return decideRemoveSchedule(s, now, c)
	}
	panic(fmt.Sprintf("scheduler: command %T has no meaning", c))
}

// facts puts events of one run at one moment.
func facts(run uint64, now time.Time, events ...replay.Event) []replay.Fact {
	out := make([]replay.Fact, len(events))
	for i, e := range events {
		out[i] = replay.Fact{At: now, Run: run, Event: e}
	}
	return out
}

func decideSubmit(s *replay.State, p Policy, now time.Time, c Submit) ([]replay.Fact, error) {
	if err := replay.CheckKey(c.Key); err != nil {
		return nil, protocols.Errorf(protocols.InvalidRequest, "%v", err)
	}
	before := holder(s, c)
	if before != nil && !expired(p, now, before) {
		return nil, sameSubmission(before.Submitted, c)
	}
	if err := checkID(s, c); err != nil {
		return nil, err
	}
	if err := p.accepts(s, now, c.Queue); err != nil {
		return nil, err
	}
	e, err := submission(s, now, c)
	if err != nil {
		return nil, err
	}
	out := facts(e.Number, now, e)
	if before != nil {
		out = append(out, replay.Fact{At: now, Event: &replay.KeyTaken{Key: c.Key, Run: e.Number}})
	}
	return out, nil
}

// checkID refuses an id that could be taken for something else, or that a run
// has.
func checkID(s *replay.State, c Submit) error {
	if c.ID == "" {
		return nil
	}
	if !idForm.MatchString(c.ID) {
		return protocols.Errorf(protocols.InvalidParams,
			"the id %q must begin with a letter and have only letters, digits, dots, dashes and underscores, at most 100", c.ID)
	}
	if s.MayGive(c.ID) {
		return protocols.Errorf(protocols.InvalidParams, "the id %q ends with a number that another run may get", c.ID)
	}
	if c.IDTaken || s.ByKey(replay.IDKey(c.ID)) != nil {
		return idTaken(c.ID)
	}
	if _, number, ok := replay.PlaceOf(c.ID); ok { // it may be of this turn, which the log doesn't know yet
		if r := s.Run(number); r != nil && r.ID() == c.ID {
			return idTaken(c.ID)
		}
	}
	return nil
}

var idForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,99}$`)

func idTaken(id string) error {
	return protocols.Errorf(protocols.WorkflowInvalidState, "there is a run with the id %q already", id)
}

// submission is the first event of a new run.
func submission(s *replay.State, now time.Time, c Submit) (*replay.WorkflowSubmitted, error) {
	w := c.Plan.Workflow
	e := &replay.WorkflowSubmitted{
		Number: s.NextRun, ID: runID(w, s.Partition, s.NextRun), Name: w.Name, Tags: w.Tags, Source: c.Source,
		Document: c.Plan.Document, Setup: c.Plan.SetupHash, Context: c.Context, Files: c.Files,
		Priority: c.Priority, Key: c.Key, Inputs: c.Inputs, Parent: c.Parent, Queue: c.Queue, Budget: c.Budget,
		Schedule: c.Schedule, By: c.By, Mocked: c.Plan.Mocked(), Trace: c.Trace,
	}
	if c.ID != "" {
		e.ID, e.Named = c.ID, true
	}
	if w.Timeout > 0 {
		e.Deadline = now.Add(time.Duration(w.Timeout))
	}
	if err := fits(c, e); err != nil {
		return nil, err
	}
	e.Bring(c.Plan, c.Values...)
	return e, nil
}

// runID makes the readable id: a slug of the name, the partition of a divided
// store, and the number.
func runID(w *protocols.Workflow, partition int, number uint64) string {
	place := ""
	if partition > 0 {
		place = fmt.Sprintf("%dx", partition)
	}
	return fmt.Sprintf("%s-%s%d", cmp.Or(slug(w.Name), "run"), place, number)
}

// slug is what of a name can be part of an id; it may be empty.
func slug(name string) string {
	const longest = 40
	var slug strings.Builder
	for _, c := range strings.ToLower(name) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			slug.WriteRune(c)
		case slug.Len() > 0 && !strings.HasSuffix(slug.String(), "-"):
			slug.WriteByte('-')
		}
		if slug.Len() == longest {
			break
		}
	}
	return strings.Trim(slug.String(), "-")
}

// decideFinish says what an outcome leads to. One that comes late, of an
// attempt that is no longer the current one, changes nothing.
func decideFinish(s *replay.State, p Policy, now time.Time, c Finish) []replay.Fact {
	r := s.Run(c.Run)
	if !current(r, c.Task, c.Attempt) {
		return nil
	}
	var out []replay.Fact
	if c.Lost != "" {
		return append(facts(c.Run, now, lost(r, p, c)...), judged(s, p, r, now, c)...)
	}
	if c.Text != nil {
		out = facts(c.Run, now, c.Text)
	}
	out = append(append(out, facts(c.Run, now, outcome(r, &r.Tasks[c.Task], now, c)...)...), judged(s, p, r, now, c)...)
	if def := r.Task(c.Task); def.Cache != nil && !c.Call.IsZero() && c.Error == nil && !c.Interrupted {
		out = append(out, replay.Fact{At: now, Event: &replay.CacheStored{Call: c.Call, Result: c.Result,
			Until: now.Add(time.Duration(def.Cache.TTL)), Run: r.ID()}})
	}
	return out
}

// current tells whether the attempt is the one that runs now. A retried run may
// have no such task any more, when that was of a foreach.
func current(r *replay.Run, task, attempt int) bool {
	return r != nil && task < len(r.Tasks) && !r.Doubt && r.Tasks[task].Status == replay.TaskRunning && r.Tasks[task].Attempts == attempt
}

// outcome says what becomes of an attempt that has ended.
func outcome(r *replay.Run, t *replay.Task, now time.Time, c Finish) []replay.Event {
	if c.Error == nil && !c.Interrupted && r.Task(c.Task).Repeat != nil {
		return []replay.Event{
			&replay.TaskIterated{Task: c.Task, Attempt: c.Attempt, Iteration: t.Iteration + 1, Result: c.Result, Duration: c.Duration, Usage: c.Usage},
			&replay.EvaluationRequested{What: replay.AskUntil, Tasks: []int{c.Task}},
		}
	}
	return []replay.Event{ends(r, t, now, c)}
}

func ends(r *replay.Run, t *replay.Task, now time.Time, c Finish) replay.Event {
	switch {
	case c.Error == nil && !c.Interrupted:
		return &replay.TaskCompleted{Task: c.Task, Attempt: c.Attempt, Result: c.Result, Duration: c.Duration, Cached: c.Cached, Usage: c.Usage}
	case r.Cancel != "" && r.Stopping():
		return &replay.TaskCancelled{Task: c.Task, Attempt: c.Attempt, Error: c.Error, Duration: c.Duration, Usage: c.Usage}
	case c.Interrupted:
		return &replay.TaskInterrupted{Task: c.Task, Attempt: c.Attempt, Duration: c.Duration, Why: c.Why}
	}
	delay, again := retry(r, t, c)
	at := now.Add(delay)
	switch {
	case !again:
	case late(r, c.Task, at):
		c.Error = tooLate(r, c.Task, c.Error)
	default:
		return &replay.TaskRetrying{Task: c.Task, Attempt: c.Attempt, Error: c.Error, Duration: c.Duration,
			Delay: protocols.Duration(delay), At: at, Usage: c.Usage,
			Avoid: r.Plan.Choices(r.Form(c.Task)) > 1 && elsewhere(c.Error.Code.Class())}
	}
	return &replay.TaskFailed{Task: c.Task, Attempt: c.Attempt, Error: c.Error, Duration: c.Duration, Usage: c.Usage}
}

// retry says whether a failed attempt is followed by another, and after what
// delay: its own, or longer if the other side asked for that.
func retry(r *replay.Run, t *replay.Task, c Finish) (time.Duration, bool) {
	policy := r.Task(c.Task).Retry
	if policy == nil || r.Stopping() && !r.Spared(c.Task) || r.Failing(c.Task) {
		return 0, false
	}
	made := t.Made()
	if made >= policy.MaxAttempts || !policy.Retries(c.Error.Code.Class()) {
		return 0, false
	}
	return max(policy.Delay(made, c.Jitter), c.Error.RetryAfter()), true
}

// late tells whether the retry's deadline lets no attempt start at that moment.
func late(r *replay.Run, task int, at time.Time) bool {
	policy, first := r.Task(task).Retry, r.Tasks[task].First
	return policy != nil && policy.Deadline > 0 && !first.IsZero() && at.After(first.Add(time.Duration(policy.Deadline)))
}

// tooLate is the error of the last attempt, with why there is no other.
func tooLate(r *replay.Run, task int, err *protocols.Error) *protocols.Error {
	deadline := time.Duration(r.Task(task).Retry.Deadline)
	return &protocols.Error{Code: err.Code, Data: err.Data,
		Message: shorten(err.Message, maxMessage-100) + fmt.Sprintf("; not tried again after its retry's deadline of %s", deadline)}
}

// end makes the last event of a run.
func end(r *replay.Run, status replay.Status, outputs replay.Value, err *protocols.Error) *replay.WorkflowEnded {
	return &replay.WorkflowEnded{Status: status, Outputs: outputs, Error: err, ID: r.ID(), Name: r.Submitted.Name,
		Tags: r.Submitted.Tags, Submitted: r.At, Counts: r.Counts(), Usage: r.Spent, Mocked: r.Submitted.Mocked}
}

func decideInterrupt(s *replay.State, now time.Time, c Interrupt) ([]replay.Fact, error) {
	r, err := find(s, c.Run)
	if err != nil || !r.Held {
		return nil, err
	}
	out := facts(c.Run, now, &replay.WorkflowInterrupted{By: shorten(c.By, maxBy)})
	for _, child := range r.Children() {
		more, err := decideInterrupt(s, now, Interrupt{Run: child, By: c.By})
		if err == nil {
			out = append(out, more...)
		}
	}
	return out, nil
}

func decideCancel(s *replay.State, now time.Time, c Cancel) ([]replay.Fact, error) {
	r, err := find(s, c.Run)
	if err != nil || r.Cancel != "" && r.Stopping() && !r.Doubt {
		return nil, err
	}
	return cancel(s, r, now, replay.CancelledByUser, c.By), nil
}

// cancel asks for the end of a run and of its children. A second one ends the
// hooks that the first has let run.
func cancel(s *replay.State, r *replay.Run, now time.Time, why replay.CancelReason, by string) []replay.Fact {
	var events []replay.Event
	if r.Paused { // its hooks are to run
		events = append(events, unpaused(r, now, by))
	}
	if r.Cancel == "" || !r.Stopping() {
		events = append(events, &replay.CancelRequested{Reason: why, By: shorten(by, maxBy)})
	}
	events = append(append(events, cancelLost(r, nil)...), cancelWaits(r)...)
	out := facts(r.Number, now, events...)
	for _, n := range r.Children() {
		if child := s.Run(n); child != nil && (child.Cancel == "" || child.Doubt) {
			out = append(out, cancel(s, child, now, replay.CancelledByUser, "the run "+r.ID())...)
		}
	}
	return out
}

// cancelLost ends the attempts in doubt of a run that is being cancelled, but
// for those that are kept: there is nobody left who could report.
func cancelLost(r *replay.Run, kept func(r *replay.Run, task int) bool) []replay.Event {
	var events []replay.Event
	for i := range r.Tasks {
		if r.Doubt && r.Tasks[i].Status == replay.TaskRunning && (kept == nil || !kept(r, i)) {
			events = append(events, &replay.TaskCancelled{Task: i, Attempt: r.Tasks[i].Attempts, Error: inDoubt(r, i)})
		}
	}
	return events
}

// goesOn tells whether an attempt in doubt becomes what on_crash says: in a
// run that is being cancelled only that of a task which runs all the same, and
// about which nobody has to be asked.
func goesOn(r *replay.Run, task int) bool {
	if r.Cancel == "" || !r.Stopping() {
		return true
	}
	return r.Spared(task) && r.Task(task).OnCrash != protocols.CrashAsk
}

func inDoubt(r *replay.Run, task int) *protocols.Error {
	return protocols.Errorf(protocols.TaskExecutionFailed,
		"the process died while attempt %d ran: nobody knows how far it got", r.Tasks[task].Attempts)
}

func find(s *replay.State, run uint64) (*replay.Run, error) {
	if r := s.Run(run); r != nil {
		return r, nil
	}
	return nil, protocols.Errorf(protocols.WorkflowNotFound, "run %d does not exist or has ended", run)
}

// decideResume takes a run on: the attempts of a dead process are in doubt and
// become what on_crash, or an answer, says.
func decideResume(s *replay.State, p Policy, now time.Time, c Resume) ([]replay.Fact, error) {
	r, err := find(s, c.Run)
	if err != nil {
		return nil, err
	}
	if err := checkAnswers(r, c.Answers); err != nil {
		return nil, err
	}
	if r.Parked != nil && !c.Explicit {
		return nil, nil
	}
	events := []replay.Event{}
	if !r.Held {
		events = append(events, &replay.WorkflowResumed{Deadline: extended(s, r, now), Unparked: r.Parked != nil, By: shorten(c.By, maxBy)})
	}
	if r.Cancel != "" && r.Stopping() {
		events = append(events, cancelLost(r, goesOn)...)
	}
	events = append(events, recoverAttempts(s, r, p, c.Answers, shorten(c.By, maxBy))...)
	if !r.Held {
		events = append(events, askAgain(r)...)
	}
	out := facts(c.Run, now, events...)
	for _, child := range r.Children() {
		more, err := decideResume(s, p, now, Resume{Run: child, Explicit: c.Explicit, By: c.By})
		if err == nil {
			out = append(out, more...)
		}
	}
	return out, nil
}

// askAgain asks what the dead process didn't find out any more.
func askAgain(r *replay.Run) (events []replay.Event) {
	if r.Outputs {
		events = append(events, &replay.EvaluationRequested{What: replay.AskOutputs})
	}
	for i := range r.Tasks {
		if t := &r.Tasks[i]; t.Status == replay.TaskEvaluates {
			events = append(events, &replay.EvaluationRequested{What: t.Asked, Tasks: []int{i}})
		}
	}
	return events
}

// checkAnswers refuses an answer to what was not asked, and one that is none.
func checkAnswers(r *replay.Run, answers map[int]protocols.OnCrash) error {
	for task, answer := range answers {
		if task < 0 || task >= len(r.Tasks) {
			return protocols.Errorf(protocols.TaskNotFound, "run %s has no task %d", r.ID(), task)
		}
		t := &r.Tasks[task]
		if t.Status != replay.TaskDoubtful && !(r.Doubt && t.Status == replay.TaskRunning) {
			return protocols.Errorf(protocols.WorkflowInvalidState,
				"task %q is %s: only an attempt in doubt can be decided", r.TaskID(task), t.Status)
		}
		switch answer {
		case protocols.CrashRetry, protocols.CrashFail, protocols.CrashSkip:
		default:
			return protocols.Errorf(protocols.InvalidParams,
				"the answer for task %q must be retry, fail or skip, not %q", r.TaskID(task), answer)
		}
	}
	return nil
}

// recoverAttempts makes something of each attempt in doubt. Those at workers
// are waited for, unless a person has decided. When one task has lost too many,
// the run is parked.
func recoverAttempts(s *replay.State, r *replay.Run, p Policy, answers map[int]protocols.OnCrash, by string) (events []replay.Event) {
	var parked replay.Event
	again := slices.DeleteFunc(reattached(s, r, p), func(task int) bool { return answers[task] != "" })
	for i := range r.Tasks {
		t := &r.Tasks[i]
		answer, answered := answers[i]
		_, goes := slices.BinarySearch(again, i)
		switch {
		case goes:
		case t.Status == replay.TaskDoubtful && answered:
			events = append(events, resolve(answer, &replay.TaskAnswered{Task: i, Action: answer, By: by}, i, t.Attempts, inDoubt(r, i))...)
		case r.Doubt && t.Status == replay.TaskRunning && goesOn(r, i):
			action := cmp.Or(answer, r.Task(i).OnCrash, protocols.CrashRetry)
			events = append(events, resolve(action, &replay.TaskInDoubt{Task: i, Attempt: t.Attempts, Action: action}, i, t.Attempts, inDoubt(r, i))...)
			if tooMany(r, t, p) && action == protocols.CrashRetry && parked == nil {
				parked = park(r, i, "the process died")
			}
		}
	}
	if len(again) > 0 {
		events = append(events, &replay.TaskReattached{Tasks: again})
	}
	if parked != nil {
		events = append(events, parked)
	}
	return events
}

// tooMany tells whether the attempt just lost reaches the limit. A run that is
// being taken out of the park starts to count again.
func tooMany(r *replay.Run, t *replay.Task, p Policy) bool {
	return p.CrashLimit > 0 && t.Lost+1 >= p.CrashLimit && r.Parked == nil
}

// resolve is the event that says so, and the end of the task if it is one.
func resolve(action protocols.OnCrash, first replay.Event, task, attempt int, why *protocols.Error) []replay.Event {
	switch action {
	case protocols.CrashFail:
		return []replay.Event{first, &replay.TaskFailed{Task: task, Attempt: attempt, Error: why}}
	case protocols.CrashSkip:
		return []replay.Event{first, &replay.TaskSkipped{Tasks: []int{task}, Reason: replay.SkippedInDoubt}}
	}
	return []replay.Event{first}
}

func park(r *replay.Run, task int, what string) replay.Event {
	lost := r.Tasks[task].Lost + 1
	return &replay.WorkflowParked{Task: task, Crashes: lost, Reason: fmt.Sprintf(
		"%s %d times while task %q ran", what, lost, r.TaskID(task))}
}

// closure adds to the doomed tasks all that wait for them in turn, each with
// the task to blame.
func closure(r *replay.Run) map[int]int {
	all := map[int]int{}
	queue := make([]int, 0, len(r.Doomed()))
	for task, blame := range r.Doomed() {
		all[task] = blame
		queue = append(queue, task)
	}
	slices.Sort(queue)
	for len(queue) > 0 {
		task := queue[0]
		queue = queue[1:]
		for _, d := range r.Plan.Dependents(task) {
			if _, seen := all[int(d)]; !seen && r.Tasks[d].Status == replay.TaskPending && !r.Spared(int(d)) {
				all[int(d)] = all[task]
				queue = append(queue, int(d))
			}
		}
	}
	return all
}
