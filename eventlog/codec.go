package eventlog

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// This file turns a record into its body and back. The layout is drawn in
// doc.go.

// recordVersion is the first byte after the sum of every body.
const recordVersion = 1

// bodyHeader is the part of a body with fixed places.
const bodyHeader = len(Hash{}) + 1 + 8

var errCut = errors.New("it ends too early")

// appendBody adds r's body to dst, the sum in its place: the SHA-256 of the
// stream's sum before, and of all that follows the sum in the body. claimed
// says which of r.Keys the record takes; it may be shorter than r.Keys.
func appendBody(dst []byte, before Hash, r *Record, claimed []bool) ([]byte, Hash) {
	at := len(dst)
	dst = append(dst, before[:]...)
	dst = append(dst, recordVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Seq))
	dst = binary.AppendVarint(dst, r.Time.Unix())
	dst = binary.AppendUvarint(dst, uint64(r.Time.Nanosecond()))
	dst = appendString(dst, r.Stream)
	dst = appendString(dst, r.Type)
	dst = binary.AppendUvarint(dst, uint64(len(r.Data)))
	dst = append(dst, r.Data...)
	dst = binary.AppendUvarint(dst, uint64(len(r.Refs)))
	for i := range r.Refs {
		dst = append(dst, r.Refs[i][:]...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Keys)))
	for i, k := range r.Keys {
		head := uint64(len(k)) << 1
		if i < len(claimed) && claimed[i] {
			head |= 1
		}
		dst = append(binary.AppendUvarint(dst, head), k...)
	}
	sum := Hash(sha256.Sum256(dst[at:]))
	copy(dst[at:], sum[:])
	return dst, sum
}

// bodySum returns the sum that a body carries; the body may be damaged.
func bodySum(body []byte) (h Hash, err error) {
	if len(body) < bodyHeader {
		return h, errCut
	}
	return Hash(body[:len(h)]), nil
}

// sumBody computes the sum that a body should carry.
func sumBody(before Hash, body []byte) Hash {
	h := sha256.New()
	h.Write(before[:])
	h.Write(body[len(before):])
	return Hash(h.Sum(nil))
}

// decoder turns bodies into records. It keeps the strings that come again and
// again, so one decoder serves one reader.
type decoder struct {
	stream  string
	types   map[string]string
	claimed []bool // which of the last record's keys it took
}

// record reads the body of the record at seq. The record shares no memory
// with the body.
func (d *decoder) record(w row) (Record, error) {
	r, err := d.decode(w.body)
	switch {
	case err != nil:
		return r, fmt.Errorf("record %d is damaged: %w", w.seq, err)
	case r.Seq != w.seq:
		return r, fmt.Errorf("record %d is damaged: it says it is record %d", w.seq, r.Seq)
	}
	return r, nil
}

func (d *decoder) decode(body []byte) (r Record, err error) {
	if len(body) < bodyHeader {
		return r, errCut
	}
	if v := body[len(Hash{})]; v != recordVersion {
		return r, fmt.Errorf("it has version %d, this program reads up to %d", v, recordVersion)
	}
	in := input{rest: body[bodyHeader:]}
	r.Seq = Seq(binary.BigEndian.Uint64(body[len(Hash{})+1:]))
	sec, nsec := in.varint(), in.uvarint()
	if nsec >= uint64(time.Second) {
		in.fail(fmt.Errorf("it has %d nanoseconds in its time", nsec))
	}
	r.Time = time.Unix(sec, int64(nsec)).UTC()
	r.Stream = d.streamName(in.bytes(MaxName))
	r.Type = d.typeName(in.bytes(MaxName))
	r.Data = append([]byte(nil), in.bytes(math.MaxInt32)...)
	r.Refs = in.hashes()
	r.Keys = d.keys(&in)
	if in.err == nil && len(in.rest) > 0 {
		in.fail(fmt.Errorf("%d bytes follow its end", len(in.rest)))
	}
	if in.err != nil {
		return Record{}, in.err
	}
	return r, nil
}

// keys reads the keys of a record, and which of them it took.
func (d *decoder) keys(in *input) []string {
	d.claimed = d.claimed[:0]
	n := in.uvarint()
	if n > uint64(len(in.rest)) { // a key takes two bytes at least
		in.fail(errCut)
	}
	if n == 0 || in.err != nil {
		return nil
	}
	keys := make([]string, n)
	for i := range keys {
		head := in.uvarint()
		keys[i] = string(in.take(head>>1, MaxName))
		d.claimed = append(d.claimed, head&1 == 1)
	}
	return keys
}

func (d *decoder) streamName(b []byte) string {
	if string(b) != d.stream {
		d.stream = string(b)
	}
	return d.stream
}

func (d *decoder) typeName(b []byte) string {
	if s, ok := d.types[string(b)]; ok {
		return s
	}
	if d.types == nil || len(d.types) > 1000 {
		d.types = make(map[string]string)
	}
	s := string(b)
	d.types[s] = s
	return s
}

// input reads fields one after the other; after the first error it reads
// nothing more.
type input struct {
	rest []byte
	err  error
}

func (in *input) fail(err error) {
	if in.err == nil {
		in.err, in.rest = err, nil
	}
}

func (in *input) uvarint() uint64 {
	v, n := binary.Uvarint(in.rest)
	if n <= 0 {
		in.fail(errCut)
		return 0
	}
	in.rest = in.rest[n:]
	return v
}

func (in *input) varint() int64 {
	v, n := binary.Varint(in.rest)
	if n <= 0 {
		in.fail(errCut)
		return 0
	}
	in.rest = in.rest[n:]
	return v
}

// bytes reads a length and that many bytes, which stay part of the input.
func (in *input) bytes(limit int) []byte { return in.take(in.uvarint(), limit) }

func (in *input) take(n uint64, limit int) []byte {
	if n > uint64(limit) {
		in.fail(fmt.Errorf("it has a field of %d bytes", n))
	}
	if n > uint64(len(in.rest)) {
		in.fail(errCut)
	}
	if in.err != nil {
		return nil
	}
	b := in.rest[:n:n]
	in.rest = in.rest[n:]
	return b
}

func (in *input) hashes() []Hash {
	n := in.uvarint()
	if n > uint64(len(in.rest)/len(Hash{})) {
		in.fail(errCut)
	}
	if n == 0 || in.err != nil {
		return nil
	}
	hs := make([]Hash, n)
	for i := range hs {
		in.rest = in.rest[copy(hs[i][:], in.rest):]
	}
	return hs
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}
