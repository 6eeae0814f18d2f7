package protocols

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func seeds(f *testing.F) {
	scripts, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, script := range scripts {
		for _, a := range readArchive(f, script).files {
			if !strings.HasSuffix(a.name, ".out") {
				f.Add(strings.HasSuffix(a.name, ".json"), a.data)
			}
		}
	}
}

func fileName(isJSON bool) string {
	if isJSON {
		return "f.json"
	}
	return "f.yaml"
}

// FuzzParse: no text makes the compiler panic, every problem has a place, and
// what compiles survives the log.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, isJSON bool, data []byte) {
		d, _ := Parse(fileName(isJSON), data)
		w, ps := registry.Compile(d)
		for _, p := range ps {
			if p.Line < 1 || p.Col < 1 || p.Text == "" || !utf8.ValidString(p.Error()) || strings.Contains(p.Error(), "\n") {
				t.Errorf("problem %q", p)
			}
		}
		if w == nil {
			if len(ps.Errors()) == 0 {
				t.Error("neither a workflow nor an error")
			}
			return
		}
		again, err := Decode(w.Encode())
		if err != nil || !bytes.Equal(again.Encode(), w.Encode()) {
			t.Fatalf("%v\n%s\n%s", err, w.Encode(), again.Encode())
		}
		if w.Batch != nil {
			w, _ = w.Expand(registry, []string{"a.txt", "b.png"})
			if w == nil {
				return
			}
		}
		_, _, _ = w.Graph().Text(), w.Graph().Mermaid(), w.Graph().Dot()
		s := &Scope{Workflow: w, Tasks: map[int]TaskValue{}}
		for i, task := range w.Tasks {
			s.Tasks[i] = completed(`{"result":{"a":[1,"x"]}}`)
			got, failed := Substitute(w, i, s, registry)
			if failed == nil && !json.Valid(got.Parameters) {
				t.Errorf("%s became %s", task.Parameters, got.Parameters)
			}
			if failed == nil && task.Literal {
				if err := registry.CheckParameters(task.Method, got.Parameters); err != nil {
					t.Errorf("literal parameters %s: %v", got.Parameters, err)
				}
			}
		}
		s.Secrets = map[string]string{}
		for _, name := range w.SecretRefs {
			s.Secrets[name] = "secret"
		}
		for i, task := range w.Tasks {
			exerciseFlow(t, w, i, task, s)
		}
		if out, failed := SubstituteOutputs(w, s); failed == nil && !json.Valid(out) {
			t.Errorf("outputs %s", out)
		}
	})
}

// exerciseFlow asks everything that can be asked of a task.
func exerciseFlow(t *testing.T, w *Workflow, i int, task *Task, s *Scope) {
	if task.If != nil {
		_, _ = w.Evaluate(task.If, i, s)
	}
	if task.Foreach != nil {
		items, _ := w.Items(i, s)
		for k := range items[:min(len(items), 3)] {
			with := *s
			with.Item = &items[k]
			if got, failed := Substitute(w, i, &with, registry); failed == nil && !json.Valid(got.Parameters) {
				t.Errorf("%s became %s", task.Parameters, got.Parameters)
			}
		}
		if part, failed := Collect(w, i, raw(`{"result":{"a":[1,"x"]}}`)); failed == nil && !json.Valid(part) {
			t.Errorf("collected %s", part)
		}
	}
	if task.Repeat != nil {
		_, _ = w.Evaluate(&task.Repeat.Until, i, s)
	}
	_, _ = w.CacheKey(i, s)
	_, _ = Environment(w, i, s)
}

