package replay

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// Entry is one fact as people are shown it: a line of a run's history.
type Entry struct {
	Seq     eventlog.Seq `json:"seq"`
	Time    time.Time    `json:"time"`
	Run     string       `json:"run"`
	Type    string       `json:"type"`
	Task    string       `json:"task,omitempty"`
	Attempt int          `json:"attempt,omitempty"`
	Text    string       `json:"text"`
	Event   Event        `json:"event"` // the fact itself
}

// Narrator puts the facts of one run into words. It has to be told all of
// them, in order.
type Narrator struct {
	id    string
	w     *protocols.Workflow
	spans []span // of instances and steps, in the order of first
}

// span is where instances of a foreach or steps of an agent stand.
type span struct {
	first int
	name  func(k int) string // by the place within the span
}

// NewNarrator returns the narrator of a run, by its id and document.
func NewNarrator(id string, w *protocols.Workflow) *Narrator { return &Narrator{id: id, w: w} }

// name is a task's id; that of an instance of a foreach ends with its index,
// that of a step with what it is.
func (n *Narrator) name(task int) string {
	if task >= 0 && task < len(n.w.Tasks) {
		return n.w.Tasks[task].ID
	}
	for i := len(n.spans) - 1; i >= 0; i-- {
		if s := n.spans[i]; task >= s.first {
			return s.name(task - s.first)
		}
	}
	return fmt.Sprintf("task %d", task)
}

// learn notes which tasks a fact adds to the run.
func (n *Narrator) learn(e Event) {
	switch e := e.(type) {
	case *TaskExpanded:
		id := n.name(e.Task)
		n.spans = append(n.spans, span{e.First, func(k int) string { return fmt.Sprintf("%s[%d]", id, k) }})
	case *AgentStepped:
		ids := e.IDs(n.name(e.Task))
		n.spans = append(n.spans, span{e.First, func(k int) string { return ids[min(k, len(ids)-1)] }})
	case *WorkflowRetried:
		n.spans = nil
		r := e.saved.run(0, e.plan)
		for i := len(n.w.Tasks); i < len(r.Tasks); i++ {
			first := i
			n.spans = append(n.spans, span{i, func(k int) string { return r.TaskID(first + k) }})
			if of := r.Tasks[i].Of; r.Tasks[i].Step == nil {
				i += r.Tasks[of-1].Each.Count - 1
			}
		}
	}
}

