package socketio

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// This file reads and writes the packets of Socket.IO:
//
//	5 1- /admin, 12 ["file",{"_placeholder":true,"num":0}]
//	│ │  │       │  └ data
//	│ │  │       └ id, if it wants an acknowledgement or is one
//	│ │  └ namespace, if it isn't "/"
//	│ └ how many binary attachments follow, if it is of a binary kind
//	└ kind

// kind is what a packet of Socket.IO is for.
type kind byte

const (
	kindConnect      kind = '0'
	kindDisconnect   kind = '1'
	kindEvent        kind = '2'
	kindAck          kind = '3'
	kindConnectError kind = '4'
	kindBinaryEvent  kind = '5'
	kindBinaryAck    kind = '6'
)

func (k kind) binary() bool { return k == kindBinaryEvent || k == kindBinaryAck }

// withBinary is the kind that has attachments.
func (k kind) withBinary() kind {
	return map[kind]kind{kindEvent: kindBinaryEvent, kindAck: kindBinaryAck}[k]
}

// maxAttachments is how many binary parts one packet may have.
const maxAttachments = 1000

// packet is one of Socket.IO, without its attachments.
type packet struct {
	kind        kind
	namespace   string // begins with a slash
	attachments int    // how many follow
	hasID       bool
	id          uint64
	data        json.RawMessage // an array or an object; nil: none
}

// reserved are names of events that clients and servers make up themselves.
var reserved = []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}

// parsePacket reads a packet that a client may send. Its data is part of text.
func parsePacket(text []byte) (p packet, err error) {
	if len(text) == 0 || !utf8.Valid(text) {
		return p, errMalformed
	}
	p.kind, text = kind(text[0]), text[1:]
	if p.kind.binary() {
		var n uint64
		n, text, err = leadingNumber(text)
		if err != nil || n > maxAttachments || len(text) == 0 || text[0] != '-' {
			return p, errMalformed
		}
		p.attachments, text = int(n), text[1:]
	}
	p.namespace = "/"
	if len(text) > 0 && text[0] == '/' {
		name, rest, _ := bytes.Cut(text, []byte{','})
		if p.namespace, text = string(name), rest; bytes.ContainsFunc(name, unicode.IsControl) {
			return p, errMalformed
		}
	}
	if p.hasID = len(text) > 0 && isDigit(text[0]); p.hasID {
		if p.id, text, err = leadingNumber(text); err != nil {
			return p, err
		}
	}
	if len(text) > 0 {
		p.data = json.RawMessage(text)
	}
	return p, p.check()
}

// check refuses data that doesn't fit the kind.
func (p *packet) check() error {
	if p.data != nil && !json.Valid(p.data) {
		return errMalformed
	}
	fits := false
	switch p.kind {
	case kindConnect:
		fits = !p.hasID && (p.data == nil || p.data[0] == '{')
	case kindDisconnect:
		fits = !p.hasID && p.data == nil
	case kindEvent, kindBinaryEvent:
		name, _, err := eventArgs(p.data)
		fits = err == nil && !slices.Contains(reserved, name)
	case kindAck, kindBinaryAck:
		fits = p.hasID && p.data != nil && p.data[0] == '['
	}
	if !fits {
		return errMalformed
	}
	return nil
}

// write writes the packet.
func (p *packet) write() []byte {
	b := []byte{byte(p.kind)}
	if p.kind.binary() {
		b = append(strconv.AppendInt(b, int64(p.attachments), 10), '-')
	}
	if p.namespace != "/" {
		b = append(append(b, p.namespace...), ',')
	}
	if p.hasID {
		b = strconv.AppendUint(b, p.id, 10)
	}
	return append(b, p.data...)
}

// eventArgs takes the data of an event apart.
func eventArgs(data json.RawMessage) (name string, args []json.RawMessage, err error) {
	var parts []json.RawMessage
	if json.Unmarshal(data, &parts) != nil || len(parts) == 0 || parts[0][0] != '"' || json.Unmarshal(parts[0], &name) != nil {
		return "", nil, errMalformed
	}
	return name, parts[1:], nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// leadingNumber reads the digits in front.
func leadingNumber(text []byte) (n uint64, rest []byte, err error) {
	end := 0
	for end < len(text) && isDigit(text[end]) {
		end++
	}
	if n, err = strconv.ParseUint(string(text[:end]), 10, 63); err != nil {
		return 0, nil, errMalformed
	}
	return n, text[end:], nil
}
