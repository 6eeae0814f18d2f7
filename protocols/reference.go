package protocols

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file reads references out of text:
//
//	text      = { any | "$${" | "${" ( reference | expression ) "}" }
//	reference = root path [ "??" JSON ]
//	path      = { "." key | "[" number "]" | "[" string "]" }
//
// The root is the longest task or root name that fits. Anything else between
// the braces is an expression (expression.go).

// reference is what stands between ${ and }.
type reference struct {
	text     string // as written, without ${ and }
	root     root
	task     int // if root is taskRoot
	path     []step
	fallback json.RawMessage // nil without ??
	maybe    bool            // in an expression: ?? follows
	expr     *expression     // if root is exprRoot
}

// each calls f with every path in ref: ref itself, or those of its expression.
func (ref *reference) each(f func(*reference)) {
	if ref.root != exprRoot {
		f(ref)
		return
	}
	for _, r := range ref.expr.refs {
		f(r)
	}
}

// step leads from a value into it.
type step struct {
	key     string
	index   int
	isIndex bool // the key is a whole number, and so may be an index
}

// piece is a part of a text: literal, or a reference.
type piece struct {
	text string
	ref  *reference
}

// referenceError says what is wrong with a reference.
type referenceError struct{ text, hint string }

// hasReference tells whether s holds a `${` that isn't escaped.
func hasReference(s string) bool {
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			return false
		}
		if i == 0 || s[i-1] != '$' {
			return true
		}
		s = s[i+2:]
	}
}

// maxWrong is how many wrong references of one text are told.
const maxWrong = 20

// split cuts s into literal text and references. Wrong references are
// reported and left out of the pieces.
func split(s string, n *names) (pieces []piece, wrong []referenceError) {
	var literal strings.Builder
	for len(wrong) < maxWrong {
		i := strings.Index(s, "${")
		if i < 0 {
			break
		}
		if i > 0 && s[i-1] == '$' {
			literal.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		literal.WriteString(s[:i])
		ref, rest, err := readReference(s[i+2:], n)
		if err != nil {
			wrong = append(wrong, *err)
		} else {
			if literal.Len() > 0 {
				pieces = append(pieces, piece{text: literal.String()})
				literal.Reset()
			}
			pieces = append(pieces, piece{ref: ref})
		}
		s = rest
	}
	if literal.WriteString(s); literal.Len() > 0 {
		pieces = append(pieces, piece{text: literal.String()})
	}
	return pieces, wrong
}

// readReference reads what follows `${`, and returns the rest after `}`.
func readReference(s string, n *names) (*reference, string, *referenceError) {
	end := strings.IndexByte(s, '}')
	if end < 0 {
		return nil, "", neverClosed(s)
	}
	ref, rest, err := readPath(s, end, n)
	if ref != nil || err != nil {
		return ref, rest, err
	}
	if i := closing(s); i >= 0 {
		end = i
	}
	text, rest := s[:end], s[end+1:]
	if err := unknownRoot(text, n); err != nil {
		return nil, rest, err
	}
	e, err := readExpression(text, n)
	if err != nil {
		err.text = "${" + shorten(text) + "}: " + err.text
		return nil, rest, err
	}
	return &reference{text: text, root: exprRoot, expr: e}, rest, nil
}

func neverClosed(s string) *referenceError {
	return &referenceError{"${" + shorten(s) + " is never closed with }", "write $${ for the text ${"}
}

// readPath reads a path, and returns neither it nor an error if there is none.
// end is the first closing brace in s.
func readPath(s string, end int, n *names) (*reference, string, *referenceError) {
	p := &pathReader{s: s}
	p.space()
	head := ""
	if p.i < end {
		head = s[p.i:end]
	}
	ref := &reference{}
	var length int
	ref.root, ref.task, length = n.split(head)
	if ref.root == noRoot || ref.root == tasksRoot {
		return nil, "", nil
	}
	if ref.root == taskRoot && ref.task == ambiguous {
		name := head[:length]
		return nil, s[end+1:], &referenceError{fmt.Sprintf("${%s} could mean several tasks that are named %s", shorten(s[:end]), quoted(name)),
			"give them ids and use these"}
	}
	p.i += length
	if !p.read(ref) {
		return nil, "", nil
	}
	ref.text = s[:p.i]
	return ref, s[p.i+1:], nil
}

// unknownRoot says why text names nothing; nil if it may be an expression.
func unknownRoot(text string, n *names) *referenceError {
	word := strings.TrimSpace(text)
	if root, _, _ := n.head(word, isIdentifierEnd); root != noRoot {
		return nil
	}
	if i := strings.IndexAny(word, ".[?"); i >= 0 {
		word = strings.TrimSpace(word[:i])
	}
	switch {
	case word == "" && strings.TrimSpace(text) != "":
		return nil
	case word == "":
		return &referenceError{"${" + shorten(text) + "} names nothing", "write $${ for the text ${"}
	case isExpression(word):
		return nil
	}
	hint := Suggest(word, n.words())
	if hint == "" && strings.ToUpper(word) == word {
		hint = fmt.Sprintf("write ${env.%s} for the variable, $${ for the text ${", shorten(word))
	}
	return &referenceError{fmt.Sprintf("${%s} names nothing: no task or root is called %s", shorten(text), quoted(word)), hint}
}

func isExpression(word string) bool {
	return strings.ContainsAny(word, "()+*/<>=!&|,\"'`{^%#:;") || strings.Contains(word, " - ") || unicode.IsDigit(rune(word[0])) ||
		strings.HasPrefix(word, "-") || strings.HasPrefix(word, "not ") || slices.Contains(literalWords, word)
}

// pathReader reads the part of a reference after its root.
type pathReader struct {
	s string
	i int
}

// read reads path and default into ref, and stops at the closing brace. It
// returns false if what is there is no path.
func (p *pathReader) read(ref *reference) bool {
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case c == '}':
			return true
		case c == '.':
			key := p.key()
			if key == "" {
				return false
			}
			ref.path = append(ref.path, stepOf(key))
		case c == '[':
			s, ok := p.bracket()
			if !ok {
				return false
			}
			ref.path = append(ref.path, s)
		case strings.HasPrefix(p.s[p.i:], "??"):
			return p.fallback(ref)
		case p.space():
			if !strings.HasPrefix(p.s[p.i:], "}") && !strings.HasPrefix(p.s[p.i:], "??") {
				return false
			}
		default:
			return false
		}
	}
	return false
}

