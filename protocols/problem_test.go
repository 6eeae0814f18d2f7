package protocols

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestProblems(t *testing.T) {
	ps := Problems{
		{File: "f.yaml", Line: 3, Col: 1, Text: "third"},
		{File: "f.yaml", Line: 1, Col: 9, Text: "second", Hint: "do it"},
		{File: "f.yaml", Line: 1, Col: 2, Text: "first", Warning: true},
		{File: "f.yaml", Line: 3, Col: 1, Text: "third"},
	}.sorted()
	want := "f.yaml:1:2: warning: first\nf.yaml:1:9: second (do it)\nf.yaml:3:1: third"
	if ps.Error() != want {
		t.Errorf("got\n%v", ps)
	}
	if len(ps.Errors()) != 2 || len(ps.Warnings()) != 1 || ps.Warnings().Err() != nil {
		t.Errorf("errors %v, warnings %v", ps.Errors(), ps.Warnings())
	}
	var as Problems
	if err := ps.Err(); !errors.As(err, &as) || len(as) != 2 {
		t.Errorf("%v", err)
	}
	if got := (Problem{Text: "no place"}).Error(); got != "no place" {
		t.Errorf("%q", got)
	}
}

func TestTooManyProblems(t *testing.T) {
	var b strings.Builder
	b.WriteString("tasks: [{name: a, method: echo/echo}]\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "unknown%d: 1\n", i)
	}
	lines := strings.Split(problemsOf(b.String()), "\n")
	if len(lines) != maxProblems+1 || lines[maxProblems] != "test.yaml:1002:1: and 4000 more problems from here on" {
		t.Errorf("%d lines, the last %s", len(lines), lines[len(lines)-1])
	}
}

func TestLimitsOfAFile(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	merge := "a0: &a0 {x: 1}\n"
	for i := 1; i < 25; i++ {
		merge += fmt.Sprintf("a%d: &a%d {<<: [*a%d, *a%d], y: [*a%d, *a%d]}\n", i, i, i-1, i-1, i-1, i-1)
	}
	text := "t: &t " + strings.Repeat("x", 1<<20) + "\nu: [" + strings.Repeat("*t, ", 20) + "]\n"
	task := func(s string) string { return "tasks: [{name: a, method: echo/echo, params: {x: " + s + "}}]" }
	tests := []struct{ name, file, text, want string }{
		{"size", "f.yaml", strings.Repeat("#", maxDocument+1), "f.yaml:1:1: the file is larger than 16 MiB"},
		{"values", "f.yaml", "a: [" + strings.Repeat("1,", maxValues+1) + "]", "f.yaml:1:1: the file holds more than 1000000 values"},
		{"bomb", "f.yaml", bomb, "larger than 16 MiB when its aliases are written out"},
		{"merge bomb", "f.yaml", merge, "larger than 16 MiB when its aliases are written out"},
		{"text bomb", "f.yaml", text, "larger than 16 MiB when its aliases are written out"},
		{"deep yaml", "f.yaml", task(strings.Repeat("[", 1500) + strings.Repeat("]", 1500)), "f.yaml:1:1046: lists and maps are nested more than 1000 deep"},
		{"deep json", "f.json", `{"x":` + strings.Repeat("[", 1500) + strings.Repeat("]", 1500) + "}", "f.json:1:1005: lists and maps are nested more than 1000 deep"},
		{"deeper yaml", "f.yaml", strings.Repeat("[", 1<<20), "f.yaml:1:"},
		{"deeper json", "f.json", strings.Repeat("[", 1<<20), "f.json:1:"},
		{"deep block", "f.yaml", strings.Repeat("- ", 1<<20), "f.yaml:1:"},
		{"binary", "f.yaml", "name: \xff\xfe", "f.yaml:1:7: the file is not UTF-8 text"},
		{"binary json", "f.json", "{\"a\": \"\xff\"}", "f.json:1:8: the file is not UTF-8 text"},
		{"utf-16", "f.yaml", "\xff\xfea\x00:\x00", "f.yaml:1:1: the file is not UTF-8 text"},
		{"quote", "f.yaml", task("'" + strings.Repeat("${", 1<<18) + "'"), "is never closed"},
		{"defaults", "f.yaml", task("'" + strings.Repeat(`${a ?? "`, 1<<18) + "'"), "is never closed"},
		{"longer defaults", "f.yaml", task("'" + strings.Repeat(`${a ?? "x}`, 1<<18) + "'"), "unexpected x in the expression"},
		{"long key", "f.yaml", strings.Repeat("x", 1<<20) + ": 1", "mapping values are not allowed"},
	}
	for _, test := range tests {
		start := time.Now()
		d, _ := Parse(test.file, []byte(test.text))
		_, ps := registry.Compile(d)
		if got := ps.Error(); !strings.Contains(got, test.want) {
			t.Errorf("%s: got %.500s, want %s", test.name, got, test.want)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s took %v", test.name, took)
		} else {
			t.Logf("%s took %v", test.name, took)
		}
	}
}

func TestLongChainsCompile(t *testing.T) {
	const n = 20_000
	var b strings.Builder
	b.WriteString("tasks:\n- {name: t0, method: echo/echo}\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "- {name: t%d, method: echo/echo, params: {x: '${t%d.x}'}}\n", i, i-1)
	}
	start := time.Now()
	w := compileText(t, b.String())
	t.Logf("%d tasks took %v", n, time.Since(start))
	if last := w.Graph().Nodes[n-1].Level; last != n-1 {
		t.Errorf("the last of %d tasks is on level %d", n, last)
	}
	start = time.Now()
	ps := problemsOf(strings.Replace(b.String(), "- {name: t0, method: echo/echo}", fmt.Sprintf("- {name: t0, method: echo/echo, needs: t%d}", n-1), 1))
	if want := "test.yaml:2:10: the tasks wait for each other: t0 -> t19999 -> "; !strings.HasPrefix(ps, want) {
		t.Errorf("got %.300s", ps)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("a long cycle took %v", took)
	}
}
