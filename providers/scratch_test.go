package providers

import (
	"os"
	"path/filepath"
	"testing"
)

// What a killed process left is swept away; what is in use, and what isn't
// known, stays.
func TestSweepScratch(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	used, err := newScratch()
	if err != nil {
		t.Fatal(err)
	}
	left, err := newScratch()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left.work(), "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	left.lock.Close() // as the end of its process does
	unknown := filepath.Join(temp, scratchPrefix+"unknown")
	if err := os.Mkdir(unknown, 0o700); err != nil {
		t.Fatal(err)
	}
	sweepScratch(temp)
	for path, want := range map[string]bool{used.work(): true, left.home: false, unknown: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	used.release()
	if _, err := os.Stat(used.home); err == nil {
		t.Errorf("%s is still there", used.home)
	}
}
