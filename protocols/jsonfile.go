package protocols

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// isJSON tells whether a file is to be read as JSON: its name says so, or it
// holds a JSON object.
func isJSON(file string, data []byte) bool {
	if strings.EqualFold(filepath.Ext(file), ".json") {
		return true
	}
	i := skipSpace(data, 0)
	return i < len(data) && data[i] == '{' && json.Valid(data)
}

// parseJSON returns the tree of a JSON file.
func (d *Document) parseJSON(data []byte) *node {
	if i := invalidUTF8(data); i >= 0 {
		line, col := place(data, i)
		d.problem(line, col, "the file is not UTF-8 text", "save it as UTF-8")
		return nil
	}
	var any json.RawMessage
	if err := json.Unmarshal(data, &any); err != nil {
		d.jsonError(data, err)
		return nil
	}
	r := &jsonReader{d: d, data: data}
	return r.value(0, 1)
}

func (d *Document) jsonError(data []byte, err error) {
	line, col := 1, 1
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line, col = place(data, int(max(syntax.Offset-1, 0)))
	}
	d.problem(line, col, "JSON: "+err.Error(), "")
}

// jsonReader makes nodes of valid JSON, asked from front to back.
type jsonReader struct {
	d    *Document
	data []byte
	// The place of the last node: counting goes on from there.
	seen, line, col int
	tooDeep         bool
}

// value returns the tree of the value at i.
func (r *jsonReader) value(i, depth int) *node {
	i = skipSpace(r.data, i)
	n := &node{}
	n.line, n.col = r.place(i)
	if depth > maxDepth {
		r.refuseDepth(n)
		return n
	}
	raw := r.data[i:]
	switch n.kind = kindOf(raw); n.kind {
	case stringKind:
		n.text = rawText(raw[:skipString(raw, 0)])
	case mapKind:
		r.members(n, i, depth)
	case listKind:
		r.items(n, i, depth)
	default:
		n.text = string(raw[:skipWord(raw, 0)])
		if n.kind == numberKind {
			r.checkNumber(n)
		}
	}
	return n
}

func (r *jsonReader) members(n *node, i, depth int) {
	keys := map[string]int{}
	for i = skipSpace(r.data, i+1); r.data[i] == '"'; i = skipSpace(r.data, i) {
		end := skipString(r.data, i)
		m := member{key: rawText(r.data[i:end])}
		m.line, m.col = r.place(i)
		i = skipSpace(r.data, skipSpace(r.data, end)+1)
		m.value = r.value(i, depth+1)
		if first, twice := keys[m.key]; twice {
			r.d.duplicate(m, first)
		} else {
			keys[m.key] = m.line
			n.members = append(n.members, m)
		}
		if i = skipSpace(r.data, skipValue(r.data, i)); r.data[i] == ',' {
			i++
		}
	}
}

func (r *jsonReader) items(n *node, i, depth int) {
	for i = skipSpace(r.data, i+1); r.data[i] != ']'; i = skipSpace(r.data, i) {
		n.items = append(n.items, r.value(i, depth+1))
		if i = skipSpace(r.data, skipValue(r.data, i)); r.data[i] == ',' {
			i++
		}
	}
}

func (r *jsonReader) checkNumber(n *node) {
	if !finite(n.text) {
		r.d.problem(n.line, n.col, "the number "+shorten(n.text)+" is out of range", "")
	}
}

func (r *jsonReader) refuseDepth(n *node) {
	if !r.tooDeep {
		r.tooDeep = true
		r.d.problem(n.line, n.col, fmt.Sprintf("lists and maps are nested more than %d deep", maxDepth), "")
	}
}

// place returns where the byte at i stands; i never goes back.
func (r *jsonReader) place(i int) (line, col int) {
	if r.line == 0 {
		r.line, r.col = 1, 1
	}
	passed := r.data[r.seen:i]
	if last := bytes.LastIndexByte(passed, '\n'); last >= 0 {
		r.line += bytes.Count(passed, []byte("\n"))
		r.col = 1
		passed = passed[last+1:]
	}
	r.col += utf8.RuneCount(passed)
	r.seen = i
	return r.line, r.col
}

func (d *Document) duplicate(m member, firstLine int) {
	d.problem(m.line, m.col, fmt.Sprintf("the key %s is given twice", quoted(m.key)), fmt.Sprintf("first on line %d", firstLine))
}
