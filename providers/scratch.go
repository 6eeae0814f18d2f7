package providers

import (
	"os"
	"path/filepath"
	"sync"
)

// This file makes the folders in which programs work. Each lies beside a file
// that is locked for as long as the process lives that made it:
//
//	TEMP/gleitzeit-python-XXXX/lock
//	TEMP/gleitzeit-python-XXXX/work    the scratch folder
//
// so that what a killed process left can be told from what is in use, also when
// several machines or containers share the folder, and be removed.

const scratchPrefix = "gleitzeit-python-"

// scratch is a folder that is gone after release.
type scratch struct {
	home string
	lock *os.File
}

// scratchTries is how often a folder is made that somebody sweeps away in the
// moment before it is locked.
const scratchTries = 3

// newScratch makes one.
func newScratch() (s scratch, err error) {
	for range scratchTries {
		if s.home, err = os.MkdirTemp("", scratchPrefix); err != nil {
			return s, err
		}
		if s.lock, err = lockNew(filepath.Join(s.home, "lock")); err == nil {
			err = os.Mkdir(s.work(), 0o700)
		}
		if err == nil {
			return s, nil
		}
		s.release()
	}
	return s, err
}

// work is the folder to work in.
func (s scratch) work() string { return filepath.Join(s.home, "work") }

// release removes it.
func (s scratch) release() {
	os.RemoveAll(s.work())
	if s.lock != nil {
		s.lock.Close()
	}
	os.RemoveAll(s.home)
}

// sweepOnce removes, once in a process, what killed ones have left.
var sweepOnce = sync.OnceFunc(func() { sweepScratch(os.TempDir()) })

// sweepScratch removes the folders there whose process is gone. What isn't
// surely one of those, or not ours, stays.
func sweepScratch(temp string) {
	homes, err := filepath.Glob(filepath.Join(temp, scratchPrefix+"*"))
	if err != nil {
		return // the folder's name has odd characters
	}
	for _, home := range homes {
		if abandoned(filepath.Join(home, "lock")) {
			os.RemoveAll(home)
		}
	}
}
