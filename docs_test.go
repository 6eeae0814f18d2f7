package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/providers"
)

// What README.md and docs/ show is held to what the program does. A fenced
// block is one of
//
//	```yaml             a whole workflow, which has to compile without a word,
//	                    or gleitzeit.yaml
//	```yaml wrong       a workflow with errors
//	```yaml part        neither: not looked at
//	```console          commands after "$ ", really run one after another by a
//	                    shell in a folder of the document's own, and what they
//	                    print. "..." stands for any text of a line, a line of
//	                    it for any lines. Without output anything will do. A
//	                    command that fails is followed by "$ echo $?"
//	```console needs …  not run, for it needs what a test hasn't
//
// and one that begins with "# NAME" is a file of that name in the folder, in
// which there are the examples as well.

// TestDocs compiles and runs the blocks of each document.
func TestDocs(t *testing.T) {
	python := realPython()
	workflows, commands := 0, 0
	t.Run("all", func(t *testing.T) {
		for _, file := range documents(t) {
			blocks := blocksOf(t, file)
			for _, b := range blocks {
				if b.kind == "yaml" && isWorkflow(b.text) {
					workflows++
				}
				if b.kind == "console" {
					commands += len(sessionOf(b))
				}
			}
			t.Run(file, func(t *testing.T) {
				t.Parallel()
				testDocument(t, blocks, python)
			})
		}
	})
	if workflows < 10 || commands < 15 { // else the reading of blocks is broken
		t.Errorf("found only %d workflows and %d commands", workflows, commands)
	}
}

func documents(t *testing.T) []string {
	files, err := filepath.Glob("docs/*.md")
	if err != nil || len(files) < 3 {
		t.Fatalf("docs: %v, %v", files, err)
	}
	return append([]string{"README.md"}, files...)
}

// block is a fenced block.
type block struct {
	place string // file:line of its first line
	kind  string // the words after the fence, "yaml wrong"
	name  string // of the file that it is, or ""
	text  string
}

var blockName = regexp.MustCompile(`^# ([\w./-]+\.(?:yaml|py|txt|json))(?::|\n)`)

func blocksOf(t *testing.T, file string) (blocks []block) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var open *block
	for i, line := range strings.SplitAfter(string(text), "\n") {
		kind, fence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case fence && open == nil:
			open = &block{place: fmt.Sprintf("%s:%d", file, i+2), kind: kind}
		case fence:
			if m := blockName.FindStringSubmatch(open.text); m != nil {
				open.name = m[1]
			}
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.text += line
		}
	}
	if open != nil {
		t.Errorf("%s: the block is never closed", open.place)
	}
	return blocks
}

func isWorkflow(text string) bool {
	return regexp.MustCompile(`(?m)^(tasks|steps|batch):`).MatchString(text)
}

func testDocument(t *testing.T, blocks []block, python string) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS("examples")); err != nil {
		t.Fatal(err)
	}
	sh := &shell{dir: dir, env: shellEnvironment(t, python), able: python != "" && runtime.GOOS != "windows"}
	for _, b := range blocks {
		if b.name != "" {
			if err := os.WriteFile(filepath.Join(dir, b.name), []byte(b.text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		switch kind, rest, _ := strings.Cut(b.kind, " "); kind {
		case "yaml":
			checkYAML(t, b, rest)
		case "console":
			if !strings.HasPrefix(rest, "needs ") {
				sh.run(t, b)
			}
		default:
			if strings.Contains(b.text, "$ gleitzeit ") {
				t.Errorf("%s: commands of gleitzeit belong into a console block", b.place)
			}
		}
	}
	if !sh.able {
		t.Skip("compiled, but nothing was run: that needs python3, and not Windows")
	}
}

func checkYAML(t *testing.T, b block, rest string) {
	document, _ := protocols.Parse(b.place, []byte(b.text))
	_, problems := protocols.NewRegistry().Compile(document)
	switch {
	case rest == "part" || b.name == "gleitzeit.yaml":
	case rest == "wrong":
		if len(problems.Errors()) == 0 {
			t.Errorf("%s: nothing is wrong with it", b.place)
		}
	case rest != "" || !isWorkflow(b.text):
		t.Errorf("%s: what is ```%s that is no workflow?", b.place, b.kind)
	case len(problems) > 0:
		t.Errorf("%s:\n%v", b.place, problems)
	}
}

// step is a command of a console block and what it prints.
type step struct {
	place   string
	command string
	output  string
}

func sessionOf(b block) (steps []step) {
	for _, line := range strings.SplitAfter(b.text, "\n") {
		if command, is := strings.CutPrefix(line, "$ "); is {
			steps = append(steps, step{place: b.place, command: strings.TrimSpace(command)})
		} else if len(steps) > 0 {
			steps[len(steps)-1].output += line
		}
	}
	return steps
}

// shell runs the commands of one document.
type shell struct {
	dir  string
	env  []string
	able bool
	code int // of the last command
}

// shellEnvironment has nothing of ours but the commands.
func shellEnvironment(t *testing.T, python string) []string {
	path := filepath.Dir(python) + string(os.PathListSeparator) + os.Getenv("PATH")
	return []string{"PATH=" + path, "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "USER=tester"}
}

func (sh *shell) run(t *testing.T, b block) {
	steps := sessionOf(b)
	if len(steps) == 0 {
		t.Errorf("%s: a console block without a command", b.place)
	}
	for i, s := range steps {
		if !sh.able {
			continue
		}
		got := sh.execute(t, s.command)
		if s.output != "" && !fits(s.output, got) {
			t.Errorf("%s: $ %s\nprinted:\n%s\nshown:\n%s", s.place, s.command, got, s.output)
		}
		told := i+1 < len(steps) && steps[i+1].command == "echo $?"
		if sh.code != 0 && !told {
			t.Errorf("%s: $ %s\nended with %d, which isn't shown:\n%s", s.place, s.command, sh.code, got)
		}
	}
}

// execute returns what a person sees.
func (sh *shell) execute(t *testing.T, command string) string {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", fmt.Sprintf("(exit %d); %s", sh.code, command))
	var out bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = sh.dir, sh.env, &out, &out, time.Second
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	sh.code = codeOf(err)
	return out.String()
}

// fits tells whether a command printed what is shown.
func fits(shown, printed string) bool {
	pattern := strings.Builder{}
	for _, line := range strings.SplitAfter(shown, "\n") {
		switch line = strings.TrimRight(line, " \n"); line {
		case "...":
			pattern.WriteString(`(?:.*\n)*`)
		default:
			pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), `\.\.\.`, `.*`) + ` *\n`)
		}
	}
	return regexp.MustCompile(`^` + strings.TrimSuffix(pattern.String(), ` *\n`) + `$`).MatchString(printed)
}

