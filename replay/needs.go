package replay

import (
	"fmt"
	"slices"
)

// This file finds out whether anything of a run happens by itself.

// ownWaits are the kinds of waiting that only a person or another program ends.
var ownWaits = []string{"signal", "approval", "answer", "secret"}

// NeedsPerson tells whether nothing of a run goes on until a person does
// something. interrupted tells that we know the run to rest; without that, a
// run without a process is one that changes hands. children loads child runs.
func (v *RunView) NeedsPerson(interrupted bool, children func(id string) (*RunView, error)) (bool, error) {
	rests := v.Status == Paused || v.Status == Parked || v.WaitsFor == "process" && interrupted
	if !rests && (v.Status != Waiting || v.WaitsFor == "process") {
		return false, nil
	}
	for _, t := range v.Tasks {
		switch {
		case t.Status == TaskRunning || t.Status == TaskEvaluates:
			return false, nil
		case rests || t.WaitsFor == "" || slices.Contains(ownWaits, t.WaitsFor):
		case t.WaitsFor == "run" && t.ChildRun != "":
			child, err := children(t.ChildRun)
			if err != nil {
				return false, err
			}
			if needs, err := child.NeedsPerson(false, children); err != nil || !needs {
				return false, err
			}
		default: // time ends it
			return false, nil
		}
	}
	return true, nil
}

// ChildReason says what a run that waits for child runs waits for in truth, ""
// if none of them waits.
func (v *RunView) ChildReason(children func(id string) (*RunView, error)) (string, error) {
	for _, t := range v.Tasks {
		if t.WaitsFor != "run" || t.ChildRun == "" {
			continue
		}
		child, err := children(t.ChildRun)
		if err != nil {
			return "", err
		}
		reason := child.Reason
		if child.WaitsFor == "run" {
			if reason, err = child.ChildReason(children); err != nil {
				return "", err
			}
		}
		switch {
		case reason == "":
		case child.Status == Paused || child.Status == Parked: // a sentence
			return fmt.Sprintf("the run %s, which is %s: %s", child.ID, child.Status, reason), nil
		default:
			return fmt.Sprintf("the run %s, which waits for %s", child.ID, reason), nil
		}
	}
	return "", nil
}
