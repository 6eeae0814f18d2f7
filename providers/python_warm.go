package providers

import (
	"slices"
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
func (p *python) launch(interpreter string, call Call, request *pythonRequest) (kid *child, prelude string, err error) {
	if p.warm != nil && forkable(call.Env) {
		kid, err := p.warm.fork(interpreter, environment(p.env, p.config.PassEnv))
		if err == nil {
			request.Env, request.Dir = environment(p.env, p.config.PassEnv, call.Env), call.Dir
			return kid, "", nil
		}
	}
	kid, err = p.children.start(command{
		Path: interpreter,
		Args: []string{"-X", "utf8", "-c", pythonBoot, "once", backArg},
		Env:  environment(p.env, p.config.PassEnv, call.Env),
		Dir:  call.Dir,
		Back: true,
	})
	return kid, pythonPrelude, err
}
