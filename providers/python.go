package providers

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// python speaks python/v1: it runs code on a real CPython, in a new process for
// each call, in a group of its own and with a clean environment. A warm
// interpreter forks it (python_warm_unix.go); where that can't be, it is a new
// interpreter, which first gets the driver's source.
//
// The process gets a request on its standard input, and hands back one outcome
// on a pipe of its own:
//
//	us → driver   prelude: length of the driver, line feed, driver
//	              request (to the end)
//	driver → us   nonce of the request, 16 hex digits of length, outcome
//
// What the code prints is output and never a result.
type python struct {
	config   ProviderConfig
	env      func(string) string
	roots    []string // of the configuration
	children *children
	timeout  time.Duration // of a call that names none; 0 is none
	warm     *nursery      // nil: every call gets a new interpreter
	warned   sync.Once     // of what the sandbox can't enforce

	mu           sync.Mutex
	interpreters map[string]string // by working folder, for those that a shim chose
	met          map[string]bool   // requirements, with their interpreter
}

// checkPython says what is wrong with a configuration.
func checkPython(_ string, c ProviderConfig) (problems []string) {
	if c.Python != "" && c.Command != "" {
		problems = append(problems, "python: command names the interpreter already; one of them is enough")
	}
	_, limits := c.Sandbox.limits()
	return append(problems, limits...)
}

// pythonVariables are those that name an interpreter.
func pythonVariables(ProviderConfig) []string { return pyenvVariables }

//go:embed python_driver.py
var pythonDriver string

//go:embed python_sandbox.py
var pythonSandbox string

//go:embed python_zygote.py
var pythonZygote string

// pythonPrelude is all of the driver, as pythonBoot reads it.
var pythonPrelude = func() string {
	source := pythonDriver + "\n\n" + pythonSandbox + "\n\n" + pythonZygote + "\n\nmain()\n"
	return strconv.Itoa(len(source)) + "\n" + source
}()

// pythonBoot reads the driver and becomes it.
const pythonBoot = `import sys;i=sys.stdin.buffer;exec(compile(i.read(int(i.readline())),"<gleitzeit>","exec"))`

const (
	pythonGrace     = 300 * time.Millisecond // between SIGTERM and SIGKILL
	pythonOutput    = 1 << 20                // bytes of stdout kept
	pythonStderr    = 64 << 10               // bytes of stderr kept
	pythonResult    = 64 << 20               // bytes of a result's JSON
	pythonInFailure = 16 << 10               // bytes of stdout and of stderr put into an error
)

func newPython(name string, c ProviderConfig, d deps) (Provider, error) {
	p := &python{config: c, env: d.env, roots: d.roots, children: d.children, interpreters: map[string]string{}, met: map[string]bool{}}
	if c.Timeout != "" {
		var err error
		if p.timeout, err = time.ParseDuration(c.Timeout); err != nil {
			return nil, protocols.Errorf(protocols.ConfigurationError, "provider %s: timeout: %v", name, err)
		}
	}
	if c.Warm == nil || *c.Warm {
		p.warm = newNursery(d.children)
	}
	return p, nil
}

// Close ends the warm interpreters; no other process outlives its call.
func (p *python) Close() error {
	if p.warm != nil {
		p.warm.close()
	}
	return nil
}

// pythonParameters are those of python/execute, of which just one of Code and
// File is given, and of python/call, which has Function.
type pythonParameters struct {
	Code    *string         `json:"code"`
	File    string          `json:"file"`
	Context json.RawMessage `json:"context"` // an object: `context`, and its members as globals
	Args    json.RawMessage `json:"args"`    // `args`; a list is also sys.argv
	Timeout *float64        `json:"timeout"` // in seconds
	Write   []string        `json:"write"`   // folders
	Network bool            `json:"network"`
	Limits  tighter         `json:"limits"`

	Function string          `json:"function"`
	Kwargs   json.RawMessage `json:"kwargs"`

	Python       string `json:"python"`       // a virtual environment or an interpreter
	Requirements names  `json:"requirements"` // what must be installed
}

