package protocols

import (
	"fmt"
	"strings"
)

// This file says how a map of the language is read: by a table with one row
// for each key. The tables drive the compiler, Format and Schema alike.

// spelling is what a row says about a key, apart from how to read its value.
type spelling struct {
	name    string // canonical
	aliases []string
	doc     string
	schema  string // JSON Schema of the value, for editors
	state   state
	hint    string // for a key that isn't supported
	inside  *level // the map, or maps, that the value holds
	many    bool   // the value holds a list or map of such maps
	// emptyHint is for a key that somebody may think does something even
	// without a value.
	emptyHint string
	nullable  bool // null is a value like any other
}

// state tells whether a key does anything.
type state uint8

const (
	supported state = iota
	ignored         // the original ignored it too: a warning
	elsewhere       // a mistake worth a better hint than "unknown"
)

// key is a row: a spelling, and how to read the value into a T. written is the
// key as the file has it.
type key[T any] struct {
	spelling
	read func(c *compiler, t T, written string, v *node)
}

// level is a table without its readers.
type level struct {
	what      string // "workflow", "task", as messages call it
	spellings []*spelling
	index     map[string]int // by every spelling
	other     *level         // where a key that is unknown here may belong
}

// table says how one kind of map is read.
type table[T any] struct {
	*level
	keys []key[T]
}

func newTable[T any](what string, keys []key[T]) table[T] {
	l := &level{what: what, index: map[string]int{}}
	for i := range keys {
		s := &keys[i].spelling
		l.spellings = append(l.spellings, s)
		for _, word := range append([]string{s.name}, s.aliases...) {
			if _, twice := l.index[word]; twice {
				panic("two keys are spelled " + word)
			}
			l.index[word] = i
		}
	}
	return table[T]{l, keys}
}

// find returns the spelling that a written key belongs to, nil if there is none.
func (l *level) find(written string) *spelling {
	if i, ok := l.index[written]; ok {
		return l.spellings[i]
	}
	return nil
}

// words returns every key that works here, in all spellings.
func (l *level) words() []string {
	var words []string
	for _, s := range l.spellings {
		if s.state == supported {
			words = append(append(words, s.name), s.aliases...)
		}
	}
	return words
}

// readMap reads the map n into t by its table. Keys without a value are as
// good as absent. It reports whether n is a map.
func readMap[T any](c *compiler, n *node, tab table[T], t T) bool {
	if n.kind != mapKind {
		c.problem(n, fmt.Sprintf("%s must be a map of keys, not %s", tab.what, n.kind), "")
		return false
	}
	seen := map[string]member{}
	for _, m := range n.members {
		s := tab.find(m.key)
		if !c.accept(m, s, tab.level) {
			continue
		}
		if first, twice := seen[s.name]; twice {
			c.problemAt(m.line, m.col, fmt.Sprintf("%s is given twice", s.name),
				fmt.Sprintf("first as %s on line %d", first.key, first.line))
			continue
		}
		seen[s.name] = m
		if m.value.kind == nullKind && !s.nullable {
			if s.emptyHint != "" {
				c.warn(m.line, m.col, m.key+" has no value and does nothing", s.emptyHint)
			}
		} else {
			tab.keys[tab.index[s.name]].read(c, t, m.key, m.value)
		}
	}
	return true
}

// accept tells whether a key is to be read, and what is wrong if not.
func (c *compiler) accept(m member, s *spelling, l *level) bool {
	switch {
	case s == nil:
		c.problemAt(m.line, m.col, fmt.Sprintf("unknown key %s in %s", quoted(m.key), l.what), l.unknownHint(m.key))
	case s.state == ignored:
		c.warn(m.line, m.col, fmt.Sprintf("%s does nothing", m.key), s.hint)
	case s.state == elsewhere:
		c.problemAt(m.line, m.col, fmt.Sprintf("%s has no key %s", l.what, m.key), s.hint)
	default:
		return true
	}
	return false
}

func (l *level) unknownHint(key string) string {
	if l.other != nil && l.other.find(key) != nil {
		return fmt.Sprintf("it belongs to %s", l.other.what)
	}
	if hint := Suggest(key, l.words()); hint != "" {
		return hint
	}
	if strings.HasPrefix(key, "x-") {
		return "shared anchors may stand below metadata"
	}
	return ""
}
