package protocols

import (
	"bytes"
	"encoding/json"
	"flag"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestCompile runs the scripts in testdata/compile: each file in one is
// compiled, and the file after it, named like it with ".out" added, is what
// comes of it: a line for each problem, and the workflow if there is one.
func TestCompile(t *testing.T) {
	scripts, err := filepath.Glob("testdata/compile/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	editors := editorSchema(t)
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			compileScript(t, script, editors)
		})
	}
}

func compileScript(t *testing.T, script string, editors *jsonschema.Resolved) {
	a := readArchive(t, script)
	want := map[string][]byte{}
	var inputs []archived
	for _, f := range a.files {
		if name, ok := strings.CutSuffix(f.name, ".out"); ok {
			want[name] = f.data
		} else {
			inputs = append(inputs, f)
		}
	}
	now := archive{comment: a.comment}
	for _, f := range inputs {
		got := compiled(t, f, editors)
		now.files = append(now.files, f, archived{f.name + ".out", got})
		if !*update && !bytes.Equal(got, want[f.name]) {
			t.Errorf("%s: got\n%s\nwant\n%s", f.name, got, want[f.name])
		}
	}
	if *update {
		now.write(t, script)
	}
}

// compiled returns what comes of a file. On the way it sees that the canonical
// form can be read back, that Format changes nothing of it, and that the
// schema for editors knows the file.
func compiled(t *testing.T, f archived, editors *jsonschema.Resolved) []byte {
	d, _ := Parse(f.name, f.data)
	r := NewRegistry()
	w, ps := r.Compile(d)
	var out bytes.Buffer
	if len(ps) > 0 {
		out.WriteString(ps.Error() + "\n")
	}
	if w == nil {
		return out.Bytes()
	}
	again, err := Decode(w.Encode())
	if err != nil || !again.Equal(w) {
		t.Errorf("%s: decoded\n%s\nencoded\n%s\n%v", f.name, again.Encode(), w.Encode(), err)
	}
	formatted, ps := Format(f.name, f.data)
	d, _ = Parse(f.name, formatted)
	if fw, _ := r.Compile(d); fw == nil || !fw.Equal(w) {
		t.Errorf("%s: formatted file means something else:\n%s\n%v", f.name, formatted, ps)
	}
	if err := editors.Validate(decoded(d.root.raw())); err != nil && !strings.Contains(string(f.data), "not for editors") {
		t.Errorf("%s: the schema for editors refuses it: %v", f.name, err)
	}
	if err := json.Indent(&out, w.Encode(), "", "  "); err != nil {
		t.Fatal(err)
	}
	out.WriteByte('\n')
	return out.Bytes()
}

func editorSchema(t *testing.T) *jsonschema.Resolved {
	var s jsonschema.Schema
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