// TestDocsCanFail shows that the tests of this file see what is wrong.
func TestDocsCanFail(t *testing.T) {
	for _, test := range []struct {
		shown, printed string
		fits           bool
	}{
		{"a\nb\n", "a\nb\n", true},
		{"a\nb\n", "a\nb\nc\n", false},
		{"a\nb\n", "b\n", false},
		{"a\n", "a", false},
		{"a b\n", "a b  \n", true},
		{"took ...\n", "took 3ms\n", true},
		{"took ...\n", "took 3ms\nmore\n", false},
		{"a\n...\nz\n", "a\nz\n", true},
		{"a\n...\nz\n", "a\nb\nc\nz\n", true},
		{"a\n...\nz\n", "a\nb\n", false},
		{"a.c\n", "abc\n", false},
	} {
		if fits(test.shown, test.printed) != test.fits {
			t.Errorf("%q for %q: %v", test.shown, test.printed, !test.fits)
		}
	}
	steps := sessionOf(block{text: "$ one\n1\n2\n$ two\n"})
	if len(steps) != 2 || steps[0].output != "1\n2\n" || steps[1].command != "two" {
		t.Errorf("%+v", steps)
	}
}

// TestDocsPaths looks for the files that the documents name.
func TestDocsPaths(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^):#]+)(?:#[\w-]*)?\)`)
	name := regexp.MustCompile(`(?:^|[\s(\x60])((?:eventlog|protocols|replay|providers|scheduler|cli|docs|testdata|examples|\.ci)/[\w./-]*\w)`)
	anchor := regexp.MustCompile(`\]\(([^):#]*)#([\w-]+)\)`)
	for _, file := range documents(t) {
		text := readText(t, file)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			wantFile(t, file, filepath.Join(filepath.Dir(file), m[1]))
		}
		for _, m := range name.FindAllStringSubmatch(text, -1) {
			wantFile(t, file, m[1])
		}
		for _, m := range anchor.FindAllStringSubmatch(text, -1) {
			to := file
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(file), m[1])
			}
			if !slices.Contains(anchors(readText(t, to)), m[2]) {
				t.Errorf("%s: %s has no heading %s", file, to, m[2])
			}
		}
	}
}

func readText(t *testing.T, file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func wantFile(t *testing.T, document, file string) {
	if _, err := os.Stat(file); err != nil {
		t.Errorf("%s names %s: %v", document, file, err)
	}
}

// anchors are what links call a document's headings.
func anchors(text string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		word := strings.ToLower(regexp.MustCompile(`[^\w\s-]`).ReplaceAllString(m[1], ""))
		all = append(all, strings.ReplaceAll(word, " ", "-"))
	}
	return all
}

