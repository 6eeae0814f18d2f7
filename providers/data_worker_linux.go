package providers

import "golang.org/x/sys/unix"

// limitData has the kernel refuse memory beyond the bytes given: a single step
// may ask for more than there is. (RLIMIT_AS would count what Go's runtime
// only reserves.)
func limitData(bytes int64) {
	_ = unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: uint64(bytes), Max: uint64(bytes)})
}
