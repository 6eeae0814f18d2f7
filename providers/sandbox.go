package providers

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// This file says what a sandbox is: what code that a task brings along may do
// to the machine. It is in three parts, for whoever starts such code:
//
//	SandboxConfig   what gleitzeit.yaml says of it
//	sandbox         what one process may do, decided before it starts
//	confinement     the same, ready for the kernel (sandbox_linux.go): descriptors
//	                to hand down, and a description for the process, which
//	                applies it to itself before it does anything else
//
// python_sandbox.py is who applies it in Python, package launcher for any other
// program (confined.go).

// SandboxConfig is what the configuration says about a provider's sandbox. Its
// zero value is the default.
type SandboxConfig struct {
	// Enabled false lets code do whatever we may do.
	Enabled *bool `json:"enabled,omitempty" yaml:"enabled"`
	// Read and Write are further folders and files.
	Read  []string `json:"read,omitempty" yaml:"read"`
	Write []string `json:"write,omitempty" yaml:"write"`
	// Network true is for every task, false for none; nil leaves it to the task.
	Network *bool `json:"network,omitempty" yaml:"network"`
	// Limits of each process: bytes of memory and of a file, a duration of
	// computing. Processes is the number of them at once. "none" lifts one.
	Memory    string `json:"memory,omitempty" yaml:"memory"`
	CPU       string `json:"cpu,omitempty" yaml:"cpu"`
	FileSize  string `json:"file_size,omitempty" yaml:"file_size"`
	Processes string `json:"processes,omitempty" yaml:"processes"`
}

// limits are what a sandbox lets a process use up; 0 is as much as it likes.
type limits struct {
	Memory    int64 // bytes of address space of each process
	CPU       time.Duration
	FileSize  int64
	Processes int // of a call at once
}

// politeness is added to the nice value of what runs in a sandbox, so that we
// get to see what it does however busy it is. New processes come before those
// that wake up, where the kernel chooses by deadlines (Linux 6.6), unless they
// are nicer by 4 or more.
const politeness = 5

// threadsEach is how many threads there may be for each process that there may
// be.
const threadsEach = 64

var defaultLimits = limits{Memory: 4 << 30, CPU: time.Hour, FileSize: 1 << 30, Processes: 64}

// sandbox is what one process, and all that it starts, may do.
type sandbox struct {
	Read    []string // files, and folders with all in them; system folders come on top
	Write   []string // these are readable, too
	Network bool
	Limits  limits
}

// unlimited is what a configuration says for no limit.
const unlimited = "none"

// limits reads the limits, all problems at once.
func (c SandboxConfig) limits() (l limits, problems []string) {
	l = defaultLimits
	read := func(key, text string, set func(string) error) {
		if text == "" {
			return
		}
		if err := set(text); err != nil {
			problems = append(problems, fmt.Sprintf("sandbox.%s: %q: %v", key, text, err))
		}
	}
	read("memory", c.Memory, func(s string) (err error) { l.Memory, err = parseSize(s); return err })
	read("file_size", c.FileSize, func(s string) (err error) { l.FileSize, err = parseSize(s); return err })
	read("cpu", c.CPU, func(s string) (err error) { l.CPU, err = parseCPU(s); return err })
	read("processes", c.Processes, func(s string) (err error) { l.Processes, err = parseCount(s); return err })
	return l, problems
}

var sizeForm = regexp.MustCompile(`^(\d{1,12}) ?(B|[kKMGT]B|[KMGT]iB)$`)

// parseSize reads 512MiB, 4GB and the like.
func parseSize(text string) (int64, error) {
	if text == unlimited {
		return 0, nil
	}
	m := sizeForm.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("must be a size such as 512MiB or 4GiB, or %s", unlimited)
	}
	n, _ := strconv.ParseInt(m[1], 10, 64)
	unit, base := strings.ToUpper(m[2]), int64(1000)
	if strings.HasSuffix(unit, "IB") {
		base = 1024
	}
	for range strings.Index("BKMGT", unit[:1]) {
		if n > 1<<52 {
			return 0, fmt.Errorf("is too large")
		}
		n *= base
	}
	if n == 0 {
		return 0, fmt.Errorf("must be more than nothing; %s lifts the limit", unlimited)
	}
	return n, nil
}

