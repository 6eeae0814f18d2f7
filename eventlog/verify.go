package eventlog

import (
	"context"
	"errors"
	"fmt"
)

// Report is what Verify found.
type Report struct {
	// Last is the last record; the log was checked up to it.
	Last Seq
	// The counts of what is there. Deleted counts the records that marks of
	// deletions stand for; Streams counts deleted streams too.
	Streams, Records, Deleted, Values, ValueBytes, Keys, Checkpoints uint64
	// Problems says in words what is wrong and where, in no special order.
	// None means that the log is sound.
	Problems []string
}

// Verify reads the whole log and checks it: no record is missing that no
// deletion covers; each stream's sums follow from its records, so that none of
// them was changed, lost or moved; every value is what its hash says and is used
// by somebody; every index agrees with the records. The log can be used
// meanwhile; what is checked is the log at one moment. It takes about 5 µs for
// each record and reads each value. The error is that of ctx, or ErrClosed, or
// says why checking could not begin: damage is in the report.
func (l *Log) Verify(ctx context.Context) (Report, error) {
	if err := l.enter(); err != nil {
		return Report{}, err
	}
	defer l.leave()
	view, err := l.store.view()
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	v := verifier{store: view, ctx: ctx, ended: l.ended}
	err = v.run()
	return v.report, errors.Join(err, view.close())
}

// verifier checks one view of a store. It goes on after each problem.
type verifier struct {
	store  store
	ctx    context.Context
	ended  <-chan struct{}
	totals totals
	report Report

	listed  bits   // records that their stream's entries list
	covered bits   // records that a mark of a deletion stands for
	uses    uint64 // that the records have
}

// problem notes one, on one line.
func (v *verifier) problem(format string, args ...any) {
	v.report.Problems = append(v.report.Problems, firstLine(fmt.Errorf(format, args...)))
}

// stopped returns why checking must end early.
func (v *verifier) stopped() error {
	select {
	case <-v.ended:
		return ErrClosed
	default:
		return v.ctx.Err()
	}
}

func (v *verifier) run() (err error) {
	if v.totals, err = v.store.totals(); err != nil {
		v.problem("totals: %v", err)
	}
	v.report.Last = v.totals.last
	for _, part := range []func() error{
		v.streams, v.records, v.values, v.useRows, v.claims, v.checkpoints,
	} {
		if err := part(); err != nil {
			return err
		}
	}
	v.compareTotals()
	return v.engine()
}

// engine lets a store that can check itself do so.
func (v *verifier) engine() error {
	s, ok := v.store.(interface {
		check(context.Context) ([]string, error)
	})
	if !ok {
		return nil
	}
	problems, err := s.check(v.ctx)
	for _, p := range problems {
		v.problem("the database says: %s", p)
	}
	if err != nil && v.ctx.Err() == nil {
		v.problem("the database can't check itself: %v", err)
	}
	return v.ctx.Err()
}

// streams checks every stream by itself.
func (v *verifier) streams() error {
	after := ""
	for {
		names, err := v.store.streams(listing{after: after, to: v.totals.last, limit: pageRows, deleted: true})
		if err != nil {
			v.problem("the list of streams can't be read beyond %q: %v", after, err)
			return nil
		}
		for _, name := range names {
			s := streamVerifier{verifier: v, name: name, refs: make(map[Hash]struct{})}
			if err := s.run(); err != nil {
				return err
			}
			v.report.Streams++
			v.uses += uint64(len(s.refs))
			after = name
		}
		if len(names) == 0 {
			return nil
		}
	}
}

// streamVerifier follows one stream's chain.
type streamVerifier struct {
	*verifier
	name   string
	decode decoder
	refs   map[Hash]struct{}
	count  int
	sum    Hash // of the record before
	broken bool // the record before can't be read, so its sum isn't known
}

