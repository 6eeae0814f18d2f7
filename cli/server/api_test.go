package server_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gleitzeit/cli/server"
)

// TestAPI holds fields.json and docs/api.md to the table of methods and the
// comments of its types; -update writes them.
func TestAPI(t *testing.T) {
	texts := map[string]string{}
	for dir, prefix := range map[string]string{".": "", "../../replay": "replay.", "../../protocols": "protocols.",
		"../../providers": "providers.", "../../scheduler": "scheduler."} {
		commentsOf(t, dir, prefix, texts)
	}
	used := map[string]string{}
	for name, text := range texts {
		if isOnWire(name) {
			used[name] = text
		}
	}
	fields, err := json.MarshalIndent(used, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	hold(t, "fields.json", string(fields)+"\n")
	hold(t, "../../docs/api.md", reference(t))
}

func hold(t *testing.T, file, want string) {
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s isn't what the source says: go test ./cli/server -run TestAPI -update (twice), and read the diff", file)
	}
}

// document is as much of OpenRPC as this test reads.
type document struct {
	Methods []struct {
		Name, Summary string
		Role          string `json:"x-role"`
		Params        []struct {
			Name, Description string
			Required          bool
			Schema            map[string]any
		}
		Result struct{ Schema map[string]any }
	}
	Components struct {
		Schemas map[string]struct {
			Properties map[string]map[string]any
		}
		Errors map[string]struct{ Code int }
	}
}

func discovered(t *testing.T) (d document) {
	raw, err := json.Marshal(server.OpenRPC("test"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

var wire document

// isOnWire tells whether a field is one of those that OpenRPC describes.
func isOnWire(name string) bool {
	if wire.Methods == nil {
		raw, _ := json.Marshal(server.OpenRPC("test"))
		_ = json.Unmarshal(raw, &wire)
	}
	dot := strings.LastIndex(name, ".")
	_, found := wire.Components.Schemas[name[:dot]].Properties[name[dot+1:]]
	return found || slices.ContainsFunc(server.Methods(), func(m server.Method) bool {
		return reflect.TypeOf(m.Params).Name() == name[:dot] || m.Name == server.WorkflowRun && name[:dot] == "SubmitParams" || name[:dot] == "Grant"
	})
}

// commentsOf collects what the source says of the fields with JSON names.
func commentsOf(t *testing.T, dir, prefix string, to map[string]string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(dir, err)
	}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for n := range ast.Preorder(tree) {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				continue
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				comments(s, prefix+spec.Name.Name, to)
			}
		}
	}
}

func comments(s *ast.StructType, name string, to map[string]string) {
	for _, f := range s.Fields.List {
		if f.Tag == nil {
			continue
		}
		wire, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		text := strings.Join(strings.Fields(f.Doc.Text()+" "+f.Comment.Text()), " ")
		for _, own := range f.Names { // "Key makes ..." is about the member key
			text = strings.TrimPrefix(strings.TrimPrefix(text, own.Name+" is "), own.Name+" are ")
		}
		if wire != "" && wire != "-" && text != "" {
			to[name+"."+wire] = text
		}
	}
}

// reference is docs/api.md.
func reference(t *testing.T) string {
	d := discovered(t)
	var b strings.Builder
	head, err := os.ReadFile("testdata/api_head.md")
	if err != nil {
		t.Fatal(err)
	}
	b.Write(head)
	for _, m := range d.Methods {
		fmt.Fprintf(&b, "\n### %s\n\n%s", m.Name, m.Summary)
		if m.Role != "" {
			fmt.Fprintf(&b, " Role: `%s`.", m.Role)
		}
		fmt.Fprintf(&b, " Result: %s.\n", typeName(m.Result.Schema))
		if len(m.Params) > 0 {
			b.WriteString("\n| parameter | type | |\n|---|---|---|\n")
		}
		for _, p := range m.Params {
			text := p.Description
			if p.Required {
				text = strings.TrimSpace("(needed) " + text)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.Name, typeName(p.Schema), strings.ReplaceAll(text, "|", "\\|"))
		}
	}
	b.WriteString("\n## Types\n")
	for _, name := range sorted(d.Components.Schemas) {
		fmt.Fprintf(&b, "\n### %s\n\n| member | type | |\n|---|---|---|\n", name)
		all := d.Components.Schemas[name].Properties
		for _, member := range sorted(all) {
			text, _ := all[member]["description"].(string)
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", member, typeName(all[member]), strings.ReplaceAll(text, "|", "\\|"))
		}
	}
	b.WriteString("\n## Errors\n\n| code | name |\n|---|---|\n")
	codes := sorted(d.Components.Errors)
	slices.SortFunc(codes, func(a, b string) int { return d.Components.Errors[a].Code - d.Components.Errors[b].Code })
	for _, name := range codes {
		fmt.Fprintf(&b, "| %d | `%s` |\n", d.Components.Errors[name].Code, name)
	}
	return b.String()
}

func sorted[V any](m map[string]V) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// typeName says a schema in few words.
func typeName(s map[string]any) string {
	if ref, ok := s["$ref"].(string); ok {
		name := ref[strings.LastIndex(ref, "/")+1:]
		return "[" + name + "](#" + strings.ToLower(strings.ReplaceAll(name, ".", "")) + ")"
	}
	switch kind, _ := s["type"].(string); kind {
	case "":
		return "any"
	case "array":
		items, _ := s["items"].(map[string]any)
		return "list of " + typeName(items)
	case "object":
		values, ok := s["additionalProperties"].(map[string]any)
		if !ok {
			return "object"
		}
		return "map to " + typeName(values)
	case "string":
		if s["format"] == "date-time" {
			return "time"
		}
		if s["contentEncoding"] == "base64" {
			return "base64"
		}
		return kind
	default:
		return kind
	}
}
