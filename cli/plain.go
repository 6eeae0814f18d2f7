package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"gleitzeit/replay"
)

// This file shows runs as plain lines, for pipes and logs.

// plain is the view of one line for each thing that is worth one.
type plain struct {
	print *printer
	many  bool // several runs are followed: say which one a line is about
}

func (v *plain) entry(t *track, e replay.Entry) error {
	if text := describe(v.print.errInk, e); text != "" {
		if v.many {
			text = v.print.errInk.faint(t.id+":") + " " + text
		}
		v.print.say("%s", text)
	}
	return nil
}

func (v *plain) tick()            {}
func (v *plain) note(text string) { v.print.say("%s", text) }
func (v *plain) close()           {}

// describe puts an entry into a line, "" if it isn't worth one.
func describe(i ink, e replay.Entry) string {
	text := line(e.Text, 1000)
	switch e.Event.(type) {
	case *replay.WorkflowSubmitted:
		return i.faint("run "+e.Run) + mockedBy(i, e.Event.(*replay.WorkflowSubmitted).Mocked)
	case *replay.QuestionAsked: // tellQuestion does
		return ""
	case *replay.TaskStarted, *replay.TaskDue, *replay.EvaluationRequested, *replay.ConditionMet, *replay.TaskRepeating, *replay.WorkflowInterrupted, *replay.WorkflowEnded:
		return ""
	case *replay.TaskExpanded:
		text = strings.TrimPrefix(text, "has ")
	case *replay.TaskCompleted:
		text = i.green("completed") + strings.TrimPrefix(text, "completed")
	case *replay.TaskFailed:
		text = i.red("failed") + strings.TrimPrefix(text, "failed")
	case *replay.TaskSkipped:
		text = i.faint(text)
	case *replay.TaskRetrying, *replay.TaskInDoubt, *replay.TaskCancelled, *replay.TaskInterrupted, *replay.WorkflowParked,
		*replay.TaskWaiting, *replay.WorkflowPaused:
		text = i.yellow(text)
	}
	if e.Task == "" {
		return fmt.Sprintf("run %s: %s", e.Run, text)
	}
	return fmt.Sprintf("task %s: %s", line(e.Task, 200), text)
}

// mockedBy says that not all of a run is real, "" if it is.
func mockedBy(i ink, by string) string {
	if by == "" {
		return ""
	}
	return i.yellow(", mocked by " + line(by, 100))
}

// events is the view of `-o jsonl`: each entry as it is, on standard output.
type events struct {
	print *printer
}

func (v *events) entry(_ *track, e replay.Entry) error {
	encoder := json.NewEncoder(v.print.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(e)
}

func (v *events) tick()            {}
func (v *events) note(text string) { v.print.say("%s", text) }
func (v *events) close()           {}

// silent is the view of `-q`.
type silent struct{}

func (silent) entry(*track, replay.Entry) error { return nil }
func (silent) tick()                            {}
func (silent) note(string)                      {}
func (silent) close()                           {}

// view chooses how the runs are shown.
func (s *session) view(tracks []*track) view {
	p := s.print
	switch {
	case p.format == "jsonl":
		return &events{p}
	case p.quiet:
		return silent{}
	case len(tracks) == 1 && bool(p.errInk):
		return newLive(s.env.stderr, p.errInk, tracks[0])
	}
	return &plain{p, len(tracks) > 1}
}