// FuzzExpression: no expression makes anything panic or take long, before the
// run or in it, and its result is JSON.
func FuzzExpression(f *testing.F) {
	for _, text := range []string{"a.x + 1", "len(a.list) > 2 && !b", "Load Data.x ?? 'none'", "filter(a.list, # > 1) | map(#.x)", "inputs.n == 'x' ? [1] : {a: item}",
		"tasks['b'].x[item_index]", "reduce(1..9, #acc + #, 0)", "a?.b?.c[1:2]", "success() || result.y", "sortBy(a.list, -#)[0]", "'\\u00e9' matches '^[a-z]+$'",
		"groupBy(a.list, string(#))['1']", "a . x [ 0 ]", "1 .. 3", "not in", "__0 + __run", "map(a.list, #index)", "((((a))))", "{a: {b: [a.x]}}.a.b[0]"} {
		f.Add(text, `{"x":{"c":1},"list":[3,1,{"x":null}]}`)
	}
	f.Fuzz(func(t *testing.T, text, result string) {
		w := &Workflow{Version: 1, Inputs: []Input{{Name: "n", Type: "integer", Required: true}}, Tasks: []*Task{
			{ID: "a", Name: "a", Parameters: raw("{}"), Literal: true},
			{ID: "b", Name: "Load Data", Parameters: raw("{}"), Literal: true},
			{ID: "c", Name: "c", Parameters: raw("{}"), Foreach: &Foreach{Items: raw("[]"), As: "file"},
				Repeat: &Repeat{Until: Expression{Text: text}}, If: &Expression{Text: text}},
		}}
		s := &Scope{Workflow: w, Inputs: map[string]json.RawMessage{"n": raw("3")}, Item: &ItemValue{Value: raw(`{"k":[1]}`), Index: 2},
			Tasks: map[int]TaskValue{1: completed(`{"x":[1,2.5,"é"]}`), 2: completed(`{"result":{"y":true}}`)}}
		if json.Valid([]byte(result)) {
			s.Tasks[0] = completed(result)
		}
		start := time.Now()
		if _, err := w.Evaluate(w.Tasks[2].If, 2, s); err != nil && (err.Code != TaskParameterError || err.Message == "") {
			t.Errorf("%+v", err)
		}
		x, wrong := readExpression(text, w.namesIn(2))
		if wrong == nil && x.compile(inputsOf(w.Inputs)) == nil {
			got, err := w.filler(s, w.Tasks[2]).evaluated(x)
			if err == nil && !json.Valid(got) {
				t.Errorf("%q became %s", text, got)
			}
			again, _ := w.filler(s, w.Tasks[2]).evaluated(x)
			if !bytes.Equal(got, again) {
				t.Errorf("%q became %s and %s", text, got, again)
			}
			if strings.Contains(string(got), "0x") && strings.Contains(string(got), "evaluation") {
				t.Errorf("%q shows our insides: %s", text, got)
			}
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%q took %v", text, took)
		}
		d, _ := Parse("f.json", append(append([]byte(`{"inputs":{"n":{}},"tasks":[{"name":"a","method":"echo/echo"},{"name":"c","method":"echo/echo","if":`), appendString(nil, text)...), "}]}"...))
		_, ps := registry.Compile(d)
		for _, p := range ps {
			if p.Line < 1 || !utf8.ValidString(p.Error()) || strings.Contains(p.Error(), "\n") || strings.Contains(p.Text, "runtime error") {
				t.Errorf("%q: problem %q", text, p)
			}
		}
	})
}

// FuzzReference: any text in a parameter, with any result to look into, gives
// valid JSON or an error; text without references comes through unchanged.
func FuzzReference(f *testing.F) {
	for _, text := range []string{"${a}", "${a.result}", "x${a.b[0]}y", `${a["k"] ?? {"x": "}"}}`, "$${a}", "${a['k']}", "${a.-1}", "$$${a}", "${Load Data.x}", "${a ?? \"", "${inputs.x}"} {
		f.Add(text, `{"result":{"b":[1,2]},"k":"v"}`)
		f.Add(text, `"text"`)
		f.Add(text, `{`)
	}
	f.Fuzz(func(t *testing.T, text, result string) {
		w := &Workflow{Version: 1, Tasks: []*Task{
			{ID: "a", Name: "a", Parameters: raw("{}"), Literal: true},
			{ID: "b", Name: "Load Data", Parameters: raw("{}"), Literal: true},
			{ID: "c", Name: "c", Method: "python/execute", Parameters: append(appendString([]byte(`{"v":`), text), append(appendString([]byte(`,"code":`), text), '}')...)},
		}}
		s := &Scope{Workflow: w, Tasks: map[int]TaskValue{0: completed(result), 1: completed(`{"x":1}`)}}
		got, err := Substitute(w, 2, s, registry)
		if err != nil {
			if err.Code != TaskParameterError {
				t.Errorf("code %s", err.Code)
			}
			return
		}
		if !json.Valid(got.Parameters) && json.Valid([]byte(result)) {
			t.Fatalf("%q with %q: %s", text, result, got.Parameters)
		}
		if v, _ := rawMember(got.Parameters, "v"); !hasReference(text) && utf8.ValidString(text) && rawText(v) != unescape(text) {
			t.Errorf("%q became %s", text, v)
		}
		for name := range got.Bindings {
			if strings.Contains(text, name) {
				t.Errorf("%q holds %s", text, name)
			}
		}
	})
}

// FuzzFormat: formatting keeps the meaning, and twice is the same as once.
func FuzzFormat(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, isJSON bool, data []byte) {
		file := fileName(isJSON)
		once, ps := Format(file, data)
		if once == nil {
			if len(ps.Errors()) == 0 {
				t.Error("neither text nor an error")
			}
			return
		}
		twice, ps := Format(file, once)
		if !bytes.Equal(once, twice) {
			t.Errorf("%v\nonce\n%q\ntwice\n%q", ps, once, twice)
		}
		before, _ := Parse(file, data)
		after, _ := Parse(file, once)
		x, px := registry.Compile(before)
		y, py := registry.Compile(after)
		if (x == nil) != (y == nil) || x != nil && !x.Equal(y) {
			t.Errorf("%q means something else as %q: %v, %v", data, once, px, py)
		}
	})
}