func (s *streamVerifier) run() error {
	var p page
	for next := Seq(1); ; {
		if err := s.stopped(); err != nil {
			return err
		}
		p.reset()
		// One beyond the last, to see whether an entry goes too far.
		err := s.store.stream(s.name, next, s.totals.last+1, &p)
		for _, w := range p.rows {
			s.record(w)
			next = w.seq + 1
		}
		var one *recordError
		switch {
		case errors.As(err, &one):
			s.lost(one)
			next = one.seq + 1
		case err != nil:
			s.problem("stream %q can't be read from record %d on: %v", s.name, next, err)
			return nil
		case len(p.rows) == 0:
			return nil
		}
	}
}

// lost notes a record that the stream lists and that can't be had.
func (s *streamVerifier) lost(e *recordError) {
	s.problem("stream %q: %v", s.name, e)
	s.listed.set(e.seq)
	s.count++
	s.broken = true
}

func (s *streamVerifier) record(w row) {
	s.count++
	s.listed.set(w.seq)
	r, err := s.decode.record(w)
	if err != nil {
		s.problem("stream %q: %v", s.name, err)
		s.broken = true
		return
	}
	if r.Stream != s.name {
		s.problem("stream %q: record %d says it belongs to stream %q", s.name, w.seq, r.Stream)
	}
	if r.Type == StreamDeleted {
		s.mark(r)
	}
	if w.mark != (r.Type == StreamDeleted) {
		s.problem("stream %q: record %d is listed wrongly: it is a %s", s.name, w.seq, r.Type)
	}
	sum, _ := bodySum(w.body)
	if !s.broken && sum != sumBody(s.sum, w.body) {
		s.problem("stream %q: record %d does not match its sum", s.name, w.seq)
	}
	s.sum, s.broken = sum, false
	for _, h := range r.Refs {
		s.ref(w.seq, h)
	}
	for i, k := range r.Keys {
		if s.decode.claimed[i] {
			s.key(w.seq, k)
		}
	}
}

// mark takes a mark of a deletion at its word: it covers records, and the
// chain goes on from the sum that it tells.
func (s *streamVerifier) mark(r Record) {
	if s.count > 1 {
		s.problem("stream %q: record %d marks a deletion, but records come before it", s.name, r.Seq)
	}
	covered, err := readCovers(s.store, r)
	if err != nil {
		s.problem("stream %q: %v", s.name, err)
		return
	}
	for q := range covered.all() {
		if q >= r.Seq {
			s.problem("stream %q: record %d says that record %d was deleted", s.name, r.Seq, q)
			return
		}
		s.covered.set(q)
		s.report.Deleted++
	}
	if d, err := ParseDeletion(r); err == nil {
		s.sum = d.Sum
	}
}

func (s *streamVerifier) ref(q Seq, h Hash) {
	if _, ok := s.refs[h]; ok {
		return
	}
	s.refs[h] = struct{}{}
	if ok, err := s.store.hasValue(h); err != nil || !ok {
		s.problem("stream %q: record %d needs value %s, which is missing%s", s.name, q, h, because(err))
	}
	if ok, err := s.store.hasUse(use{h, s.name}); err != nil || !ok {
		s.problem("stream %q: record %d needs value %s, but the value doesn't know the stream%s", s.name, q, h, because(err))
	}
}

func (s *streamVerifier) key(q Seq, k string) {
	c, ok, err := s.store.claim(k)
	if err != nil || !ok || c.seq != q {
		s.problem("stream %q: record %d took key %q, but doesn't have it%s", s.name, q, k, because(err))
	}
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// bits is a set of sequence numbers.
type bits []uint64

func (b *bits) set(q Seq) {
	for uint64(len(*b)) <= uint64(q)/64 {
		*b = append(*b, 0)
	}
	(*b)[q/64] |= 1 << (q % 64)
}

func (b bits) has(q Seq) bool { return uint64(len(b)) > uint64(q)/64 && b[q/64]&(1<<(q%64)) != 0 }
