//go:build unix

package providers

import "syscall"

const terminate = syscall.SIGTERM
