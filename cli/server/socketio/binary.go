package socketio

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
)

// placeholder stands where an attachment was.
type placeholder struct {
	Placeholder *bool `json:"_placeholder"`
	Num         *int  `json:"num"`
}

// Binary is an argument that the client gets as binary.
type Binary []byte

// pack makes the data of a packet, and its attachments, which are the arguments
// that are Binary.
func pack(args []any) (data json.RawMessage, attachments [][]byte, err error) {
	parts := make([]any, len(args))
	for i, arg := range args {
		if b, is := arg.(Binary); is {
			yes, num := true, len(attachments)
			arg, attachments = placeholder{&yes, &num}, append(attachments, b)
		}
		parts[i] = arg
	}
	data, err = json.Marshal(parts)
	return data, attachments, err
}

// maxPlaceholder is the length of the longest that clients write, with room for
// spaces.
const maxPlaceholder = 64

// Inline puts each attachment of an event where JSON can have it, as a string
// in base64. Each must have its one place.
func Inline(data json.RawMessage, attachments [][]byte) (json.RawMessage, error) {
	if len(attachments) == 0 {
		return data, nil
	}
	places, err := findPlaceholders(data)
	if err != nil || len(places) != len(attachments) {
		return nil, errMalformed
	}
	var out []byte
	used, from := make([]bool, len(attachments)), 0
	for _, p := range places {
		if p.num < 0 || p.num >= len(used) || used[p.num] {
			return nil, errMalformed
		}
		used[p.num] = true
		out = append(append(out, data[from:p.start]...), '"')
		out = append(base64.StdEncoding.AppendEncode(out, attachments[p.num]), '"')
		from = p.end
	}
	return append(out, data[from:]...), nil
}

// place is where a placeholder is in a text, and which it is.
type place struct{ start, end, num int }

// findPlaceholders finds all placeholders in JSON, in order.
func findPlaceholders(data json.RawMessage) (all []place, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	var open []int // where the objects and arrays begin that we are in
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		end := int(dec.InputOffset())
		switch token {
		case json.Delim('{'), json.Delim('['):
			open = append(open, end-1)
		case json.Delim(']'):
			open = open[:len(open)-1]
		case json.Delim('}'):
			start := open[len(open)-1]
			open = open[:len(open)-1]
			if num, is := isPlaceholder(data[start:end]); is {
				all = append(all, place{start, end, num})
			}
		}
	}
}

func isPlaceholder(object []byte) (num int, is bool) {
	if len(object) > maxPlaceholder {
		return 0, false
	}
	var p placeholder
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.DisallowUnknownFields()
	if dec.Decode(&p) != nil || p.Placeholder == nil || !*p.Placeholder || p.Num == nil {
		return 0, false
	}
	return *p.Num, true
}