// Describe puts the next fact into words.
func (n *Narrator) Describe(f Fact) Entry {
	e := Entry{Seq: f.Seq, Time: f.At, Run: n.id, Type: f.Event.Type(), Event: f.Event}
	n.learn(f.Event)
	name := n.name
	names := func(tasks []int) string {
		all := make([]string, len(tasks))
		for i, t := range tasks {
			all[i] = name(t)
		}
		return strings.Join(all, ", ")
	}
	of := func(task, attempt int) { e.Task, e.Attempt = name(task), attempt }
	switch v := f.Event.(type) {
	case *WorkflowSubmitted:
		e.Text = "submitted"
		if v.Source != "" {
			e.Text += " from " + v.Source
		}
		if v.Schedule != "" {
			e.Text += " by the schedule " + v.Schedule
		}
		e.Text += by(v.By)
		if v.Mocked != "" {
			e.Text += ", mocked by " + v.Mocked
		}
	case *TaskStarted:
		of(v.Task, v.Attempt)
		e.Text = fmt.Sprintf("attempt %d started on %s", v.Attempt, v.Provider)
		if v.Mocked {
			e.Text += " (mocked)"
		}
		if v.Waited > 0 {
			e.Text += fmt.Sprintf(", %s after it was ready: it waited for %s", short(v.Waited), v.For)
		}
	case *BreakerChanged:
		e.Text = v.describe()
	case *PoolScaled:
		e.Text = fmt.Sprintf("%s has %d slots (%d in use, %d waited for)", v.Name, v.Size, v.Running, v.Queued)
	case *TaskCompleted:
		of(v.Task, v.Attempt)
		e.Text = fmt.Sprintf("completed in %s", short(v.Duration))
		if v.Cached {
			e.Text = "completed with an earlier result of the same call"
		}
	case *TaskRetrying:
		of(v.Task, v.Attempt)
		e.Text = fmt.Sprintf("attempt %d failed: %s; again in %s", v.Attempt, explain(v.Error), short(v.Delay))
		if v.Avoid {
			e.Text += ", on another provider if one is fit"
		}
	case *TaskDue:
		of(v.Task, 0)
		e.Text = "the time of the retry has come"
	case *TaskFailed:
		of(v.Task, v.Attempt)
		e.Text = "failed: " + explain(v.Error)
	case *TaskSkipped:
		e.Task, e.Text = names(v.Tasks), "skipped: "+v.Reason
	case *TaskCancelled:
		of(v.Task, v.Attempt)
		e.Text = "cancelled"
		if v.Error != nil {
			e.Text += ": " + v.Error.Message
		}
	case *TaskInterrupted:
		of(v.Task, v.Attempt)
		e.Text = "stopped, to be tried again when the run is resumed"
		if v.Why != "" {
			e.Text = "stopped, and tried again: " + v.Why
		}
	case *TaskInDoubt:
		of(v.Task, v.Attempt)
		e.Text = v.describe()
	case *TaskReattached:
		e.Task, e.Text = names(v.Tasks), "the process died, but a worker has the attempt: it is waited for"
	case *WorkersChanged:
		e.Text = v.describe()
	case *TaskWaiting:
		of(v.Task, v.Attempt)
		e.Text = "waits for " + v.Wait.describe()
	case *SecretOffered:
		e.Task, e.Text = names(v.Tasks), "what it waited for was offered"
	case *SignalReceived:
		e.Text = fmt.Sprintf("signal %q received%s", v.Name, by(v.By))
	case *TextStreamed:
		of(v.Task, v.Attempt)
		e.Text = v.describe()
	case *QuestionAsked:
		of(v.Task, v.Attempt)
		e.Text = "waits for " + v.Ask.describe()
	case *QuestionAnswered:
		of(v.Task, 0)
		e.Text = v.describe()
	case *QuestionWithdrawn:
		of(v.Task, v.Attempt)
		e.Text = "goes on without an answer"
	case *ApprovalDecided:
		of(v.Task, 0)
		e.Text = "rejected"
		if v.Approved {
			e.Text = "approved"
		}
		e.Text += by(v.By)
		if v.Comment != "" {
			e.Text += ": " + v.Comment
		}
	case *WorkflowPaused:
		e.Text = "paused" + by(v.By)
		if v.Budget != "" {
			e.Text += ": " + v.Budget
		}
		if v.With != "" {
			e.Text += " with the run " + v.With
		}
	case *WorkflowUnpaused:
		e.Text = "unpaused" + by(v.By) + v.Granted.describe()
	case *TaskAnswered:
		of(v.Task, 0)
		e.Text = cmp.Or(v.By, "a person") + " decided: " + string(v.Action)
	case *EvaluationRequested:
		e.Task, e.Text = names(v.Tasks), v.What.describe()
	case *ConditionMet:
		of(v.Task, 0)
		e.Text = "its condition holds"
	case *TaskExpanded:
		of(v.Task, 0)
		e.Text = fmt.Sprintf("has %d items", v.Count)
	case *AgentStepped:
		of(v.Task, 0)
		e.Text = v.describe()
	case *TaskIterated:
		of(v.Task, v.Attempt)
		e.Text = fmt.Sprintf("iteration %d ended in %s", v.Iteration, short(v.Duration))
	case *TaskRepeating:
		of(v.Task, 0)
		e.Text = fmt.Sprintf("iteration %d is to come", v.Iteration)
	case *HooksStarted:
		e.Text = fmt.Sprintf("the tasks of %s begin", v.Hook)
	case *CancelRequested:
		e.Text = "cancel requested"
		if v.Reason == RunTimeout {
			e.Text = "the run's timeout has passed"
		}
		e.Text += by(v.By)
	case *WorkflowInterrupted:
		e.Text = "interrupted" + by(v.By) + ": nothing new starts until it is resumed"
	case *WorkflowImported:
		e.Text = "imported: it was " + v.From + " in another store; nobody holds it"
	case *WorkflowResumed:
		e.Text = "resumed"
		if v.Unparked {
			e.Text += ", taken out of the park"
		}
		e.Text += by(v.By)
	case *WorkflowParked:
		e.Task, e.Text = name(v.Task), "parked: "+v.Reason
	case *WorkflowRetried:
		e.Text = "retried" + by(v.By) + v.Granted.describe()
		if some := v.Tasks[:min(len(v.Tasks), mostRetried)]; len(some) > 0 {
			e.Text += "; again: " + names(some)
			if more := v.Count - len(some); more > 0 {
				e.Text += fmt.Sprintf(" and %d more", more)
			}
		}
	case *WorkflowEnded:
		e.Text = string(v.Status)
		if v.Error != nil && v.Status == Failed {
			e.Text += ": " + v.Error.Message
		}
	}
	return e
}

