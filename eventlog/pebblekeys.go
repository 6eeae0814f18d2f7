package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// This file makes and reads Pebble's keys and small values; they are drawn in
// doc.go.

// The first byte of a key says what lies under it.
const (
	tagRecord     = 'r'
	tagStream     = 's'
	tagValue      = 'v'
	tagUse        = 'u'
	tagClaim      = 'k'
	tagCheckpoint = 'c'
	tagTotals     = 't'
)

// totalsVersion is the first byte of the totals.
const totalsVersion = 1

// The first byte of a stream entry.
const (
	entryRecords = 0
	entryMark    = 1
)

func appendRecordKey(dst []byte, q Seq) []byte {
	return binary.BigEndian.AppendUint64(append(dst, tagRecord), uint64(q))
}

// appendStreamKey makes the key of the entry that begins with record first.
func appendStreamKey(dst []byte, stream string, first Seq) []byte {
	dst = append(append(dst, tagStream), stream...)
	return binary.BigEndian.AppendUint64(append(dst, 0), uint64(first))
}

// splitStreamKey reads a key of appendStreamKey; the name is part of the key.
func splitStreamKey(key []byte) (stream []byte, first Seq, err error) {
	at := len(key) - 9
	if at < 2 || key[0] != tagStream || key[at] != 0 {
		return nil, 0, fmt.Errorf("stream entry %q is damaged", key)
	}
	return key[1:at], Seq(binary.BigEndian.Uint64(key[at+1:])), nil
}

// beforeStream and beyondStream are keys on either side of all the entries of
// one stream, with nothing else between.
func beforeStream(stream string) []byte { return append(append([]byte{tagStream}, stream...), 0) }
func beyondStream(stream string) []byte { return append(append([]byte{tagStream}, stream...), 1) }

func valueKey(h Hash) []byte { return append([]byte{tagValue}, h[:]...) }

func useKey(u use) []byte { return append(append([]byte{tagUse}, u.hash[:]...), u.stream...) }

func splitUseKey(key []byte) (u use, err error) {
	if len(key) <= 1+len(u.hash) {
		return u, fmt.Errorf("use %q is damaged", key)
	}
	copy(u.hash[:], key[1:])
	u.stream = string(key[1+len(u.hash):])
	return u, nil
}

func nameKey(tag byte, name string) []byte { return append([]byte{tag}, name...) }

// appendEntry makes the value of a stream entry.
func appendEntry(dst []byte, t touch) []byte {
	kind := byte(entryRecords)
	if t.mark {
		kind = entryMark
	}
	var s spans
	for _, q := range t.seqs {
		s = s.add(q)
	}
	return appendSpans(append(dst, kind), s)
}

// parseEntry reads a stream entry, which must begin with record first.
func parseEntry(first Seq, val []byte) (mark bool, s spans, err error) {
	if len(val) == 0 || val[0] > entryMark {
		return false, nil, errSpans
	}
	s, err = parseSpans(val[1:])
	if err == nil && (len(s) == 0 || s[0].first != first) {
		err = errSpans
	}
	return val[0] == entryMark, s, err
}

// appendPlace makes the fixed part of claims and checkpoints: a Seq.
func appendPlace(dst []byte, q Seq) []byte { return binary.BigEndian.AppendUint64(dst, uint64(q)) }

func splitPlace(val []byte) (Seq, []byte, error) {
	if len(val) < 8 {
		return 0, nil, errCut
	}
	return Seq(binary.BigEndian.Uint64(val)), val[8:], nil
}

func appendTotals(dst []byte, t *totals) []byte {
	dst = append(dst, totalsVersion)
	for _, v := range [...]uint64{uint64(t.last), t.records, t.values, t.valueBytes} {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

func parseTotals(val []byte) (t totals, err error) {
	if len(val) == 0 || val[0] != totalsVersion {
		return t, errors.New("the totals are damaged")
	}
	in := input{rest: val[1:]}
	t = totals{Seq(in.uvarint()), in.uvarint(), in.uvarint(), in.uvarint()}
	if in.err != nil || len(in.rest) > 0 {
		return totals{}, errors.New("the totals are damaged")
	}
	return t, nil
}

// prefixEnd returns the first key that is beyond all keys with this prefix.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
