package replay

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"gleitzeit/eventlog"
)

// MaxInline is the most bytes of JSON that an event carries itself. Anything
// bigger lies in the log once, under its hash, and the event names it.
const MaxInline = 1 << 10

// previewBytes is how much of a big value an event shows.
const previewBytes = 160

// Value is a JSON value as an event has it: itself when it is small, or the
// name of where it lies. The zero Value is absent, which reads as null.
type Value struct {
	// Inline is the value when it is at most MaxInline bytes.
	Inline json.RawMessage `json:"inline,omitempty"`
	// Big names a value that lies in the log.
	Big *BigValue `json:"big,omitempty"`
}

// BigValue is the name, size and beginning of a value in the log.
type BigValue struct {
	Hash    eventlog.Hash `json:"hash"`
	Size    int           `json:"size"`              // in bytes
	Preview string        `json:"preview,omitempty"` // the first bytes, for people
	raw     []byte        // until the value is in the log
}

// NewValue makes a Value of JSON text, which it keeps. Hashing a big one is
// the caller's time: workers do it, not the loop.
func NewValue(raw json.RawMessage) Value {
	if len(raw) == 0 {
		return Value{}
	}
	if len(raw) <= MaxInline {
		return Value{Inline: raw}
	}
	return Value{Big: &BigValue{Hash: eventlog.Sum(raw), Size: len(raw), Preview: preview(raw), raw: raw}}
}

// StoredValue makes a Value that lies in the log whatever its size, for lists
// of values in one event.
func StoredValue(raw json.RawMessage) Value {
	return Value{Big: &BigValue{Hash: eventlog.Sum(raw), Size: len(raw), raw: raw}}
}

// preview cuts raw at a rune's border.
func preview(raw []byte) string {
	n := min(previewBytes, len(raw))
	for n > 0 && !utf8.RuneStart(raw[n]) {
		n--
	}
	return string(raw[:n])
}

// IsZero tells whether the value is absent.
func (v Value) IsZero() bool { return v.Inline == nil && v.Big == nil }

// Size returns the length of the JSON text in bytes.
func (v Value) Size() int {
	if v.Big != nil {
		return v.Big.Size
	}
	return len(v.Inline)
}

// Load returns the JSON text, reading it with get when it is big. An absent
// value is nil.
func (v Value) Load(get func(eventlog.Hash) ([]byte, error)) (json.RawMessage, error) {
	if v.Big == nil {
		return v.Inline, nil
	}
	if v.Big.raw != nil {
		return v.Big.raw, nil
	}
	return get(v.Big.Hash)
}

// kept is the value as State keeps it: without the bytes that the log has.
func (v Value) kept() Value {
	if v.Big != nil && v.Big.raw != nil {
		return Value{Big: &BigValue{Hash: v.Big.Hash, Size: v.Big.Size, Preview: v.Big.Preview}}
	}
	return v
}

// put adds a big value to the batch that will hold the event, and its name to
// the record.
func (v Value) put(b *eventlog.Batch, r *eventlog.Record) {
	if v.Big == nil {
		return
	}
	if v.Big.raw != nil {
		b.Put(v.Big.raw)
	}
	r.Refs = append(r.Refs, v.Big.Hash)
}

// Same tells whether two values are the same JSON text.
func (v Value) Same(w Value) bool {
	if v.Big != nil && w.Big != nil {
		return v.Big.Hash == w.Big.Hash
	}
	return v.Big == nil && w.Big == nil && bytes.Equal(v.Inline, w.Inline)
}
