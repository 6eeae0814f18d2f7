//go:build amd64 || arm64

package providers

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// This file writes the seccomp filter, a small BPF program that the kernel
// runs at each system call. It sees numbers only, never what a pointer leads
// to: what depends on a path is Landlock's.

// refused is what no task needs: it would reach other processes, the kernel or
// the machine, around Landlock and the limits.
var refused = append([]uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
	unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_MRELEASE, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_SCHED_SETATTR, // with short slices it would come before us
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_FANOTIFY_INIT,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_SYSLOG,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_VHANGUP,
	unix.SYS_SHMGET, unix.SYS_SEMGET, unix.SYS_MSGGET, unix.SYS_MQ_OPEN, // they outlive the process
}, refusedHere...)

// ofOthers takes a process in that argument, 0 for the caller: nobody else may
// be slowed down, or made to run into a limit.
var ofOthers = map[uint32]uint32{
	unix.SYS_PRLIMIT64: 0, unix.SYS_SCHED_SETSCHEDULER: 0, unix.SYS_SCHED_SETPARAM: 0,
	unix.SYS_SCHED_SETAFFINITY: 0, unix.SYS_SETPRIORITY: 1, unix.SYS_IOPRIO_SET: 1,
}

// leaving are the flags of clone with which a process leaves its world, or its
// parent.
const leaving = unix.CLONE_PARENT | unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// Requests of ioctl that do what F_SETOWN does.
const (
	fioSetOwn    = 0x8901
	siocSetGroup = 0x8902
)

const (
	seccompAllow  = unix.SECCOMP_RET_ALLOW
	seccompAsk    = unix.SECCOMP_RET_USER_NOTIF
	seccompDeny   = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	seccompHide   = unix.SECCOMP_RET_ERRNO | uint32(unix.EACCES) // as files that are out of bounds
	seccompAbsent = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS) // has the caller try an older call
	seccompFeign  = unix.SECCOMP_RET_ERRNO                       // "done": and nothing was
)

// bpf is a program in the making.
type bpf []unix.SockFilter

func (p *bpf) add(code uint16, k uint32, yes, no int) {
	*p = append(*p, unix.SockFilter{Code: code, Jt: uint8(yes), Jf: uint8(no), K: k})
}

// load gets a word of the call's description.
func (p *bpf) load(offset uint32) { p.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0) }

// equal, any and least skip the next n instructions unless what was loaded is
// k, has one of its bits, is at least k.
func (p *bpf) equal(k uint32, n int) { p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, k, 0, n) }
func (p *bpf) any(k uint32, n int)   { p.add(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, k, 0, n) }
func (p *bpf) least(k uint32, n int) { p.add(unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K, k, 0, n) }

// differ skips the next n if what was loaded is k.
func (p *bpf) differ(k uint32, n int) { p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, k, n, 0) }

func (p *bpf) end(action uint32) { p.add(unix.BPF_RET|unix.BPF_K, action, 0, 0) }

// on adds what is done at one system call. The block sees nothing loaded; what
// it doesn't end is allowed.
func (p *bpf) on(call uint32, block func(*bpf)) {
	var b bpf
	block(&b)
	b.end(seccompAllow)
	p.equal(call, len(b))
	*p = append(*p, b...)
}

// always ends the call that way.
func always(action uint32) func(*bpf) { return func(b *bpf) { b.end(action) } }

// argument is where the low half of an argument stands; the kernel takes no
// more of those that are looked at here.
func argument(n uint32) uint32 { return 16 + 8*n }

// filter returns the program. signals: it is about those, too, and ask: somebody
// answers questions about them.
func (s *sandbox) filter(ask, signals bool) []byte {
	var p bpf
	p.load(4) // the processor's kind: another numbers its calls in another way
	p.differ(seccompArch, 1)
	p.end(seccompAbsent)
	p.load(0) // the call
	p.least(seccompForeign, 1)
	p.end(seccompAbsent)
	for _, call := range refused {
		p.on(call, always(seccompDeny))
	}
	for call, n := range ofOthers {
		p.on(call, func(b *bpf) {
			b.load(argument(n))
			b.differ(0, 1)
			b.end(seccompDeny)
		})
	}
	p.on(unix.SYS_IO_URING_SETUP, always(seccompAbsent))
	p.on(unix.SYS_SETSID, always(seccompFeign))
	p.on(unix.SYS_SETPGID, always(seccompFeign))
	p.on(unix.SYS_PRCTL, func(b *bpf) { // who dies with its parent stays so
		b.load(argument(0))
		b.equal(unix.PR_SET_PDEATHSIG, 1)
		b.end(seccompDeny)
	})
	p.on(unix.SYS_IOCTL, func(b *bpf) { // typing into a terminal, having a file signal somebody
		b.load(argument(1))
		for _, request := range []uint32{unix.TIOCSTI, unix.TIOCLINUX, fioSetOwn, siocSetGroup} {
			b.equal(request, 1)
			b.end(seccompDeny)
		}
	})
	s.sockets(&p)
	forks(&p)
	if signals {
		signalling(&p, ask)
	}
	p.end(seccompAllow)
	return p.bytes()
}

// sockets lets through pairs that are connected already, which asyncio needs;
// with a network also sockets that lead there. A Unix socket never: behind
// those are the machine's own services.
func (s *sandbox) sockets(p *bpf) {
	p.on(unix.SYS_SOCKET, func(b *bpf) {
		if s.Network {
			b.load(argument(0))
			for _, family := range []uint32{unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK} {
				b.equal(family, 1)
				b.end(seccompAllow)
			}
		}
		b.end(seccompHide)
	})
	p.on(unix.SYS_SOCKETPAIR, func(b *bpf) {
		b.load(argument(1))
		b.add(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, 0xf, 0, 0)
		for _, kind := range []uint32{unix.SOCK_STREAM, unix.SOCK_SEQPACKET} { // a datagram socket could send elsewhere
			b.equal(kind, 1)
			b.end(seccompAllow)
		}
		b.end(seccompHide)
	})
}

// forks lets a process have others, and threads, in this world.
func forks(p *bpf) {
	p.on(unix.SYS_CLONE3, always(seccompAbsent)) // its flags can't be seen; clone's can
	p.on(unix.SYS_CLONE, func(b *bpf) {
		b.load(argument(0))
		b.any(leaving, 1)
		b.end(seccompDeny)
	})
}

// signalCalls send signals to the process in their first argument.
var signalCalls = []uint32{unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO}

// signalling has somebody asked before a signal is sent. Without anybody a
// signal to everybody is refused, and so is having a file send one.
func signalling(p *bpf, ask bool) {
	p.on(unix.SYS_FCNTL, func(b *bpf) {
		b.load(argument(1))
		for _, request := range []uint32{unix.F_SETOWN, unix.F_SETOWN_EX} {
			b.equal(request, 1)
			b.end(seccompDeny)
		}
	})
	for _, call := range signalCalls {
		p.on(call, func(b *bpf) {
			b.load(argument(0))
			b.equal(^uint32(0), 1)
			b.end(seccompDeny)
			if ask {
				b.end(seccompAsk)
			}
		})
	}
}

func (p bpf) bytes() []byte {
	var out []byte
	for _, i := range p {
		out = binary.NativeEndian.AppendUint16(out, i.Code)
		out = append(out, i.Jt, i.Jf)
		out = binary.NativeEndian.AppendUint32(out, i.K)
	}
	return out
}
