package protocols

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Format returns a workflow file with every key in its canonical spelling and
// white space at the ends of lines and of the file gone; a JSON file is
// indented too. All else stays as it is: order, comments, quotes, line breaks.
// What the file means never changes. Formatting twice is the same as once.
//
// It returns no bytes if the file can't be read, or has a key in two
// spellings; nothing else is judged.
func Format(file string, data []byte) ([]byte, Problems) {
	d, ps := Parse(file, data)
	if len(ps.Errors()) > 0 {
		return nil, ps
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	lang := newLanguage()
	r := &renamer{d: d, lang: lang, renames: map[spot]rename{}, opaque: map[spot]bool{}, cols: map[int][]int{}}
	r.visit(d.root, lang.workflow.level)
	if len(d.problems.Errors()) > 0 {
		return nil, d.problems.sorted()
	}
	renamed := r.apply(data)
	if !sameMeaning(file, data, renamed, lang) {
		renamed = data
	}
	if isJSON(file, renamed) {
		return indented(renamed), nil
	}
	return tidied(file, renamed, d.root, lang), nil
}

// tidied takes away white space as far as that doesn't matter, until there is
// none to take.
func tidied(file string, data []byte, root *node, lang *language) []byte {
	trim := func(data []byte) []byte { return trimLines(data, root) }
	for changed := true; changed; {
		changed = false
		for _, step := range []func([]byte) []byte{unixLines, trim, oneEnd} {
			if next := step(data); !bytes.Equal(next, data) && sameMeaning(file, data, next, lang) {
				data, changed = next, true
			}
		}
	}
	return data
}

// spot is a place in a file.
type spot struct{ line, col int }

// rename is a key to be written another way.
type rename struct{ from, to string }

// renamer looks for keys that aren't canonical.
type renamer struct {
	d       *Document
	lang    *language
	renames map[spot]rename
	// opaque keys belong to nobody's table; an anchor may stand for both
	// kinds of map, and is then left alone.
	opaque map[spot]bool
	cols   map[int][]int // of renames, by line
}

// visit looks at the map n, which l is the table of.
func (r *renamer) visit(n *node, l *level) {
	seen := map[string]member{}
	for _, m := range n.members {
		at := spot{m.line, m.col}
		s := l.find(m.key)
		if s == nil || s.state != supported {
			r.opaque[at] = true
			r.pass(m.value)
			continue
		}
		if first, twice := seen[s.name]; twice {
			r.d.problem(m.line, m.col, fmt.Sprintf("%s is given twice", s.name), fmt.Sprintf("first as %s on line %d", first.key, first.line))
		}
		seen[s.name] = m
		if s.name != m.key {
			r.renames[at] = rename{m.key, s.name}
		} else {
			r.opaque[at] = true // nothing to do, also when it is met elsewhere
		}
		r.below(m.value, s, l)
	}
}

// below looks at the value of a key that has been recognised.
func (r *renamer) below(n *node, s *spelling, l *level) {
	switch {
	case s.name == "template" && l == r.lang.workflow.level:
		r.visit(n, r.lang.task.level)
	case s.inside == nil, !s.many && n.kind != mapKind:
		r.pass(n)
	case !s.many:
		r.visit(n, s.inside)
	default:
		for _, item := range n.items {
			r.visit(item, s.inside)
		}
		for _, m := range n.members {
			r.opaque[spot{m.line, m.col}] = true
			r.visit(m.value, s.inside)
		}
	}
}

// pass goes over a value that no table is about.
func (r *renamer) pass(n *node) {
	for _, item := range n.items {
		r.pass(item)
	}
	for _, m := range n.members {
		r.opaque[spot{m.line, m.col}] = true
		r.pass(m.value)
	}
}

// apply writes the keys anew. A key that isn't found at its place, for
// instance because it is written with escapes, stays.
func (r *renamer) apply(data []byte) []byte {
	for at := range r.renames {
		if !r.opaque[at] {
			r.cols[at.line] = append(r.cols[at.line], at.col)
		}
	}
	var out []byte
	lines := bytes.SplitAfter(data, []byte("\n"))
	for i, line := range lines {
		out = append(out, r.line(i+1, line)...)
	}
	return out
}

func (r *renamer) line(number int, line []byte) []byte {
	cols := r.cols[number]
	slices.Sort(cols)
	for _, col := range slices.Backward(cols) {
		change := r.renames[spot{number, col}]
		i := byteOffset(line, col)
		for _, quote := range []string{"", `"`, `'`} {
			if bytes.HasPrefix(line[i:], []byte(quote+change.from+quote)) {
				line = slices.Concat(line[:i], []byte(quote+change.to+quote), line[i+len(change.from)+2*len(quote):])
				break
			}
		}
	}
	return line
}

// byteOffset returns where the col-th character of the line begins.
func byteOffset(line []byte, col int) int {
	i := 0
	for ; col > 1 && i < len(line); col-- {
		_, size := utf8.DecodeRune(line[i:])
		i += size
	}
	return i
}

// sameMeaning tells whether two files say the same but for spelling.
func sameMeaning(file string, a, b []byte, lang *language) bool {
	x, _ := Parse(file, a)
	y, _ := Parse(file, b)
	if x.root == nil || y.root == nil || len(y.problems.Errors()) > 0 {
		return false
	}
	return bytes.Equal(canonical(nil, x.root, lang.workflow.level, lang), canonical(nil, y.root, lang.workflow.level, lang))
}

// canonical appends n as JSON, its keys in their canonical spelling. l is nil
// for a value that no table is about.
func canonical(b []byte, n *node, l *level, lang *language) []byte {
	if l == nil || n.kind != mapKind {
		return n.appendJSON(b, escapes{})
	}
	b = append(b, '{')
	for _, m := range n.members {
		s := l.find(m.key)
		if s == nil || s.state != supported {
			b = append(appendString(b, m.key), ':')
			b = append(m.value.appendJSON(b, escapes{}), ',')
			continue
		}
		b = append(appendString(b, s.name), ':')
		inside := s.inside
		if s.name == "template" && l == lang.workflow.level {
			inside = lang.task.level
		}
		if s.many && !m.value.scalar() {
			b = append(b, '[')
			for _, item := range m.value.items {
				b = append(canonical(b, item, inside, lang), ',')
			}
			for _, entry := range m.value.members {
				b = append(canonical(appendString(b, entry.key), entry.value, inside, lang), ',')
			}
			b = append(b, ']', ',')
			continue
		}
		b = append(canonical(b, m.value, inside, lang), ',')
	}
	return append(b, '}')
}

var lineEnds = regexp.MustCompile(`\r+\n`)

// unixLines ends every line with a line feed alone.
func unixLines(data []byte) []byte { return lineEnds.ReplaceAll(data, []byte("\n")) }

// trimLines takes spaces from the ends of all lines but those of texts.
func trimLines(data []byte, root *node) []byte {
	lines := strings.Split(string(data), "\n")
	text := textLines(root, len(lines))
	for i, line := range lines {
		if !text[i+1] {
			lines[i] = strings.TrimRight(line, " \t")
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// textLines tells of each of a file's lines, from 1, whether it may belong to
// a text of several lines: it stands after the line on which a text begins,
// and before the next value.
func textLines(root *node, lines int) []bool {
	starts, texts := make([]bool, lines+1), make([]bool, lines+1)
	seen := map[*node]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		if seen[n] || n.line > lines {
			return
		}
		seen[n], starts[n.line] = true, true
		texts[n.line] = texts[n.line] || n.kind == stringKind
		for _, item := range n.items {
			visit(item)
		}
		for _, m := range n.members {
			starts[min(m.line, lines)] = true
			visit(m.value)
		}
	}
	visit(root)
	within := make([]bool, lines+1)
	for line := 2; line <= lines; line++ {
		within[line] = !starts[line] && (texts[line-1] || within[line-1])
	}
	return within
}

// oneEnd ends the file with one line feed.
func oneEnd(data []byte) []byte { return append(bytes.TrimRight(slices.Clone(data), "\r\n"), '\n') }

func indented(data []byte) []byte {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(data), "", "  "); err != nil {
		return data
	}
	b.WriteByte('\n')
	return b.Bytes()
}
