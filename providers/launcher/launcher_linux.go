package launcher

import (
	"errors"
	"runtime"
	"syscall"
	"unsafe"
)

// System calls and constants that package syscall doesn't have.
const (
	sysLandlockRestrictSelf = 446

	prCapbsetDrop    = 24
	prSetNoNewPrivs  = 38
	prCapAmbient     = 47
	capAmbientClear  = 4
	capVersion       = 0x20080522
	capDacOverride   = 1
	lastCapability   = 63
	seccompSetFilter = 1
	seccompListen    = 8

	rlimitNice, rlimitRTPrio = 13, 14
)

var limits = map[string]int{
	"CORE": syscall.RLIMIT_CORE, "CPU": syscall.RLIMIT_CPU, "FSIZE": syscall.RLIMIT_FSIZE,
	"NICE": rlimitNice, "RTPRIO": rlimitRTPrio,
}

// strict: a limit that can't be set is a failure.
const strict = true

// confine takes the box on, but for its limits. All of it is the thread's, whose
// exec makes it the process's.
func confine(files int, box Box) error {
	runtime.LockOSThread()
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, priority()+box.Nice); err != nil {
		return errors.New("nice: " + err.Error())
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	if err := prctl(prSetNoNewPrivs, 1); err != nil {
		return errors.New("no_new_privs: " + err.Error())
	}
	if box.Landlock != 0 {
		if _, _, errno := syscall.RawSyscall(sysLandlockRestrictSelf, uintptr(files), 0, 0); errno != 0 {
			return errors.New("landlock_restrict_self: " + errno.Error())
		}
		syscall.Close(files)
		files++
	}
	if len(box.Filter) == 0 {
		return nil
	}
	return filter(files, box)
}

// priority is the nice value; the system call counts downwards from 20.
func priority() int {
	n, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		return 0
	}
	return 20 - n
}

// dropCapabilities leaves root nothing but the right to read and write the
// files of others.
func dropCapabilities() error {
	for capability := uintptr(0); capability <= lastCapability; capability++ {
		if capability != capDacOverride {
			_ = prctl(prCapbsetDrop, capability) // for others than root there is none
		}
	}
	_ = prctl(prCapAmbient, capAmbientClear)
	header := [2]uint32{capVersion, 0}
	var sets [6]uint32 // effective, permitted, inheritable: low halves, then high ones
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets)), 0); errno != 0 {
		return errors.New("capget: " + errno.Error())
	}
	const keep = 1 << capDacOverride
	sets = [6]uint32{sets[0] & keep, sets[1] & keep}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets)), 0); errno != 0 {
		return errors.New("capset: " + errno.Error())
	}
	return nil
}

func prctl(option, argument uintptr) error {
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, argument, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// filter installs the filter, and hands over who it asks.
func filter(socket int, box Box) error {
	program := syscall.SockFprog{Len: uint16(len(box.Filter) / 8), Filter: (*syscall.SockFilter)(unsafe.Pointer(&box.Filter[0]))}
	var flags uintptr
	if box.Listen {
		flags = seccompListen
	}
	asked, _, errno := syscall.RawSyscall(uintptr(box.Seccomp), seccompSetFilter, flags, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errors.New("seccomp: " + errno.Error())
	}
	if !box.Listen {
		return nil
	}
	if err := syscall.Sendmsg(socket, []byte("?"), syscall.UnixRights(int(asked)), nil, 0); err != nil {
		return errors.New("hand over who is asked: " + err.Error())
	}
	syscall.Close(int(asked))
	syscall.Close(socket)
	return nil
}

// program is what is to be run, in the words of the kernel: once the limit of
// memory is in force, which Go's own exceeds, nothing can be allocated.
type program struct {
	path *byte
	argv []*byte
	env  []*byte
}

func newProgram(path string, argv []string) (p *program, err error) {
	p = &program{}
	if p.path, err = syscall.BytePtrFromString(path); err != nil {
		return nil, err
	}
	if p.argv, err = syscall.SlicePtrFromStrings(argv); err != nil {
		return nil, err
	}
	p.env, err = syscall.SlicePtrFromStrings(syscall.Environ())
	return p, err
}

// exec becomes the program, with so much memory, if it isn't 0.
func (p *program) exec(memory int64) error {
	_ = syscall.Exec("", nil, nil) // fails, and puts back the limit of files that Go has raised
	limit, err := lowered(syscall.RLIMIT_AS, memory)
	if err != nil {
		return err
	}
	if memory > 0 {
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, syscall.RLIMIT_AS, uintptr(unsafe.Pointer(&limit)), 0, 0, 0); errno != 0 {
			return errno
		}
	}
	_, _, errno := syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(p.path)), uintptr(unsafe.Pointer(&p.argv[0])), uintptr(unsafe.Pointer(&p.env[0])))
	return errno
}

// arguments are the process's own. The kernel tells them before package os is
// ready; it is not asked by those who can't be meant.
func arguments() []string {
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	text := make([]byte, 4096)
	n := 0
	for {
		got, err := syscall.Read(fd, text[n:])
		if n += max(got, 0); err != nil || got == 0 {
			return split(string(text[:n]), 0)
		}
		if n == len(text) {
			text = append(text, make([]byte, n)...)
		}
	}
}

func say(back int, text string) { _, _ = syscall.Write(back, []byte(text)) }
