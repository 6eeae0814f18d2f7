package eventlog

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
)

// This file writes and reads archives: a log, or some streams of it, in one
// file that needs nothing else and tells when a byte of it was changed.
//
//	"gleitzeit archive 1\n", then frames: kind (1 byte), uvarint length, bytes
//
//	'h'  ArchiveHeader as JSON; the first
//	'v'  hash, value; before the first record that needs it
//	'r'  a record's body, with its sum (doc.go), in the order of the log
//	'c'  a checkpoint: uvarint length of the stream's name, name, uvarint seq, data
//	'z'  SHA-256 of all before this frame; the last
//
// One with streams of several partitions begins "gleitzeit archive 2\n" and has
// more frames:
//
//	'p'  uvarint number; the streams behind it are of that partition

const (
	archiveTitle = "gleitzeit archive 1\n"
	partsTitle   = "gleitzeit archive 2\n"
)

// The kinds of archives.
const (
	WholeLog   = "log"     // all there is, with checkpoints: see Backup
	SomeStream = "streams" // whole streams: see Export
)

// ArchiveHeader says what an archive is.
type ArchiveHeader struct {
	Kind   string `json:"kind"`
	Store  string `json:"store"` // the id of the store that it was made from
	Last   Seq    `json:"last"`  // the last record of that moment
	Writer string `json:"writer"`
}

// ArchiveInfo counts what went into an archive or came out of one.
type ArchiveInfo struct {
	ArchiveHeader
	Records     uint64 `json:"records"`
	Values      uint64 `json:"values"`
	Checkpoints uint64 `json:"checkpoints"`
	Bytes       int64  `json:"bytes"` // of the file
}

// archiveWriter writes frames; after the first error it does nothing more.
type archiveWriter struct {
	w    *bufio.Writer
	sum  hash.Hash
	info ArchiveInfo
	has  map[Hash]struct{} // values that are in it
	err  error
}

func newArchiveWriter(w io.Writer, title string, h ArchiveHeader) *archiveWriter {
	a := &archiveWriter{w: bufio.NewWriterSize(w, 1<<20), sum: sha256.New(), info: ArchiveInfo{ArchiveHeader: h}, has: map[Hash]struct{}{}}
	a.write([]byte(title))
	head, err := json.Marshal(h)
	a.fail(err)
	a.frame('h', head)
	return a
}

func (a *archiveWriter) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

func (a *archiveWriter) write(b []byte) {
	if a.err != nil {
		return
	}
	a.sum.Write(b)
	n, err := a.w.Write(b)
	a.info.Bytes += int64(n)
	a.fail(err)
}

func (a *archiveWriter) frame(kind byte, parts ...[]byte) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	a.write(binary.AppendUvarint([]byte{kind}, uint64(n)))
	for _, p := range parts {
		a.write(p)
	}
}

// record writes a record behind the values that it needs.
func (a *archiveWriter) record(s store, body []byte, refs []Hash) {
	for _, h := range refs {
		if _, ok := a.has[h]; ok || a.err != nil {
			continue
		}
		v, err := s.value(h)
		if err != nil {
			a.fail(fmt.Errorf("value %s: %w", h, err))
			return
		}
		a.has[h] = struct{}{}
		a.info.Values++
		a.frame('v', h[:], v)
	}
	a.info.Records++
	a.frame('r', body)
}

func (a *archiveWriter) checkpoint(c Checkpoint) {
	a.info.Checkpoints++
	head := appendString(nil, c.Stream)
	a.frame('c', binary.AppendUvarint(head, uint64(c.At)), c.Data)
}

func (a *archiveWriter) part(number int) { a.frame('p', binary.AppendUvarint(nil, uint64(number))) }

func (a *archiveWriter) finish() (ArchiveInfo, error) {
	a.frame('z', a.sum.Sum(nil))
	if a.err == nil {
		a.err = a.w.Flush()
	}
	return a.info, a.err
}

// ArchiveItem is one thing out of an archive: a value, a record or a
// checkpoint.
type ArchiveItem struct {
	Value      []byte
	Hash       Hash // of the value
	Record     *Record
	Checkpoint *Checkpoint
	Partition  int // of the record; 0: the store was one log

	body    []byte
	claimed []bool
}

// archiveReader reads frames and checks all that can be checked on the way.
type archiveReader struct {
	r    *bufio.Reader
	sum  hash.Hash
	at   int64 // bytes read
	info ArchiveInfo
	dec  decoder
	sums map[string]Hash // of the last record of each stream
	part int             // the partition
	buf  bytes.Buffer
}

// ReadArchive calls item for each thing in an archive, in the order in which
// they can be put into a log again, and checks everything: sums, hashes, and at
// the end the archive as a whole. An error names what is damaged. As what came
// before an error was given to item already, whoever changes something should
// read an archive twice.
func ReadArchive(r io.Reader, item func(ArchiveHeader, ArchiveItem) error) (ArchiveInfo, error) {
	a := &archiveReader{r: bufio.NewReaderSize(r, 1<<20), sum: sha256.New(), sums: map[string]Hash{}}
	var of error // item's own
	err := a.run(func(h ArchiveHeader, it ArchiveItem) error {
		of = item(h, it)
		return of
	})
	switch {
	case of != nil:
		return a.info, of
	case err != nil:
		return a.info, fmt.Errorf("the archive is damaged, or is no archive: up to byte %d: %w", a.at, err)
	}
	a.info.Bytes = a.at
	return a.info, nil
}

