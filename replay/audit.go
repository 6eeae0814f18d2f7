package replay

import "gleitzeit/eventlog"

// This file remembers who did what beside the runs, whose own histories say who
// did something to them.

// auditStream is the stream of Acted.
const auditStream = "audit"

// Acted: somebody did something to the store that is no fact of a run. It
// changes no state.
type Acted struct {
	Method string `json:"method"` // what was called, as system/gc
	By     string `json:"by,omitempty"`
	Text   string `json:"text"` // what came of it, for people
}

// Audit returns the last of what was done to the store beside the runs, oldest
// first; most 0 is all of it.
func Audit(log *eventlog.Log, most int) ([]Entry, error) {
	entries, codec := []Entry{}, NewCodec(log.Value)
	for rec, err := range log.ReadStream(auditStream, 1) {
		if err != nil {
			return nil, err
		}
		f, known, err := codec.Decode(rec)
		if err != nil {
			return nil, err
		}
		if !known {
			continue
		}
		if most > 0 && len(entries) == 2*most {
			entries = append(entries[:0], entries[most:]...)
		}
		entries = append(entries, describeActed(f))
	}
	if most > 0 {
		entries = entries[max(0, len(entries)-most):]
	}
	return entries, nil
}

func describeActed(f Fact) Entry {
	e := f.Event.(*Acted)
	return Entry{Seq: f.Seq, Time: f.At, Type: e.Type(), Event: e, Text: e.Method + by(e.By) + ": " + e.Text}
}
