package eventlog

import (
	"fmt"
	"slices"
)

// This file checks, for Verify, that the other tables agree with the records.

// records checks that the log has no gap, and that its streams list every
// record.
func (v *verifier) records() error {
	var (
		p       page
		dec     decoder
		missing spans
	)
	next := Seq(1)
	for next <= v.totals.last {
		if err := v.stopped(); err != nil {
			return err
		}
		p.reset()
		err := v.store.records(next, v.totals.last, &p)
		for _, w := range p.rows {
			missing = v.gap(missing, next, w.seq)
			v.oneRecord(&dec, w)
			next = w.seq + 1
		}
		switch {
		case err != nil: // a record that can't be read, or several
			missing = v.gap(missing, next, next+1)
			next++
		case len(p.rows) == 0:
			missing = v.gap(missing, next, v.totals.last+1)
			next = v.totals.last + 1
		}
	}
	for _, m := range missing {
		v.problem("%s missing, and no deletion covers the gap", m)
	}
	return nil
}

// gap adds the records from..before, which are not there, to missing, but for
// those that were deleted or that their stream has told about already.
func (v *verifier) gap(missing spans, from, before Seq) spans {
	for q := from; q < before; q++ {
		if !v.covered.has(q) && !v.listed.has(q) {
			missing = missing.add(q)
		}
	}
	return missing
}

func (v *verifier) oneRecord(dec *decoder, w row) {
	v.report.Records++
	if v.covered.has(w.seq) {
		v.problem("record %d is there, although a deletion covers it", w.seq)
	}
	if v.listed.has(w.seq) {
		return
	}
	r, err := dec.record(w)
	if err != nil {
		v.problem("%v", err)
		return
	}
	v.problem("stream %q does not list its record %d", r.Stream, w.seq)
}

func (s span) String() string {
	if s.first == s.last {
		return fmt.Sprintf("record %d is", s.first)
	}
	return fmt.Sprintf("records %d to %d are", s.first, s.last)
}

// values checks each value against its hash.
func (v *verifier) values() error {
	var after Hash
	for {
		if err := v.stopped(); err != nil {
			return err
		}
		hashes, err := v.store.values(after, pageRows)
		if err != nil {
			v.problem("the list of values can't be read beyond %s: %v", after, err)
			return nil
		}
		for _, h := range hashes {
			if err := v.stopped(); err != nil {
				return err
			}
			v.oneValue(h)
			after = h
		}
		if len(hashes) == 0 {
			return nil
		}
	}
}

func (v *verifier) oneValue(h Hash) {
	v.report.Values++
	users, err := v.store.users(h, 1)
	if err != nil || len(users) == 0 {
		v.problem("value %s is used by no stream%s", h, because(err))
	}
	b, err := v.store.value(h)
	switch {
	case err != nil:
		v.problem("value %s%s can't be read: %v", h, usedBy(users), err)
	case Sum(b) != h:
		v.problem("value %s%s is not what its hash says", h, usedBy(users))
	}
	v.report.ValueBytes += uint64(len(b))
}

func usedBy(streams []string) string {
	if len(streams) == 0 {
		return ""
	}
	return fmt.Sprintf(" (of stream %q)", streams[0])
}

// useRows checks that no use is listed beyond those that the streams have: each
// of these is listed, so the numbers must be the same.
func (v *verifier) useRows() error {
	var (
		after use
		count uint64
	)
	for {
		if err := v.stopped(); err != nil {
			return err
		}
		some, err := v.store.uses(after, pageRows)
		if err != nil {
			v.problem("the list of uses can't be read beyond value %s, stream %q: %v", after.hash, after.stream, err)
			return nil
		}
		for _, u := range some {
			if ok, err := v.store.hasValue(u.hash); err != nil || !ok {
				v.problem("stream %q is listed as a user of value %s, which is missing%s", u.stream, u.hash, because(err))
			}
			after = u
		}
		count += uint64(len(some))
		if len(some) == 0 {
			break
		}
	}
	if count != v.uses {
		v.problem("%d uses of values are listed, the records have %d", count, v.uses)
	}
	return nil
}

// claims checks that whoever has a key has asked for it.
func (v *verifier) claims() error {
	after := ""
	for {
		if err := v.stopped(); err != nil {
			return err
		}
		some, err := v.store.claims(after, pageRows)
		if err != nil {
			v.problem("the list of keys can't be read beyond %q: %v", after, err)
			return nil
		}
		for _, c := range some {
			v.report.Keys++
			v.oneClaim(c)
			after = c.key
		}
		if len(some) == 0 {
			return nil
		}
	}
}

func (v *verifier) oneClaim(c claim) {
	var (
		p   page
		dec decoder
	)
	err := v.store.records(c.seq, c.seq, &p)
	if err != nil || len(p.rows) == 0 {
		v.problem("key %q belongs to record %d of stream %q, which is missing%s", c.key, c.seq, c.stream, because(err))
		return
	}
	r, err := dec.record(p.rows[0])
	if err != nil {
		return // its stream has told
	}
	if r.Stream != c.stream || !slices.Contains(r.Keys, c.key) {
		v.problem("key %q belongs to record %d of stream %q, which does not ask for it", c.key, c.seq, c.stream)
	}
}

func (v *verifier) checkpoints() error {
	after := ""
	for {
		if err := v.stopped(); err != nil {
			return err
		}
		some, err := v.store.checkpoints("", after, pageRows)
		if err != nil {
			v.problem("the checkpoints can't be read beyond stream %q: %v", after, err)
			return nil
		}
		for _, c := range some {
			v.report.Checkpoints++
			if c.At > v.totals.last {
				v.problem("the checkpoint of stream %q is of record %d, but the last one is %d", c.Stream, c.At, v.totals.last)
			}
			after = c.Stream
		}
		if len(some) == 0 {
			return nil
		}
	}
}

func (v *verifier) compareTotals() {
	last, err := v.store.last()
	if err != nil || last != v.totals.last {
		v.problem("the totals end at record %d, but the last one is %d%s", v.totals.last, last, because(err))
	}
	got := totals{v.totals.last, v.report.Records, v.report.Values, v.report.ValueBytes}
	if got != v.totals {
		v.problem("the totals say %d records and %d values of %d bytes, but there are %d and %d of %d",
			v.totals.records, v.totals.values, v.totals.valueBytes, got.records, got.values, got.valueBytes)
	}
}
