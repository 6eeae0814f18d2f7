package protocols

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Limits of a workflow file. A file beyond them is refused before it costs
// much memory or time.
const (
	maxDocument = 16 << 20  // bytes, also with all aliases written out
	maxDepth    = 1000      // lists and maps within each other
	maxValues   = 1_000_000 // commas, line ends and brackets: more than the values there are
)

// Document is a workflow file as a tree of values with their places: syntax
// only, nothing in it has been judged yet.
type Document struct {
	File     string
	root     *node // nil when there is no tree
	problems Problems
}

// Parse reads a workflow file, YAML or JSON. It never returns nil: what is
// wrong is in the problems, and Compile will tell them again together with
// what it finds in the rest.
//
// A name that ends in .json means JSON, any other YAML, except that text that
// is a JSON object is read as JSON whatever its name. file is only for
// messages; nothing is opened.
func Parse(file string, data []byte) (*Document, Problems) {
	d := &Document{File: file}
	d.root = d.parse(data)
	d.problems = d.problems.sorted()
	return d, d.problems
}

func (d *Document) parse(data []byte) *node {
	if len(data) > maxDocument {
		d.problem(1, 1, "the file is larger than 16 MiB", "keep big texts in files of their own and name them with file_path")
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if values := countValues(data); values > maxValues {
		d.problem(1, 1, fmt.Sprintf("the file holds more than %d values", maxValues), "")
		return nil
	}
	if isJSON(d.File, data) {
		return d.parseJSON(data)
	}
	if i := invalidUTF8(data); i >= 0 {
		line, col := place(data, i)
		d.problem(line, col, "the file is not UTF-8 text", "save it as UTF-8")
		return nil
	}
	return d.parseYAML(data)
}

func (d *Document) problem(line, col int, text, hint string) {
	d.problems = append(d.problems, Problem{File: d.File, Line: line, Col: col, Text: text, Hint: hint})
}

// countValues returns an upper bound of the number of values in data.
func countValues(data []byte) int {
	n := 0
	for _, c := range data {
		switch c {
		case ',', '\n', '\r', '[', '{':
			n++
		}
	}
	return n
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// place returns line and column, from 1, of the byte at offset.
func place(data []byte, offset int) (line, col int) {
	before := data[:min(offset, len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[start:])
}
