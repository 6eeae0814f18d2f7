//go:build unix && !linux

package providers

import "os"

// launches: a program can take on a sandbox here, which is limits only.
const launches = true

// ownProgram is ourselves.
func ownProgram() (string, error) { return os.Executable() }
