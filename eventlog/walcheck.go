package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// This file looks at a write-ahead log of Pebble's just before Pebble reads it.
//
// Pebble reads a log up to the first chunk that isn't sound. If it can't prove
// that there was more, it takes that for a write which was cut short, flushes
// what it has read and removes the file, with all acknowledged batches that
// stand behind the damage. Its own proof is an offset in the header of each
// chunk, up to which the log was on disk when the chunk was written; but it
// looks for one only in the blocks after the damaged one, the offset doesn't
// count what was written by whole blocks, and a log number that is one too high
// is the end to it. So here is ours. A chunk that isn't sound is damage if
//
//   - ACKED says that the log was on disk beyond it (acked.go), and it isn't the
//     trailer of a log that was closed;
//   - a sound chunk of the same log, anywhere behind it, bears an offset beyond it;
//   - a sound chunk of the same log follows and a newer log is there: a log is
//     complete and on disk before the next one is begun.
//
// All else may be what a power cut leaves of a write that nobody was told of, in
// any state and order, and is left to Pebble.

// The format of the log, as Pebble's package record draws it.
const (
	walBlock      = 32 << 10 // no chunk crosses the end of one
	walHeader     = 7        // sum 4, size 2, type 1
	walNumbered   = 11       // and the log's number 4
	walOffsetted  = 19       // and the offset 8
	walTypes      = 4        // full, first, middle, last, in each of the formats
	walTrailer    = 5        // with no sum, no size and the number of the log plus 1
	walFull       = 1
	walFirst      = 2
	walLast       = 4
	walMostTypes  = 12
	walOffsetType = 9 // the first type of the format with offsets
)

// walSum is the checksum of a chunk.
func walSum(text []byte) uint32 {
	c := crc32.Checksum(text, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// walChunk is a sound chunk.
type walChunk struct {
	size      int   // with its header
	kind      byte  // full, first, middle or last
	offsetted bool  // it has
	synced    int64 // the offset up to which the log was on disk
}

// parseChunk returns the chunk of the log at the begin of what is left of a block.
func parseChunk(rest []byte, log uint32) (c walChunk, sound bool) {
	if len(rest) < walHeader {
		return c, false
	}
	kind, header := rest[6], walHeader
	if kind == 0 || kind > walMostTypes {
		return c, false
	}
	if kind > walTypes {
		header = walNumbered
	}
	if kind >= walOffsetType {
		header = walOffsetted
	}
	c.size = header + int(binary.LittleEndian.Uint16(rest[4:]))
	if len(rest) < c.size || header > walHeader && binary.LittleEndian.Uint32(rest[7:]) != log {
		return c, false
	}
	if walSum(rest[6:c.size]) != binary.LittleEndian.Uint32(rest) {
		return c, false
	}
	if header == walOffsetted {
		c.offsetted, c.synced = true, int64(binary.LittleEndian.Uint64(rest[11:]))
	}
	c.kind = (kind-1)%walTypes + 1
	return c, true
}

// isTrailer tells whether what is left of a block begins with what Pebble writes
// behind the last chunk of a log that it closes.
func isTrailer(rest []byte, log uint32) bool {
	return len(rest) >= walNumbered && isZero(rest[:6]) && rest[6] == walTrailer && binary.LittleEndian.Uint32(rest[7:]) == log+1
}

// walEnd is where a log ends for Pebble.
type walEnd struct {
	at     int64 // of the first chunk that isn't sound
	whole  int64 // the same, or behind the trailer there
	batch  int64 // of the first batch that isn't whole
	beyond bool  // a sound chunk follows, and
	synced int64 // the highest offset in those that follow
}

// readWAL reads a log to its end, and what lies behind that.
func readWAL(in io.Reader, log uint32) (e walEnd, err error) {
	block := make([]byte, walBlock)
	sound := true
	for begin := int64(0); ; begin += walBlock {
		n, err := io.ReadFull(in, block)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return e, err
		}
		rest := block[:n]
		if sound {
			e.at = begin
			rest, sound = e.walk(rest, log)
			e.whole = e.at
			if isTrailer(rest, log) {
				e.whole += walNumbered
			}
		}
		if !sound {
			e.search(rest, begin+int64(n-len(rest)), log)
		}
		if n < walBlock {
			return e, nil
		}
	}
}

// walk goes over the sound chunks of a block and returns what is left of it, and
// whether that is only what fills the block up.
func (e *walEnd) walk(rest []byte, log uint32) ([]byte, bool) {
	for {
		c, sound := parseChunk(rest, log)
		if !sound {
			return rest, len(rest) < walOffsetted && isZero(rest)
		}
		rest = rest[c.size:]
		if c.kind == walFull || c.kind == walFirst {
			e.batch = e.at
		}
		e.at += int64(c.size)
		if c.kind == walFull || c.kind == walLast {
			e.batch = e.at
		}
	}
}

// search looks for sound chunks anywhere in what is left of a block, at this
// place in the log.
func (e *walEnd) search(rest []byte, at int64, log uint32) {
	number := binary.LittleEndian.AppendUint32(nil, log)
	for i := 0; i+walOffsetted <= len(rest); i++ {
		next := bytes.Index(rest[i+walHeader:], number)
		if next < 0 {
			return
		}
		i += next
		c, sound := parseChunk(rest[i:], log)
		if here := at + int64(i); sound && c.offsetted && here > e.at && c.synced <= here {
			e.beyond, e.synced = true, max(e.synced, c.synced)
		}
	}
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// walDamage says that acknowledged batches stand behind the damage of a log.
type walDamage struct {
	file      string
	at, batch int64
	proof     string
}

func (e *walDamage) Error() string {
	return fmt.Sprintf("the write-ahead log %s is damaged at byte %d: %s", e.file, e.at, e.proof)
}

// Is makes it what Pebble calls corruption.
func (e *walDamage) Is(target error) bool { return target == pebble.ErrCorruption }

// checkWAL returns a *walDamage if a log that Pebble is about to read is damaged
// where something follows that was acknowledged.
func (d *disk) checkWAL(f vfs.File, name string, number uint64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	e, err := readWAL(io.NewSectionReader(f, 0, info.Size()), uint32(number))
	if err != nil {
		return err
	}
	newer := e.beyond && d.newerLog(name, number)
	if proof := e.proof(number, d.acked, newer); proof != "" {
		return &walDamage{file: d.PathBase(name), at: e.at, batch: e.batch, proof: proof}
	}
	return nil
}

// proof says why the end of a log isn't where it was, "" if it may be.
func (e walEnd) proof(number uint64, a acked, newer bool) string {
	switch {
	case a.log == number && a.end > e.whole:
		return fmt.Sprintf("up to byte %d it had been acknowledged, with the records up to %d", a.end, a.last)
	case e.synced > e.at:
		return fmt.Sprintf("what follows says that it was on disk up to byte %d", e.synced)
	case e.beyond && newer:
		return "more of it follows, and a newer log"
	}
	return ""
}

// newerLog tells whether the folder has a log with a higher number.
func (d *disk) newerLog(name string, number uint64) bool {
	names, err := d.List(d.PathDir(name))
	for _, other := range names {
		if err == nil && logNumber(other) > number {
			return true
		}
	}
	return false
}
