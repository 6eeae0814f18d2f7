package providers

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// This file is about virtual environments and what must be installed in them.

//go:embed python_requirements.py
var pythonRequirements string

// choose returns the interpreter for a job: of the environment that the task
// names, else that the configuration names, else whatever Python there is.
func (p *python) choose(ctx context.Context, job *pythonJob) (string, error) {
	call := job.call
	if job.python == "" {
		return p.interpreter(ctx, call.Dir)
	}
	path := job.python
	if !filepath.IsAbs(path) {
		path = filepath.Join(call.Dir, path)
	}
	if !below(resolved(path), append([]string{call.Dir}, p.roots...)) {
		return "", protocols.Errorf(protocols.AuthorizationFailed,
			"python: %q is neither below the workflow's folder nor below the configuration's `roots`", job.python)
	}
	return environmentPython(path, protocols.TaskParameterError)
}

// environmentPython returns the interpreter that path is, or that is in the
// virtual environment there.
func environmentPython(path string, code protocols.Code) (string, error) {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() && runnable(path) {
		return path, nil
	}
	inside := []string{"bin/python3", "bin/python"}
	if runtime.GOOS == "windows" {
		inside = []string{`Scripts\python.exe`}
	}
	for _, name := range inside {
		if program := filepath.Join(path, name); err == nil && runnable(program) {
			return program, nil
		}
	}
	return "", protocols.Errorf(code, "python: %s is neither a virtual environment nor an interpreter; `python3 -m venv %s` makes one", path, path)
}

// IsRequirementsFile tells whether an entry of requirements is a file of them.
func IsRequirementsFile(entry string) bool { return strings.HasSuffix(entry, ".txt") }

// require checks that what the configuration and the task require is
// installed. What was found once is not looked for again.
func (p *python) require(ctx context.Context, interpreter string, job *pythonJob) error {
	lines, err := p.requirements(job)
	if err != nil || len(lines) == 0 {
		return err
	}
	key := interpreter + "\n" + strings.Join(lines, "\n")
	p.mu.Lock()
	met := p.met[key]
	p.mu.Unlock()
	if met {
		return nil
	}
	answer, err := p.missing(ctx, interpreter, lines)
	if err == nil {
		err = answer.problem(interpreter)
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.met[key] = true
	p.mu.Unlock()
	return nil
}

// requirements are all lines, those of files too.
func (p *python) requirements(job *pythonJob) (lines []string, err error) {
	for _, entry := range p.config.Requirements {
		if !IsRequirementsFile(entry) {
			lines = append(lines, entry)
			continue
		}
		text, err := os.ReadFile(entry)
		if err != nil {
			return nil, protocols.Errorf(protocols.ConfigurationError, "requirements: %v", err)
		}
		lines = append(lines, requirementLines(string(text))...)
	}
	for _, entry := range job.requirements {
		if !IsRequirementsFile(entry) {
			lines = append(lines, entry)
			continue
		}
		text, err := readFile(job.call, entry)
		if err != nil {
			return nil, err
		}
		lines = append(lines, requirementLines(string(text))...)
	}
	return lines, nil
}

var requirementComment = regexp.MustCompile(`(^|\s)#.*`)

// requirementLines are the lines of a file as pip reads it, without comments
// and options.
func requirementLines(text string) (lines []string) {
	text = strings.NewReplacer("\r\n", "\n", "\\\n", " ").Replace(text)
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(requirementComment.ReplaceAllString(line, ""), " --hash")
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "-") {
			lines = append(lines, line)
		}
	}
	return lines
}

// requirementsAnswer is what python_requirements.py found.
type requirementsAnswer struct {
	Missing []struct{ Need, Have string }
	Unclear []string
}

// missing asks an interpreter.
func (p *python) missing(ctx context.Context, interpreter string, lines []string) (answer requirementsAnswer, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	kid, err := p.children.start(command{
		Path: interpreter, Args: []string{"-X", "utf8", "-c", pythonRequirements}, Dir: "/", Env: environment(p.env, p.config.PassEnv),
	})
	if err != nil {
		return answer, protocols.Errorf(protocols.ProviderNotAvailable, "%v", err)
	}
	var users sync.WaitGroup
	var stdout bytes.Buffer
	stderr := excerpt{Last: 4 << 10}
	users.Go(func() {
		_ = json.NewEncoder(kid.In).Encode(lines)
		kid.In.Close()
	})
	users.Go(func() { _, _ = stdout.ReadFrom(kid.Out) })
	users.Go(func() { stderr.readFrom(kid.Err) })
	kid.await(ctx, pythonGrace)
	kid.drain(&users)
	if ctx.Err() != nil {
		return answer, endedError(ctx)
	}
	if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil {
		return answer, protocols.Errorf(protocols.ProviderNotAvailable,
			"requirements: %s could not tell what is installed: it %s%s", interpreter, kid.exit(), quoted(stderr.String()))
	}
	return answer, nil
}

// problem says what is missing, and how to get it.
func (a requirementsAnswer) problem(interpreter string) error {
	if len(a.Unclear) > 0 {
		return protocols.Errorf(protocols.ConfigurationError, "requirements: %s", strings.Join(a.Unclear, "; "))
	}
	if len(a.Missing) == 0 {
		return nil
	}
	var told, wanted []string
	for _, m := range a.Missing {
		text := m.Need
		if m.Have != "" {
			text += fmt.Sprintf(" (%s is installed)", m.Have)
		}
		told, wanted = append(told, text), append(wanted, shellWord(m.Need))
	}
	return protocols.Errorf(protocols.ConfigurationError, "Python at %s lacks %s: run %s -m pip install %s",
		interpreter, strings.Join(told, ", "), shellWord(interpreter), strings.Join(wanted, " "))
}

var plainWord = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// shellWord quotes a word for a shell if it has to be.
func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
