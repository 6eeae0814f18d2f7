package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleStore keeps the log in a Pebble database. See pebblekeys.go for where
// things lie and pebbleopen.go for how it is opened.
type pebbleStore struct {
	db      *pebble.DB
	reader  pebble.Reader // db, or a snapshot of it
	release func() error  // gives up what the store holds
	disk    *disk         // that it lies on, and
	acked   *ackedBook    // the evidence of what was acknowledged; nil: none is kept
}

func (s *pebbleStore) commit(c *change, sync bool) (err error) {
	b := s.db.NewBatchWithSize(c.bytes() + 64*len(c.records) + 1<<10)
	if err := s.fill(b, c); err != nil {
		return errors.Join(err, b.Close())
	}
	// Pebble panics with the error if the write-ahead log failed before.
	defer func() {
		if p := recover(); p != nil {
			failed, ok := p.(error)
			if !ok {
				panic(p)
			}
			err = failed
		}
	}()
	o := pebble.NoSync
	if sync {
		o = pebble.Sync
	}
	if err := b.Commit(o); err != nil {
		return err
	}
	if sync && c.totals != nil {
		s.note(c.totals.last)
	}
	return b.Close()
}

// note keeps the evidence that the records up to last are on disk.
func (s *pebbleStore) note(last Seq) {
	if s.acked == nil {
		return
	}
	a := acked{last: last}
	if at := s.disk.durable.Load(); at != nil {
		a.log, a.end = at.log, at.end
	}
	s.acked.note(a)
}

// fill puts the change into a Pebble batch, what goes before what comes.
func (s *pebbleStore) fill(b *pebble.Batch, c *change) error {
	w := batchWriter{b: b, key: make([]byte, 0, 64), val: make([]byte, 0, 256)}
	w.drop(&c.drop)
	for i := range c.records {
		w.key = appendRecordKey(w.key[:0], c.records[i].seq)
		w.set(w.key, c.records[i].body)
	}
	for _, t := range c.touched {
		w.key = appendStreamKey(w.key[:0], t.stream, t.seqs[0])
		w.val = appendEntry(w.val[:0], t)
		w.set(w.key, w.val)
	}
	for _, v := range c.values {
		w.set(valueKey(v.hash), v.bytes)
	}
	for _, u := range c.uses {
		w.set(useKey(u), nil)
	}
	for _, k := range c.claims {
		w.set(nameKey(tagClaim, k.key), append(appendPlace(nil, k.seq), k.stream...))
	}
	for _, p := range c.checkpoints {
		w.set(nameKey(tagCheckpoint, p.Stream), append(appendPlace(nil, p.At), p.Data...))
	}
	if c.totals != nil {
		w.val = appendTotals(w.val[:0], c.totals)
		w.set([]byte{tagTotals}, w.val)
	}
	return w.err
}

// batchWriter fills a batch; after the first error it does nothing more.
type batchWriter struct {
	b        *pebble.Batch
	key, val []byte
	err      error
}

func (w *batchWriter) set(key, val []byte) {
	if w.err == nil {
		w.err = w.b.Set(key, val, nil)
	}
}

func (w *batchWriter) delete(key []byte) {
	if w.err == nil {
		w.err = w.b.Delete(key, nil)
	}
}

func (w *batchWriter) drop(d *drops) {
	for _, q := range d.records {
		w.key = appendRecordKey(w.key[:0], q)
		w.delete(w.key)
	}
	for _, s := range d.streams {
		if w.err == nil {
			w.err = w.b.DeleteRange(beforeStream(s), beyondStream(s), nil)
		}
	}
	for _, h := range d.values {
		w.delete(valueKey(h))
	}
	for _, u := range d.uses {
		w.delete(useKey(u))
	}
	for _, k := range d.claims {
		w.delete(nameKey(tagClaim, k))
	}
	for _, name := range d.checkpoints {
		w.delete(nameKey(tagCheckpoint, name))
	}
}

// get returns a copy of what lies under key, nil and false if there is nothing.
func (s *pebbleStore) get(key []byte) ([]byte, bool, error) {
	val, done, err := s.reader.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return append([]byte{}, val...), true, done.Close()
}

func (s *pebbleStore) totals() (totals, error) {
	val, ok, err := s.get([]byte{tagTotals})
	if err != nil || !ok {
		return totals{}, err
	}
	return parseTotals(val)
}

