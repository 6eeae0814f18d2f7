package protocols

import (
	"encoding/json"
	"strings"
)

// kind is a JSON value's type. The order is that of their names below.
type kind uint8

const (
	nullKind kind = iota
	boolKind
	numberKind
	stringKind
	listKind
	mapKind
)

// String returns the kind as a message names it, with its article.
func (k kind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "a list", "a map"}[k]
}

// node is one value of a workflow file: what JSON can say, with its place.
// Both syntaxes end here; anchors, tags and merge keys don't get so far.
// A node may hang in several places of the tree, and is not changed.
type node struct {
	kind      kind
	line, col int
	text      string // of a string; a number or boolean as JSON has it
	items     []*node
	members   []member
}

// member is one entry of a map.
type member struct {
	key       string
	line, col int
	value     *node
}

// scalar tells whether n is written as plain text: a string, number or boolean.
func (n *node) scalar() bool {
	return n.kind == stringKind || n.kind == numberKind || n.kind == boolKind
}

// get returns the value under key, nil if there is none.
func (n *node) get(key string) *node {
	for _, m := range n.members {
		if m.key == key {
			return m.value
		}
	}
	return nil
}

// escapes says where in a value `$${` stands for `${`.
type escapes struct{ keys, texts bool }

func undo(escaped bool, s string) string {
	if escaped {
		return unescape(s)
	}
	return s
}

// appendJSON appends n as compact JSON, maps in the order of the file.
func (n *node) appendJSON(b []byte, e escapes) []byte {
	switch n.kind {
	case nullKind:
		return append(b, "null"...)
	case boolKind, numberKind:
		return append(b, n.text...)
	case stringKind:
		return appendString(b, undo(e.texts, n.text))
	case listKind:
		b = append(b, '[')
		for i, item := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.appendJSON(b, e)
		}
		return append(b, ']')
	}
	b = append(b, '{')
	for i, m := range n.members {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, undo(e.keys, m.key))
		b = append(b, ':')
		b = m.value.appendJSON(b, e)
	}
	return append(b, '}')
}

// raw returns n as compact JSON, its text as it stands.
func (n *node) raw() json.RawMessage {
	return n.appendJSON(nil, escapes{})
}

// at returns the node that path leads to, or the last one on the way to it.
func (n *node) at(path []string) *node {
	for _, step := range path {
		next := n.child(step)
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

func (n *node) child(step string) *node {
	if n.kind == listKind {
		if i, ok := arrayIndex(step, len(n.items)); ok {
			return n.items[i]
		}
		return nil
	}
	for _, m := range n.members {
		if unescape(m.key) == step {
			return m.value
		}
	}
	return nil
}

// unescape writes `$${` as `${`, as text without references has it.
func unescape(s string) string {
	return strings.ReplaceAll(s, "$${", "${")
}
