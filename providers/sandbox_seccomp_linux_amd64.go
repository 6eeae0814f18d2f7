package providers

import "golang.org/x/sys/unix"

const (
	seccompArch    = unix.AUDIT_ARCH_X86_64
	seccompForeign = 0x40000000 // from here on the calls of the x32 ABI
)

var refusedHere = []uint32{unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_USELIB}
