package eventlog

import (
	"context"
	"errors"
	"fmt"
)

// This file is the seam between the log and whatever keeps its bytes. The Log
// decides (sequence numbers, sums, what a deletion takes along); a store
// remembers. A store is a handful of tables, so that it reads the same in a
// key-value engine, in SQL and in memory:
//
//	records     seq → stream, body          in order of seq, and per stream
//	values      hash → bytes
//	uses        (hash, stream)              which streams need which value
//	claims      key → stream, seq           who took a Record.Keys entry
//	checkpoints stream → at, data
//	totals      one row
//
// A store never looks into a body. A read must not show part of a commit, but
// it may show a commit that isn't durable yet: the Log asks with an upper
// bound (to) where that matters.
type store interface {
	// commit applies all of c or nothing. With sync it returns only when c
	// is durable. A commit that fails ends the store's life: the Log calls
	// Options.Fatal and never uses it again.
	commit(c *change, sync bool) error

	totals() (totals, error)
	// last returns the last record that there is, 0 if there is none.
	last() (Seq, error)
	// records adds records from..to in order until the page is full.
	records(from, to Seq, p *page) error
	// stream does so for the records of one stream, and says which of them
	// is listed as the mark of a deletion.
	stream(name string, from, to Seq, p *page) error
	// head returns the last record of a stream up to to, or no body.
	head(name string, to Seq) (row, error)
	streams(l listing) ([]string, error)

	// value returns ErrNotFound if there is none.
	value(h Hash) ([]byte, error)
	hasValue(h Hash) (bool, error)
	// values returns up to limit hashes beyond after, in order.
	values(after Hash, limit int) ([]Hash, error)
	hasUse(u use) (bool, error)
	// users returns up to limit streams that use a value.
	users(h Hash, limit int) ([]string, error)
	// uses returns up to limit uses beyond after, in order of hash, stream.
	uses(after use, limit int) ([]use, error)

	claim(key string) (claim, bool, error)
	// claims returns up to limit claims beyond key after, in order of key.
	claims(after string, limit int) ([]claim, error)

	checkpoint(stream string) (Checkpoint, bool, error)
	// checkpoints returns up to limit whose stream begins with prefix and
	// lies beyond after, in order.
	checkpoints(prefix, after string, limit int) ([]Checkpoint, error)

	// about says what keeps the bytes, in which format, and what a commit that
	// was acknowledged lives through.
	about() (e Engine, format int, p Promise)
	// size returns the bytes that the store takes on disk, about.
	size() int64
	// compact gives back the room of what was deleted, as far as it can.
	compact(ctx context.Context) error
	// view returns the store as it is now, for reading while others write.
	// It must be closed.
	view() (store, error)
	close() error
}

// listing says which streams are wanted: up to limit names, in byte order or
// the reverse, that begin with prefix, lie beyond after unless that is empty,
// and have a record up to to. Streams with nothing but the mark of a deletion
// are left out unless deleted is set.
type listing struct {
	prefix, after    string
	reverse, deleted bool
	to               Seq
	limit            int
}

// recordError says that a record can't be read although its stream lists it;
// the page holds what comes before it.
type recordError struct {
	seq Seq
	err error
}

func (e *recordError) Error() string { return fmt.Sprintf("record %d %v", e.seq, e.err) }
func (e *recordError) Unwrap() error { return e.err }

var errMissing = errors.New("is missing")

// change is one atomic commit: first what goes, then what comes. What it
// points to is the writer's again once commit has returned.
type change struct {
	before      Seq // the last record before the change, if it has totals
	drop        drops
	records     []row    // in order of seq
	marked      []string // streams whose one record is the mark of a deletion
	touched     []touch  // the same records by stream, each stream once
	values      []value  // not in the store yet
	uses        []use    // may be in the store already
	claims      []claim  // not in the store yet
	checkpoints []Checkpoint
	totals      *totals // nil: as they were
}

// drops is what a change takes away; all of it is in the store.
type drops struct {
	streams     []string // whose records go
	records     []Seq    // all that they have
	values      []Hash
	uses        []use
	claims      []string
	checkpoints []string // need not be in the store
}

// row is one record as it is kept: see codec.go for the body.
type row struct {
	seq  Seq
	body []byte
	mark bool // only stream sets it
}

// touch says which records of a change belong to a stream.
type touch struct {
	stream string
	seqs   []Seq
	mark   bool // the one record is the mark of a deletion
}

// value is bytes under their hash.
type value struct {
	hash  Hash
	bytes []byte
}

// use says that a record of the stream lists the value.
type use struct {
	hash   Hash
	stream string
}

// claim says which stream took a key, by which record.
type claim struct {
	key    string
	stream string
	seq    Seq
}

// totals are what can't be had without reading everything.
type totals struct {
	last       Seq    // of the last record
	records    uint64 // that exist
	values     uint64 // that exist
	valueBytes uint64 // in them
}

// page is what one read of a store brings in. Reads are cut into pages so that
// nothing is held open while a reader does its own work.
type page struct {
	rows []row
	buf  []byte // the bodies
}

// The bounds of a page.
const (
	pageRows  = 256
	pageBytes = 256 << 10
)

func (p *page) reset()     { p.rows, p.buf = p.rows[:0], p.buf[:0] }
func (p *page) full() bool { return len(p.rows) >= pageRows || len(p.buf) >= pageBytes }

// add copies a row into the page.
func (p *page) add(seq Seq, body []byte) {
	at := len(p.buf)
	p.buf = append(p.buf, body...)
	p.rows = append(p.rows, row{seq: seq, body: p.buf[at:len(p.buf):len(p.buf)]})
}
