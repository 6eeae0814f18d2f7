package protocols

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/google/jsonschema-go/jsonschema"
)

// Spec is a protocol's specification: what its providers can be asked. Those
// built in are JSON files in specs/; remote providers bring theirs.
type Spec struct {
	// Protocol is the protocol's id: a name and a version, "llm/v1".
	Protocol    string    `json:"protocol"`
	Description string    `json:"description,omitempty"`
	Methods     []*Method `json:"methods"`
	// Definitions are schemas that the methods' schemas refer to as
	// "#/$defs/name".
	Definitions json.RawMessage `json:"$defs,omitempty"`
}

// Method is one method of a protocol. Its schemas are JSON Schema 2020-12;
// what is false, absent or open in them is as usual. Further words may
// stand in the schema of a parameter:
//
//	x-source: python   source code, see Substitute
//	x-source: jq       a filter: its references are in the parameter vars
//	x-source: shell    a script for the shell that the parameter shell names
//	x-file: true       the name of a file, or a list or map of such names
//	x-workflow: true   with x-file: the file is a workflow, and literal
//	x-text: true       text; a value put in by a reference is taken as text
//	                   whatever its type
//	x-duration: true   a number of seconds or a duration such as 90s
//	x-time: true       a time as RFC 3339 has it
//
// one in the schema of the parameters
//
//	x-one-of: [[a, b]]  lists of parameters of which no two go together
//
// and one in the schema of a result, or of a map in it:
//
//	x-complete: true   there are no keys but those that are named: Compile
//	                   refuses references to others
type Method struct {
	// Name is canonical: the protocol's name, a slash, the rest. A name that
	// ends in "*" stands for all that begin so ("mcp/tool.*").
	Name        string   `json:"name"`
	Aliases     []string `json:"aliases,omitempty"`
	Description string   `json:"description,omitempty"`
	// Parameters and Result are schemas, empty for anything.
	Parameters json.RawMessage `json:"parameters,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"`

	protocol    string
	definitions json.RawMessage
	once        sync.Once
	parameters  *schema
	result      *schema
	traits      map[string]trait
	failed      error
}

// trait is what the further words of the schema say about a parameter.
type trait struct {
	source   string // the language, "" if it is no source code
	file     bool
	workflow bool
}

// Protocol returns the id of the protocol that the method belongs to.
func (m *Method) Protocol() string { return m.protocol }

// load parses the schemas, once.
func (m *Method) load() error {
	m.once.Do(func() {
		if m.parameters, m.failed = newSchema(m.Parameters, m.definitions); m.failed != nil {
			m.failed = fmt.Errorf("parameters of %s: %w", m.Name, m.failed)
			return
		}
		if m.result, m.failed = newSchema(m.Result, m.definitions); m.failed != nil {
			m.failed = fmt.Errorf("result of %s: %w", m.Name, m.failed)
			return
		}
		m.traits = map[string]trait{}
		for name, p := range m.parameters.root.Properties {
			if t := traitOf(p); t != (trait{}) {
				m.traits[name] = t
			}
		}
	})
	return m.failed
}

func traitOf(p *jsonschema.Schema) trait {
	source, _ := p.Extra["x-source"].(string)
	return trait{source: source, file: p.Extra["x-file"] == true, workflow: p.Extra["x-workflow"] == true}
}

// defaults returns the parameters that params doesn't have and the schema has
// a default for, in alphabetical order.
func (m *Method) defaults(has func(name string) bool) []rawDefault {
	var ds []rawDefault
	for _, name := range sortedKeys(m.parameters.root.Properties) {
		if d := m.parameters.root.Properties[name].Default; d != nil && !has(name) {
			ds = append(ds, rawDefault{name, compact(d)})
		}
	}
	return ds
}

type rawDefault struct {
	name  string
	value json.RawMessage
}

// compact returns valid JSON without white space, its text as it was.
func compact(raw []byte) json.RawMessage {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		panic(fmt.Sprintf("compact invalid JSON: %v", err))
	}
	return b.Bytes()
}