// pythonRequest is what the driver is told.
type pythonRequest struct {
	Nonce    string            `json:"nonce"`
	Name     string            `json:"name"`             // of the code in tracebacks
	File     string            `json:"file,omitempty"`   // __file__, if it is a file's
	Folder   string            `json:"folder,omitempty"` // where its siblings are imported from
	Source   []byte            `json:"source"`
	Module   string            `json:"module,omitempty"`   // where Function is, unless in File
	Function string            `json:"function,omitempty"` // to call
	Kwargs   json.RawMessage   `json:"kwargs,omitempty"`
	Context  json.RawMessage   `json:"context,omitempty"`
	Args     json.RawMessage   `json:"args,omitempty"`
	Bindings map[string]string `json:"bindings,omitempty"` // placeholder to JSON text
	Limit    int               `json:"limit"`              // bytes of the result
	Env      []string          `json:"env,omitempty"`      // of a forked process
	Dir      string            `json:"dir,omitempty"`      // likewise
	Sandbox  *confinement      `json:"sandbox,omitempty"`
}

// pythonOutcome is what it answers: a result, why a result could not be
// written, or an exception.
type pythonOutcome struct {
	Seconds   float64         `json:"seconds"`
	Result    json.RawMessage `json:"result"`
	Note      string          `json:"note"`
	Unfit     string          `json:"unfit"`
	Type      string          `json:"type"`
	Message   string          `json:"message"`
	Line      int             `json:"line"`
	Traceback string          `json:"traceback"`
	Errno     string          `json:"errno"`   // what the system said, EACCES
	Path      string          `json:"path"`    // of what
	Refused   string          `json:"refused"` // why the sandbox could not be taken on
}

// Call carries out python/execute and python/call. The result is {result, output, success,
// execution_time}, and stderr when there was any; output_missing and
// stderr_missing tell how many bytes were left out. A last expression that
// JSON can't hold leaves the result null, and a note says so.
func (p *python) Call(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	if call.Method != "python/execute" && call.Method != "python/call" {
		return nil, protocols.Errorf(protocols.MethodNotSupported,
			"python/v1 has no method %s; there are python/execute and python/call", call.Method)
	}
	if ctx.Err() != nil {
		return nil, endedError(ctx)
	}
	var params pythonParameters
	if err := readParameters(call, &params); err != nil {
		return nil, err
	}
	sweepOnce()
	home, err := newScratch()
	if err != nil {
		return nil, protocols.Errorf(protocols.ResourceExhausted, "scratch folder for Python: %v", err)
	}
	defer home.release()
	scratch := home.work()
	if call.Dir == "" {
		call.Dir = scratch
	}
	request, err := p.request(call, params, scratch)
	if err != nil {
		return nil, err
	}
	limit, err := p.limit(params)
	if err != nil {
		return nil, err
	}
	job := &pythonJob{call: call, request: request, host: host, python: params.Python, requirements: params.Requirements}
	if err := p.restrict(job, params, scratch); err != nil {
		return nil, err
	}
	return p.execute(ctx, job, limit)
}

// pythonJob is what it takes to carry out one call.
type pythonJob struct {
	call    Call
	request *pythonRequest
	host    Host
	box     *sandbox          // nil: none
	env     map[string]string // ours for it

	python       string   // that the task names
	requirements []string // of the task
}

// limit is how long the call may take, 0 for ever.
func (p *python) limit(params pythonParameters) (time.Duration, error) {
	if params.Timeout == nil {
		return p.timeout, nil
	}
	if *params.Timeout <= 0 {
		return 0, protocols.Errorf(protocols.TaskParameterError, "timeout: must be more than 0 seconds")
	}
	return seconds(*params.Timeout), nil
}

