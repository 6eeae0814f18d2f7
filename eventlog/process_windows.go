package eventlog

import "syscall"

const (
	queryLimitedInformation = 0x1000
	stillActive             = 259
	sharingViolation        = syscall.Errno(32)
)

// isAlive tells whether the process exists.
func isAlive(pid int) bool {
	p, err := syscall.OpenProcess(queryLimitedInformation, false, uint32(pid))
	if err != nil {
		return err == syscall.ERROR_ACCESS_DENIED
	}
	defer syscall.CloseHandle(p)
	var code uint32
	return syscall.GetExitCodeProcess(p, &code) == nil && code == stillActive
}

// isContention tells whether LOCK could not be taken because somebody has it.
func isContention(err error) bool { return err == sharingViolation }
