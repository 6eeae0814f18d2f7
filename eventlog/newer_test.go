package eventlog

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNewerIsRefused: a store or an archive of a later format is left alone, and
// whoever wants it is told what to do.
func TestNewerIsRefused(t *testing.T) {
	later := func(marker string) func(t *testing.T, dir, _ string) {
		return func(t *testing.T, dir, _ string) {
			text := must(os.ReadFile(filepath.Join(dir, markerFile)))
			_, rest, _ := strings.Cut(string(text), "\nid ")
			if err := os.WriteFile(filepath.Join(dir, markerFile), []byte(markerTitle+"\n"+marker+"\nid "+rest), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		what   string
		engine Engine
		change func(t *testing.T, dir, url string)
	}{
		{"pebble", Pebble, later("format 3")},
		{"sqlite", SQLite, later("format 3")},
		{"redis's folder", Redis, later("format 3")},
		{"an engine to come", Pebble, later("format 2\nengine postgres")},
		{"sqlite's tables", SQLite, func(t *testing.T, dir, _ string) {
			if _, err := outside(t, filepath.Join(dir, sqliteFile)).Exec("PRAGMA user_version = 2"); err != nil {
				t.Fatal(err)
			}
		}},
		{"the redis", Redis, func(t *testing.T, _, url string) {
			address, client, err := Options{RedisURL: url}.redis()
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.HSet(t.Context(), "gleitzeit:{"+address.name+"}", "format", "99").Err(); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.what, func(t *testing.T) {
			dir, o := filepath.Join(t.TempDir(), "store"), Options{Engine: test.engine, Writer: "gleitzeit v0"}
			if test.engine == Redis {
				o.RedisURL = redisURL(t)
			}
			l, err := Open(dir, o)
			if err != nil {
				t.Fatal(err)
			}
			full(t, l)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			test.change(t, dir, o.RedisURL)
			if again, err := Open(dir, Options{RedisURL: o.RedisURL}); err == nil || !strings.Contains(err.Error(), "use a newer version") {
				t.Errorf("%v", err)
				if err == nil {
					again.Close()
				}
			}
			if _, err := Repair(t.Context(), dir, o, func(Damage) bool { return true }); err == nil || !strings.Contains(err.Error(), "newer version") && test.engine != Redis {
				t.Errorf("repair: %v", err)
			}
		})
	}
	if _, err := ReadArchive(bytes.NewReader([]byte("gleitzeit archive 3\nzzz")), func(ArchiveHeader, ArchiveItem) error { return nil }); err == nil || !strings.Contains(err.Error(), "use a newer version") {
		t.Errorf("an archive: %v", err)
	}
}
