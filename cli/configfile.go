package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"gleitzeit/protocols"
	"gleitzeit/providers"
)

// This file reads gleitzeit.yaml, strictly: what nobody would look at is an
// error, with its line and the key that was perhaps meant.

// readFile takes what the file says. Keys that it hasn't keep their values;
// providers and servers are taken one by one.
func (c *config) readFile(env *environment, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return usage(fmt.Errorf("read the configuration: %w", err))
	}
	name := env.relative(file)
	root, err := parseConfig(name, data)
	if err != nil || root == nil {
		return err
	}
	if ps := strict(name, root, reflect.TypeFor[settings]()); len(ps) > 0 {
		return ps
	}
	if err := root.Decode(&c.settings); err != nil {
		return yamlProblems(name, err)
	}
	c.note(name, root)
	c.anchor(env, filepath.Dir(file), root)
	return nil
}

// parseConfig returns the file's map of keys, nil if it says nothing.
func parseConfig(name string, data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, yamlProblems(name, err)
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, protocols.Problems{{File: name, Line: second.Line, Col: second.Column, Text: "a configuration is one document"}}
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, protocols.Problems{{File: name, Line: root.Line, Col: root.Column, Text: "a configuration is a map of keys"}}
	}
	return root, nil
}

// strict finds the keys of a node that the type has no field for.
func strict(file string, n *yaml.Node, t reflect.Type) (ps protocols.Problems) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return nil
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	fields := map[string]reflect.Type{}
	if t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			if key := t.Field(i).Tag.Get("yaml"); key != "-" {
				fields[key] = t.Field(i).Type
			}
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field, known := fields[key.Value]
		switch {
		case t.Kind() == reflect.Map:
			ps = append(ps, strict(file, value, t.Elem())...)
		case t.Kind() == reflect.Struct && known:
			ps = append(ps, strict(file, value, field)...)
		case t.Kind() == reflect.Struct:
			ps = append(ps, unknownKey(file, key.Line, key.Column, key.Value, sortedNames(fields)))
		}
	}
	return ps
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:\[?line (\d+)\]?: )?(.*)$`)

// yamlProblems gives the library's errors their places.
func yamlProblems(file string, err error) protocols.Problems {
	texts := []string{err.Error()}
	var many *yaml.TypeError
	if errors.As(err, &many) {
		texts = nil
		for _, e := range many.Errors {
			texts = append(texts, fmt.Sprint(e))
		}
	}
	var ps protocols.Problems
	for _, text := range texts {
		m := yamlLine.FindStringSubmatch(strings.ReplaceAll(text, "\n", " "))
		line, _ := strconv.Atoi(m[1])
		p := protocols.Problem{File: file, Line: line, Text: m[2]}
		if line > 0 {
			p.Col = 1
		}
		ps = append(ps, p)
	}
	return ps
}

// note remembers where the keys came from.
func (c *config) note(file string, root *yaml.Node) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		c.origin[key.Value] = fmt.Sprintf("%s:%d", file, key.Line)
		if key.Value != "providers" && key.Value != "mcpServers" || value.Kind != yaml.MappingNode {
			continue
		}
		for j := 0; j+1 < len(value.Content); j += 2 {
			name := value.Content[j]
			c.origin[key.Value+"."+name.Value] = fmt.Sprintf("%s:%d", file, name.Line)
		}
	}
}

// anchor makes the paths of a file's keys relative to its folder.
func (c *config) anchor(env *environment, dir string, root *yaml.Node) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch root.Content[i].Value {
		case "store":
			c.Store = env.expand(c.Store, dir)
		case "sqlite_path":
			c.SQLitePath = env.expand(c.SQLitePath, dir)
		case "mock":
			c.Mock = env.expand(c.Mock, dir)
		case "mcp_folder":
			c.MCPFolder = env.expand(c.MCPFolder, dir)
		case "tls_cert":
			c.TLSCert = env.expand(c.TLSCert, dir)
		case "tls_key":
			c.TLSKey = env.expand(c.TLSKey, dir)
		case "age_identity":
			c.AgeIdentity = env.expand(c.AgeIdentity, dir)
		case "secrets":
			anchorEach(root.Content[i+1], c.Secrets, func(source *string) {
				if protocols.IsSecretSource(*source) {
					*source = env.anchored(*source, dir)
				}
			})
		case "roots":
			for i, r := range c.Roots {
				c.Roots[i] = env.expand(r, dir)
			}
		case "providers":
			anchorEach(root.Content[i+1], c.Providers, func(p *providers.ProviderConfig) {
				p.Command = env.program(p.Command, dir)
				p.Python = env.expand(p.Python, dir)
				p.Script = env.expand(p.Script, dir)
				for _, paths := range [][]string{p.Sandbox.Read, p.Sandbox.Write} {
					for i, path := range paths {
						paths[i] = env.expand(path, dir)
					}
				}
				for i, entry := range p.Requirements {
					if providers.IsRequirementsFile(entry) {
						p.Requirements[i] = env.expand(entry, dir)
					}
				}
			})
		case "mcpServers":
			anchorEach(root.Content[i+1], c.MCPServers, func(s *providers.MCPServer) {
				s.Command, s.Cwd = env.program(s.Command, dir), env.expand(s.Cwd, dir)
				for i, root := range s.Roots {
					s.Roots[i] = env.expand(root, dir)
				}
			})
		}
	}
}

// anchorEach does so with the entries of a map that the node names.
func anchorEach[V any](node *yaml.Node, all map[string]V, anchor func(*V)) {
	if node.Kind != yaml.MappingNode {
		return
	}
	for j := 0; j < len(node.Content); j += 2 {
		name := node.Content[j].Value
		if v, there := all[name]; there {
			anchor(&v)
			all[name] = v
		}
	}
}

// program returns a command: a bare name is looked for in the PATH, anything
// with a separator lies below base.
func (e *environment) program(command, base string) string {
	if !strings.ContainsAny(command, `/\`) {
		return command
	}
	return e.expand(command, base)
}

// relative returns the path as a person in the working folder would write it.
func (e *environment) relative(path string) string {
	if rel, err := filepath.Rel(e.cwd, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}
