package llmtest

import (
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// Alone waits until no other test of this user's, of whatever process, talks
// to the real Ollama, and keeps it to the caller until release: the models
// there do one thing at a time, so that one test's endless generation would
// use up another's timeout. See .ci/ollama.
func Alone() (release func(), err error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, "gleitzeit-test")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	return lockedfile.MutexAt(filepath.Join(dir, "alone.lock")).Lock()
}
