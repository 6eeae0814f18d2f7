package protocols

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/expr-lang/expr/vm"
)

// This file reads expressions. Paths in them are found by the rules of
// references, longest task name first, and get out of the library's way: each
// becomes a placeholder, whose value is looked up when it is needed.
//
//	Load Data.result.n > inputs.least   ──►   __0 > __1

// maxExpression is the length of an expression, in bytes.
const maxExpression = 4096

// expression is a text of the expression language.
type expression struct {
	text   string       // as written
	source string       // with placeholders, for the library
	refs   []*reference // what the placeholders stand for
	status bool         // it calls a status function

	once    sync.Once
	program *vm.Program
	result  kind // if known
	known   bool
	wrong   *referenceError
}

// statusFunctions ask what became of other tasks; they belong to conditions.
var statusFunctions = []string{"success", "failure", "always", "cancelled"}

// operatorWords are the words of the library that are no names.
var operatorWords = []string{"in", "not", "and", "or", "contains", "matches", "startsWith", "endsWith"}

// literalWords are the words that are values.
var literalWords = []string{"true", "false", "null", "nil"}

// readExpression reads all of text as an expression. What names nothing is an
// error; types are left to compile.
func readExpression(text string, n *names) (*expression, *referenceError) {
	r := &expressionReader{s: text, n: n, e: &expression{text: text}, found: map[string]int{}}
	if len(text) > maxExpression {
		return nil, &referenceError{fmt.Sprintf("the expression is longer than %d bytes", maxExpression), ""}
	}
	if strings.TrimSpace(text) == "" {
		return nil, &referenceError{"the expression is empty", ""}
	}
	for r.i < len(text) {
		if err := r.token(); err != nil {
			return nil, err
		}
	}
	r.e.source = r.out.String()
	return r.e, nil
}

// expressionReader goes over the text once, token by token.
type expressionReader struct {
	s       string
	i       int
	n       *names
	e       *expression
	out     strings.Builder
	found   map[string]int // placeholders by the text of their path
	open    []byte         // brackets
	last    string         // the last token but for space, if it matters
	operand bool           // the last token ends a value
}

// take copies the next n bytes, a token that is a value's end or isn't.
func (r *expressionReader) take(n int, operand bool) {
	r.last = r.s[r.i : r.i+n]
	r.out.WriteString(r.last)
	r.i += n
	r.operand = operand
}

func (r *expressionReader) token() *referenceError {
	c := r.s[r.i]
	next := byte(0)
	if r.i+1 < len(r.s) {
		next = r.s[r.i+1]
	}
	switch {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		r.out.WriteByte(' ')
		r.i++
	case c == '`':
		return &referenceError{"an expression holds no `", "quote texts with \" or '"}
	case c == '"' || c == '\'':
		end, ok := endOfQuoted(r.s, r.i)
		if !ok {
			return &referenceError{"a text in the expression is never closed with " + string(c), ""}
		}
		r.take(end-r.i, true)
	case c == '/' && (next == '/' || next == '*'):
		return &referenceError{"an expression holds no comments", ""}
	case c == ';':
		return &referenceError{"there is more than one expression", "join conditions with && or ||"}
	case isDigit(c):
		r.take(identifierEnd(r.s, r.i)-r.i, true)
	case c == '.' && next == '.', c == '?' && (next == '.' || next == '?'):
		r.take(2, false)
	case strings.IndexByte("([{", c) >= 0:
		r.open = append(r.open, c)
		r.take(1, false)
	case strings.IndexByte(")]}", c) >= 0:
		if len(r.open) > 0 {
			r.open = r.open[:len(r.open)-1]
		}
		r.take(1, true)
	case c == '#':
		r.take(1, true)
	default:
		if end := identifierEnd(r.s, r.i); end > r.i {
			return r.word(r.s[r.i:end])
		}
		_, size := utf8.DecodeRuneInString(r.s[r.i:])
		r.take(size, false)
	}
	return nil
}

// word reads what begins with a letter: an operator, a key, a function, a
// value, or a path.
func (r *expressionReader) word(word string) *referenceError {
	rest := r.s[r.i+len(word):]
	after := byte(0)
	if i := skipSpace(rest, 0); i < len(rest) {
		after = rest[i]
	}
	if r.last == "." || r.last == "?." || r.last == "#" && r.s[r.i-1] == '#' {
		r.take(len(word), true)
		return nil
	}
	if r.operand || r.last == "not" && word == "in" {
		if !slices.Contains(operatorWords, word) {
			return &referenceError{"unexpected " + quoted(word) + " in the expression", "quote texts; write odd names as tasks[\"…\"]"}
		}
		r.take(len(word), false)
		return nil
	}
	if after == ':' && len(r.open) > 0 && r.open[len(r.open)-1] == '{' && (r.last == "{" || r.last == ",") {
		r.take(len(word), true)
		return nil
	}
	reserved := slices.Contains(operatorWords, word) || slices.Contains(literalWords, word)
	root, task, length := r.n.head(r.s[r.i:], isIdentifierEnd)
	if length > len(word) || length == len(word) && !reserved && (after != '(' || !isFunction(word)) {
		return r.path(root, task, length)
	}
	switch {
	case word == "null":
		r.out.WriteString("nil")
		r.i += len(word)
		r.last, r.operand = word, true
	case reserved:
		r.take(len(word), slices.Contains(literalWords, word))
	case slices.Contains([]string{"let", "if", "else"}, word):
		return &referenceError{word + " is not part of an expression", "choose with a ? b : c"}
	case after == '(':
		return r.function(word)
	default:
		return unknownName(word, r.n)
	}
	return nil
}

