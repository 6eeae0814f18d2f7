package protocols

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseYAML returns the tree of a YAML file, nil if its syntax is wrong.
func (d *Document) parseYAML(data []byte) *node {
	var first, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	err := decoder.Decode(&first)
	if errors.Is(err, io.EOF) {
		d.problem(1, 1, "the file is empty", "a workflow is a map with at least tasks")
		return nil
	}
	if err == nil {
		err = decoder.Decode(&second)
		if err == nil {
			d.problem(second.Line, second.Column, "a second YAML document begins here", "one workflow per file")
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		d.yamlError(data, err)
		return nil
	}
	r := &yamlReader{d: d, anchors: map[*yaml.Node]*anchor{}}
	root := r.value(first.Content[0], 1)
	if r.cost > maxDocument {
		d.problem(root.line, root.col, "the file is larger than 16 MiB when its aliases are written out", "")
		return nil
	}
	return root
}

// yamlReader makes nodes of YAML's: aliases followed, merge keys merged,
// numbers as JSON writes them.
type yamlReader struct {
	d       *Document
	anchors map[*yaml.Node]*anchor
	cost    int // bytes of the tree, with aliases written out
	tooDeep bool
}

// anchor is a value that aliases may stand for.
type anchor struct {
	node   *node
	cost   int
	within bool // being read: an alias here would hold itself
}

// value returns the tree of y. It stops adding once the tree costs too much.
func (r *yamlReader) value(y *yaml.Node, depth int) *node {
	n := &node{line: y.Line, col: y.Column}
	before := r.cost
	if r.cost += 1 + len(y.Value); r.cost > maxDocument {
		return n
	}
	if depth > maxDepth {
		r.refuseDepth(n)
		return n
	}
	if y.Kind == yaml.AliasNode {
		return r.alias(y, n)
	}
	if y.Anchor == "" {
		r.fill(n, y, depth)
		return n
	}
	a := &anchor{node: n, within: true}
	r.anchors[y] = a
	r.fill(n, y, depth)
	a.cost, a.within = r.cost-before, false
	return n
}

func (r *yamlReader) fill(n *node, y *yaml.Node, depth int) {
	switch y.Kind {
	case yaml.ScalarNode:
		r.scalar(n, y)
	case yaml.SequenceNode:
		n.kind = listKind
		r.expectTag(n, y, "!!seq")
		for _, item := range y.Content {
			n.items = append(n.items, r.value(item, depth+1))
		}
	case yaml.MappingNode:
		n.kind = mapKind
		r.expectTag(n, y, "!!map")
		r.mapping(n, y, depth)
	}
}

// alias returns what an alias stands for: the same node, counted again.
func (r *yamlReader) alias(y *yaml.Node, n *node) *node {
	a := r.anchors[y.Alias]
	if a == nil { // the anchor is on a key
		r.scalar(n, y.Alias)
		return n
	}
	if a.within {
		r.d.problem(n.line, n.col, fmt.Sprintf("the alias *%s stands inside of what it stands for", shorten(y.Value)), "")
		return n
	}
	r.cost += a.cost
	return a.node
}

func (r *yamlReader) refuseDepth(n *node) {
	if !r.tooDeep {
		r.tooDeep = true
		r.d.problem(n.line, n.col, fmt.Sprintf("lists and maps are nested more than %d deep", maxDepth), "")
	}
}

func (r *yamlReader) expectTag(n *node, y *yaml.Node, want string) {
	if tag := y.ShortTag(); tag != want {
		r.d.problem(n.line, n.col, "unknown YAML tag "+shorten(tag), "leave it out")
	}
}

func (r *yamlReader) mapping(n *node, y *yaml.Node, depth int) {
	own := map[string]int{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		if key := y.Content[i]; !isMerge(key) {
			if m, ok := r.key(key); ok {
				if first, twice := own[m.key]; twice {
					r.d.duplicate(m, first)
				} else {
					own[m.key] = m.line
				}
			}
		}
	}
	there := map[string]bool{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		value := r.value(y.Content[i+1], depth+1)
		if isMerge(y.Content[i]) {
			r.merge(n, value, own, there)
			continue
		}
		if m, ok := r.key(y.Content[i]); ok && !there[m.key] {
			there[m.key] = true
			m.value = value
			n.members = append(n.members, m)
		} else if !ok {
			r.d.problem(y.Content[i].Line, y.Content[i].Column, "a key must be plain text", "")
		}
	}
}

func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && key.ShortTag() == "!!merge"
}