// describe says in words what the breaker does from now on.
func (e *BreakerChanged) describe() string {
	switch {
	case e.State == BreakerOpen:
		return fmt.Sprintf("the breaker of %s opens until %s: %s", e.Name, e.Until.Format(time.RFC3339), explain(e.Error))
	case e.State == BreakerHalfOpen && e.Successes > 0:
		return fmt.Sprintf("%s was tried again and answered (%d in a row)", e.Name, e.Successes)
	case e.State == BreakerHalfOpen:
		return fmt.Sprintf("%s is tried again, one call at a time", e.Name)
	case e.Failures == 1:
		return e.Name + " has failed once"
	case e.Failures > 0:
		return fmt.Sprintf("%s has failed %d times in a row", e.Name, e.Failures)
	case e.Since.IsZero() && !e.Until.IsZero():
		return fmt.Sprintf("the breaker of %s closes: it answers", e.Name)
	}
	return fmt.Sprintf("%s answers", e.Name)
}

// describe says in words what a person has added to the budgets.
func (u Usage) describe() string {
	var parts []string
	if u.Tokens > 0 {
		parts = append(parts, fmt.Sprintf("%d tokens", u.Tokens))
	}
	if u.MicroUSD > 0 {
		parts = append(parts, fmt.Sprintf("%g USD", u.USD()))
	}
	if len(parts) == 0 {
		return ""
	}
	return " with " + strings.Join(parts, " and ") + " more"
}

// mostRetried is how many tasks a retried run's line names.
const mostRetried = 20

// by names who did something, if that is known.
func by(who string) string {
	if who == "" {
		return ""
	}
	return " by " + who
}

// describe says in words what is being found out.
func (q Question) describe() string {
	switch q {
	case AskOutputs:
		return "all tasks have ended; making the outputs"
	case AskCondition:
		return "looking whether its condition holds"
	case AskItems:
		return "looking for its items"
	case AskAgent:
		return "looking what its model wants next"
	case AskCollect:
		return "all items have ended; collecting the results"
	}
	return "looking whether that was the last iteration"
}

// describe says in words what is waited for.
func (w *Wait) describe() string {
	var text string
	switch w.Kind {
	case WaitTimer:
		return "the time " + w.Until.Format(time.RFC3339)
	case WaitChild:
		return "the run " + w.ChildID
	case WaitSecret:
		text = secrets(w.Secrets)
	case WaitSignal:
		text = fmt.Sprintf("the signal %q", w.Signal)
	case WaitApproval:
		text = "an approval"
		if w.Message != "" {
			text += fmt.Sprintf(" (%s)", w.Message)
		}
	}
	if !w.Until.IsZero() {
		text += ", until " + w.Until.Format(time.RFC3339)
	}
	return text
}

func explain(e *protocols.Error) string {
	if e == nil {
		return "unknown error"
	}
	return fmt.Sprintf("%s (%s)", e.Message, e.Code)
}

// short rounds a duration to what people read.
func short(d protocols.Duration) string {
	t := time.Duration(d)
	switch {
	case t >= time.Minute:
		return t.Round(time.Second).String()
	case t >= time.Second:
		return t.Round(10 * time.Millisecond).String()
	}
	return t.Round(10 * time.Microsecond).String()
}

// Timeline returns the run's history in words, with what happened meanwhile to
// the breakers of the providers that it may use, and the last words of the
// attempts that came to no result.
func (h *History) Timeline() []Entry {
	all := slices.Concat(h.Facts, h.trouble, h.texts)
	slices.SortFunc(all, func(a, b Fact) int { return cmp.Compare(a.Seq, b.Seq) })
	all = unfinished(all)
	entries, n := make([]Entry, len(all)), NewNarrator(h.run.ID(), h.run.Plan.Workflow)
	for i, f := range all {
		entries[i] = n.Describe(f)
	}
	return entries
}
