package eventlog

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
)

// memoryStore keeps everything in maps (memorytable.go); nothing outlives it.
type memoryStore struct {
	mu          sync.RWMutex
	bodies      [][]byte // by seq-1; nil where a stream was deleted
	byStream    *table[string, *memoryStream]
	byHash      *table[Hash, []byte]
	byUse       *table[use, struct{}]
	byKey       *table[string, claim]
	byCheck     *table[string, Checkpoint]
	sums        totals
	bytesInside int64
}

type memoryStream struct {
	seqs   []Seq
	marked bool // the first of seqs is the mark of a deletion
}

func newMemoryStore() *memoryStore {
	return &memoryStore{
		byStream: newTable[string, *memoryStream](strings.Compare),
		byHash:   newTable[Hash, []byte](compareHashes),
		byUse:    newTable[use, struct{}](compareUses),
		byKey:    newTable[string, claim](strings.Compare),
		byCheck:  newTable[string, Checkpoint](strings.Compare),
	}
}

func (m *memoryStore) commit(c *change, _ bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(&c.drop)
	for _, r := range c.records {
		m.bodies = append(m.bodies, bytes.Clone(r.body))
		m.bytesInside += int64(len(r.body))
	}
	for _, t := range c.touched {
		m.touch(t)
	}
	for _, v := range c.values {
		m.byHash.set(v.hash, append([]byte{}, v.bytes...))
		m.bytesInside += int64(len(v.bytes))
	}
	for _, u := range c.uses {
		m.byUse.set(u, struct{}{})
	}
	for _, k := range c.claims {
		m.byKey.set(k.key, k)
	}
	for _, p := range c.checkpoints {
		p.Data = bytes.Clone(p.Data)
		m.byCheck.set(p.Stream, p)
	}
	if c.totals != nil {
		m.sums = *c.totals
	}
	return nil
}

func (m *memoryStore) touch(t touch) {
	s := m.byStream.rows[t.stream]
	if s == nil {
		s = &memoryStream{marked: t.mark}
		m.byStream.set(t.stream, s)
	}
	s.seqs = append(s.seqs, t.seqs...)
}

func (m *memoryStore) drop(d *drops) {
	for _, q := range d.records {
		m.bytesInside -= int64(len(m.bodies[q-1]))
		m.bodies[q-1] = nil
	}
	for _, s := range d.streams {
		m.byStream.delete(s)
	}
	for _, h := range d.values {
		m.bytesInside -= int64(len(m.byHash.rows[h]))
		m.byHash.delete(h)
	}
	for _, u := range d.uses {
		m.byUse.delete(u)
	}
	for _, k := range d.claims {
		m.byKey.delete(k)
	}
	for _, s := range d.checkpoints {
		m.byCheck.delete(s)
	}
}

func (m *memoryStore) totals() (totals, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.sums, nil
}

func (m *memoryStore) last() (Seq, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return Seq(len(m.bodies)), nil
}

func (m *memoryStore) records(from, to Seq, p *page) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	to = min(to, Seq(len(m.bodies)))
	for q := max(from, 1); q <= to && !p.full(); q++ {
		if b := m.bodies[q-1]; b != nil {
			p.add(q, b)
		}
	}
	return nil
}

func (m *memoryStore) stream(name string, from, to Seq, p *page) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := m.byStream.rows[name]
	if s == nil {
		return nil
	}
	i, _ := slices.BinarySearch(s.seqs, from)
	for ; i < len(s.seqs) && s.seqs[i] <= to && !p.full(); i++ {
		body := m.bodies[s.seqs[i]-1]
		if body == nil {
			return &recordError{s.seqs[i], errMissing}
		}
		p.add(s.seqs[i], body)
		p.rows[len(p.rows)-1].mark = s.marked && i == 0
	}
	return nil
}

func (m *memoryStore) head(name string, to Seq) (row, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := m.byStream.rows[name]
	if s == nil {
		return row{}, nil
	}
	i, _ := slices.BinarySearch(s.seqs, to+1)
	if i == 0 {
		return row{}, nil
	}
	return row{seq: s.seqs[i-1], body: m.bodies[s.seqs[i-1]-1]}, nil
}

func (m *memoryStore) streams(l listing) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	names := ascending
	if l.reverse {
		names = descending
	}
	var out []string
	for name := range names(m.byStream.keys, l.prefix, l.after) {
		if m.byStream.rows[name].listed(l) {
			out = append(out, name)
		}
		if len(out) == l.limit {
			break
		}
	}
	return out, nil
}

// listed tells whether the listing wants the stream.
func (s *memoryStream) listed(l listing) bool {
	first := 0
	if s.marked && !l.deleted {
		first = 1
	}
	return len(s.seqs) > first && s.seqs[first] <= l.to
}

func (m *memoryStore) value(h Hash) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	v, ok := m.byHash.rows[h]
	if !ok {
		return nil, ErrNotFound
	}
	return append([]byte{}, v...), nil
}

func (m *memoryStore) hasValue(h Hash) (bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, ok := m.byHash.rows[h]
	return ok, nil
}

func (m *memoryStore) values(after Hash, limit int) ([]Hash, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Collect(m.byHash.beyond(after, limit)), nil
}

func (m *memoryStore) hasUse(u use) (bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, ok := m.byUse.rows[u]
	return ok, nil
}

func (m *memoryStore) users(h Hash, limit int) (out []string, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for u := range m.byUse.beyond(use{hash: h}, limit) {
		if u.hash != h {
			break
		}
		out = append(out, u.stream)
	}
	return out, nil
}

func (m *memoryStore) uses(after use, limit int) ([]use, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Collect(m.byUse.beyond(after, limit)), nil
}

func (m *memoryStore) claim(key string) (claim, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c, ok := m.byKey.rows[key]
	return c, ok, nil
}

func (m *memoryStore) claims(after string, limit int) (out []claim, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for k := range m.byKey.beyond(after, limit) {
		out = append(out, m.byKey.rows[k])
	}
	return out, nil
}

func (m *memoryStore) checkpoint(stream string) (Checkpoint, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c, ok := m.byCheck.rows[stream]
	c.Data = bytes.Clone(c.Data)
	return c, ok, nil
}

func (m *memoryStore) checkpoints(prefix, after string, limit int) (out []Checkpoint, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for name := range ascending(m.byCheck.keys, prefix, after) {
		c := m.byCheck.rows[name]
		c.Data = bytes.Clone(c.Data)
		out = append(out, c)
		if len(out) == limit {
			break
		}
	}
	return out, nil
}

func (m *memoryStore) about() (Engine, int, Promise) {
	return Memory, Format, Promise{DurableNever, "nothing outlives the process"}
}

func (m *memoryStore) size() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.bytesInside
}

func (m *memoryStore) view() (store, error) {
	m.mu.Lock() // a tree is not to be read while it is cloned
	defer m.mu.Unlock()
	v := &memoryStore{
		bodies:      slices.Clone(m.bodies),
		byStream:    m.byStream.clone(),
		byHash:      m.byHash.clone(),
		byUse:       m.byUse.clone(),
		byKey:       m.byKey.clone(),
		byCheck:     m.byCheck.clone(),
		sums:        m.sums,
		bytesInside: m.bytesInside,
	}
	for name, s := range v.byStream.rows {
		v.byStream.rows[name] = &memoryStream{s.seqs[:len(s.seqs):len(s.seqs)], s.marked}
	}
	return v, nil
}

func (m *memoryStore) compact(context.Context) error { return nil }

func (m *memoryStore) close() error { return nil }
