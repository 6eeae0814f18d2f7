package eventlog

import (
	"encoding/binary"
	"fmt"
)

// This file takes a body apart for a store that keeps records in columns, and
// puts it together again, byte for byte: so the columns are the record, and its
// sum tells if one of them was changed.

// columns are a body's fields. refs and keys are nil if there are none; keys
// are as they stand in the body.
type columns struct {
	sum              []byte
	seconds, nanos   int64
	stream, kind     []byte
	data, refs, keys []byte
}

// splitBody takes a body apart. The columns are parts of it.
func splitBody(body []byte) (c columns, err error) {
	if len(body) < bodyHeader {
		return c, errCut
	}
	if v := body[len(Hash{})]; v != recordVersion {
		return c, fmt.Errorf("it has version %d", v)
	}
	c.sum = body[:len(Hash{})]
	in := input{rest: body[bodyHeader:]}
	c.seconds, c.nanos = in.varint(), int64(in.uvarint())
	c.stream, c.kind = in.bytes(MaxName), in.bytes(MaxName)
	c.data = in.bytes(1 << 30)
	if n := in.uvarint(); n > 0 {
		c.refs = in.take(n*uint64(len(Hash{})), 1<<30)
	}
	if len(in.rest) > 1 || in.err == nil && in.rest[0] != 0 {
		c.keys = in.rest
	}
	return c, in.err
}

// appendBody puts the body of record q together. Columns that can't be a
// record's give something that can't be read as one.
func (c *columns) appendBody(dst []byte, q Seq) []byte {
	if len(c.sum) != len(Hash{}) || len(c.refs)%len(Hash{}) != 0 {
		return dst
	}
	dst = append(dst, c.sum...)
	dst = append(dst, recordVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(q))
	dst = binary.AppendVarint(dst, c.seconds)
	dst = binary.AppendUvarint(dst, uint64(c.nanos))
	for _, field := range [...][]byte{c.stream, c.kind, c.data} {
		dst = append(binary.AppendUvarint(dst, uint64(len(field))), field...)
	}
	dst = append(binary.AppendUvarint(dst, uint64(len(c.refs)/len(Hash{}))), c.refs...)
	if c.keys == nil {
		return append(dst, 0)
	}
	return append(dst, c.keys...)
}
