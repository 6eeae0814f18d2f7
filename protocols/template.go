package protocols

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// template is a JSON value with references, cut into what is copied and what
// is put in. Making one costs a parse; filling one in doesn't.
type template struct {
	parts []templatePart
}

// templatePart is JSON to copy, or a reference and the way it is put in.
type templatePart struct {
	json []byte
	ref  *reference
	way  way
	name string // of the binding; the language of asCode
}

// way is how a reference's value enters the JSON.
type way uint8

const (
	asValue  way = iota // in the place of the whole string, with its type
	asText              // inside of a string, as text
	asCode              // the whole of a source code: its text, fences off
	asSymbol            // inside of source code: only a placeholder enters
)

// newTemplate cuts up raw, a valid JSON value. source tells of a member of
// the outermost object which language it is source code of, "" for none. References that are wrong,
// which Compile refuses, are an error.
func newTemplate(raw json.RawMessage, n *names, source func(member string) string) (*template, error) {
	b := &templateBuilder{names: n, source: source}
	if err := b.scan(raw); err != nil {
		return nil, err
	}
	b.flush()
	return &template{b.parts}, nil
}

type templateBuilder struct {
	names   *names
	source  func(string) string
	parts   []templatePart
	literal []byte
	bound   int // placeholders so far
}

// scan goes over the JSON once: strings that are values may hold references,
// all else is copied.
func (b *templateBuilder) scan(raw []byte) error {
	depth, member := 0, ""
	for i := 0; i < len(raw); {
		switch c := raw[i]; c {
		case '"':
			end := skipString(raw, i)
			s := raw[i:end]
			if isKey := nextIs(raw, end, ':'); isKey {
				if depth == 1 {
					member = rawText(s)
				}
				b.literal = append(b.literal, s...)
			} else if err := b.text(s, b.language(depth, member)); err != nil {
				return err
			}
			i = end
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		b.literal = append(b.literal, raw[i])
		i++
	}
	return nil
}

func (b *templateBuilder) language(depth int, member string) string {
	if depth != 1 || b.source == nil {
		return ""
	}
	return b.source(member)
}

func nextIs(raw []byte, i int, c byte) bool {
	i = skipSpace(raw, i)
	return i < len(raw) && raw[i] == c
}

// text adds a string value.
func (b *templateBuilder) text(raw []byte, language string) error {
	if !bytes.Contains(raw, []byte("${")) {
		b.literal = append(b.literal, raw...)
		return nil
	}
	text := rawText(raw)
	if language != "" {
		return b.code(text, language)
	}
	pieces, wrong := split(text, b.names)
	if len(wrong) > 0 {
		return fmt.Errorf("%s", wrong[0].text)
	}
	if len(pieces) == 1 && pieces[0].ref != nil {
		b.add(templatePart{ref: pieces[0].ref, way: asValue})
		return nil
	}
	b.literal = append(b.literal, '"')
	for _, p := range pieces {
		if p.ref == nil {
			b.literal = appendInside(b.literal, p.text)
		} else {
			b.add(templatePart{ref: p.ref, way: asText})
		}
	}
	b.literal = append(b.literal, '"')
	return nil
}

// code adds source code: nothing that is put in may become part of it.
func (b *templateBuilder) code(text, language string) error {
	pieces, wrong := split(text, b.names)
	if len(wrong) > 0 {
		return fmt.Errorf("%s", wrong[0].text)
	}
	if ref := wholeCode(pieces); ref != nil {
		b.add(templatePart{ref: ref, way: asCode, name: language})
		return nil
	}
	b.literal = append(b.literal, '"')
	for i, name := range symbols(text, pieces, b.bound) {
		if name == "" {
			b.literal = appendInside(b.literal, pieces[i].text)
			continue
		}
		b.bound++
		b.literal = appendInside(b.literal, name)
		b.add(templatePart{ref: pieces[i].ref, way: asSymbol, name: name})
	}
	b.literal = append(b.literal, '"')
	return nil
}

func (b *templateBuilder) add(p templatePart) {
	b.flush()
	b.parts = append(b.parts, p)
}

func (b *templateBuilder) flush() {
	if len(b.literal) > 0 {
		b.parts = append(b.parts, templatePart{json: b.literal})
		b.literal = nil
	}
}
