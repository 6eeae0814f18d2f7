package protocols

import (
	"bytes"
	"os"
	"regexp"
	"testing"
)

// archive is a txtar file: a comment, and files that begin with "-- name --".
type archive struct {
	comment []byte
	files   []archived
}

type archived struct {
	name string
	data []byte
}

var marker = regexp.MustCompile(`(?m)^-- (.+) --\n`)

func readArchive(t testing.TB, file string) archive {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	marks := marker.FindAllSubmatchIndex(data, -1)
	if len(marks) == 0 {
		t.Fatalf("%s: no files", file)
	}
	a := archive{comment: data[:marks[0][0]]}
	for i, m := range marks {
		end := len(data)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		a.files = append(a.files, archived{string(data[m[2]:m[3]]), data[m[1]:end]})
	}
	return a
}

func (a archive) write(t testing.TB, file string) {
	t.Helper()
	b := bytes.NewBuffer(bytes.Clone(a.comment))
	for _, f := range a.files {
		b.WriteString("-- " + f.name + " --\n")
		b.Write(f.data)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
}
