package replay

import (
	"encoding/json"
	"fmt"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// RunView is a run as people and programs are shown it. Its JSON form is part
// of the interface.
type RunView struct {
	ID          string           `json:"id"`
	Number      uint64           `json:"number"`
	Name        string           `json:"name"`
	Status      Status           `json:"status"`
	Reason      string           `json:"reason,omitempty"` // what it waits for, or why it was parked or cancelled
	Source      string           `json:"source,omitempty"`
	Description string           `json:"description,omitempty"`
	Tags        []string         `json:"tags,omitempty"`
	Metadata    json.RawMessage  `json:"metadata,omitempty"`
	Submitted   time.Time        `json:"submitted"`
	Ended       time.Time        `json:"ended,omitzero"`
	DurationMS  int64            `json:"duration_ms"`
	Counts      Counts           `json:"counts"`
	Error       *protocols.Error `json:"error,omitempty"`
	Outputs     json.RawMessage  `json:"outputs,omitempty"`
	Tasks       []TaskView       `json:"tasks,omitempty"`
}

// TaskView is a task of a RunView.
type TaskView struct {
	ID           string           `json:"id"`
	Name         string           `json:"name,omitempty"` // when it isn't the id
	Method       string           `json:"method"`
	Status       TaskStatus       `json:"status"`
	Reason       string           `json:"reason,omitempty"`
	Attempts     int              `json:"attempts"`
	Dependencies []string         `json:"dependencies,omitempty"`
	Started      time.Time        `json:"started,omitzero"`
	Ended        time.Time        `json:"ended,omitzero"`
	Due          time.Time        `json:"due,omitzero"` // of the next attempt
	DurationMS   int64            `json:"duration_ms"`
	Error        *protocols.Error `json:"error,omitempty"`
	Result       json.RawMessage  `json:"result,omitempty"`
	ResultSize   int              `json:"result_size,omitempty"` // in bytes, also when Result is left out
	Preview      string           `json:"preview,omitempty"`     // when Result is left out for its size
}

// History is all that happened to one run, folded.
type History struct {
	Facts []Fact
	run   *Run
	end   *WorkflowEnded
	endAt time.Time
}

// LoadHistory reads a run's facts. It returns nil when there is no such run.
func LoadHistory(log *eventlog.Log, run uint64) (*History, error) {
	facts, err := Facts(log, run)
	if err != nil || len(facts) == 0 {
		return nil, err
	}
	h := &History{Facts: facts}
	s := NewState()
	head, found, err := log.Head(SystemStream)
	if err != nil {
		return nil, err
	}
	for _, f := range facts {
		if e, ok := f.Event.(*WorkflowEnded); ok {
			h.end, h.endAt = e, f.At
			break
		}
		s.Apply(f)
	}
	h.run = s.Run(run)
	if h.end == nil && found {
		s.Life = head.Seq
		s.orphan(h.run)
	}
	return h, nil
}

// Run returns the run as it is, or as it was when it ended. It must not be
// changed.
func (h *History) Run() *Run { return h.run }

// Ended tells whether the run is over.
func (h *History) Ended() bool { return h.end != nil }

// View returns the run for people. get loads big values; nil leaves them out.
func (h *History) View(get func(eventlog.Hash) ([]byte, error)) (*RunView, error) {
	v := viewRun(h.run)
	if h.end != nil {
		v.Status, v.Error, v.Ended, v.Reason = h.end.Status, h.end.Error, h.endAt, ""
		v.DurationMS = h.endAt.Sub(h.run.At).Milliseconds()
		var err error
		if v.Outputs, _, err = show(h.end.Outputs, get); err != nil {
			return nil, err
		}
	}
	for i := range h.run.Tasks {
		t, err := viewTask(h.run, i, get)
		if err != nil {
			return nil, err
		}
		v.Tasks = append(v.Tasks, t)
	}
	return v, nil
}

// Summary returns a live run for people, without its tasks.
func (r *Run) Summary() *RunView { return viewRun(r) }

func viewRun(r *Run) *RunView {
	w := r.Plan.Workflow
	v := &RunView{ID: r.ID(), Number: r.Number, Name: w.Name, Source: r.Submitted.Source, Description: w.Description,
		Tags: w.Tags, Metadata: w.Metadata, Submitted: r.At, Counts: r.Counts(), DurationMS: r.Last.Sub(r.At).Milliseconds()}
	v.Status, v.Reason = r.Status()
	return v
}

// EndedView returns an ended run for lists, from its last record alone.
func EndedView(rec eventlog.Record) (*RunView, error) {
	var e WorkflowEnded
	if err := json.Unmarshal(rec.Data, &e); err != nil {
		return nil, fmt.Errorf("record %d (%s): %w", rec.Seq, rec.Type, err)
	}
	number, _ := RunOf(rec.Stream)
	return &RunView{ID: e.ID, Number: number, Name: e.Name, Status: e.Status, Tags: e.Tags, Submitted: e.Submitted,
		Ended: rec.Time, DurationMS: rec.Time.Sub(e.Submitted).Milliseconds(), Counts: e.Counts, Error: e.Error}, nil
}

// Status says where a live run stands, and what it waits for if it waits.
func (r *Run) Status() (Status, string) {
	switch {
	case r.Parked != nil:
		return Parked, r.Parked.Reason + "; to try again: gleitzeit resume " + r.ID()
	case r.Cancel != "" && !r.Doubt:
		return Running, "it is being cancelled"
	case r.Interrupted && (r.Running == 0 || r.Doubt):
		return Waiting, "it was interrupted; to go on: gleitzeit resume " + r.ID()
	case !r.Held && !r.Interrupted:
		return Waiting, "the process that ran it is gone; to go on: gleitzeit resume " + r.ID()
	case r.Running > 0 || r.Outputs:
		return Running, ""
	}
	return r.waiting()
}

// waiting names what a held run without a running attempt waits for.
func (r *Run) waiting() (Status, string) {
	var due *Task
	var dueID, doubtful string
	for i := range r.Tasks {
		switch t := &r.Tasks[i]; t.Status {
		case TaskReady:
			if r.Open == len(r.Tasks) {
				return Pending, ""
			}
			return Running, ""
		case TaskWaitsToRetry:
			if due == nil || t.Due.Before(due.Due) {
				due, dueID = t, r.Plan.Task(i).ID
			}
		case TaskDoubtful:
			doubtful = r.Plan.Task(i).ID
		}
	}
	switch {
	case due != nil:
		return Waiting, fmt.Sprintf("the retry of %q at %s", dueID, due.Due.Format(time.RFC3339))
	case doubtful != "":
		return Waiting, fmt.Sprintf("an answer about %q, whose attempt is in doubt: gleitzeit resume %s --retry, --fail or --skip %q",
			doubtful, r.ID(), doubtful)
	}
	return Running, ""
}

func viewTask(r *Run, i int, get func(eventlog.Hash) ([]byte, error)) (TaskView, error) {
	t, d := &r.Tasks[i], r.Plan.Task(i)
	v := TaskView{ID: d.ID, Method: d.Method, Status: t.Status, Reason: t.Reason, Attempts: t.Attempts, Started: t.Started,
		Ended: t.Ended, Due: t.Due, DurationMS: t.Duration.Milliseconds(), Error: t.Error, ResultSize: t.Result.Size()}
	if d.Name != d.ID {
		v.Name = d.Name
	}
	if t.Status == TaskRunning && r.Doubt {
		v.Status = TaskDoubtful
	}
	for _, n := range d.Dependencies {
		v.Dependencies = append(v.Dependencies, r.Plan.Task(n).ID)
	}
	var err error
	v.Result, v.Preview, err = show(t.Result, get)
	return v, err
}

// show returns a value's JSON text, or its beginning when big ones are left
// out.
func show(v Value, get func(eventlog.Hash) ([]byte, error)) (json.RawMessage, string, error) {
	if v.Big != nil && get == nil {
		return nil, v.Big.Preview, nil
	}
	raw, err := v.Load(get)
	return raw, "", err
}
