package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// shell speaks shell/v1: it runs programs and scripts, each in a group of its
// own, with a clean environment, in the sandbox. It is there only where the
// configuration has it.
type shell struct {
	config  ProviderConfig
	env     func(string) string
	roots   []string // of the configuration
	confine *confiner
	timeout time.Duration // of a call that names none; 0 is none
	warned  sync.Once     // of what the sandbox can't enforce
}

const (
	shellGrace  = 300 * time.Millisecond // between SIGTERM and SIGKILL
	shellStdout = 1 << 20                // bytes of stdout kept as text
	shellStderr = 64 << 10               // bytes of stderr kept
	shellResult = 64 << 20               // bytes of stdout that parse looks at
	wordMost    = 128<<10 - 1            // bytes of an argument or variable, with its name: what Linux takes
)

func newShell(name string, c ProviderConfig, d deps) (Provider, error) {
	s := &shell{config: c, env: d.env, roots: d.roots, confine: &confiner{d.children}}
	if c.Timeout != "" {
		var err error
		if s.timeout, err = time.ParseDuration(c.Timeout); err != nil {
			return nil, protocols.Errorf(protocols.ConfigurationError, "provider %s: timeout: %v", name, err)
		}
	}
	return s, nil
}

func checkShell(_ string, c ProviderConfig) []string {
	_, problems := c.Sandbox.limits()
	return problems
}

// Close has nothing to do: no process outlives its call.
func (*shell) Close() error { return nil }

// shells are those that read scripts, with what stands before one.
var shells = map[string][]string{
	"sh": {"-e", "-c"}, "dash": {"-e", "-c"}, "ash": {"-e", "-c"}, "ksh": {"-e", "-c"}, "mksh": {"-e", "-c"}, "zsh": {"-f", "-e", "-c"},
	"bash": {"--noprofile", "--norc", "-e", "-o", "pipefail", "-c"}, "fish": {"--no-config", "-c"},
	"pwsh": {"-NoProfile", "-NonInteractive", "-Command"}, "powershell": {"-NoProfile", "-NonInteractive", "-Command"}, "cmd": {"/d", "/s", "/c"},
}

// word is a text, or a value of another type as JSON.
type word string

// UnmarshalJSON reads either.
func (w *word) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(w))
	}
	*w = word(b)
	return nil
}

func texted(words []word) []string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = string(w)
	}
	return all
}

// shellParameters are those of shell/run, of which just one of Argv and Script
// is given.
type shellParameters struct {
	Argv    []word                     `json:"argv"`
	Script  string                     `json:"script"`
	Shell   string                     `json:"shell"`
	Args    []word                     `json:"args"`
	Stdin   *word                      `json:"stdin"`
	Env     map[string]word            `json:"env"`
	Cwd     string                     `json:"cwd"`
	Timeout json.RawMessage            `json:"timeout"` // seconds, or a duration
	OK      []int                      `json:"ok_codes"`
	Classes map[string]protocols.Class `json:"error_classes"` // by exit code
	Parse   string                     `json:"parse"`         // text, lines, json, jsonl
	Write   []string                   `json:"write"`
	Network bool                       `json:"network"`
	Limits  tighter                    `json:"limits"`
}

// shellJob is what it takes to carry out one call.
type shellJob struct {
	params  shellParameters
	program string // its path
	args    []string
	env     []string
	dir     string
	box     *sandbox // nil: none
	host    Host
}

// Call carries out shell/run.
func (s *shell) Call(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	if call.Method != "shell/run" {
		return nil, protocols.Errorf(protocols.MethodNotSupported, "shell/v1 has no method %s; there is shell/run", call.Method)
	}
	if ctx.Err() != nil {
		return nil, endedError(ctx)
	}
	job := &shellJob{params: shellParameters{Shell: "sh", Parse: "text", OK: []int{0}}, host: host}
	if err := readParameters(call, &job.params); err != nil {
		return nil, err
	}
	limit, err := s.limit(job.params.Timeout)
	if err != nil {
		return nil, err
	}
	sweepOnce()
	home, err := newScratch()
	if err != nil {
		return nil, protocols.Errorf(protocols.ResourceExhausted, "scratch folder: %v", err)
	}
	defer home.release()
	if call.Dir == "" {
		call.Dir = home.work()
	}
	if err := s.prepare(job, call, home.work()); err != nil {
		return nil, err
	}
	return s.execute(ctx, job, limit)
}

