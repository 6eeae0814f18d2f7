package providers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// This file finds the Python interpreter.

// pyenvVariables tell version managers' shims which interpreter is meant.
var pyenvVariables = []string{"PYENV_ROOT", "PYENV_VERSION", "ASDF_DIR", "ASDF_DATA_DIR", "ASDF_PYTHON_VERSION"}

const pythonProbe = `import sys;print(sys.executable);print(sys.version.split()[0])`

// interpreter returns the path of the Python that a call in folder dir uses:
// the configured environment's or command, else python3 on PATH (python on Windows). Where
// that is a script, such as pyenv's shim, which takes a tenth of a second
// each time, it is asked once per folder for the interpreter it stands for.
func (p *python) interpreter(ctx context.Context, dir string) (string, error) {
	path, err := p.found()
	if err != nil || !isScript(path) {
		return path, err
	}
	p.mu.Lock()
	known := p.interpreters[dir]
	p.mu.Unlock()
	if known != "" {
		return known, nil
	}
	real, _, err := p.probe(ctx, path, dir)
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	p.interpreters[dir] = real
	p.mu.Unlock()
	return real, nil
}

// found looks for the program, without starting it.
func (p *python) found() (string, error) {
	if p.config.Python != "" {
		return environmentPython(p.config.Python, protocols.ProviderNotAvailable)
	}
	if p.config.Command != "" {
		path, ok := lookPath(p.config.Command, p.env)
		if !ok {
			return "", protocols.Errorf(protocols.ProviderNotAvailable,
				"Python interpreter %q not found: correct `command` of the provider in the configuration", p.config.Command)
		}
		return path, nil
	}
	for _, name := range []string{"python3", "python"} {
		if path, ok := lookPath(name, p.env); ok {
			return path, nil
		}
	}
	return "", protocols.Errorf(protocols.ProviderNotAvailable,
		"no Python interpreter: python3 is not on PATH; install Python 3.8 or newer "+
			"(apt install python3, brew install python, or python.org), or name one with `command` of the provider")
}

// lookPath finds a program in the PATH that env gives, which need not be our
// own; a name with a separator is taken as it is.
func lookPath(name string, env func(string) string) (string, bool) {
	if strings.ContainsAny(name, `/\`) {
		path, err := filepath.Abs(name)
		return path, err == nil && runnable(path)
	}
	endings := []string{""}
	if runtime.GOOS == "windows" {
		endings = []string{"", ".exe", ".cmd", ".bat"}
	}
	for _, dir := range filepath.SplitList(env("PATH")) {
		for _, ending := range endings {
			path := filepath.Join(dir, name+ending)
			if filepath.IsAbs(path) && runnable(path) {
				return path, true
			}
		}
	}
	return "", false
}

func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && (runtime.GOOS == "windows" || info.Mode()&0o111 != 0)
}

// isScript tells whether a program is a text that something else runs.
func isScript(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	start := make([]byte, 2)
	_, _ = io.ReadFull(f, start)
	return string(start) == "#!" || strings.HasSuffix(path, ".bat") || strings.HasSuffix(path, ".cmd")
}

// probe asks a Python who it is: its path and its version.
func (p *python) probe(ctx context.Context, path, dir string) (executable, version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	kid, err := p.children.start(command{
		Path: path, Args: []string{"-c", pythonProbe}, Dir: dir, Env: environment(p.env, pyenvVariables),
	})
	if err != nil {
		return "", "", protocols.Errorf(protocols.ProviderNotAvailable, "%v", err)
	}
	kid.In.Close()
	var users sync.WaitGroup
	var stdout bytes.Buffer
	stderr := excerpt{Last: 4 << 10}
	users.Go(func() { _, _ = io.Copy(&stdout, io.LimitReader(kid.Out, 64<<10)) })
	users.Go(func() { stderr.readFrom(kid.Err) })
	kid.await(ctx, pythonGrace)
	kid.drain(&users)
	answer := strings.Split(strings.ReplaceAll(stdout.String(), "\r", ""), "\n")
	if len(answer) != 3 || answer[0] == "" {
		return "", "", protocols.Errorf(protocols.ProviderNotAvailable,
			"%s can't run Python: %s%s", path, kid.exit(), quoted(stderr.String()))
	}
	return answer[0], answer[1], nil
}

// quoted is what a process said on stderr, to be put behind a message.
func quoted(stderr string) string {
	stderr = strings.TrimSpace(stderr)
	if stderr == "" {
		return ""
	}
	return ": " + lastBytes(stderr, 500)
}

// Check tells which interpreter there is.
func (p *python) Check(ctx context.Context) Health {
	started := time.Now()
	path, err := p.found()
	if err != nil {
		return Health{Status: "unhealthy", Message: err.Error()}
	}
	executable, version, err := p.probe(ctx, path, "")
	if err != nil {
		return Health{Status: "unhealthy", Message: err.Error()}
	}
	if err := p.require(ctx, executable, &pythonJob{}); err != nil {
		return Health{Status: "unhealthy", Message: err.Error()}
	}
	details := map[string]any{"version": version, "executable": executable}
	return Health{
		Status:  "healthy",
		Message: p.config.Sandbox.told(fmt.Sprintf("CPython %s at %s", version, executable), details),
		Latency: time.Since(started),
		Details: details,
	}
}
