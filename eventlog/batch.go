package eventlog

import (
	"fmt"
	"strings"
)

// The bounds of what one Append takes. They keep records small enough to be
// folded by the million and a batch small enough to be held in memory.
const (
	// MaxData is the most bytes that Record.Data may hold.
	MaxData = 64 << 10
	// MaxName is the most bytes that a stream, a type or a key may have.
	MaxName = 1 << 10
	// MaxBatch is the most bytes that the data and values of one batch may
	// have together.
	MaxBatch = 1 << 30
)

// Batch is what one Append makes durable: all of it or nothing.
// The zero Batch is ready for use and can be Reset and used again.
type Batch struct {
	records []Record
	values  map[Hash][]byte
}

// Add puts a record at the end of the batch. The batch keeps r's slices
// until Append has returned; the caller must not change them meanwhile.
func (b *Batch) Add(r Record) { b.records = append(b.records, r) }

// Put puts a value into the batch and returns its name. A value that the log
// has already is kept once. A record of the batch must list it in Refs, else
// nothing would tell when the value may go, and Append refuses the batch.
func (b *Batch) Put(value []byte) Hash {
	h := Sum(value)
	if b.values == nil {
		b.values = make(map[Hash][]byte)
	}
	b.values[h] = value
	return h
}

// Len returns the number of records in the batch.
func (b *Batch) Len() int { return len(b.records) }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.records)
	b.records = b.records[:0]
	clear(b.values)
}

// check finds what is wrong with the batch in itself, before the log is asked.
func (b *Batch) check() error {
	if len(b.records) == 0 {
		return fmt.Errorf("append: the batch holds no record")
	}
	size, listed := 0, 0
	for i := range b.records {
		r := &b.records[i]
		if err := r.check(); err != nil {
			return fmt.Errorf("append: record %d of %d: %w", i+1, len(b.records), err)
		}
		size += len(r.Data)
		listed += len(r.Refs)
	}
	for _, v := range b.values {
		size += len(v)
	}
	if size > MaxBatch {
		return fmt.Errorf("append: the batch has %d bytes, the limit is %d", size, MaxBatch)
	}
	if len(b.values) > 0 {
		return b.checkListed(listed)
	}
	return nil
}

// checkListed makes sure that each value is listed by a record.
func (b *Batch) checkListed(listed int) error {
	seen := make(map[Hash]struct{}, listed)
	for i := range b.records {
		for _, h := range b.records[i].Refs {
			seen[h] = struct{}{}
		}
	}
	for h := range b.values {
		if _, ok := seen[h]; !ok {
			return fmt.Errorf("append: no record of the batch lists value %s in its refs", h)
		}
	}
	return nil
}

// check finds what is wrong with a record in itself.
func (r *Record) check() error {
	if err := checkStream(r.Stream); err != nil {
		return err
	}
	if r.Stream == Folded {
		return fmt.Errorf("stream %q is the log's own", r.Stream)
	}
	if r.Type == "" || len(r.Type) > MaxName {
		return fmt.Errorf("stream %q: type %.40q must have 1 to %d bytes", r.Stream, r.Type, MaxName)
	}
	if r.Type == StreamDeleted {
		return fmt.Errorf("stream %q: only Delete writes %s", r.Stream, StreamDeleted)
	}
	if len(r.Data) > MaxData {
		return fmt.Errorf("stream %q: %s has %d bytes of data, the limit is %d: put it into a value",
			r.Stream, r.Type, len(r.Data), MaxData)
	}
	for _, k := range r.Keys {
		if k == "" || len(k) > MaxName {
			return fmt.Errorf("stream %q: key %.40q must have 1 to %d bytes", r.Stream, k, MaxName)
		}
	}
	return nil
}

// checkStream tells whether a stream may have this name.
func checkStream(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a stream must have a name")
	case len(name) > MaxName:
		return fmt.Errorf("stream %.40q… has %d bytes in its name, the limit is %d", name, len(name), MaxName)
	case strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("stream %q has a NUL byte in its name", name)
	}
	return nil
}