// request reads the file, if there is one, and puts a copy into the scratch
// folder when it isn't on this machine any more.
func (p *python) request(call Call, params pythonParameters, scratch string) (*pythonRequest, error) {
	r := &pythonRequest{
		Nonce: nonce(), Name: "<code>", Folder: call.Dir, Limit: pythonResult,
		Context: params.Context, Args: params.Args, Bindings: texts(call.Bindings),
	}
	if call.Method == "python/call" {
		return r, r.calling(call, params)
	}
	switch {
	case params.Code != nil && params.File != "":
		return nil, protocols.Errorf(protocols.TaskParameterError, "python/execute takes code or file, not both")
	case params.Code != nil:
		r.Source = []byte(*params.Code)
		return r, nil
	case params.File == "":
		return nil, protocols.Errorf(protocols.TaskParameterError, "python/execute needs code or file")
	}
	source, err := readFile(call, params.File)
	if err != nil {
		return nil, err
	}
	path := onDisk(call, params.File)
	if path == "" {
		path = filepath.Join(scratch, filepath.Base(params.File))
		if err := os.WriteFile(path, source, 0o600); err != nil {
			return nil, protocols.Errorf(protocols.ResourceExhausted, "copy of %s: %v", params.File, err)
		}
	}
	r.Source, r.Name, r.File, r.Folder = source, path, path, filepath.Dir(path)
	r.Bindings = nil // they stand in code only
	return r, nil
}

// onDisk returns where the file that was read is found, "" if nowhere.
func onDisk(call Call, name string) string {
	roots := call.Roots
	if call.Dir != "" {
		roots = append([]string{call.Dir}, roots...)
	}
	for _, path := range candidates(name, roots) {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && filepath.IsAbs(path) {
			return path
		}
	}
	return ""
}

func texts(values map[string]json.RawMessage) map[string]string {
	all := make(map[string]string, len(values))
	for name, value := range values {
		all[name] = string(value)
	}
	return all
}

// nonce is text that nothing writes by accident.
func nonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// execute starts an interpreter, and judges what became of it.
func (p *python) execute(ctx context.Context, job *pythonJob, limit time.Duration) (json.RawMessage, error) {
	interpreter, err := p.choose(ctx, job)
	if err == nil {
		err = p.require(ctx, interpreter, job)
	}
	if err != nil {
		return nil, err
	}
	within := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	run, err := p.run(within, interpreter, job)
	if err != nil {
		return nil, err
	}
	switch {
	case ctx.Err() != nil:
		return nil, run.failure(endedError(ctx))
	case within.Err() != nil:
		return nil, run.failure(protocols.Errorf(protocols.TaskTimeout, "the code ran longer than %v", limit))
	}
	return run.judge(job.box)
}

// pythonRun is what is left of an interpreter that has ended.
type pythonRun struct {
	stdout, stderr excerpt
	outcome        pythonOutcome
	back           error // why there is no outcome
	exit           string
	code           int
	crowded        bool // it was ended for that
}

// run feeds the interpreter and listens to it until it has ended.
func (p *python) run(ctx context.Context, interpreter string, job *pythonJob) (*pythonRun, error) {
	request, host := job.request, job.host
	if job.box != nil {
		ready, err := job.box.confine()
		if err != nil {
			return nil, protocols.Errorf(protocols.ResourceExhausted, "sandbox: %v", err)
		}
		defer ready.close()
		request.Sandbox = ready
	}
	kid, prelude, err := p.launch(interpreter, job)
	if err != nil {
		return nil, protocols.Errorf(protocols.ProviderNotAvailable, "%v", err)
	}
	if request.Sandbox != nil {
		request.Sandbox.handedDown()
		request.Sandbox.watch(kid)
	}
	r := &pythonRun{
		stdout: excerpt{First: pythonOutput / 2, Last: pythonOutput / 2},
		stderr: excerpt{First: pythonStderr / 2, Last: pythonStderr / 2},
	}
	var users sync.WaitGroup
	users.Go(func() {
		_, _ = io.WriteString(kid.In, prelude) // a failure shows in the missing outcome
		_ = json.NewEncoder(kid.In).Encode(request)
		kid.In.Close()
	})
	users.Go(func() { copyLines(&r.stdout, kid.Out, host, "stdout") })
	users.Go(func() { copyLines(&r.stderr, kid.Err, host, "stderr") })
	users.Go(func() { r.outcome, r.back = readOutcome(kid.Back, request.Nonce) })
	kid.await(ctx, pythonGrace)
	kid.drain(&users)
	r.exit, r.code = kid.exit(), kid.code()
	r.crowded = request.Sandbox != nil && request.Sandbox.crowded()
	return r, nil
}

