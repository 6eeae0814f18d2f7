package protocols

import "encoding/json"

// This file reads files that are no workflows, by the same rules.

// Data is a file, YAML or JSON, that fits a JSON Schema.
type Data struct {
	JSON json.RawMessage // its content
	d    *Document
}

// ParseData reads a file and holds it to the schema, which must be right. Every
// problem has its place; without any the Data is not nil. file is only for
// messages; nothing is opened.
func ParseData(file string, data []byte, schema json.RawMessage) (*Data, Problems) {
	document, problems := Parse(file, data)
	if len(problems) > 0 || document.root == nil {
		return nil, problems
	}
	s, err := newSchema(schema, nil)
	if err != nil {
		panic("schema of " + file + ": " + err.Error())
	}
	parsed := &Data{JSON: document.root.raw(), d: document}
	for _, v := range s.check(parsed.JSON, checkOptions{what: "the file", member: "key"}) {
		line, col := document.root.placeOf(v)
		document.problem(line, col, v.text, v.hint)
	}
	if len(document.problems) > 0 {
		return nil, document.problems.sorted()
	}
	return parsed, nil
}

// Problem makes a problem of the value that path leads to, by keys and places
// in lists, or of the last value on the way to it.
func (p *Data) Problem(path []string, text, hint string) Problem {
	at := p.d.root.at(path)
	return Problem{File: p.d.File, Line: at.line, Col: at.col, Text: text, Hint: hint}
}
