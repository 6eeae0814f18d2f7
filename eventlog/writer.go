package eventlog

import (
	"fmt"
	"slices"
)

// writer turns batches into a change: it numbers the records, chains their
// sums and finds out what the store has already. One goroutine at a time uses
// it. It may look into the store, which then can refuse a batch; from then on
// nothing can go wrong but the commit.
type writer struct {
	store  store
	sums   totals // as they will be after the change
	change change
	arena  []byte // the bodies of the change

	heads   recent[string, *head]
	known   recent[Hash, struct{}] // values that are in the store or the change
	touched []*head                // streams with records in the change
	keys    map[string]bool        // the change's keys; true: claimed
	taken   []bool                 // memory for claim
}

// head is the end of a stream.
type head struct {
	stream string
	seq    Seq // 0: the stream has no record
	sum    Hash
	fresh  []Seq // its records in the change
}

// The bounds of what the writer remembers. A head takes about 200 bytes.
const (
	recentHeads  = 64 << 10
	recentValues = 16 << 10
	sparedArena  = 4 << 20 // a larger arena is not kept for the next change
)

func newWriter(s store, t totals) writer {
	return writer{
		store: s,
		sums:  t,
		heads: newRecent[string, *head](recentHeads),
		known: newRecent[Hash, struct{}](recentValues),
		keys:  make(map[string]bool),
	}
}

// begin starts an empty change.
func (w *writer) begin() {
	for _, h := range w.touched {
		h.fresh = h.fresh[:0]
	}
	c := &w.change
	clear(c.values) // they may be large
	w.change = change{
		before:  w.sums.last,
		records: c.records[:0],
		touched: c.touched[:0],
		values:  c.values[:0],
		uses:    c.uses[:0],
		claims:  c.claims[:0],
	}
	w.touched = w.touched[:0]
	w.arena = w.arena[:0]
	if cap(w.arena) > sparedArena {
		w.arena = nil
	}
	clear(w.keys)
	w.heads.age()
	w.known.age()
}

// finish returns the change, complete.
func (w *writer) finish() *change {
	for _, h := range w.touched {
		w.change.touched = append(w.change.touched, touch{h.stream, h.fresh, slices.Contains(w.change.marked, h.stream)})
	}
	w.change.totals = &w.sums
	return &w.change
}

// append adds a batch to the change and returns its first Seq, or an error and
// leaves the change as it was.
func (w *writer) append(b *Batch) (Seq, error) {
	if err := w.look(b); err != nil {
		return 0, fmt.Errorf("append: %w", err)
	}
	for h, v := range b.values {
		w.addValue(h, v)
	}
	first := w.sums.last + 1
	for i := range b.records {
		w.addRecord(&b.records[i])
	}
	return first, nil
}

// look brings all that the batch needs to know of the store into memory.
func (w *writer) look(b *Batch) error {
	for h := range b.values {
		if _, err := w.has(h); err != nil {
			return err
		}
	}
	for i := range b.records {
		r := &b.records[i]
		if _, err := w.head(r.Stream); err != nil {
			return err
		}
		if err := w.lookRefs(b, r); err != nil {
			return err
		}
		if err := w.lookKeys(r); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) lookRefs(b *Batch, r *Record) error {
	for _, h := range r.Refs {
		if _, ok := b.values[h]; ok {
			continue
		}
		switch ok, err := w.has(h); {
		case err != nil:
			return err
		case !ok:
			return fmt.Errorf("%s of stream %q refers to value %s, which is neither in the batch nor in the log",
				r.Type, r.Stream, h)
		}
	}
	return nil
}

func (w *writer) lookKeys(r *Record) error {
	for _, k := range r.Keys {
		if _, ok := w.keys[k]; ok {
			continue
		}
		_, taken, err := w.store.claim(k)
		if err != nil {
			return fmt.Errorf("look up key %q: %w", k, err)
		}
		w.keys[k] = taken
	}
	return nil
}

// has tells whether the value is in the store or in the change.
func (w *writer) has(h Hash) (bool, error) {
	if _, ok := w.known.get(h); ok {
		return true, nil
	}
	ok, err := w.store.hasValue(h)
	if err != nil {
		return false, fmt.Errorf("look for value %s: %w", h, err)
	}
	if ok {
		w.known.put(h, struct{}{})
	}
	return ok, nil
}

// head returns the end of a stream, which is in memory from then on until the
// change is committed.
func (w *writer) head(stream string) (*head, error) {
	if h, ok := w.heads.get(stream); ok {
		return h, nil
	}
	end, err := w.store.head(stream, w.sums.last)
	if err != nil {
		return nil, fmt.Errorf("read the end of stream %q: %w", stream, err)
	}
	h := &head{stream: stream, seq: end.seq}
	if end.body != nil {
		if h.sum, err = bodySum(end.body); err != nil {
			return nil, fmt.Errorf("stream %q: record %d is damaged: %w", stream, end.seq, err)
		}
	}
	w.heads.put(stream, h)
	return h, nil
}

// addValue adds a value that the store doesn't have yet.
func (w *writer) addValue(h Hash, v []byte) {
	if _, ok := w.known.get(h); ok {
		return
	}
	w.known.put(h, struct{}{})
	w.change.values = append(w.change.values, value{h, v})
	w.sums.values++
	w.sums.valueBytes += uint64(len(v))
}

// addRecord gives r the next Seq; its head is in memory.
func (w *writer) addRecord(r *Record) {
	h, _ := w.heads.get(r.Stream)
	w.sums.last++
	w.sums.records++
	r.Seq = w.sums.last
	at := len(w.arena)
	w.arena, h.sum = appendBody(w.arena, h.sum, r, w.claim(r))
	w.change.records = append(w.change.records, row{seq: r.Seq, body: w.arena[at:len(w.arena):len(w.arena)]})
	if len(h.fresh) == 0 {
		w.touched = append(w.touched, h)
	}
	h.seq, h.fresh = r.Seq, append(h.fresh, r.Seq)
	for _, ref := range r.Refs {
		w.change.uses = append(w.change.uses, use{ref, r.Stream})
	}
}

// claim takes those of r's keys that are free and says which.
func (w *writer) claim(r *Record) []bool {
	w.taken = w.taken[:0]
	for _, k := range r.Keys {
		free := !w.keys[k]
		if free {
			w.keys[k] = true
			w.change.claims = append(w.change.claims, claim{k, r.Stream, r.Seq})
		}
		w.taken = append(w.taken, free)
	}
	return w.taken
}

// bytes returns how many bytes the change adds.
func (c *change) bytes() (n int) {
	for i := range c.records {
		n += len(c.records[i].body)
	}
	for i := range c.values {
		n += len(c.values[i].bytes)
	}
	return n
}

// recent is a map that forgets what has not been used for long. It forgets
// only in age, so that what one change needs stays while it is made.
type recent[K comparable, V any] struct {
	limit    int
	now, old map[K]V
}

func newRecent[K comparable, V any](limit int) recent[K, V] {
	return recent[K, V]{limit: limit, now: make(map[K]V)}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	v, ok := r.now[k]
	if !ok {
		if v, ok = r.old[k]; ok {
			r.now[k] = v
		}
	}
	return v, ok
}

func (r *recent[K, V]) put(k K, v V) { r.now[k] = v }

func (r *recent[K, V]) delete(k K) {
	delete(r.now, k)
	delete(r.old, k)
}

// age drops what was last used two ages ago.
func (r *recent[K, V]) age() {
	if len(r.now) >= r.limit/2 {
		r.old, r.now = r.now, make(map[K]V, len(r.now))
	}
}
