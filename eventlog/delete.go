package eventlog

import (
	"encoding/json"
	"fmt"
	"slices"
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

// Delete removes streams, all or none: their records, their keys, their
// checkpoints, and the values that no other stream uses. In the place of each it
// leaves one StreamDeleted record, which followers see like any other. Delete is
// atomic and durable when it returns. Deleting a stream that has no records, or
// is deleted already, does nothing. The stream can be appended to again, but
// nobody should.
func (l *Log) Delete(streams ...string) error {
	for _, name := range streams {
		if err := checkStream(name); err != nil {
			return fmt.Errorf("delete: %w", err)
		}
	}
	if len(streams) == 0 {
		return nil
	}
	_, err := l.submit(&request{delete: streams})
	return err
}

// delete makes the change, which is empty before, a deletion.
func (w *writer) delete(streams []string) error {
	r := replacing{writer: w}
	var all []*deletion
	for _, name := range streams {
		if slices.ContainsFunc(all, func(d *deletion) bool { return d.stream == name }) {
			continue
		}
		all = append(all, &deletion{writer: w, stream: name, refs: make(map[Hash]struct{})})
	}
	if err := abreast(len(all), func(i int) error {
		if err := all[i].collect(); err != nil {
			return fmt.Errorf("delete stream %q: %w", all[i].stream, err)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, d := range all {
		if err := r.delete(d); err != nil {
			return fmt.Errorf("delete stream %q: %w", d.stream, err)
		}
	}
	if err := r.write(); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

// delete lets a stream go that was collected.
func (r *replacing) delete(d *deletion) error {
	if len(d.seqs) == d.marks {
		return nil // nothing there, or deleted already
	}
	h, err := r.writer.head(d.stream)
	if err != nil {
		return err
	}
	r.marks = append(r.marks, ending{h, d.covered})
	r.gone.streams = append(r.gone.streams, d.stream)
	r.gone.records = append(r.gone.records, d.seqs...)
	r.gone.claims = append(r.gone.claims, d.claims...)
	r.gone.checkpoints = append(r.gone.checkpoints, d.stream)
	for ref := range d.refs {
		r.gone.uses = append(r.gone.uses, use{ref, d.stream})
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
		for _, w := range p.rows {
			r, err := dec.record(w)
			if err != nil {
				return err
			}
			if err := d.record(r, dec.claimed); err != nil {
				return err
			}
		}
		if !p.full() {
			return nil
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

// replacing is a change by which records go and marks come.
type replacing struct {
	writer *writer
	gone   drops
	marks  []ending
	bytes  uint64 // in the values that go
}

// ending is a stream that gets a mark, and what that covers.
type ending struct {
	*head
	covered spans
}

// write makes the change, which is empty before. It changes nothing unless it
// succeeds.
func (r *replacing) write() error {
	w := r.writer
	if err := r.findValues(); err != nil {
		return err
	}
	var marks []Record
	lists := map[Hash][]byte{}
	for _, e := range r.marks {
		mark, list, err := e.mark()
		if err != nil {
			return err
		}
		for _, ref := range mark.Refs {
			lists[ref] = list
			if _, err := w.has(ref); err != nil {
				return err
			}
		}
		marks = append(marks, mark)
		w.change.marked = append(w.change.marked, e.stream)
	}
	w.change.drop = r.gone
	for _, v := range r.gone.values {
		w.known.delete(v)
	}
	w.sums.records -= uint64(len(r.gone.records))
	w.sums.values -= uint64(len(r.gone.values))
	w.sums.valueBytes -= r.bytes
	for h, list := range lists {
		w.addValue(h, list)
	}
	for i := range marks {
		w.addRecord(&marks[i])
	}
	return nil
}

// findValues finds the values that no other stream uses.
func (r *replacing) findValues() error {
	var asked []Hash
	seen := map[Hash]bool{}
	for _, u := range r.gone.uses {
		if !seen[u.hash] {
			seen[u.hash] = true
			asked = append(asked, u.hash)
		}
	}
	sizes := make([]int, len(asked)) // -1: of one that stays
	if err := abreast(len(asked), func(i int) (err error) {
		sizes[i], err = r.unused(asked[i])
		return err
	}); err != nil {
		return err
	}
	for i, size := range sizes {
		if size >= 0 {
			r.gone.values = append(r.gone.values, asked[i])
			r.bytes += uint64(size)
		}
	}
	return nil
}

// unused returns the length of a value that no other stream uses, -1 if one does.
func (r *replacing) unused(h Hash) (int, error) {
	users, err := r.writer.store.users(h, len(r.gone.streams)+1)
	if err != nil || slices.ContainsFunc(users, func(s string) bool { return !slices.Contains(r.gone.streams, s) }) {
		return -1, err
	}
	v, err := r.writer.store.value(h)
	if err != nil {
		return -1, fmt.Errorf("value %s: %w", h, err)
	}
	return len(v), nil
}

// mark makes the record that stands for what goes, and the list of what it
// covers.
func (e ending) mark() (r Record, covers []byte, err error) {
	covers = appendSpans(nil, e.covered)
	data := Deletion{Last: e.seq, Sum: e.sum, Records: e.covered.count()}
	r = Record{Time: time.Now(), Stream: e.stream, Type: StreamDeleted}
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
