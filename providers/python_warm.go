package providers

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// startupVariables are looked at by an interpreter, or by the libraries under
// it, when it starts: a warm one can't learn of them any more.
var startupVariables = []string{"HOME", "LANG", "LC_", "PYTHON", "LD_", "DYLD_", "MALLOC_", "GLIBC_"}

// forkable tells whether a process that a warm interpreter forks would see
// the task's own environment as a new interpreter would.
func forkable(env map[string]string) bool {
	for name, value := range env {
		starts := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
		if slices.ContainsFunc(startupVariables, starts) || !utf8.ValidString(name+value) {
			return false
		}
	}
	return true
}

// launch starts a process that reads the prelude and then the request from its
// standard input: forked by a warm interpreter if it can be, else a new one.
func (p *python) launch(interpreter string, job *pythonJob) (kid *child, prelude string, err error) {
	var files []*os.File
	if job.request.Sandbox != nil {
		files = job.request.Sandbox.files
	}
	env := environment(p.env, p.config.PassEnv, job.env, job.call.Env, job.call.variables())
	if p.warm != nil && forkable(job.call.Env) {
		kid, err := p.warm.fork(interpreter, environment(p.env, p.config.PassEnv), files...)
		if err == nil {
			job.request.Env, job.request.Dir = env, job.call.Dir
			return kid, "", nil
		}
	}
	args := []string{"-X", "utf8", "-c", pythonBoot, "once", backArg}
	for i := range files {
		args = append(args, strconv.Itoa(firstFile+i))
	}
	kid, err = p.children.start(command{Path: interpreter, Args: args, Env: env, Dir: job.call.Dir, Back: true, Files: files})
	return kid, pythonPrelude, err
}
