package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// This file opens a store of Pebble's whose write-ahead log is damaged before
// its end, so that Pebble refuses it: a copy, in which the log ends where the
// damage begins. Batches lie in it one after the other, so what is left is the
// log as it was at some moment.

// openPebble opens the database without a look at its records, or else a copy.
func (r *repairer) openPebble(copyTo string) (store, error) {
	s, err := r.openFolder(r.folder.dir, r.folder.lock)
	if err == nil || !pebble.IsCorruptionError(err) {
		return s, err
	}
	logs, scanErr := wal.Scan(wal.Dir{FS: vfs.Default, Dirname: r.folder.dir})
	if scanErr != nil {
		return nil, errors.Join(err, scanErr)
	}
	// A log that isn't needed any more may be damaged as well: the later the cut,
	// the less is lost.
	var proven *walDamage
	known := errors.As(err, &proven)
	for i := len(logs) - 1; i >= 0; i-- {
		at, damaged := soundUntil(logs[i], i == len(logs)-1)
		if _, path := logs[i].SegmentLocation(0); known {
			at, damaged = proven.batch, filepath.Base(path) == proven.file
		}
		if !damaged {
			continue
		}
		if copyErr := errors.Join(os.RemoveAll(copyTo), copyPebble(r.folder.dir, copyTo)); copyErr != nil {
			return nil, copyErr
		}
		r.done.Damage = Damage{Problems: []string{walProblem(err)}}
		if cutErr := r.cut(logs[i:], at, copyTo); cutErr != nil {
			return nil, cutErr
		}
		if s, again := r.openFolder(copyTo, nil); again == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrNotTail, err)
}

// walProblem says what is wrong with a write-ahead log.
func walProblem(err error) string {
	var proven *walDamage
	if errors.As(err, &proven) {
		return proven.Error()
	}
	return "the write-ahead log is damaged: " + firstLine(err)
}

// openFolder opens the store, with its lock, or a copy, of which nothing was
// acknowledged.
func (r *repairer) openFolder(dir string, lock *pebble.Lock) (store, error) {
	d := &disk{FS: vfs.Default, doom: &doom{dir: dir, then: r.o.Fatal}}
	if lock != nil {
		d.acked = r.acked
	}
	options := pebbleOptions(d, lock, newPebbleLogger(r.o.Logger, d.doom))
	options.ErrorIfNotExists = true
	db, err := pebble.Open(dir, options)
	if err != nil {
		return nil, err
	}
	return &pebbleStore{db: db, reader: db, release: db.Close}, nil
}

// soundUntil returns where the first batch begins that can't be read. The last
// log may end anywhere.
func soundUntil(log wal.LogicalLog, last bool) (at int64, damaged bool) {
	in := log.OpenForRead()
	defer in.Close()
	for {
		r, offset, err := in.NextRecord()
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			if err == nil {
				continue
			}
		}
		cutShort := errors.Is(err, record.ErrUnexpectedEOF) && last
		return offset.Physical, !errors.Is(err, io.EOF) && !cutShort
	}
}

// cut ends the first of these logs at a place and takes the later ones away, all
// in the copy, and notes what can be said of what is lost.
func (r *repairer) cut(logs wal.Logs, at int64, dir string) error {
	for i, log := range logs {
		_, path := log.SegmentLocation(0)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lost, path := text, filepath.Join(dir, filepath.Base(path))
		if i == 0 {
			lost = text[min(at, int64(len(text))):]
			err = os.Truncate(path, at)
		} else {
			err = os.Remove(path)
		}
		if err != nil {
			return err
		}
		r.mentions(lost)
	}
	return nil
}

// streamEntry is a stream's entry as it stands in a batch of Pebble's: that
// something is set, the length of the key, and the key (see doc.go).
var streamEntry = regexp.MustCompile(`(?s)\x01(.)s([!-~]{1,110})\x00(.{8})`)

// mentions notes the streams whose entries stand in bytes that are cut off. What
// is damaged there can't tell.
func (r *repairer) mentions(lost []byte) {
	d := &r.done.Damage
	d.Bytes += int64(len(lost))
	for _, at := range streamEntry.FindAllSubmatchIndex(lost, -1) {
		name := string(lost[at[4]:at[5]])
		if int(lost[at[2]]) != len(name)+10 {
			continue // it only looks like one
		}
		first := Seq(binary.BigEndian.Uint64(lost[at[6]:at[7]]))
		in := input{rest: lost[at[7]:]}
		if _, records, err := parseEntry(first, in.bytes(1<<20)); err == nil {
			d.note(name, first, int(records.count()))
		}
	}
}

// note adds to what a stream loses.
func (d *Damage) note(stream string, first Seq, records int) {
	for i := range d.Lost {
		if d.Lost[i].Stream == stream {
			d.Lost[i].Records += records
			return
		}
	}
	d.Lost = append(d.Lost, Loss{Stream: stream, Records: records, First: first})
}
