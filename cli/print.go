package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"gleitzeit/protocols"
)

// printer is what all commands print with. Results go to out, everything else
// to err.
type printer struct {
	format string // text, json, jsonl or yaml; graph has its own besides
	out    io.Writer
	err    io.Writer
	quiet  bool
	outInk ink // for out
	errInk ink // for err
}

// formats are those that every command knows.
var formats = []string{"text", "json", "jsonl", "yaml"}

// prose tells whether results are written for people.
func (p *printer) prose() bool {
	return p.format != "json" && p.format != "jsonl" && p.format != "yaml"
}

// say tells a person something that isn't a result.
func (p *printer) say(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(p.err, format+"\n", args...)
	}
}

// insist says it even when asked to be quiet.
func (p *printer) insist(format string, args ...any) { fmt.Fprintf(p.err, format+"\n", args...) }

// fail tells why the command ends. Problems begin with their own places.
func (p *printer) fail(err error) {
	var problems protocols.Problems
	if errors.As(err, &problems) {
		for _, one := range problems {
			p.insist("%s", clean(one.Error()))
		}
		return
	}
	if text := clean(err.Error()); text != "" {
		p.insist("%s %s", p.errInk.red("gleitzeit:"), text)
	}
}

// show prints a result: v as the format has it, or as text does it.
func (p *printer) show(v any, text func(io.Writer)) error {
	var b bytes.Buffer
	switch p.format {
	case "json":
		if err := writeJSON(&b, v, "  "); err != nil {
			return err
		}
	case "jsonl":
		if err := writeLines(&b, v); err != nil {
			return err
		}
	case "yaml":
		if err := writeYAML(&b, v); err != nil {
			return err
		}
	default:
		text(&b)
	}
	_, err := p.out.Write(b.Bytes())
	return err
}

func writeJSON(w io.Writer, v any, indent string) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	return encoder.Encode(v)
}

// writeLines writes a list one line for each item, anything else as one line.
func writeLines(w io.Writer, v any) error {
	list := reflect.ValueOf(v)
	if list.Kind() != reflect.Slice || list.Type() == reflect.TypeFor[json.RawMessage]() {
		return writeJSON(w, v, "")
	}
	for i := range list.Len() {
		if err := writeJSON(w, list.Index(i).Interface(), ""); err != nil {
			return err
		}
	}
	return nil
}

// writeYAML writes what JSON would, its keys in the same order.
func writeYAML(w io.Writer, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	node, err := yamlOf(json.NewDecoder(bytes.NewReader(raw)))
	if err != nil {
		return err
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(node); err != nil {
		return err
	}
	return encoder.Close()
}

// yamlOf reads one JSON value as a YAML node.
func yamlOf(d *json.Decoder) (*yaml.Node, error) {
	d.UseNumber()
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	node := &yaml.Node{Kind: yaml.ScalarNode}
	switch t := token.(type) {
	case json.Delim:
		return yamlContainer(d, t)
	case string:
		node.SetString(t)
	case json.Number:
		node.Tag, node.Value = "!!float", t.String()
		_, whole := t.Int64()
		if _, natural := strconv.ParseUint(t.String(), 10, 64); whole == nil || natural == nil {
			node.Tag = "!!int" // a larger one is a float to YAML
		}
	case bool:
		node.Tag, node.Value = "!!bool", fmt.Sprint(t)
	default:
		node.Tag, node.Value = "!!null", "null"
	}
	return node, nil
}

// yamlContainer reads the rest of a list or map. Of a key that comes twice the
// last value counts, as in JSON.
func yamlContainer(d *json.Decoder, bracket json.Delim) (*yaml.Node, error) {
	node := &yaml.Node{Kind: yaml.SequenceNode}
	if bracket == '{' {
		node.Kind = yaml.MappingNode
	}
	places := map[string]int{}
	for d.More() {
		item, err := yamlOf(d)
		if err != nil {
			return nil, err
		}
		if node.Kind == yaml.SequenceNode {
			node.Content = append(node.Content, item)
			continue
		}
		value, err := yamlOf(d)
		if err != nil {
			return nil, err
		}
		if at, twice := places[item.Value]; twice {
			node.Content[at] = value
			continue
		}
		places[item.Value] = len(node.Content) + 1
		node.Content = append(node.Content, item, value)
	}
	if len(node.Content) == 0 {
		node.Style = yaml.FlowStyle
	}
	_, err := d.Token() // the bracket
	return node, err
}

// clean makes text of unknown origin fit for a terminal: no control
// characters but line breaks and tabs.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
}

// line makes text one line of at most n columns.
func line(s string, n int) string {
	return cut(strings.Join(strings.Fields(clean(s)), " "), n)
}

// showItem prints one of a stream of values: JSON as lines, YAML as documents.
func (p *printer) showItem(v any) error {
	if p.format != "yaml" {
		return writeJSON(p.out, v, "")
	}
	if _, err := io.WriteString(p.out, "---\n"); err != nil {
		return err
	}
	return writeYAML(p.out, v)
}
