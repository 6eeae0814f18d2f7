package eventlog

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// This file reads single streams out of Pebble: the stream's entries say which
// records it has, and the records lie in the order of the whole log.

func (s *pebbleStore) stream(name string, from, to Seq, p *page) (err error) {
	entries, err := s.reader.NewIter(&pebble.IterOptions{LowerBound: beforeStream(name), UpperBound: beyondStream(name)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, entries.Close()) }()
	records := recordReader{from: s.reader, to: to}
	defer func() { err = errors.Join(err, records.close()) }()

	// The last entry that begins at from or before may reach beyond it.
	ok := entries.SeekLT(appendStreamKey(nil, name, from+1))
	if !ok {
		ok = entries.First()
	}
	for ; ok && !p.full(); ok = entries.Next() {
		first, mark, list, err := readEntry(entries)
		if err != nil || first > to {
			return err
		}
		for q := range list.all() {
			if q > to || p.full() {
				return nil
			}
			if q < from {
				continue
			}
			if err := records.read(q, p); err != nil {
				return err
			}
			p.rows[len(p.rows)-1].mark = mark
		}
	}
	return entries.Error()
}

// readEntry reads the stream entry where the iterator stands.
func readEntry(it *pebble.Iterator) (first Seq, mark bool, list spans, err error) {
	name, first, err := splitStreamKey(it.Key())
	if err != nil {
		return 0, false, nil, err
	}
	val, err := it.ValueAndErr()
	if err != nil {
		return 0, false, nil, err
	}
	mark, list, err = parseEntry(first, val)
	if err != nil {
		return 0, false, nil, fmt.Errorf("entry %d of stream %q: %w", first, name, err)
	}
	return first, mark, list, nil
}

// recordReader reads records of one stream in ascending order.
type recordReader struct {
	from pebble.Reader
	to   Seq
	it   *pebble.Iterator
	at   Seq // where it stands
	key  []byte
}

func (r *recordReader) read(q Seq, p *page) (err error) {
	ok := false
	switch {
	case r.it == nil:
		o := pebble.IterOptions{LowerBound: appendRecordKey(nil, q), UpperBound: appendRecordKey(nil, r.to+1)}
		if r.it, err = r.from.NewIter(&o); err != nil {
			return err
		}
		ok = r.it.First()
	case q == r.at+1:
		ok = r.it.Next()
	default:
		r.key = appendRecordKey(r.key[:0], q)
		ok = r.it.SeekGE(r.key)
	}
	r.at = q
	if !ok && r.it.Error() != nil {
		return r.fail(q, r.it.Error())
	}
	if r.key = appendRecordKey(r.key[:0], q); !ok || string(r.it.Key()) != string(r.key) {
		return r.fail(q, errMissing)
	}
	body, err := r.it.ValueAndErr()
	if err != nil {
		return r.fail(q, err)
	}
	p.add(q, body)
	return nil
}

func (r *recordReader) fail(q Seq, err error) error {
	if err != errMissing {
		err = fmt.Errorf("can't be read: %w", err)
	}
	return &recordError{q, err}
}

func (r *recordReader) close() error {
	if r.it == nil {
		return nil
	}
	return r.it.Close()
}

func (s *pebbleStore) head(name string, to Seq) (row, error) {
	q, err := s.headSeq(name, to)
	if err != nil || q == 0 {
		return row{}, err
	}
	body, ok, err := s.get(appendRecordKey(nil, q))
	switch {
	case err != nil:
		return row{}, fmt.Errorf("record %d can't be read: %w", q, err)
	case !ok:
		return row{}, &recordError{q, errMissing}
	}
	return row{seq: q, body: body}, nil
}

// headSeq returns the last record of a stream up to to, 0 if there is none.
func (s *pebbleStore) headSeq(name string, to Seq) (last Seq, err error) {
	it, err := s.reader.NewIter(&pebble.IterOptions{LowerBound: beforeStream(name), UpperBound: beyondStream(name)})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.SeekLT(appendStreamKey(nil, name, to+1)) {
		return 0, it.Error()
	}
	_, _, list, err := readEntry(it)
	if err != nil {
		return 0, err
	}
	for _, sp := range list {
		if sp.first <= to {
			last = min(sp.last, to)
		}
	}
	return last, nil
}

func (s *pebbleStore) streams(l listing) (out []string, err error) {
	o := pebble.IterOptions{LowerBound: nameKey(tagStream, l.prefix)}
	o.UpperBound = prefixEnd(o.LowerBound)
	it, err := s.reader.NewIter(&o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := firstStream(it, l.after, l.reverse); ok && len(out) < l.limit; {
		name, _, err := splitStreamKey(it.Key())
		if err != nil {
			return nil, err
		}
		stream := string(name)
		listed, err := isListed(it, stream, l)
		if err != nil {
			return nil, err
		}
		if listed {
			out = append(out, stream)
		}
		if l.reverse {
			ok = it.SeekLT(beforeStream(stream))
		} else {
			ok = it.SeekGE(beyondStream(stream))
		}
	}
	return out, it.Error()
}

func firstStream(it *pebble.Iterator, after string, reverse bool) bool {
	switch {
	case after == "" && reverse:
		return it.Last()
	case after == "":
		return it.First()
	case reverse:
		return it.SeekLT(beforeStream(after))
	default:
		return it.SeekGE(beyondStream(after))
	}
}

// isListed tells whether the listing wants the stream, one of whose entries the
// iterator stands at. Only the first entry can be the mark of a deletion.
func isListed(it *pebble.Iterator, stream string, l listing) (bool, error) {
	if l.reverse && !it.SeekGE(beforeStream(stream)) {
		return false, it.Error()
	}
	for range 2 {
		name, first, err := splitStreamKey(it.Key())
		if err != nil || first > l.to || string(name) != stream {
			return false, err
		}
		val, err := it.ValueAndErr()
		if err != nil {
			return false, err
		}
		if l.deleted || len(val) == 0 || val[0] != entryMark {
			return true, nil
		}
		if !it.Next() {
			break
		}
	}
	return false, it.Error()
}
