package replay

import (
	"fmt"
	"strings"
	"time"

	"gleitzeit/eventlog"
)

// This file is about the words that a model had said when its attempt ended
// without a result (design.md, rule 9). They come in pieces, now and then, in a
// stream of their own beside the run's: nothing is decided by them and State
// knows none, so that they may go before the run does.

// textPrefix begins the name of every such stream.
const textPrefix = "text/"

// TextStream is the stream of what the attempts of a run have said.
func TextStream(run uint64) string { return fmt.Sprintf("%s%010d", textPrefix, run) }

// textOf returns the number of the run whose attempts' words the stream has.
func textOf(stream string) (uint64, bool) {
	digits, ok := strings.CutPrefix(stream, textPrefix)
	if !ok {
		return 0, false
	}
	return RunOf(runPrefix + digits)
}

// TextStreamed: an attempt has said more.
type TextStreamed struct {
	Task    int   `json:"task"`
	Attempt int   `json:"attempt"`
	Text    Value `json:"text"`          // a JSON string: what came since the last
	Bytes   int   `json:"bytes"`         // of all that the attempt has said
	Cut     bool  `json:"cut,omitempty"` // there was more than is kept
	// Tail is the end of it, for people.
	Tail string `json:"tail,omitempty"`
}

// Type is its name on disk.
func (*TextStreamed) Type() string { return "task.text" }

// describe says in words what was said.
func (e *TextStreamed) describe() string {
	return hadWritten(e.Attempt, e.Bytes, e.Tail)
}

// Words say how much it had said, and the end of that.
func (v *PartialView) Words() string { return hadWritten(v.Attempt, v.Bytes, v.Tail) }

func hadWritten(attempt, bytes int, tail string) string {
	if len(tail) < bytes {
		tail = "…" + tail
	}
	return fmt.Sprintf("attempt %d had written %d bytes: %s", attempt, bytes, tail)
}

// PartialView is what an attempt had said that came to no result.
type PartialView struct {
	Attempt int    `json:"attempt"`
	Bytes   int    `json:"bytes"`
	Tail    string `json:"tail,omitempty"` // the end of it
	Text    string `json:"text,omitempty"` // left out with the big results
	Cut     bool   `json:"cut,omitempty"`  // there was more than is kept
	// Last is when it was written.
	Last time.Time `json:"last"`
}

// texts reads what the run's attempts have said.
func texts(log *eventlog.Log, run uint64) (all []Fact, err error) {
	for rec, err := range log.ReadStream(TextStream(run), 1) {
		if err != nil {
			return nil, err
		}
		f, found, err := NewCodec(log.Value).Decode(rec)
		if err != nil {
			return nil, err
		}
		if found {
			all = append(all, f)
		}
	}
	return all, nil
}

// partial is what the task's last attempt that said something had said, unless
// the task has a result. What was said before the run was retried is another
// task's, perhaps, if it is an item's.
func (h *History) partial(task int, get func(eventlog.Hash) ([]byte, error)) (*PartialView, error) {
	if t := &h.run.Tasks[task]; t.Status == TaskIsCompleted || t.Iteration > 0 && t.Status != TaskRunning {
		return nil, nil
	}
	var v *PartialView
	var text strings.Builder
	for _, f := range h.texts {
		e := f.Event.(*TextStreamed)
		if e.Task != task || h.run.Tasks[task].Of > 0 && f.Seq < h.retriedAt() {
			continue
		}
		if v == nil || v.Attempt != e.Attempt {
			v = &PartialView{Attempt: e.Attempt}
			text.Reset()
		}
		v.Bytes, v.Tail, v.Cut, v.Last = e.Bytes, e.Tail, v.Cut || e.Cut, f.At
		piece, err := said(e.Text, get)
		if err != nil {
			return nil, err
		}
		text.WriteString(piece)
	}
	if v != nil && get != nil {
		v.Text = text.String()
	}
	return v, nil
}

// said is one piece. What is no text shows as JSON: nothing of what came must keep
// a run from being shown.
func said(v Value, get func(eventlog.Hash) ([]byte, error)) (string, error) {
	if get == nil {
		return "", nil
	}
	raw, err := v.Load(get)
	return Text(raw), err
}

// retriedAt is when the run was last retried.
func (h *History) retriedAt() (at eventlog.Seq) {
	for _, f := range h.Facts {
		if _, ok := f.Event.(*WorkflowRetried); ok {
			at = f.Seq
		}
	}
	return at
}

// unfinished are the last words of each attempt that came to no result, of all
// that happened.
func unfinished(all []Fact) (last []Fact) {
	type attempt struct{ task, attempt int }
	said := map[attempt]int{} // where in last
	forget := func(task, n int) {
		if i, ok := said[attempt{task, n}]; ok {
			last[i].Event = nil
			delete(said, attempt{task, n})
		}
	}
	for _, f := range all {
		switch e := f.Event.(type) {
		case *TextStreamed:
			forget(e.Task, e.Attempt)
			said[attempt{e.Task, e.Attempt}] = len(last)
		case *TaskCompleted:
			forget(e.Task, e.Attempt)
		case *TaskIterated:
			forget(e.Task, e.Attempt)
		}
		last = append(last, f)
	}
	kept := last[:0]
	for _, f := range last {
		if f.Event != nil {
			kept = append(kept, f)
		}
	}
	return kept
}