func (r *expressionReader) function(name string) *referenceError {
	if !isFunction(name) {
		hint := Suggest(name, functionNames())
		if slices.Contains([]string{"now", "date", "duration", "timezone"}, name) {
			hint = "an expression knows no clock"
		}
		return &referenceError{"there is no function " + quoted(name), hint}
	}
	r.e.status = r.e.status || slices.Contains(statusFunctions, name)
	r.take(len(name), false)
	return nil
}

// unknownName says that a word of an expression names nothing.
func unknownName(word string, n *names) *referenceError {
	hint := Suggest(word, n.words())
	if hint == "" {
		hint = fmt.Sprintf("quote it for text: %q", shorten(word))
	}
	return &referenceError{"no task or root is called " + quoted(word), hint}
}

// path reads a path, as far as its grammar goes: the library does the rest.
func (r *expressionReader) path(root root, task, length int) *referenceError {
	from := r.i
	if root == taskRoot && task == ambiguous {
		return severalTasks(r.s[from : from+length])
	}
	p := &pathReader{s: r.s, i: from + length}
	path, optional := p.steps()
	ref := &reference{root: root, task: task, path: path}
	if root == tasksRoot {
		if err := ref.pickTask(r.n); err != nil {
			return err
		}
	}
	ref.text = r.s[from:p.i]
	ref.maybe = optional || strings.HasPrefix(r.s[skipSpace(r.s, p.i):], "??")
	if p.i < len(r.s) && r.s[p.i] == '(' {
		return &referenceError{quoted(ref.text) + " is not a function", ""}
	}
	number, known := r.found[ref.text]
	if !known {
		number = len(r.e.refs)
		r.found[ref.text] = number
		r.e.refs = append(r.e.refs, ref)
	}
	if optional {
		fmt.Fprintf(&r.out, "%s%d", lenient, number)
	} else {
		fmt.Fprintf(&r.out, "%s%d", placeholder, number)
	}
	r.i, r.last, r.operand = p.i, "", true
	return nil
}

// placeholder begins the name that stands for a path.
const placeholder = "__"

// pickTask turns tasks["name"].x into a path of the task.
func (ref *reference) pickTask(n *names) *referenceError {
	if len(ref.path) == 0 {
		return &referenceError{"tasks needs a name", `write tasks["Load Data"]`}
	}
	name := ref.path[0].key
	i, ok := n.task(name)
	switch {
	case !ok:
		return &referenceError{fmt.Sprintf("no task is called %s", quoted(name)), Suggest(name, n.taskWords())}
	case i == ambiguous:
		return severalTasks(name)
	}
	ref.root, ref.task, ref.path = taskRoot, i, ref.path[1:]
	return nil
}

func severalTasks(name string) *referenceError {
	return &referenceError{"several tasks are named " + quoted(name), "give them ids and use these"}
}

// steps reads as much of a path as there is. It is optional if it has ?. in
// it: then nothing need be there.
func (p *pathReader) steps() (path []step, optional bool) {
	for p.i < len(p.s) {
		from := p.i
		p.space()
		mark := strings.HasPrefix(p.s[p.i:], "?.")
		if mark {
			p.i++
		}
		s, ok := p.step()
		if !ok {
			p.i = from
			break
		}
		path, optional = append(path, s), optional || mark
	}
	return path, optional
}

// step reads one ".key", "[…]" or ".[…]".
func (p *pathReader) step() (step, bool) {
	rest := p.s[p.i:]
	switch {
	case strings.HasPrefix(rest, ".."):
	case strings.HasPrefix(rest, ".["):
		p.i++
		return p.bracket()
	case strings.HasPrefix(rest, "."):
		from := p.i
		key := strings.TrimRight(p.key(), "-")
		p.i = from + 1 + len(key)
		return stepOf(key), key != ""
	case strings.HasPrefix(rest, "["):
		return p.bracket()
	}
	return step{}, false
}

// closing returns the index of the brace that closes what s is the inside of,
// -1 if there is none.
func closing(s string) int {
	depth := 0
	for i := 0; i < min(len(s), maxExpression+1); i++ {
		switch s[i] {
		case '"', '\'':
			end, ok := endOfQuoted(s, i)
			if !ok {
				return -1
			}
			i = end - 1
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

// endOfQuoted returns the index after the quoted text that begins at i.
func endOfQuoted(s string, i int) (end int, closed bool) {
	quote := s[i]
	for i++; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == quote:
			return i + 1, true
		}
	}
	return len(s), false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isIdentifier(r rune) bool {
	return r == '_' || r == '$' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

// identifierEnd returns where the word that begins at i ends.
func identifierEnd(s string, i int) int {
	for i < len(s) {
		r, size := utf8.DecodeRuneInString(s[i:])
		if !isIdentifier(r) {
			break
		}
		i += size
	}
	return i
}

// isIdentifierEnd tells whether no word goes on where rest begins.
func isIdentifierEnd(rest string) bool { return identifierEnd(rest, 0) == 0 }
