//go:build !linux

package scheduler

import "os"

func dataSync(f *os.File) error { return f.Sync() }