// key returns the member that a key begins: its text as written, whatever
// YAML would take it for.
func (r *yamlReader) key(y *yaml.Node) (member, bool) {
	m := member{line: y.Line, col: y.Column}
	if y.Kind == yaml.AliasNode {
		y = y.Alias
	}
	m.key = y.Value
	return m, y.Kind == yaml.ScalarNode
}

// merge adds the members of what a `<<` names, unless n has its own. Among
// several maps the first one wins.
func (r *yamlReader) merge(n, from *node, own map[string]int, there map[string]bool) {
	switch from.kind {
	case mapKind:
		for _, m := range from.members {
			if _, given := own[m.key]; !given && !there[m.key] {
				there[m.key] = true
				n.members = append(n.members, m)
			}
		}
	case listKind:
		for _, item := range from.items {
			if item.kind != mapKind {
				r.d.problem(item.line, item.col, "a merge key (<<) takes maps", "")
				continue
			}
			r.merge(n, item, own, there)
		}
	default:
		r.d.problem(from.line, from.col, "a merge key (<<) takes a map or a list of maps", "")
	}
}

// scalar fills in a plain value. Dates and all that only YAML 1.1 takes for
// something else (yes, 12:30:45) are strings.
func (r *yamlReader) scalar(n *node, y *yaml.Node) {
	n.kind, n.text = stringKind, y.Value
	switch tag := y.ShortTag(); tag {
	case "!!str", "!!timestamp", "!!merge":
	case "!!null":
		n.kind, n.text = nullKind, ""
	case "!!bool":
		n.kind, n.text = boolKind, strings.ToLower(y.Value)
		if n.text != "true" && n.text != "false" {
			r.d.problem(n.line, n.col, quoted(y.Value)+" is not a boolean", "write true or false")
		}
	case "!!int", "!!float":
		n.kind = numberKind
		r.number(n, y.Value)
	default:
		r.d.problem(n.line, n.col, "unknown YAML tag "+shorten(tag), "leave it out")
	}
}

var octalLike = regexp.MustCompile(`^[-+]?0[0-9_]+$`)

// number writes a YAML number as JSON, with all its digits.
func (r *yamlReader) number(n *node, s string) {
	n.text = "0"
	text := strings.TrimPrefix(strings.ReplaceAll(s, "_", ""), "+")
	switch {
	case octalLike.MatchString(s):
		r.d.problem(n.line, n.col, "the number "+shorten(s)+" could be octal or decimal",
			`write 0o17 for octal, leave the zeros out for decimal, or quote it for text`)
	case json.Valid([]byte(text)):
		n.text = text
	default:
		if i, ok := new(big.Int).SetString(text, 0); ok {
			n.text = i.String()
		} else if f, err := strconv.ParseFloat(text, 64); err == nil {
			if b, err := json.Marshal(f); err == nil {
				n.text = string(b)
				return
			}
			r.d.problem(n.line, n.col, shorten(s)+" is not a number in JSON", "quote it for text")
		} else {
			r.d.problem(n.line, n.col, shorten(s)+" is not a number in JSON", "quote it for text")
		}
	}
	if !finite(n.text) {
		r.d.problem(n.line, n.col, "the number "+shorten(s)+" is out of range", "quote it for text")
	}
}
