package eventlog

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// This file keeps evidence of what was acknowledged. An engine that finds the
// end of its write-ahead log damaged takes it for a write that was cut short,
// and goes on without the records there. The file ACKED says that they were on
// disk, so that such a store is refused instead (walcheck.go, sqlitewal.go).
//
// It is written after each commit, once the disk has the commit and before
// anybody hears of it, and isn't synced: when the system dies, what it says may
// be old, but never wrong. It has two lines, written in turns and each a sector
// of its own, for one may be torn. It is evidence and nothing else: where it
// can't be read or written, the store is used without it.

// acked is what is known to be on disk: the records up to last, and of Pebble's
// write-ahead log with the number log all bytes before end.
type acked struct {
	last Seq
	log  uint64 // 0: not known
	end  int64
}

func (a acked) compare(b acked) int {
	return cmp.Or(cmp.Compare(a.last, b.last), cmp.Compare(a.log, b.log), cmp.Compare(a.end, b.end))
}

// missing says which records aren't there, though they were acknowledged; "" if
// none is missing.
func (a acked) missing(last Seq) string {
	if a.last <= last {
		return ""
	}
	return fmt.Sprintf("records %d to %d are missing, which were acknowledged", last+1, a.last)
}

// check returns an error if records are missing that were acknowledged.
func (a acked) check(last Seq) error {
	if why := a.missing(last); why != "" {
		return fmt.Errorf("it is damaged: %s", why)
	}
	return nil
}

const (
	ackedFile = "ACKED"
	ackedLine = 512 // bytes
)

// padding fills a line up.
var padding = strings.Repeat(" ", ackedLine-1) + "\n"

// appendAcked adds a line that says a, of the store with this id.
func appendAcked(to []byte, id string, a acked) []byte {
	begin := len(to)
	to = strconv.AppendUint(append(to, "record "...), uint64(a.last), 10)
	to = strconv.AppendUint(append(to, " log "...), a.log, 10)
	to = strconv.AppendInt(append(to, " byte "...), a.end, 10)
	to = append(append(to, " store "...), id...)
	to = fmt.Appendf(to, " sum %08x", crc32.ChecksumIEEE(to[begin:]))
	return append(to, padding[min(len(to)-begin, ackedLine-1):]...)
}

// parseAcked reads such a line. One that is torn, damaged or of another store
// says nothing.
func parseAcked(line, id string) (a acked, ok bool) {
	text, sum, _ := strings.Cut(strings.TrimRight(line, " \n"), " sum ")
	if sum != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(text))) {
		return acked{}, false
	}
	var of string
	_, err := fmt.Sscanf(text, "record %d log %d byte %d store %s", &a.last, &a.log, &a.end, &of)
	return a, err == nil && of == id
}

// ackedBook is the file ACKED of a store that is open. Only who commits with a
// sync uses it; nil is one that isn't kept.
type ackedBook struct {
	file vfs.File
	id   string
	turn int64
	line []byte // that was written last, nil: none
}

// readAcked returns the evidence that there is in the folder for the store with
// this id, and which line has it.
func readAcked(f *folder, id string) (best acked, line int64) {
	text, err := readFile(f.fs, f.path(ackedFile))
	if err != nil {
		return best, 0
	}
	for i := int64(0); i < 2 && int(i)*ackedLine < len(text); i++ {
		a, ok := parseAcked(text[i*ackedLine:min(int(i+1)*ackedLine, len(text))], id)
		if ok && a.compare(best) >= 0 {
			best, line = a, i
		}
	}
	return best, line
}

// keepAcked opens the file for writing; line is that which has the evidence, and
// stays until there is newer.
func keepAcked(f *folder, id string, line int64) *ackedBook {
	fs := f.fs
	if d, ok := fs.(*disk); ok {
		fs = d.FS // a failure ends nothing
	}
	file, err := fs.OpenReadWrite(f.path(ackedFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil
	}
	return &ackedBook{file: file, id: id, turn: line}
}

// note writes down what has become durable.
func (b *ackedBook) note(a acked) {
	if b == nil {
		return
	}
	b.turn = 1 - b.turn
	b.line = appendAcked(b.line[:0], b.id, a)
	_, _ = b.file.WriteAt(b.line, b.turn*ackedLine) // else the other line stays true
}

// close makes the last note durable, for nobody will write another.
func (b *ackedBook) close() {
	if b == nil {
		return
	}
	if b.line != nil {
		_ = b.file.SyncData()
	}
	_ = b.file.Close()
}
