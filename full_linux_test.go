package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk fills the disk of a store under a server's feet: one can look,
// export to elsewhere, remove what is old, and then go on.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT PROVEN: only root can mount the small file system that this test fills")
	}
	for _, backend := range []string{"pebble", "sqlite"} {
		t.Run(backend, func(t *testing.T) { fullDisk(t, backend) })
	}
}

func fullDisk(t *testing.T, backend string) {
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=300m"); err != nil {
		t.Skipf("SKIPPED, NOT PROVEN: a tmpfs can't be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	store := "GLEITZEIT_STORE=" + filepath.Join(mount, "store")
	s := startServer(t, store, "GLEITZEIT_BACKEND="+backend)
	hello, err := filepath.Abs("examples/hello.yaml")
	if err != nil {
		t.Fatal(err)
	}
	run := func(code int, args ...string) string {
		t.Helper()
		c := exec.Command("gleitzeit", args...)
		c.Dir = s.dir
		c.Env = append(s.cmd.Env, "TZ=UTC")
		out, err := c.CombinedOutput()
		if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited || c.ProcessState.ExitCode() != code {
			t.Fatalf("%q: %v, want exit code %d:\n%s", args, err, code, out)
		}
		return string(out)
	}
	says := func(text string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("there is no %q in\n%s", want, text)
			}
		}
	}
	for range 3 {
		run(0, "run", "-q", hello)
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	rest, err := os.Create(filepath.Join(mount, "rest"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(rest, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := rest.Close(); err != nil {
		t.Fatal(err)
	}

	says(run(0, "workflow", "list"), "hello-1  completed", "hello-3  completed")
	says(run(0, "history", "hello-2"), "submitted from", "completed")
	says(run(0, "system", "status"), "no: the store can only be read")
	says(run(0, "system", "verify"), "sound: ")
	says(run(0, "export", "--all", "--to", filepath.Join(s.dir, "all.runs")), "3 runs in ")
	says(run(0, "system", "gc", "--keep", "1"), "removed 2 runs")
	run(0, "system", "compact")
	says(run(0, "workflow", "list"), "hello-3  completed")
	run(0, "run", "-q", hello)
	says(run(0, "system", "verify"), "sound: ")
}

// zeros is text without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
