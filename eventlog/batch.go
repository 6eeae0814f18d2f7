package eventlog

// MaxData is the most bytes that Record.Data may hold.
const MaxData = 64 << 10

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
// has already is kept once. A record should list it in Refs.
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