// TestDocsCommands asks the program whether it has the commands and flags
// that stand in the running text.
func TestDocsCommands(t *testing.T) {
	span := regexp.MustCompile("`gleitzeit ([^`]*)`")
	flag := regexp.MustCompile(`(?:^|\s)(--?[a-z][a-z-]*)`)
	help := map[string]string{}
	for _, file := range documents(t) {
		for _, m := range span.FindAllStringSubmatch(readText(t, file), -1) {
			words := strings.Fields(m[1])
			if i := slices.IndexFunc(words, func(w string) bool { return !regexp.MustCompile(`^[a-z]+$`).MatchString(w) }); i >= 0 {
				words = words[:i]
			}
			command := strings.Join(words, " ")
			if help[command] == "" {
				out, err := exec.Command("gleitzeit", append(words, "--help")...).CombinedOutput()
				if err != nil {
					t.Errorf("%s: gleitzeit %s: %v\n%s", file, command, err, out)
				}
				help[command] = string(out)
			}
			for _, f := range flag.FindAllStringSubmatch(m[1], -1) {
				if !regexp.MustCompile(regexp.QuoteMeta(f[1]) + `\b`).MatchString(help[command]) {
					t.Errorf("%s: gleitzeit %s has no flag %s", file, command, f[1])
				}
			}
		}
	}
	if len(help) < 8 {
		t.Errorf("found only %d commands", len(help))
	}
}

// TestDocsComplete looks for all that there is in the documents about it.
func TestDocsComplete(t *testing.T) {
	want := func(file, what string, words ...string) {
		text := readText(t, file)
		for _, w := range words {
			if !strings.Contains(text, "`"+w+"`") {
				t.Errorf("%s: nothing about %s %s", file, what, w)
			}
		}
	}
	for _, s := range protocols.NewRegistry().List() {
		for _, m := range s.Methods {
			want("docs/providers.md", "the method", append(m.Aliases, strings.Replace(m.Name, "*", "NAME", 1))...)
			want("docs/providers.md", "a parameter of "+m.Name, properties(t, m.Parameters)...)
		}
	}
	var schema struct {
		Properties json.RawMessage
		Defs       map[string]json.RawMessage `json:"$defs"`
	}
	whole := output(t, "schema")
	if err := json.Unmarshal(whole, &schema); err != nil {
		t.Fatalf("schema: %v", err)
	}
	want("docs/language.md", "the key", properties(t, whole)...)
	for _, level := range []string{"task", "retry", "input", "batch"} {
		if len(schema.Defs[level]) == 0 {
			t.Errorf("the schema has no $defs.%s", level)
		}
		want("docs/language.md", "the key of a "+level, properties(t, schema.Defs[level])...)
	}
	var settings []struct{ Key string }
	if err := json.Unmarshal(output(t, "config", "show", "-o", "json"), &settings); err != nil || len(settings) < 10 {
		t.Fatalf("config show: %v", err)
	}
	for _, s := range settings {
		key, _, _ := strings.Cut(s.Key, ".")
		want("docs/configuration.md", "the key", key)
	}
	want("docs/configuration.md", "the key", tags(reflect.TypeFor[providers.ProviderConfig]())...)
	want("docs/configuration.md", "the key", tags(reflect.TypeFor[providers.MCPServer]())...)
	variable := regexp.MustCompile(`"((?:GLEITZEIT|OLLAMA|XDG)_[A-Z_]+)"`)
	sources, _ := filepath.Glob("cli/*.go")
	for _, source := range sources {
		for _, m := range variable.FindAllStringSubmatch(readText(t, source), -1) {
			if !strings.Contains(readText(t, "docs/configuration.md"), m[1]) {
				t.Errorf("docs/configuration.md: nothing about the variable %s", m[1])
			}
		}
	}
}

// properties returns the names in a JSON Schema's properties.
func properties(t *testing.T, schema json.RawMessage) (names []string) {
	var s struct{ Properties map[string]json.RawMessage }
	if len(schema) > 0 {
		if err := json.Unmarshal(schema, &s); err != nil {
			t.Fatal(err)
		}
	}
	for name := range s.Properties {
		names = append(names, name)
	}
	return names
}

func tags(of reflect.Type) (names []string) {
	for i := range of.NumField() {
		if key := of.Field(i).Tag.Get("yaml"); key != "-" {
			names = append(names, key)
		}
	}
	return names
}

func output(t *testing.T, args ...string) []byte {
	cmd := exec.Command("gleitzeit", args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir, "XDG_CONFIG_HOME="+cmd.Dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gleitzeit %v: %v", args, err)
	}
	return out
}

// TestDocsClasses holds the table of error classes to the codes.
func TestDocsClasses(t *testing.T) {
	text, rows := readText(t, "docs/providers.md"), 0
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)`¹? \\| (`[A-Z_]+`.*) \\|$")
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		rows++
		for _, name := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(m[2], -1) {
			if code := codeNamed(name[1]); code == 0 || string(code.Class()) != m[1] {
				t.Errorf("%s is of class %q, not %s", name[1], code.Class(), m[1])
			}
		}
		if strings.Contains(text, "`"+m[1]+"`¹") != protocols.Class(m[1]).Hopeless() {
			t.Errorf("the class %s is marked wrongly", m[1])
		}
	}
	if rows != 11 {
		t.Errorf("found %d classes", rows)
	}
}

func codeNamed(name string) protocols.Code {
	for c := protocols.Code(-33000); c < 0; c++ {
		if c.String() == name {
			return c
		}
	}
	return 0
}
