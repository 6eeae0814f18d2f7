package cli

import (
	"fmt"
	"slices"
	"strings"

	"gleitzeit/replay"
)

// This file finds out whether anything of a run happens by itself, and says in
// words what it needs if not.

// ownWaits are the kinds of waiting that only a person or another program ends.
var ownWaits = []string{"signal", "approval", "answer"}

// needsPerson tells whether nothing of a run goes on until a person does
// something. interrupted tells that we know the run to rest; without that, a
// run without a process is one that changes hands. children loads child runs.
func needsPerson(v *replay.RunView, interrupted bool, children func(id string) (*replay.RunView, error)) (bool, error) {
	rests := v.Status == replay.Paused || v.Status == replay.Parked || v.WaitsFor == "process" && interrupted
	if !rests && (v.Status != replay.Waiting || v.WaitsFor == "process") {
		return false, nil
	}
	for _, t := range v.Tasks {
		switch {
		case t.Status == replay.TaskRunning || t.Status == replay.TaskEvaluates:
			return false, nil
		case rests || t.WaitsFor == "" || slices.Contains(ownWaits, t.WaitsFor):
		case t.WaitsFor == "run" && t.ChildRun != "":
			child, err := children(t.ChildRun)
			if err != nil {
				return false, err
			}
			if needs, err := needsPerson(child, false, children); err != nil || !needs {
				return false, err
			}
		default: // time ends it
			return false, nil
		}
	}
	return true, nil
}

// standing says where a live run stands and what it needs, a line for each
// thing. Commands in it name the store as ours does.
func (s *session) standing(v *replay.RunView) string {
	text := fmt.Sprintf("%s %s: %s", v.ID, s.print.errInk.yellow(string(v.Status)), s.withStore(v.Reason))
	if v.Status != replay.Waiting {
		return text
	}
	more := 0
	for _, t := range v.Tasks {
		if !slices.Contains(ownWaits, t.WaitsFor) || strings.Contains(v.Reason, fmt.Sprintf("%q", t.ID)) || strings.HasPrefix(v.Reason, t.Reason+":") {
			continue
		}
		if more++; more > 10 {
			return text + "\n  and others"
		}
		text += fmt.Sprintf("\n  %q waits too: %s", clean(t.ID), s.withStore(clean(t.Reason)))
	}
	return text
}

// withStore repeats --store in the commands of a reason.
func (s *session) withStore(reason string) string {
	return strings.ReplaceAll(clean(reason), ": gleitzeit ", ": gleitzeit"+s.storeFlag()+" ")
}

// shortReason is a reason without the command that goes on.
func shortReason(reason string) string {
	reason, _, _ = strings.Cut(reason, ": gleitzeit ")
	for _, end := range []string{"; to go on", "; to try again"} {
		reason = strings.TrimSuffix(reason, end)
	}
	return reason
}

// childReason says what a run that waits for child runs waits for in truth, ""
// if none of them waits.
func childReason(v *replay.RunView, children func(id string) (*replay.RunView, error)) (string, error) {
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
			if reason, err = childReason(child, children); err != nil {
				return "", err
			}
		}
		if reason != "" {
			return fmt.Sprintf("the run %s, which waits for %s", child.ID, reason), nil
		}
	}
	return "", nil
}
