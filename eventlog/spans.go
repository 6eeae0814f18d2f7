package eventlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"iter"
	"slices"
)

// This file keeps ascending sets of sequence numbers small: as spans without a
// gap. The bytes are pairs of uvarints, one pair for each span:
//
//	distance from the end of the span before (from 0 for the first), at least 1
//	length - 1

// span is the sequence numbers first to last, both included.
type span struct{ first, last Seq }

type spans []span

var errSpans = errors.New("the list of sequence numbers is damaged")

// add puts seq, which must be greater than all in s, at the end.
func (s spans) add(seq Seq) spans {
	if n := len(s); n > 0 && s[n-1].last+1 == seq {
		s[n-1].last = seq
		return s
	}
	return append(s, span{seq, seq})
}

// merged returns the numbers of all spans, which may be in any order.
func (s spans) merged() (out spans) {
	slices.SortFunc(s, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	for _, sp := range s {
		if n := len(out); n > 0 && sp.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, sp.last)
			continue
		}
		out = append(out, sp)
	}
	return out
}

// all gives the numbers in order.
func (s spans) all() iter.Seq[Seq] {
	return func(yield func(Seq) bool) {
		for _, sp := range s {
			for q := sp.first; q <= sp.last; q++ {
				if !yield(q) {
					return
				}
			}
		}
	}
}

// count returns how many numbers are in s.
func (s spans) count() (n uint64) {
	for _, sp := range s {
		n += uint64(sp.last-sp.first) + 1
	}
	return n
}

// appendSpans adds the bytes of s to dst.
func appendSpans(dst []byte, s spans) []byte {
	end := Seq(0)
	for _, sp := range s {
		dst = binary.AppendUvarint(dst, uint64(sp.first-end))
		dst = binary.AppendUvarint(dst, uint64(sp.last-sp.first))
		end = sp.last
	}
	return dst
}

// parseSpans reads what appendSpans wrote. The bytes may be damaged; what it
// returns is in order in any case.
func parseSpans(b []byte) (s spans, err error) {
	in, end := input{rest: b}, Seq(0)
	for len(in.rest) > 0 {
		first := end + Seq(in.uvarint())
		last := first + Seq(in.uvarint())
		if in.err != nil || first <= end || last < first {
			return nil, errSpans
		}
		s = append(s, span{first, last})
		end = last
	}
	return s, nil
}