// space skips white space, and tells whether there was any.
func (p *pathReader) space() bool {
	from := p.i
	p.i = skipSpace(p.s, p.i)
	return p.i > from
}

// key reads ".key".
func (p *pathReader) key() string {
	p.i++
	from := p.i
	for p.i < len(p.s) {
		r, size := utf8.DecodeRuneInString(p.s[p.i:])
		if r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) {
			break
		}
		p.i += size
	}
	return p.s[from:p.i]
}

func stepOf(key string) step {
	i, err := strconv.Atoi(key)
	return step{key: key, index: i, isIndex: err == nil && key[0] != '+'}
}

// bracket reads "[1]", `["key"]` or "['key']".
func (p *pathReader) bracket() (step, bool) {
	p.i++
	p.space()
	if p.i >= len(p.s) {
		return step{}, false
	}
	var s step
	switch c := p.s[p.i]; c {
	case '"', '\'':
		end := skipQuoted(p.s, p.i)
		key, ok := unquote(p.s[p.i:end])
		if !ok {
			return step{}, false
		}
		s, p.i = step{key: key}, end
	default:
		end := p.i + strings.IndexByte(p.s[p.i:], ']')
		if end < p.i {
			return step{}, false
		}
		if s = stepOf(strings.TrimSpace(p.s[p.i:end])); !s.isIndex {
			return step{}, false
		}
		p.i = end
	}
	p.space()
	if p.i >= len(p.s) || p.s[p.i] != ']' {
		return step{}, false
	}
	p.i++
	return s, true
}

// skipQuoted returns the index after the quoted text that begins at i.
func skipQuoted(s string, i int) int {
	quote := s[i]
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case quote:
			return i + 1
		}
	}
	return len(s)
}

// unquote reads a JSON string, or one in single quotes, which has no escapes.
func unquote(s string) (string, bool) {
	if s[0] == '\'' {
		if len(s) < 2 || s[len(s)-1] != '\'' || strings.Contains(s, `\`) {
			return "", false
		}
		return s[1 : len(s)-1], true
	}
	var text string
	err := json.Unmarshal([]byte(s), &text)
	return text, err == nil
}

// fallback reads "?? JSON" up to the closing brace.
func (p *pathReader) fallback(ref *reference) bool {
	p.i += len("??")
	p.space()
	rest := p.s[p.i:]
	end := skipValue(rest, 0)
	value := []byte(rest[:end])
	p.i += end
	p.space()
	if p.i >= len(p.s) || p.s[p.i] != '}' || !json.Valid(value) {
		return false
	}
	ref.fallback = compact(value)
	return true
}

// String returns the path as a message shows it.
func (s step) String() string {
	if s.key != "" && !slices.ContainsFunc([]rune(s.key), func(r rune) bool {
		return r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		return "." + s.key
	}
	return "[" + strconv.Quote(s.key) + "]"
}
