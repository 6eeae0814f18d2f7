package providers

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// limitData has the kernel refuse memory beyond the bytes given and what the
// process has now: a single step may ask for more than there is. (RLIMIT_AS
// would count what Go's runtime only reserves.)
func limitData(bytes int64) {
	most := uint64(bytes) + dataNow()
	_ = unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: most, Max: most})
}

// dataNow is what the kernel counts as our data, 0 if it doesn't say.
func dataNow() uint64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident, shared, text, library, data uint64
	if _, err := fmt.Sscan(string(statm), &size, &resident, &shared, &text, &library, &data); err != nil {
		return 0
	}
	return data * uint64(os.Getpagesize())
}
