package eventlog

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
)

// memoryStore keeps everything in maps; nothing outlives it.
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
	m.mu.Lock()
	defer m.mu.Unlock()
	names := between(m.byStream.ordered(), l.prefix, l.after, l.reverse)
	var out []string
	for i := 0; i < len(names) && len(out) < l.limit; i++ {
		name := names[i]
		if l.reverse {
			name = names[len(names)-1-i]
		}
		if m.byStream.rows[name].listed(l) {
			out = append(out, name)
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
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(atMost(m.byHash.beyond(after), limit)), nil
}

func (m *memoryStore) hasUse(u use) (bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, ok := m.byUse.rows[u]
	return ok, nil
}

func (m *memoryStore) users(h Hash, limit int) (out []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range atMost(m.byUse.beyond(use{hash: h}), limit) {
		if u.hash != h {
			break
		}
		out = append(out, u.stream)
	}
	return out, nil
}

func (m *memoryStore) uses(after use, limit int) ([]use, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(atMost(m.byUse.beyond(after), limit)), nil
}

func (m *memoryStore) claim(key string) (claim, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c, ok := m.byKey.rows[key]
	return c, ok, nil
}

func (m *memoryStore) claims(after string, limit int) (out []claim, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range atMost(m.byKey.beyond(after), limit) {
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
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range atMost(between(m.byCheck.ordered(), prefix, after, false), limit) {
		c := m.byCheck.rows[name]
		c.Data = bytes.Clone(c.Data)
		out = append(out, c)
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
	m.mu.RLock()
	defer m.mu.RUnlock()
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

// table is a map that can list its keys in order; it sorts only when asked.
type table[K comparable, V any] struct {
	rows    map[K]V
	keys    []K // all of rows, if sorted
	sorted  bool
	compare func(a, b K) int
}

func newTable[K comparable, V any](compare func(a, b K) int) *table[K, V] {
	return &table[K, V]{rows: make(map[K]V), compare: compare}
}

func (t *table[K, V]) clone() *table[K, V] {
	return &table[K, V]{rows: maps.Clone(t.rows), compare: t.compare}
}

func (t *table[K, V]) set(k K, v V) {
	if _, ok := t.rows[k]; !ok {
		t.sorted = false
	}
	t.rows[k] = v
}

func (t *table[K, V]) delete(k K) {
	delete(t.rows, k)
	t.sorted = false
}

func (t *table[K, V]) ordered() []K {
	if !t.sorted {
		t.keys = slices.AppendSeq(t.keys[:0], maps.Keys(t.rows))
		slices.SortFunc(t.keys, t.compare)
		t.sorted = true
	}
	return t.keys
}

// beyond returns the keys greater than k.
func (t *table[K, V]) beyond(k K) []K {
	keys := t.ordered()
	i, found := slices.BinarySearchFunc(keys, k, t.compare)
	if found {
		i++
	}
	return keys[i:]
}

func atMost[T any](s []T, n int) []T { return s[:min(n, len(s))] }

func compareHashes(a, b Hash) int { return bytes.Compare(a[:], b[:]) }

func compareUses(a, b use) int {
	return cmp.Or(compareHashes(a.hash, b.hash), strings.Compare(a.stream, b.stream))
}

// between returns those of the ordered names that begin with prefix and,
// unless after is empty, lie beyond it in the direction of reading.
func between(names []string, prefix, after string, reverse bool) []string {
	lo, _ := slices.BinarySearch(names, prefix)
	names = names[lo:]
	hi, _ := slices.BinarySearchFunc(names, prefix, func(name, prefix string) int {
		if strings.HasPrefix(name, prefix) {
			return -1
		}
		return 1
	})
	names = names[:hi]
	if after == "" {
		return names
	}
	i, found := slices.BinarySearch(names, after)
	if reverse {
		return names[:i]
	}
	if found {
		i++
	}
	return names[i:]
}
