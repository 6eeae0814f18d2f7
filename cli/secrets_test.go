package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// sealed is a text as age encrypts it.
func sealed(t *testing.T, to *age.X25519Identity, text string, armored bool) string {
	t.Helper()
	var out bytes.Buffer
	var in io.WriteCloser = nopCloser{&out}
	if armored {
		in = armor.NewWriter(&out)
	}
	w, err := age.Encrypt(in, to.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, text)
	if err := errors.Join(w.Close(), in.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func TestOpenSecret(t *testing.T) {
	dir := t.TempDir()
	mine, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, _ := age.GenerateX25519Identity()
	damaged := sealed(t, mine, "behind age\n", false)
	damaged = damaged[:len(damaged)-5]
	for name, text := range map[string]string{
		"plain": "one line\n", "windows": "one line\r\n", "lines": "two\nlines\n\n", "empty": "\n", "short": "abc\n",
		"binary": "\xff\xfe\x00\x01 hunter2", "big": strings.Repeat("hunter2 ", 1<<14),
		"mine": mine.String() + "\n", "other": "# made by age-keygen\n" + other.String() + "\n", "noidentity": "hunter2\n",
		"a.age": sealed(t, mine, "behind age\n", false), "b.age": sealed(t, mine, "behind armor", true), "c.age": "hunter2 is not encrypted",
		"d.age": damaged,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := &environment{cwd: dir, lookup: func(name string) (string, bool) {
		v, set := map[string]string{"TOKEN": " spaces count ", "EMPTY": "", "HOME": dir, "USERPROFILE": dir}[name]
		return v, set
	}}
	for _, test := range []struct{ reference, identity, want, wrong string }{
		{"env:TOKEN", "", " spaces count ", ""},
		{"env:EMPTY", "", "", "the variable EMPTY is not set"},
		{"env:NONE", "", "", "the variable NONE is not set"},
		{"file:plain", "", "one line", ""},
		{"file:~/windows", "", "one line", ""},
		{"file:" + filepath.Join(dir, "lines"), "", "two\nlines\n", ""},
		{"file:nowhere", "", "", "nowhere"},
		{"file:.", "", "", "directory"},
		{"file:empty", "", "", "fewer than 4 characters"},
		{"file:short", "", "", "fewer than 4 characters"},
		{"file:binary", "", "", "no text"},
		{"file:big", "", "", "the limit is 65536"},
		{"age:a.age", "mine", "behind age", ""},
		{"age:b.age", "mine", "behind armor", ""},
		{"age:a.age", "other", "", "encrypted for somebody else"},
		{"age:a.age", "", "", "GLEITZEIT_AGE_IDENTITY"},
		{"age:a.age", "nowhere", "", "the identity for age"},
		{"age:a.age", "noidentity", "", "holds none"},
		{"age:c.age", "mine", "", "no file that age has encrypted"},
		{"age:d.age", "mine", "", "damaged"},
		{"age:nowhere", "mine", "", "nowhere"},
		{"vault:x", "", "", "env:NAME"},
	} {
		o := secretOpener{env: env}
		if test.identity != "" {
			o.identity = filepath.Join(dir, test.identity)
		}
		got, err := o.open(test.reference)
		switch {
		case test.wrong == "" && (err != nil || got != test.want):
			t.Errorf("%s: %q, %v", test.reference, got, err)
		case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong) || strings.Contains(err.Error(), "hunter2") || got != ""):
			t.Errorf("%s with %q: %q, %v", test.reference, test.identity, got, err)
		}
	}
	secrets, err := secretOpener{env: env}.all([]string{"env:TOKEN", "env:NONE", "file:nowhere"})
	if len(secrets) != 1 || err == nil || strings.Count(err.Error(), "the secret ") != 2 {
		t.Errorf("%v %v", secrets, err)
	}
}
