//go:build unix

package launcher

import (
	"errors"
	"syscall"
)

// become takes the box on and becomes the program; it returns only if it can't.
func become(back, files int, box Box, path string, argv []string) Failure {
	syscall.CloseOnExec(back)
	p, err := newProgram(path, argv)
	if err != nil {
		return Failure{Program: true, Text: err.Error()}
	}
	if err := confine(files, box); err != nil {
		return Failure{Text: err.Error()}
	}
	for name, most := range box.Limits {
		if name == "AS" {
			continue
		}
		if err := lowerOne(name, most); err != nil {
			return Failure{Text: err.Error()}
		}
	}
	return Failure{Program: true, Text: p.exec(box.Limits["AS"]).Error()}
}

// lowerOne lowers a limit, soft and hard, as far as it isn't lower already.
func lowerOne(name string, most int64) error {
	which, known := limits[name]
	if !known {
		return nil
	}
	l, err := lowered(which, most)
	if err == nil && name == "CPU" {
		l.Max++ // so that it ends by a signal that says why
	}
	if err == nil {
		err = syscall.Setrlimit(which, &l)
	}
	if err != nil && strict {
		return errors.New("limit " + name + ": " + err.Error())
	}
	return nil
}

func lowered(which int, most int64) (l syscall.Rlimit, err error) {
	err = syscall.Getrlimit(which, &l)
	l.Cur, l.Max = min(l.Cur, uint64(most)), min(l.Max, uint64(most))
	return l, err
}
