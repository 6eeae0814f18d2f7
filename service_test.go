package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestUnit has systemd read the unit of the documentation.
func TestUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze")
	}
	raw, err := os.ReadFile("docs/gleitzeit.service")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable() // it wants the program to be there
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "gleitzeit.service")
	raw = bytes.Replace(raw, []byte("/usr/local/bin/gleitzeit"), []byte(self), 1)
	if err := os.WriteFile(unit, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || bytes.Contains(said, []byte("gleitzeit.service")) {
		t.Errorf("%v\n%s", err, said)
	}
}
