package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// arrows says which packages of ours each package may import, and owners
// which of ours may import an outside library: design.md, "Layers".
var (
	arrows = map[string][]string{
		"":                      {"cli"},
		"eventlog":              {},
		"protocols":             {},
		"replay":                {"eventlog", "protocols"},
		"providers":             {"protocols", "providers/launcher"},
		"providers/launcher":    {},
		"providers/llmtest":     {},
		"scheduler":             {"eventlog", "protocols", "replay", "providers"},
		"cli/server":            {"eventlog", "protocols", "replay", "providers", "scheduler", "cli/server/metrics", "cli/server/traces", "cli/server/socketio"},
		"cli/server/metrics":    {"eventlog", "protocols", "replay"},
		"cli/server/socketio":   {},
		"cli/server/traces":     {"eventlog", "protocols", "replay"},
		"cli/server/servertest": {"eventlog", "protocols", "replay", "providers", "scheduler", "cli/server"},
		"cli/cluster":           {"eventlog", "protocols", "replay", "cli/server"},
		"cli/client":            {"eventlog", "protocols", "replay", "providers", "scheduler", "cli/server", "cli/cluster", "cli/server/traces"},
		"cli/mcp":               {"protocols", "replay", "cli/server"},
		"cli":                   {"eventlog", "protocols", "replay", "providers", "scheduler", "cli/mcp", "cli/server", "cli/client", "cli/server/traces", "cli/worker"},
		"cli/worker":            {"protocols", "providers", "cli/server"},
	}
	owners = map[string][]string{
		"github.com/cockroachdb/pebble":           {"eventlog"},
		"modernc.org/sqlite":                      {"eventlog"},
		"github.com/redis/go-redis":               {"eventlog"},
		"go.yaml.in/yaml":                         {"protocols", "cli"},
		"github.com/google/jsonschema-go":         {"protocols"},
		"github.com/itchyny/gojq":                 {"protocols"},
		"github.com/google/btree":                 {"replay", "eventlog"},
		"golang.org/x/sync":                       {"eventlog", "cli/server"},
		"github.com/netresearch/go-cron":          {"scheduler"},
		"github.com/alecthomas/kong":              {"cli"},
		"mvdan.cc/sh":                             {"protocols"},
		"filippo.io/age":                          {"cli"},
		"charm.land":                              {"cli"},
		"github.com/sourcegraph/jsonrpc2":         {"providers", "cli/server", "cli/client", "cli/worker"},
		"github.com/coder/websocket":              {"cli/server", "cli/server/socketio"},
		"github.com/modelcontextprotocol/go-sdk/": {"providers", "cli/mcp"},
		"go.opentelemetry.io/proto/otlp":          {"cli/server/traces", "cli/server/servertest"},
		"google.golang.org/protobuf":              {"cli/server/traces", "cli/server/servertest"},
		"golang.org/x/oauth2":                     {"providers"},
		"github.com/prometheus/":                  {}, // tests read what we write with its parser
	}
)

// TestArrows holds every package to its place.
func TestArrows(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, "gleitzeit"), "/")
		may, known := arrows[name]
		if !known {
			t.Errorf("package %q has no place in the table of arrows", name)
		}
		for _, path := range p.Imports {
			if ours, ok := strings.CutPrefix(path, "gleitzeit/"); ok && !slices.Contains(may, ours) {
				t.Errorf("%s imports %s: that arrow isn't drawn", p.ImportPath, path)
			}
			for library, owned := range owners {
				if strings.HasPrefix(path, library) && !slices.Contains(owned, name) {
					t.Errorf("%s imports %s, which belongs to %v", p.ImportPath, path, owned)
				}
			}
		}
		if p.Doc == "" {
			t.Errorf("package %s has no package comment", p.ImportPath)
		}
	}
}

type listed struct {
	ImportPath, Doc string
	Imports         []string
}

func list(t *testing.T) (all []listed) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// pure are the files that may know no clock, no chance, no environment and no
// goroutine.
var pure = []string{"replay/*.go", "scheduler/command.go", "scheduler/decide.go", "scheduler/tick.go", "scheduler/schedule.go", "scheduler/cron.go", "scheduler/workers.go"}

// TestPure looks for what the pure files may not say.
func TestPure(t *testing.T) {
	for _, pattern := range pure {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files (%v)", pattern, err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"time.Now", "time.Since", "rand.", "\"os\"", "\tgo ", "make(chan", "<-"} {
				if !strings.HasSuffix(name, "_test.go") && strings.Contains(string(text), word) {
					t.Errorf("%s: a pure file says %q", name, word)
				}
			}
		}
	}
}
