//go:build unix && !linux

package launcher

import (
	"os"
	"syscall"
)

// limits are those that there are everywhere.
var limits = map[string]int{
	"CORE": syscall.RLIMIT_CORE, "CPU": syscall.RLIMIT_CPU, "FSIZE": syscall.RLIMIT_FSIZE,
}

// strict: a limit that can't be set is a failure. macOS refuses some.
const strict = false

func confine(_ int, box Box) error {
	nice, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		return err
	}
	return syscall.Setpriority(syscall.PRIO_PROCESS, 0, nice+box.Nice)
}

// program is what is to be run.
type program struct {
	path string
	argv []string
}

func newProgram(path string, argv []string) (*program, error) { return &program{path, argv}, nil }

// exec becomes the program, with so much memory, if it isn't 0. That is asked
// for and no more: macOS doesn't hold anybody to it.
func (p *program) exec(memory int64) error {
	if l, err := lowered(syscall.RLIMIT_AS, memory); err == nil && memory > 0 {
		_ = syscall.Setrlimit(syscall.RLIMIT_AS, &l)
	}
	return syscall.Exec(p.path, p.argv, os.Environ())
}

func arguments() []string { return os.Args }

func say(back int, text string) { _, _ = syscall.Write(back, []byte(text)) }
