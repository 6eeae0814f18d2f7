package eventlog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInspect: a store is looked at from outside, held or not, and is as it was.
func TestInspect(t *testing.T) {
	for _, engine := range []Engine{Pebble, SQLite} {
		dir := filepath.Join(t.TempDir(), "store")
		in, err := Inspect(t.Context(), dir, Options{Engine: engine})
		if err != nil || in.Found || in.Held || in.Engine != engine || in.Promise.Class != DurableAlways {
			t.Fatalf("%s: %+v, %v", engine, in, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: it made the folder", engine)
		}
		l, err := Open(dir, Options{Engine: engine, Writer: "a test"})
		if err != nil {
			t.Fatal(err)
		}
		add(t, l, rec("a", "1"))
		in, err = Inspect(t.Context(), dir, Options{})
		if err != nil || !in.Held || in.PID != os.Getpid() || in.ID != l.ID() || in.Bytes == 0 || in.Writer != "a test" || in.Newest.IsZero() {
			t.Errorf("%s: %+v, %v", engine, in, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if in, err = Inspect(t.Context(), dir, Options{}); err != nil || in.Held || in.Engine != engine {
			t.Errorf("%s, closed: %+v, %v", engine, in, err)
		}
		if again, err := Open(dir, Options{}); err != nil { // its lock was given back
			t.Error(err)
		} else if err := again.Close(); err != nil {
			t.Error(err)
		}
		other := map[Engine]Engine{Pebble: SQLite, SQLite: Pebble}[engine]
		if _, err := Inspect(t.Context(), dir, Options{Engine: other}); err == nil || !strings.Contains(err.Error(), "it is a store of") {
			t.Errorf("%s: %v", engine, err)
		}
	}
}