func (s *pebbleStore) last() (q Seq, err error) {
	it, err := s.reader.NewIter(&pebble.IterOptions{LowerBound: []byte{tagRecord}, UpperBound: []byte{tagRecord + 1}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Last() {
		return 0, it.Error()
	}
	q, _, err = splitPlace(it.Key()[1:])
	return q, err
}

// scan calls row for each key from lower on and before upper until it returns
// false or an error. Both slices are row's only during the call.
func (s *pebbleStore) scan(lower, upper []byte, row func(key, val []byte) (bool, error)) (err error) {
	it, err := s.reader.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		val, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if more, err := row(it.Key(), val); err != nil || !more {
			return err
		}
	}
	return it.Error()
}

func (s *pebbleStore) records(from, to Seq, p *page) error {
	lower, upper := appendRecordKey(nil, from), appendRecordKey(nil, to+1)
	return s.scan(lower, upper, func(key, val []byte) (bool, error) {
		q, _, err := splitPlace(key[1:])
		if err != nil {
			return false, fmt.Errorf("record key %q is damaged", key)
		}
		p.add(q, val)
		return !p.full(), nil
	})
}

func (s *pebbleStore) value(h Hash) ([]byte, error) {
	val, ok, err := s.get(valueKey(h))
	if err == nil && !ok {
		err = ErrNotFound
	}
	return val, err
}

func (s *pebbleStore) hasValue(h Hash) (bool, error) { return s.has(valueKey(h)) }

func (s *pebbleStore) has(key []byte) (bool, error) {
	_, done, err := s.reader.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, done.Close()
}

func (s *pebbleStore) values(after Hash, limit int) (out []Hash, err error) {
	err = s.scan(beyond(valueKey(after)), []byte{tagValue + 1}, func(key, _ []byte) (bool, error) {
		if len(key) != 1+len(after) {
			return false, fmt.Errorf("value key %q is damaged", key)
		}
		out = append(out, Hash(key[1:]))
		return len(out) < limit, nil
	})
	return out, err
}

func (s *pebbleStore) hasUse(u use) (bool, error) { return s.has(useKey(u)) }

func (s *pebbleStore) users(h Hash, limit int) (out []string, err error) {
	prefix := useKey(use{hash: h})
	err = s.scan(prefix, prefixEnd(prefix), func(key, _ []byte) (bool, error) {
		out = append(out, string(key[len(prefix):]))
		return len(out) < limit, nil
	})
	return out, err
}

func (s *pebbleStore) uses(after use, limit int) (out []use, err error) {
	err = s.scan(beyond(useKey(after)), []byte{tagUse + 1}, func(key, _ []byte) (bool, error) {
		u, err := splitUseKey(key)
		out = append(out, u)
		return len(out) < limit, err
	})
	return out, err
}

func (s *pebbleStore) claim(key string) (claim, bool, error) {
	val, ok, err := s.get(nameKey(tagClaim, key))
	if err != nil || !ok {
		return claim{}, false, err
	}
	c, err := parseClaim(key, val)
	return c, err == nil, err
}

func (s *pebbleStore) claims(after string, limit int) (out []claim, err error) {
	err = s.scan(beyond(nameKey(tagClaim, after)), []byte{tagClaim + 1}, func(key, val []byte) (bool, error) {
		c, err := parseClaim(string(key[1:]), val)
		out = append(out, c)
		return len(out) < limit, err
	})
	return out, err
}

func parseClaim(key string, val []byte) (claim, error) {
	q, stream, err := splitPlace(val)
	if err != nil {
		return claim{}, fmt.Errorf("key %q is damaged: %w", key, err)
	}
	return claim{key, string(stream), q}, nil
}

func (s *pebbleStore) checkpoint(stream string) (Checkpoint, bool, error) {
	val, ok, err := s.get(nameKey(tagCheckpoint, stream))
	if err != nil || !ok {
		return Checkpoint{}, false, err
	}
	c, err := parseCheckpoint(stream, val)
	return c, err == nil, err
}

func (s *pebbleStore) checkpoints(prefix, after string, limit int) (out []Checkpoint, err error) {
	lower := nameKey(tagCheckpoint, prefix)
	if past := beyond(nameKey(tagCheckpoint, after)); bytes.Compare(past, lower) > 0 {
		lower = past
	}
	upper := prefixEnd(nameKey(tagCheckpoint, prefix))
	err = s.scan(lower, upper, func(key, val []byte) (bool, error) {
		c, err := parseCheckpoint(string(key[1:]), bytes.Clone(val))
		out = append(out, c)
		return len(out) < limit, err
	})
	return out, err
}

func parseCheckpoint(stream string, val []byte) (Checkpoint, error) {
	at, data, err := splitPlace(val)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the checkpoint of stream %q is damaged: %w", stream, err)
	}
	return Checkpoint{stream, at, data}, nil
}

// beyond returns the first key after key. It overwrites nothing of key's.
func beyond(key []byte) []byte { return append(key[:len(key):len(key)], 0) }

func (s *pebbleStore) about() (Engine, int, Promise) { return Pebble, 1, onDisk }

func (s *pebbleStore) size() int64 { return int64(s.db.Metrics().DiskSpaceUsage()) }

func (s *pebbleStore) view() (store, error) {
	snap := s.db.NewSnapshot()
	return &pebbleStore{db: s.db, reader: snap, release: snap.Close}, nil
}

// compact merges all tables, so that what was deleted goes for good.
func (s *pebbleStore) compact(ctx context.Context) error {
	return s.db.Compact(ctx, []byte{0}, []byte{255}, false)
}

func (s *pebbleStore) close() error { return s.release() }