// limit is how long the call may take, 0 for ever.
func (s *shell) limit(timeout json.RawMessage) (time.Duration, error) {
	var text string
	var number float64
	switch {
	case len(timeout) == 0 || string(timeout) == "null":
		return s.timeout, nil
	case json.Unmarshal(timeout, &text) == nil:
		if d, err := time.ParseDuration(text); err == nil && d > 0 {
			return d, nil
		}
	case json.Unmarshal(timeout, &number) == nil && number > 0:
		return seconds(number), nil
	}
	return 0, protocols.Errorf(protocols.TaskParameterError, "timeout: %s is neither a number of seconds nor a duration such as 90s", timeout)
}

// prepare finds out what is started, where, and with what.
func (s *shell) prepare(job *shellJob, call Call, scratch string) (err error) {
	c := s.config.Sandbox
	box, err := c.allow(call.Dir, scratch, s.roots, job.params.Write, job.params.Network)
	if err == nil {
		err = job.params.Limits.tighten(&box.Limits)
	}
	if err == nil {
		err = s.arguments(job, call)
	}
	if err == nil {
		job.dir, err = workingFolder(job.params.Cwd, call.Dir, slices.Concat(box.Read, box.Write))
	}
	if err == nil {
		err = s.environ(job, call, scratch)
	}
	if err != nil || !c.enabled() {
		return err
	}
	box.Read = append(box.Read, job.program)
	job.box = box
	if _, lacking := sandboxState(); len(lacking) > 0 {
		s.warned.Do(func() {
			job.host.Progress(Progress{Stream: "stderr", Message: "sandbox: this system can't enforce: " + strings.Join(lacking, "; ")})
		})
	}
	return nil
}

