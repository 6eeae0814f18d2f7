package protocols

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// TestFormat formats the files of testdata/format: each is followed by what
// comes of it.
func TestFormat(t *testing.T) {
	const script = "testdata/format/format.txtar"
	a := readArchive(t, script)
	now := archive{comment: a.comment}
	want := map[string][]byte{}
	for _, f := range a.files {
		if name, ok := strings.CutSuffix(f.name, ".out"); ok {
			want[name] = f.data
		}
	}
	for _, f := range a.files {
		if strings.HasSuffix(f.name, ".out") {
			continue
		}
		in := bytes.ReplaceAll(f.data, []byte("<CR>"), []byte("\r"))
		in = bytes.ReplaceAll(in, []byte("<SP>"), []byte("  "))
		got, ps := Format(f.name, in)
		if got == nil {
			got = []byte(ps.Error() + "\n")
		} else if again, _ := Format(f.name, got); !bytes.Equal(again, got) {
			t.Errorf("%s: formatted twice:\n%s\nonce:\n%s", f.name, again, got)
		}
		shown := bytes.ReplaceAll(got, []byte("  \n"), []byte("<SP>\n"))
		now.files = append(now.files, f, archived{f.name + ".out", shown})
		if !*update && !bytes.Equal(shown, want[f.name]) {
			t.Errorf("%s: got\n%s\nwant\n%s", f.name, shown, want[f.name])
		}
	}
	if *update {
		now.write(t, script)
	}
}

// TestFormatLeavesTheRestAlone formats all scripts of TestCompile: apart from
// keys and the ends of lines nothing may differ.
func TestFormatLeavesTheRestAlone(t *testing.T) {
	scripts, err := filepath.Glob("testdata/compile/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		for _, f := range readArchive(t, script).files {
			if got, _ := Format(f.name, f.data); got != nil && !isJSON(f.name, f.data) {
				if a, b := strings.Count(string(f.data), "\n"), strings.Count(string(got), "\n"); a != b {
					t.Errorf("%s: %d lines became %d", f.name, a, b)
				}
			}
		}
	}
}
