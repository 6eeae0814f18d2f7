package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// BenchmarkProcess: `gleitzeit run` of one echo task, the whole process, in
// turn with `gleitzeit version`, which opens no store.
func BenchmarkProcess(b *testing.B) {
	dir := b.TempDir()
	program := filepath.Join(dir, "gleitzeit")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(dir, "one.yaml")
	if err := os.WriteFile(file, []byte("name: one\ntasks:\n- {id: a, method: echo/echo, parameters: {x: 1}}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	timed := func(args ...string) time.Duration {
		began := time.Now()
		if out, err := exec.Command(program, append(args, "--store", filepath.Join(dir, "store"))...).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		return time.Since(began)
	}
	timed("run", file)
	var run, version time.Duration
	for b.Loop() {
		run += timed("run", file)
		version += timed("version")
	}
	b.ReportMetric(run.Seconds()*1000/float64(b.N), "ms/run")
	b.ReportMetric(version.Seconds()*1000/float64(b.N), "ms/version")
}
