package eventlog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Seq is a record's place in the log. The first record has Seq 1; there are
// no gaps that a stream.deleted record does not cover.
type Seq uint64

// Hash is the SHA-256 of a value; it is the value's name in the log.
type Hash [sha256.Size]byte

// Sum returns the name under which value would be kept.
func Sum(value []byte) Hash { return sha256.Sum256(value) }

// ParseHash reads the hexadecimal form that String writes.
func ParseHash(s string) (h Hash, err error) {
	if hex.DecodedLen(len(s)) != len(h) {
		return h, fmt.Errorf("hash %q: want %d hexadecimal digits", s, 2*len(h))
	}
	if _, err = hex.Decode(h[:], []byte(s)); err != nil {
		return h, fmt.Errorf("hash %q: %v", s, err)
	}
	return h, nil
}

// String returns the hash as lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero tells whether h names nothing.
func (h Hash) IsZero() bool { return h == Hash{} }

// MarshalText writes the hexadecimal form.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads the hexadecimal form.
func (h *Hash) UnmarshalText(b []byte) (err error) {
	*h, err = ParseHash(string(b))
	return err
}

// Record is one fact. Append fills in Seq; the rest is its writer's.
type Record struct {
	// Seq is the record's place in the whole log.
	Seq Seq
	// Time is when the writer says it happened, in UTC, to the nanosecond.
	Time time.Time
	// Stream groups the records that one reader wants together, for example
	// all of one run. It may not be empty, hold a NUL byte or be longer than
	// MaxName.
	Stream string
	// Type says how to read Data; the log does not look inside either.
	Type string
	// Data is small (MaxData at most). Anything bigger is a value: see Batch.Put.
	Data []byte
	// Refs names the values that the record needs in order to be understood.
	Refs []Hash
	// Keys are names under which the stream can be found again with Lookup,
	// for example an idempotency key. A key belongs to the first stream that
	// took it, until that stream is deleted.
	Keys []string
}
