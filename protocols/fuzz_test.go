package protocols

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
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
		if out, failed := SubstituteOutputs(w, s); failed == nil && !json.Valid(out) {
			t.Errorf("outputs %s", out)
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
