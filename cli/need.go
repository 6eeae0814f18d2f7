package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gleitzeit/replay"
)

// This file finds out whether anything of a run happens by itself, and says in
// words what it needs if not.

// ownWaits are the kinds of waiting that only a person or another program ends.
var ownWaits = []string{"signal", "approval", "answer", "secret"}

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

// mostNeeds is how many things that a run needs are told one by one.
const mostNeeds = 10

// standing says where a live run stands and what it needs, a line for each
// thing. Commands in it name the store as ours does.
func (s *session) standing(v *replay.RunView) string {
	text := fmt.Sprintf("%s %s: %s", v.ID, s.print.errInk.yellow(string(v.Status)), s.withStore(v.Reason))
	if v.Status != replay.Waiting {
		return text
	}
	told := 0
	for _, t := range v.Tasks {
		command := remedy(v.ID, t)
		if command == "" || strings.HasSuffix(v.Reason, command) {
			continue
		}
		if told++; told > mostNeeds {
			return text + "\n  and more: gleitzeit" + s.storeFlag() + " workflow status " + v.ID
		}
		text += fmt.Sprintf("\n  %s waits for %s", line(t.ID, 60), s.withStore(t.Reason+": "+command))
	}
	return text
}

// remedy is the command that gives a task what it waits for, "" if time does.
func remedy(run string, t replay.TaskView) string {
	switch t.WaitsFor {
	case "signal":
		name, _ := strconv.QuotedPrefix(strings.TrimPrefix(t.Reason, "the signal "))
		return fmt.Sprintf("gleitzeit signal %s %s --data JSON", run, name)
	case "approval":
		if q := t.Question; q != nil {
			return replay.ApproveCommand(run, t.ID, q.Fields)
		}
		return replay.ApproveCommand(run, t.ID, nil)
	case "secret":
		return "gleitzeit resume " + run
	case "answer":
		return fmt.Sprintf("gleitzeit resume %s --retry, --fail or --skip %q", run, t.ID)
	}
	return ""
}

// withStore repeats --store in the commands of a reason.
func (s *session) withStore(reason string) string {
	return strings.ReplaceAll(clean(reason), ": gleitzeit ", ": gleitzeit"+s.storeFlag()+" ")
}

// shortReason is a reason without the command that goes on.
func shortReason(reason string) string {
	reason, _, _ = strings.Cut(reason, ": gleitzeit ")
	for _, end := range []string{"; to go on", "; to try again", "; with "} {
		reason, _, _ = strings.Cut(reason, end)
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
		switch {
		case reason == "":
		case child.Status == replay.Paused || child.Status == replay.Parked: // a sentence
			return fmt.Sprintf("the run %s, which is %s: %s", child.ID, child.Status, reason), nil
		default:
			return fmt.Sprintf("the run %s, which waits for %s", child.ID, reason), nil
		}
	}
	return "", nil
}