// arguments finds the program.
func (s *shell) arguments(job *shellJob, call Call) error {
	p, name := job.params, job.params.Shell
	switch {
	case len(p.Argv) > 0 && p.Script != "":
		return protocols.Errorf(protocols.TaskParameterError, "shell/run takes argv or script, not both")
	case len(p.Argv) > 0:
		name, job.args = string(p.Argv[0]), texted(p.Argv[1:])
	case p.Script == "":
		return protocols.Errorf(protocols.TaskParameterError, "shell/run needs argv or script")
	case shells[name] == nil:
		return protocols.Errorf(protocols.TaskParameterError, "shell: %q is none of %s", name, strings.Join(slices.Sorted(maps.Keys(shells)), ", "))
	default:
		script, err := protocols.ShellScript(name, p.Script, slices.Collect(maps.Keys(call.Bindings)))
		if err != nil {
			return protocols.Errorf(protocols.TaskParameterError, "the script is wrong: %v", err)
		}
		job.args = slices.Concat(shells[name], []string{script})
		if name != "fish" && name != "pwsh" && name != "powershell" && name != "cmd" {
			job.args = append(job.args, name) // $0
		}
		job.args = append(job.args, texted(p.Args)...)
	}
	for _, arg := range job.args {
		if err := fitting("an argument", arg); err != nil {
			return err
		}
	}
	path, found := lookPath(name, s.lookup(job, call))
	if !found && strings.ContainsAny(name, `/\`) {
		path, found = lookPath(filepath.Join(call.Dir, name), s.env)
	}
	if !found {
		return protocols.Errorf(protocols.TaskParameterError, "there is no program %q: %s", name, "it is neither in the PATH nor the path of one")
	}
	job.program = path
	return nil
}

// lookup is the environment as it matters for finding a program.
func (s *shell) lookup(job *shellJob, call Call) func(string) string {
	return func(name string) string {
		if value, is := job.params.Env[name]; is {
			return string(value)
		}
		if value, is := call.Env[name]; is {
			return value
		}
		return s.env(name)
	}
}

// fitting tells whether a program can be given that text.
func fitting(what, text string) error {
	switch {
	case strings.ContainsRune(text, 0):
		return protocols.Errorf(protocols.TaskParameterError, "%s has a NUL in it, which no program can be given but in stdin", what)
	case len(text) > wordMost:
		return protocols.Errorf(protocols.TaskParameterError,
			"%s is %d bytes long, and no more than %d can be given to a program: give it as stdin, or in a file", what, len(text), wordMost)
	}
	return nil
}

var variableForm = regexp.MustCompile(`^[^=\x00]+$`)

// environ is the task's environment, the call's, and the values of references.
func (s *shell) environ(job *shellJob, call Call, scratch string) error {
	own := call.variables()
	maps.Copy(own, temporary(scratch))
	for name, value := range job.params.Env {
		if !variableForm.MatchString(name) {
			return protocols.Errorf(protocols.TaskParameterError, "env: %q can't be the name of a variable", name)
		}
		own[name] = string(value)
	}
	for name, value := range call.Bindings {
		var w word
		_ = w.UnmarshalJSON(value) // what isn't a text stays as it is
		own[name] = string(w)
	}
	for name, value := range own {
		what := "the variable " + name
		if _, is := call.Bindings[name]; is {
			what = "the value of a reference in the script"
		}
		if err := fitting(what, value); err != nil {
			return err
		}
	}
	job.env = environment(s.env, s.config.PassEnv, call.Env, own)
	return nil
}

// workingFolder is where a program runs: dir, or a folder below one of own.
func workingFolder(name, dir string, own []string) (string, error) {
	if name == "" {
		return dir, nil
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if path = resolved(filepath.Clean(path)); !below(path, own) {
		return "", protocols.Errorf(protocols.AuthorizationFailed,
			"cwd: %q is neither below the workflow's folder nor below the configuration's `roots` or the sandbox's `read` and `write`", name)
	}
	return path, nil
}

// execute starts the program, and judges what became of it.
func (s *shell) execute(ctx context.Context, job *shellJob, limit time.Duration) (json.RawMessage, error) {
	within := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	run, err := s.run(within, job)
	if err != nil {
		return nil, err
	}
	switch {
	case ctx.Err() != nil:
		return nil, run.failure(endedError(ctx))
	case within.Err() != nil:
		return nil, run.failure(protocols.Errorf(protocols.TaskTimeout, "it ran longer than %v", limit))
	}
	return run.judge(job)
}

// run feeds the program and listens to it until it has ended.
func (s *shell) run(ctx context.Context, job *shellJob) (*shellRun, error) {
	c := command{Path: job.program, Args: job.args, Env: job.env, Dir: job.dir}
	kid, err := s.confine.start(c, job.box)
	if err != nil {
		return nil, err
	}
	defer kid.close()
	r := &shellRun{stderr: excerpt{First: shellStderr / 2, Last: shellStderr / 2}}
	if job.params.Parse == "text" {
		r.stdout.First, r.stdout.Last = shellStdout/2, shellStdout/2
	} else {
		r.stdout.First = shellResult
	}
	began := time.Now()
	var users sync.WaitGroup
	users.Go(func() {
		if job.params.Stdin != nil {
			_, _ = io.WriteString(kid.In, string(*job.params.Stdin)) // it need not read all of it, or any
		}
		kid.In.Close()
	})
	users.Go(func() { copyLines(&r.stdout, kid.Out, job.host, "stdout") })
	users.Go(func() { copyLines(&r.stderr, kid.Err, job.host, "stderr") })
	users.Go(kid.listen)
	kid.await(ctx, shellGrace)
	r.seconds = time.Since(began).Seconds()
	kid.drain(&users)
	r.exit, r.code, r.crowded, r.refused = kid.exit(), kid.code(), kid.crowded(), kid.refused
	return r, nil
}

// Check tells what protects.
func (s *shell) Check(context.Context) Health {
	details := map[string]any{}
	return Health{Status: "healthy", Message: s.config.Sandbox.told("programs and scripts", details), Details: details}
}

// exitClass is the class of an exit code, execution unless the task says.
func (p shellParameters) exitClass(code int) protocols.Class {
	if class, is := p.Classes[fmt.Sprint(code)]; is {
		return class
	}
	return protocols.ClassExecution
}