// judge turns what is left into the call's result or error.
func (r *pythonRun) judge(box *sandbox) (json.RawMessage, error) {
	o := r.outcome
	switch {
	case o.Refused != "":
		return nil, r.failure(protocols.Errorf(protocols.ProviderInitializationFailed, "%s", refusal(o.Refused)))
	case r.crowded:
		return nil, r.failure(protocols.Errorf(protocols.TaskExecutionFailed, "Python %s", box.tooMany()))
	case r.back != nil && r.code < 0 && r.overCPU(box):
		return nil, r.failure(protocols.Errorf(protocols.TaskExecutionFailed, "Python %s", box.tooLong()))
	case r.back != nil && r.code < 0:
		return nil, r.failure(protocols.Errorf(protocols.TaskExecutionFailed, "Python was %s", r.exit))
	case r.back != nil:
		return nil, r.failure(protocols.Errorf(protocols.TaskExecutionFailed,
			"Python %s without handing back a result: %v", r.exit, r.back))
	case o.Unfit != "":
		return nil, r.failure(protocols.Errorf(protocols.TaskResultInvalid, "%s", o.Unfit))
	case o.Type != "":
		return nil, r.failure(protocols.Errorf(protocols.TaskExecutionFailed, "%s%s", o.title(), box.advice(o.Errno, o.Path)))
	case r.code != 0:
		return nil, r.failure(protocols.Errorf(protocols.TaskExecutionFailed,
			"Python %s after the code had ended", r.exit))
	}
	result := struct {
		Result        json.RawMessage `json:"result"`
		Output        string          `json:"output"`
		OutputMissing int64           `json:"output_missing,omitempty"`
		Stderr        string          `json:"stderr,omitempty"`
		StderrMissing int64           `json:"stderr_missing,omitempty"`
		Success       bool            `json:"success"`
		ExecutionTime float64         `json:"execution_time"` // seconds of the code alone
		Note          string          `json:"note,omitempty"`
	}{
		o.Result, r.stdout.String(), r.stdout.Missing(), r.stderr.String(), r.stderr.Missing(), true, o.Seconds, o.Note,
	}
	return encode(result)
}

// title is the exception in one line.
func (o pythonOutcome) title() string {
	text := o.Type
	if o.Type == "SystemExit" {
		text = o.Message
	} else if o.Message != "" {
		text += ": " + o.Message
	}
	if o.Line > 0 {
		text += " (line " + strconv.Itoa(o.Line) + ")"
	}
	return text
}

// failure adds to e what is known of the run.
func (r *pythonRun) failure(e *protocols.Error) *protocols.Error {
	return e.With(struct {
		Type      string `json:"type,omitempty"`
		Line      int    `json:"line,omitempty"`
		Traceback string `json:"traceback,omitempty"`
		Stdout    string `json:"stdout,omitempty"`
		Stderr    string `json:"stderr,omitempty"`
		ExitCode  int    `json:"exit_code"`
		Exit      string `json:"exit"`
	}{
		r.outcome.Type, r.outcome.Line, r.outcome.Traceback,
		lastBytes(r.stdout.String(), pythonInFailure), lastBytes(r.stderr.String(), pythonInFailure), r.code, r.exit,
	})
}