func parseCPU(text string) (time.Duration, error) {
	if text == unlimited {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second {
		return 0, fmt.Errorf("must be a duration of a second or more, such as 10m, or %s", unlimited)
	}
	return d, nil
}

func parseCount(text string) (int, error) {
	if text == unlimited {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("must be a number of at least 1, or %s", unlimited)
	}
	return n, nil
}

// resources are the limits as setrlimit takes them.
func (l limits) resources() map[string]int64 {
	all := map[string]int64{"CORE": 0, "NICE": 0, "RTPRIO": 0} // what is given away isn't got back
	if l.Memory > 0 {
		all["AS"] = l.Memory
	}
	if l.FileSize > 0 {
		all["FSIZE"] = l.FileSize
	}
	if l.CPU > 0 {
		all["CPU"] = int64(l.CPU.Seconds())
	}
	return all
}

// tighter is what a task says of limits: it can only lower them.
type tighter struct {
	Memory    string `json:"memory"`
	CPU       string `json:"cpu"`
	FileSize  string `json:"file_size"`
	Processes *int   `json:"processes"`
}

// tighten lowers l.
func (t tighter) tighten(l *limits) error {
	c := SandboxConfig{Memory: t.Memory, CPU: t.CPU, FileSize: t.FileSize}
	if t.Processes != nil {
		c.Processes = strconv.Itoa(*t.Processes)
	}
	wanted, problems := c.limits()
	if len(problems) > 0 {
		return protocols.Errorf(protocols.TaskParameterError, "limits%s", strings.TrimPrefix(problems[0], "sandbox"))
	}
	if t.Memory != "" {
		l.Memory = lower(l.Memory, wanted.Memory)
	}
	if t.CPU != "" {
		l.CPU = lower(l.CPU, wanted.CPU)
	}
	if t.FileSize != "" {
		l.FileSize = lower(l.FileSize, wanted.FileSize)
	}
	if t.Processes != nil {
		l.Processes = lower(l.Processes, wanted.Processes)
	}
	return nil
}

// lower is the smaller of two limits, of which 0 is none.
func lower[T int | int64 | time.Duration](a, b T) T {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// told adds the sandbox's state to what Check says.
func (c SandboxConfig) told(message string, details map[string]any) string {
	if !c.enabled() {
		details["sandbox"] = "off"
		return message + "; no sandbox"
	}
	kind, lacking := sandboxState()
	details["sandbox"], details["not_enforced"] = kind, append([]string{}, lacking...) // never null
	message += "; sandbox: " + kind
	if len(lacking) > 0 {
		message += ", can't enforce: " + strings.Join(lacking, "; ")
	}
	return message
}

// enabled tells whether there is to be a sandbox.
func (c SandboxConfig) enabled() bool { return c.Enabled == nil || *c.Enabled }

// allow decides what a call may do: dir is where it works, scratch its own
// folder, roots what all calls may read; write and network are what the task
// asks for. A folder that is to be written is made. The error says what the
// task may not have.
func (c SandboxConfig) allow(dir, scratch string, roots, write []string, network bool) (*sandbox, error) {
	l, problems := c.limits()
	if len(problems) > 0 {
		return nil, protocols.Errorf(protocols.ConfigurationError, "%s", problems[0])
	}
	if network && c.Network != nil && !*c.Network {
		return nil, protocols.Errorf(protocols.AuthorizationFailed,
			"network: true: the configuration has `network: false` in the provider's sandbox")
	}
	box := &sandbox{
		Read:    slices.Concat([]string{dir}, roots, c.Read),
		Write:   slices.Concat([]string{scratch}, c.Write),
		Network: network || c.Network != nil && *c.Network,
		Limits:  l,
	}
	for _, folder := range c.Write {
		_ = os.MkdirAll(folder, 0o777) // if it can't be, the task will be told that it can't write
	}
	own := slices.Concat([]string{dir, scratch}, roots, c.Write)
	for _, name := range write {
		path, err := ownFolder(dir, name, own)
		if err != nil {
			return nil, err
		}
		box.Write = append(box.Write, path)
	}
	return box, nil
}

// ownFolder returns the folder that a task wants to write, links resolved,
// made if it isn't there. It must lie below one of the folders in own.
func ownFolder(dir, name string, own []string) (string, error) {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	path = resolved(filepath.Clean(path))
	if name == "" || !below(path, own) {
		return "", protocols.Errorf(protocols.AuthorizationFailed,
			"write: %q is neither below the workflow's folder nor below the configuration's `roots` or the sandbox's `write`", name)
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(path, 0o777); err != nil {
		return "", protocols.Errorf(protocols.TaskParameterError, "write: %v", err)
	}
	return path, nil
}

// resolved follows the links in a path as far as it exists.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path
	}
	return filepath.Join(resolved(parent), filepath.Base(path))
}

// tooMany and tooLong say why a program was ended by the sandbox.
func (s *sandbox) tooMany() string {
	return fmt.Sprintf("was ended, for it had more than %d processes or %d threads at once: the sandbox's `processes`",
		s.Limits.Processes, s.Limits.Processes*threadsEach)
}

func (s *sandbox) tooLong() string {
	return fmt.Sprintf("used up its %v of computing time: the sandbox's `cpu`", s.Limits.CPU)
}

// sizeText is a size as a configuration writes it.
func sizeText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for n%1024 == 0 && n > 0 && len(units) > 1 {
		n, units = n/1024, units[1:]
	}
	return strconv.FormatInt(n, 10) + units[0]
}
