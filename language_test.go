package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"gleitzeit/protocols"
)

// TestLanguage holds testdata/language.txt to the language and to the tests:
// every key has a row, every row is proved by core scripts that TestCore runs,
// shown by examples that a script or document runs, and has a misuse that validate refuses
// with its place.
func TestLanguage(t *testing.T) {
	rows, rulings := languageTable(t)
	keys := schemaKeys(t)
	for _, k := range keys {
		if rows[k] == nil {
			t.Errorf("testdata/language.txt has no row for the key %s", k)
		}
	}
	refusals := validateAll(t)
	for k, r := range rows {
		if !slices.Contains(keys, k) {
			t.Errorf("testdata/language.txt has a row for %s, which the language has not", k)
		}
		r.check(t, k, refusals)
	}
	for _, r := range rulings {
		if !strings.Contains(readText(t, r.file), r.text) {
			t.Errorf("%s: %s has no %q", r.words, r.file, r.text)
		}
	}
	if len(rulings) < 50 {
		t.Errorf("only %d rulings", len(rulings))
	}
}

// notProved are keys that need no row, with the reason.
var notProved = map[string]string{"version": "does nothing", "wait_for_completion": "does nothing", "providers": "does nothing"}

// proof is a row of the table.
type proof struct {
	core, examples []string
	misuse         string
}

// ruling is a row about a rule that is no key.
type ruling struct{ words, file, text string }

func languageTable(t *testing.T) (rows map[string]*proof, rulings []ruling) {
	t.Helper()
	rows = map[string]*proof{}
	for line := range strings.Lines(readText(t, "testdata/language.txt")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if words, ok := strings.CutPrefix(line, "ruling: "); ok {
			words, where, _ := strings.Cut(words, " | ")
			file, text, ok := strings.Cut(where, ": ")
			if !ok {
				t.Fatalf("not a ruling: %s", line)
			}
			rulings = append(rulings, ruling{words, file, text})
			continue
		}
		cells := strings.SplitN(line, "|", 4)
		if len(cells) != 4 {
			t.Fatalf("not a row of four: %s", line)
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if rows[cells[0]] != nil {
			t.Errorf("two rows for %s", cells[0])
		}
		rows[cells[0]] = &proof{strings.Split(cells[1], ", "), strings.Split(cells[2], ", "), cells[3]}
	}
	return rows, rulings
}

// check holds a row to the files.
func (p *proof) check(t *testing.T, key string, refusals string) {
	written := regexp.MustCompile(`(?m)(^|[ {,-])` + regexp.QuoteMeta(leafOf(key)) + ` *:`)
	for _, name := range p.core {
		if !written.MatchString(readText(t, filepath.Join("testdata/core", name))) {
			t.Errorf("%s: the core script %s has no such key", key, name)
		}
	}
	for _, name := range p.examples {
		if !written.MatchString(readText(t, filepath.Join("examples", name))) {
			t.Errorf("%s: the example %s has no such key", key, name)
		}
		if !runByScript(t, name) {
			t.Errorf("%s: no script runs the example %s", key, name)
		}
	}
	if told := regexp.MustCompile(`(?m)^\S.*:\d+:\d+: ` + regexp.QuoteMeta(p.misuse)); !told.MatchString(refusals) {
		t.Errorf("%s: validate refuses nothing with %q", key, p.misuse)
	}
}

// runByScript tells whether a script of testdata/script, or the console of a
// document, runs the example.
func runByScript(t *testing.T, example string) bool {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	runs := regexp.MustCompile(`(?m)^(exits \d+|[!]? *exec gleitzeit|signal .*|\$ .*gleitzeit) run .*(\$EXAMPLES|examples)/` + regexp.QuoteMeta(example))
	return slices.ContainsFunc(append(scripts, documents(t)...), func(s string) bool { return runs.MatchString(readText(t, s)) })
}

// validateAll is what validate says to all documents that the compiler's tests
// have as mistakes.
func validateAll(t *testing.T) string {
	t.Helper()
	archives, err := filepath.Glob("protocols/testdata/compile/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := []string{"validate"}
	for _, path := range archives {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Files {
			if strings.HasSuffix(f.Name, ".out") {
				continue
			}
			file := filepath.Join(dir, strings.TrimSuffix(filepath.Base(path), ".txtar")+" "+filepath.Base(f.Name))
			if err := os.WriteFile(file, f.Data, 0o666); err != nil {
				t.Fatal(err)
			}
			args = append(args, file)
		}
	}
	cmd := exec.Command("gleitzeit", args...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir)
	told, err := cmd.CombinedOutput()
	if codeOf(err) != 2 {
		t.Fatalf("validate: %v\n%s", err, told)
	}
	return string(told)
}

// schemaKeys are the canonical keys: those of workflow and task, and of the maps
// in them with the map's name.
func schemaKeys(t *testing.T) (keys []string) {
	t.Helper()
	type object struct {
		Properties map[string]struct{ Description string }
	}
	var schema struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(protocols.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	add := func(level string, o object) {
		for k, v := range o.Properties {
			if !strings.HasPrefix(v.Description, "The same as ") && notProved[k] == "" {
				keys = append(keys, level+k)
			}
		}
	}
	add("", schema.object)
	for name, o := range schema.Defs {
		switch {
		case name == "task":
			add("", o)
		case !strings.Contains(name, "-v1-"): // not of a method
			add(name+".", o)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// leafOf is the last word of a key such as retry.on.
func leafOf(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }
