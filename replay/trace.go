package replay

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// This file names runs and attempts in distributed traces. The names are made of
// what the log says, so that whoever tells of a run, before a crash or after it,
// tells of the same.

// Trace is a place in a trace, as W3C's traceparent has it.
type Trace struct {
	ID   [16]byte // of the trace
	Span [8]byte  // within it
}

// ParseTrace reads a traceparent. Text that isn't one gives false.
func ParseTrace(text string) (t Trace, ok bool) {
	parts := strings.Split(text, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || parts[0] == "ff" || len(parts[3]) != 2 || parts[0] == "00" && len(parts) != 4 {
		return t, false
	}
	return t, text == strings.ToLower(text) && unhex(t.ID[:], parts[1]) && unhex(t.Span[:], parts[2]) && t.ID != [16]byte{} && t.Span != [8]byte{}
}

func unhex(to []byte, text string) bool {
	if len(text) != 2*len(to) {
		return false
	}
	_, err := hex.Decode(to, []byte(text))
	return err == nil
}

// String is the traceparent, of a trace that is recorded.
func (t Trace) String() string { return fmt.Sprintf("00-%x-%x-01", t.ID, t.Span) }

// RunTrace is the place of a run, by its id, that has gone on after an end so often: in the
// trace that its submitter named, if that is one, or else in one of its own,
// another for each time that it goes on.
func RunTrace(store, run string, retries int, submitter string) Trace {
	name := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", store, run, retries))
	t, ok := ParseTrace(submitter)
	if !ok {
		t.ID = [16]byte(name[:16])
	}
	t.Span = [8]byte(name[16:])
	return t
}

// Attempt is the place of an attempt of a run that is at t.
func (t Trace) Attempt(task, attempt int) Trace {
	b := binary.BigEndian.AppendUint64(t.Span[:], uint64(task))
	name := sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(attempt)))
	t.Span = [8]byte(name[:8])
	return t
}
