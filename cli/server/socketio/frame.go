package socketio

import (
	"bytes"
	"encoding/base64"
	"errors"
	"iter"
	"unicode/utf8"
)

// This file reads and writes the packets of Engine.IO. One is a text that begins
// with its type, or binary, which is always a message. Several make the body of
// a request, a payload:
//
//	4hello \x1e 2 \x1e bAQIDBA==

// The types of Engine.IO's packets.
const (
	engineOpen    = '0'
	engineClose   = '1'
	enginePing    = '2'
	enginePong    = '3'
	engineMessage = '4'
	engineUpgrade = '5'
	engineNoop    = '6'
)

const separator = 0x1e

// errMalformed is a client that doesn't speak the protocol.
var errMalformed = errors.New("not a packet of Engine.IO 4 and Socket.IO 5")

// frame is one packet of Engine.IO.
type frame struct {
	binary bool
	data   []byte // of a text with its type
}

func text(kind byte, rest ...byte) frame { return frame{data: append([]byte{kind}, rest...)} }

// check refuses what can't be a packet.
func (f frame) check() error {
	if f.binary {
		return nil
	}
	if len(f.data) == 0 || f.data[0] < engineOpen || f.data[0] > engineNoop || !utf8.Valid(f.data) {
		return errMalformed
	}
	return nil
}

// parsePayload reads the packets of a payload, up to one that is none. Texts are
// parts of it.
func parsePayload(payload []byte) iter.Seq2[frame, error] {
	return func(yield func(frame, error) bool) {
		for part := range bytes.SplitSeq(payload, []byte{separator}) {
			if f, err := parsePart(part); !yield(f, err) || err != nil {
				return
			}
		}
	}
}

func parsePart(part []byte) (f frame, err error) {
	if len(part) == 0 || part[0] != 'b' {
		f.data = part
		return f, f.check()
	}
	f.binary = true
	if f.data, err = base64.StdEncoding.AppendDecode(nil, part[1:]); err != nil {
		return f, errMalformed
	}
	return f, nil
}

// writePayload writes packets as a payload. No text holds a separator, for JSON
// escapes it.
func writePayload(all []frame) (payload []byte) {
	for i, f := range all {
		if i > 0 {
			payload = append(payload, separator)
		}
		if f.binary {
			payload = base64.StdEncoding.AppendEncode(append(payload, 'b'), f.data)
		} else {
			payload = append(payload, f.data...)
		}
	}
	return payload
}