func (a *archiveReader) run(item func(ArchiveHeader, ArchiveItem) error) error {
	title := make([]byte, len(archiveTitle))
	err := a.read(title)
	parts := string(title) == partsTitle
	if err != nil || string(title) != archiveTitle && !parts {
		if bytes.HasPrefix(title, []byte("gleitzeit archive ")) {
			return errors.New("it is of a later format: use a newer version")
		}
		return errors.New("it does not begin as one")
	}
	for first := true; ; first = false {
		whole := a.sum.Sum(nil)
		kind, frame, err := a.frame()
		switch {
		case err != nil:
			return err
		case first != (kind == 'h'):
			return errors.New("its header is not where it should be")
		case kind == 'h':
			err = json.Unmarshal(frame, &a.info.ArchiveHeader)
		case kind == 'z':
			return a.end(whole, frame)
		case kind == 'p' && parts:
			err = a.begin(frame)
		default:
			err = a.item(kind, frame, item)
		}
		if err != nil {
			return err
		}
	}
}

// begin begins a partition, whose streams are its own.
func (a *archiveReader) begin(frame []byte) error {
	number, n := binary.Uvarint(frame)
	if n != len(frame) || number <= uint64(a.part) || number > MaxPartitions {
		return errors.New("the number of a partition makes no sense")
	}
	a.part, a.sums = int(number), map[string]Hash{}
	return nil
}

func (a *archiveReader) end(whole, frame []byte) error {
	if !bytes.Equal(whole, frame) {
		return errors.New("its bytes are not those that were written")
	}
	if _, err := a.r.ReadByte(); err != io.EOF {
		return errors.New("something follows its end")
	}
	return nil
}

func (a *archiveReader) read(b []byte) error {
	n, err := io.ReadFull(a.r, b)
	a.sum.Write(b[:n])
	a.at += int64(n)
	if err != nil {
		return errors.New("it ends too early")
	}
	return nil
}

func (a *archiveReader) frame() (kind byte, frame []byte, err error) {
	head := make([]byte, 2, 11)
	if err := a.read(head); err != nil {
		return 0, nil, err
	}
	for head[len(head)-1] >= 0x80 && len(head) < 11 {
		head = append(head, 0)
		if err := a.read(head[len(head)-1:]); err != nil {
			return 0, nil, err
		}
	}
	size, n := binary.Uvarint(head[1:])
	if n != len(head)-1 || size > MaxBatch {
		return 0, nil, errors.New("a length makes no sense")
	}
	// The buffer grows with what is there, not with what the length says.
	a.buf.Reset()
	got, err := io.CopyN(io.MultiWriter(&a.buf, a.sum), a.r, int64(size))
	a.at += got
	if err != nil {
		return 0, nil, errors.New("it ends too early")
	}
	return head[0], bytes.Clone(a.buf.Bytes()), nil
}

func (a *archiveReader) item(kind byte, frame []byte, item func(ArchiveHeader, ArchiveItem) error) (err error) {
	var it ArchiveItem
	switch kind {
	case 'v':
		err = a.value(&it, frame)
	case 'r':
		err = a.record(&it, frame)
	case 'c':
		err = a.point(&it, frame)
	default:
		err = fmt.Errorf("there is something of an unknown kind (%q)", kind)
	}
	if err != nil {
		return err
	}
	return item(a.info.ArchiveHeader, it)
}

func (a *archiveReader) value(it *ArchiveItem, frame []byte) error {
	if len(frame) < len(it.Hash) {
		return errCut
	}
	it.Hash, it.Value = Hash(frame[:len(it.Hash)]), frame[len(it.Hash):]
	if Sum(it.Value) != it.Hash {
		return fmt.Errorf("value %s is not what its hash says", it.Hash)
	}
	a.info.Values++
	return nil
}

func (a *archiveReader) record(it *ArchiveItem, frame []byte) error {
	r, err := a.dec.decode(frame)
	if err != nil {
		return fmt.Errorf("a record can't be read: %w", err)
	}
	sum, _ := bodySum(frame)
	before := a.sums[r.Stream]
	if r.Type == StreamDeleted { // the chain goes on from what it says
		d, err := ParseDeletion(r)
		if err != nil {
			return err
		}
		before = d.Sum
	}
	if sumBody(before, frame) != sum {
		return fmt.Errorf("record %d of stream %q does not match its sum", r.Seq, r.Stream)
	}
	a.sums[r.Stream] = sum
	it.Partition = a.part
	it.Record, it.body, it.claimed = &r, frame, append([]bool(nil), a.dec.claimed...)
	a.info.Records++
	return nil
}

func (a *archiveReader) point(it *ArchiveItem, frame []byte) error {
	in := input{rest: frame}
	c := Checkpoint{Stream: string(in.bytes(MaxName)), At: Seq(in.uvarint())}
	if in.err != nil {
		return fmt.Errorf("a checkpoint can't be read: %w", in.err)
	}
	c.Data = in.rest
	it.Checkpoint = &c
	a.info.Checkpoints++
	return nil
}
