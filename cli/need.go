package cli

import (
	"fmt"
	"strconv"
	"strings"

	"gleitzeit/replay"
)

// This file says in words what a run needs of which nothing happens by itself.

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
