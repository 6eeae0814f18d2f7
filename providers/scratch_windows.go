package providers

import "os"

// lockNew makes a file, which nobody can remove until it is closed, or the
// process ends.
func lockNew(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

// abandoned tells whether there is such a file and nobody has it open.
func abandoned(path string) bool { return os.Remove(path) == nil }
