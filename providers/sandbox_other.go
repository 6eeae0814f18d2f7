//go:build !linux

package providers

import (
	"os"
	"runtime"

	"gleitzeit/providers/launcher"
)

// This file is the sandbox where the kernel is not Linux: limits and no more.

// confinement is a sandbox ready for one process; see sandbox_linux.go.
type confinement struct {
	launcher.Box

	files []*os.File
}

// sandboxState says what protects and what can't be enforced.
func sandboxState() (kind string, lacking []string) {
	lacking = []string{"files", "network", "signals to other processes", "the number of processes"}
	if runtime.GOOS == "windows" {
		return "nothing", append(lacking, "memory, computing time and the size of files")
	}
	return "limits only", lacking
}

func (s *sandbox) confine() (*confinement, error) {
	return &confinement{Box: launcher.Box{Limits: s.Limits.resources(), Nice: politeness}}, nil
}

func (c *confinement) handedDown() {}

func (c *confinement) watch(*child) {}

func (c *confinement) crowded() bool { return false }

func (c *confinement) close() {}
