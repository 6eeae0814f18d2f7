package replay

import (
	"encoding/json"
	"fmt"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// A checkpoint of a run's stream is savedRun as JSON; that of the system
// stream is savedSystem, whose At says up to where the runs' checkpoints
// together cover the log. Both are derived and may be lost: then more of the
// log is read.

type savedSystem struct {
	NextRun uint64       `json:"next_run"`
	Time    time.Time    `json:"time"`
	Life    eventlog.Seq `json:"life"`
}

type savedRun struct {
	Submitted   *WorkflowSubmitted `json:"submitted"`
	At          time.Time          `json:"at"`
	Last        time.Time          `json:"last"`
	Deadline    time.Time          `json:"deadline,omitzero"`
	Held        bool               `json:"held,omitempty"`
	HeldAt      eventlog.Seq       `json:"held_at,omitempty"`
	Doubt       bool               `json:"doubt,omitempty"`
	Cancel      CancelReason       `json:"cancel,omitempty"`
	CancelBy    string             `json:"cancel_by,omitempty"`
	Parked      *WorkflowParked    `json:"parked,omitempty"`
	Interrupted bool               `json:"interrupted,omitempty"`
	Outputs     bool               `json:"outputs,omitempty"`
	FailedTask  int                `json:"failed_task"`
	Tasks       []savedTask        `json:"tasks"`
}

type savedTask struct {
	Status    TaskStatus       `json:"s"`
	Attempts  int              `json:"a,omitempty"`
	Lost      int              `json:"l,omitempty"`
	Uncounted int              `json:"u,omitempty"`
	Started   time.Time        `json:"b,omitzero"`
	Ended     time.Time        `json:"e,omitzero"`
	Due       time.Time        `json:"d,omitzero"`
	Duration  time.Duration    `json:"t,omitempty"`
	Result    Value            `json:"r,omitzero"`
	Error     *protocols.Error `json:"x,omitempty"`
	Reason    string           `json:"w,omitempty"`
}

// encodeRun writes a live run for its stream's checkpoint.
func encodeRun(r *Run) ([]byte, error) {
	s := savedRun{
		Submitted: r.Submitted, At: r.At, Last: r.Last, Deadline: r.Deadline,
		Held: r.Held, HeldAt: r.heldAt, Doubt: r.Doubt, Cancel: r.Cancel, CancelBy: r.CancelBy,
		Parked: r.Parked, Interrupted: r.Interrupted, Outputs: r.Outputs, FailedTask: r.FailedTask,
		Tasks: make([]savedTask, len(r.Tasks)),
	}
	for i, t := range r.Tasks {
		s.Tasks[i] = savedTask{t.Status, t.Attempts, t.Lost, t.Uncounted, t.Started, t.Ended, t.Due,
			t.Duration, t.Result, t.Error, t.Reason}
	}
	return marshal(s)
}

// restoreRun puts a run from its checkpoint into the state.
func (s *State) restoreRun(c *Codec, cp eventlog.Checkpoint) error {
	number, ok := RunOf(cp.Stream)
	if !ok {
		return fmt.Errorf("checkpoint of %q: not a run", cp.Stream)
	}
	var v savedRun
	if err := json.Unmarshal(cp.Data, &v); err != nil {
		return fmt.Errorf("checkpoint of %s: %w", cp.Stream, err)
	}
	plan, err := c.Plan(v.Submitted.Document, v.Submitted.Setup)
	if err != nil {
		return fmt.Errorf("checkpoint of %s: %w", cp.Stream, err)
	}
	if len(v.Tasks) != len(plan.Workflow.Tasks) {
		return fmt.Errorf("checkpoint of %s: %d tasks, its document has %d", cp.Stream, len(v.Tasks), len(plan.Workflow.Tasks))
	}
	r := &Run{
		Number: number, Plan: s.use(plan), Submitted: v.Submitted, At: v.At, Seq: cp.At, Last: v.Last,
		Deadline: v.Deadline, Held: v.Held, heldAt: v.HeldAt, Doubt: v.Doubt, Cancel: v.Cancel,
		CancelBy: v.CancelBy, Parked: v.Parked, Interrupted: v.Interrupted, Outputs: v.Outputs,
		FailedTask: v.FailedTask, Tasks: make([]Task, len(v.Tasks)),
	}
	for i, t := range v.Tasks {
		r.Tasks[i] = Task{t.Status, t.Attempts, t.Lost, t.Uncounted, t.Started, t.Ended, t.Due,
			t.Duration, t.Result, t.Error, t.Reason, 0}
	}
	s.adopt(r)
	return nil
}

// adopt counts a restored run and enters it into every index.
func (s *State) adopt(r *Run) {
	s.runs[r.Number] = r
	s.NextRun = max(s.NextRun, r.Number+1)
	s.claim(r)
	for i := range r.Tasks {
		t := &r.Tasks[i]
		for _, d := range r.Plan.Workflow.Tasks[i].Dependencies {
			if !r.Tasks[d].Status.Ended() {
				t.waiting++
			}
		}
		if t.Status.Ended() {
			continue
		}
		r.Open++
		if t.Status == TaskRunning {
			r.Running++
			if !r.Doubt {
				s.Running++
				s.group(r.Plan, i).Running++
			}
		}
	}
	for i := range r.Tasks {
		if t := r.Tasks[i].Status; t.Ended() && !r.good(i) {
			r.doom(i)
		}
	}
	if r.Held {
		s.index(r)
		s.arm(r)
	}
	s.note(r)
}

// restoreSystem puts what concerns the whole store into the state.
func (s *State) restoreSystem(cp eventlog.Checkpoint) error {
	var v savedSystem
	if err := json.Unmarshal(cp.Data, &v); err != nil {
		return fmt.Errorf("checkpoint of the system: %w", err)
	}
	s.Seq, s.Time, s.NextRun, s.Life = cp.At, v.Time, v.NextRun, v.Life
	return nil
}
