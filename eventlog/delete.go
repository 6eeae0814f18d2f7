package eventlog

import (
	"encoding/json"
	"fmt"
	"time"
)

// StreamDeleted is the type of the record that Delete leaves in a stream.
const StreamDeleted = "stream.deleted"

// Deletion is the data, as JSON, of a StreamDeleted record. It stands for the
// records that are gone, and the stream's chain of sums goes on from Sum.
type Deletion struct {
	// Last is the last record that went, and Sum the stream's sum up to it.
	Last Seq  `json:"last"`
	Sum  Hash `json:"sum"`
	// Records says how many went, in this deletion and in earlier ones of
	// the same stream.
	Records uint64 `json:"records"`
	// Covers lists their sequence numbers (the format is drawn in doc.go).
	// A list over inlineCovers bytes is a value, the record's only ref.
	Covers []byte `json:"covers,omitempty"`
}

// inlineCovers is how long a list of deleted records may be inside the record.
const inlineCovers = 1 << 10

// Delete removes a stream: its records, its keys, its checkpoint, and the
// values that no other stream uses. In their place it leaves one StreamDeleted
// record, which followers see like any other. Delete is atomic and durable when
// it returns. Deleting a stream that has no records, or is deleted already, does
// nothing. The stream can be appended to again, but nobody should.
func (l *Log) Delete(stream string) error {
	if err := checkStream(stream); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	_, err := l.submit(&request{delete: stream})
	return err
}

// delete makes the change, which is empty before, a deletion.
func (w *writer) delete(stream string) error {
	h, err := w.head(stream)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	d := deletion{writer: w, stream: stream, refs: make(map[Hash]struct{})}
	if err := d.collect(); err != nil {
		return fmt.Errorf("delete stream %q: %w", stream, err)
	}
	if len(d.seqs) == d.marks {
		return nil // nothing there, or deleted already
	}
	if err := d.findValues(); err != nil {
		return fmt.Errorf("delete stream %q: %w", stream, err)
	}
	if err := d.write(h); err != nil {
		return fmt.Errorf("delete stream %q: %w", stream, err)
	}
	return nil
}

// deletion gathers what goes with a stream.
type deletion struct {
	writer  *writer
	stream  string
	seqs    []Seq
	covered spans // seqs, and what an earlier mark covered
	marks   int   // how many of seqs are marks
	refs    map[Hash]struct{}
	claims  []string

	released
}

// collect reads the whole stream.
func (d *deletion) collect() error {
	var (
		p   page
		dec decoder
	)
	for next := Seq(1); ; next = d.seqs[len(d.seqs)-1] + 1 {
		p.reset()
		if err := d.writer.store.stream(d.stream, next, d.writer.sums.last, &p); err != nil {
			return err
		}
		if len(p.rows) == 0 {
			return nil
		}
		for _, w := range p.rows {
			r, err := dec.record(w)
			if err != nil {
				return err
			}
			if err := d.record(r, dec.claimed); err != nil {
				return err
			}
		}
	}
}

func (d *deletion) record(r Record, claimed []bool) error {
	if r.Type == StreamDeleted {
		d.marks++
		earlier, err := readCovers(d.writer.store, r)
		if err != nil {
			return err
		}
		d.covered = earlier // a mark is the first record of its stream
	}
	d.seqs = append(d.seqs, r.Seq)
	d.covered = d.covered.add(r.Seq)
	for _, h := range r.Refs {
		d.refs[h] = struct{}{}
	}
	for i, k := range r.Keys {
		if claimed[i] {
			d.claims = append(d.claims, k)
		}
	}
	return nil
}

// findValues finds the values that nobody else uses.
func (d *deletion) findValues() error {
	for h := range d.refs {
		if err := d.writer.release(use{h, d.stream}, &d.released); err != nil {
			return err
		}
	}
	return nil
}

// released are values that go, and the bytes in them.
type released struct {
	values []Hash
	bytes  uint64
}

// release adds a value that only this stream uses.
func (w *writer) release(u use, to *released) error {
	users, err := w.store.users(u.hash, 2)
	if err != nil || len(users) != 1 || users[0] != u.stream {
		return err
	}
	v, err := w.store.value(u.hash)
	if err != nil {
		return fmt.Errorf("value %s: %w", u.hash, err)
	}
	to.values = append(to.values, u.hash)
	to.bytes += uint64(len(v))
	return nil
}

// write puts all of it into the change, and the mark.
func (d *deletion) write(h *head) error {
	gone := drops{
		streams:     []string{d.stream},
		records:     d.seqs,
		claims:      d.claims,
		checkpoints: []string{d.stream},
	}
	for ref := range d.refs {
		gone.uses = append(gone.uses, use{ref, d.stream})
	}
	return d.writer.replace(h, d.covered, gone, d.released)
}

// replace makes the change, which is empty before: what is gone goes, and at the
// end of the stream h comes the mark that covers it. It changes nothing unless
// it succeeds.
func (w *writer) replace(h *head, covered spans, gone drops, values released) error {
	mark, covers, err := h.mark(covered)
	if err != nil {
		return err
	}
	for _, ref := range mark.Refs {
		if _, err := w.has(ref); err != nil {
			return err
		}
	}
	gone.values = values.values
	w.change.drop, w.change.marked = gone, h.stream
	for _, v := range gone.values {
		w.known.delete(v)
	}
	w.sums.records -= uint64(len(gone.records))
	w.sums.values -= uint64(len(gone.values))
	w.sums.valueBytes -= values.bytes
	for _, ref := range mark.Refs {
		w.addValue(ref, covers)
	}
	w.addRecord(&mark)
	return nil
}

// mark makes the record that stands for what goes.
func (h *head) mark(covered spans) (r Record, covers []byte, err error) {
	covers = appendSpans(nil, covered)
	data := Deletion{Last: h.seq, Sum: h.sum, Records: covered.count()}
	r = Record{Time: time.Now(), Stream: h.stream, Type: StreamDeleted}
	if len(covers) <= inlineCovers {
		data.Covers = covers
	} else {
		r.Refs = []Hash{Sum(covers)}
	}
	r.Data, err = json.Marshal(data)
	return r, covers, err
}

// readCovers returns the records that a mark stands for.
func readCovers(s store, mark Record) (spans, error) {
	d, err := ParseDeletion(mark)
	if err != nil {
		return nil, err
	}
	if len(mark.Refs) > 0 {
		if d.Covers, err = s.value(mark.Refs[0]); err != nil {
			return nil, fmt.Errorf("record %d: value %s: %w", mark.Seq, mark.Refs[0], err)
		}
	}
	covered, err := parseSpans(d.Covers)
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", mark.Seq, err)
	}
	return covered, nil
}

// ParseDeletion reads the data of a StreamDeleted record.
func ParseDeletion(r Record) (d Deletion, err error) {
	if err := json.Unmarshal(r.Data, &d); err != nil {
		return d, fmt.Errorf("record %d: read the mark of a deletion: %w", r.Seq, err)
	}
	return d, nil
}
