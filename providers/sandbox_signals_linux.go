package providers

import (
	"errors"
	"net"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file answers what a confined process's filter asks on kernels where
// Landlock doesn't see to it: whether it may send a signal. It may within its
// group, which none of its processes can leave.
//
// A call that asks can be broken off by a signal (EINTR) until we have taken
// the question. So nothing is asked about that programs do often, and expect
// never to be broken off, as they do of forks.

// umpire is asked by one process and all that it starts.
type umpire struct {
	conn *net.UnixConn // on which the descriptor of the questions comes
	busy sync.WaitGroup

	mu     sync.Mutex
	file   *os.File // the questions; nil: not yet
	closed bool

	group int
}

// question and answer are the kernel's struct seccomp_notif and
// seccomp_notif_resp.
type question struct {
	ID    uint64
	PID   uint32
	Flags uint32
	Call  int32
	Arch  uint32
	IP    uint64
	Args  [6]uint64
}

type answer struct {
	ID    uint64
	Value int64
	Error int32
	Flags uint32
}

// start answers until close.
func (u *umpire) start(group int) {
	u.group = group
	u.busy.Go(func() {
		if file := u.receive(); file != nil {
			u.serve(file)
		}
	})
}

// close ends it all. Whoever still asks is told that there is no such call.
func (u *umpire) close() {
	u.conn.Close()
	u.mu.Lock()
	u.closed = true
	if u.file != nil {
		u.file.Close()
	}
	u.mu.Unlock()
	u.busy.Wait()
}

// receive waits for the descriptor, nil if none comes.
func (u *umpire) receive() *os.File {
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := u.conn.ReadMsgUnix(make([]byte, 1), rights)
	if err != nil {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil
	}
	unix.CloseOnExec(fds[0])
	_ = unix.SetNonblock(fds[0], true) // so that waiting is the runtime's
	u.mu.Lock()
	defer u.mu.Unlock()
	u.file = os.NewFile(uintptr(fds[0]), "seccomp")
	if u.closed {
		u.file.Close()
	}
	return u.file
}

// serve answers until nobody is left to ask.
func (u *umpire) serve(file *os.File) {
	raw, err := file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		for {
			state := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(state, 0); errors.Is(err, unix.EINTR) {
				continue
			} else if err != nil {
				return true
			} else if n == 0 {
				return false
			}
			if state[0].Revents&unix.POLLIN == 0 {
				return true // they are all gone
			}
			u.one(fd)
		}
	})
}

// one takes one question and answers it.
func (u *umpire) one(fd uintptr) {
	var q question
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&q))); errno != 0 {
		return // it has been killed meanwhile
	}
	a := answer{ID: q.ID, Flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if errno := u.judge(int(int32(q.Args[0]))); errno != 0 {
		a = answer{ID: q.ID, Error: -int32(errno)}
	}
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a)))
}

// judge lets them signal each other; 0 is for yes.
func (u *umpire) judge(to int) unix.Errno {
	if to == 0 || to == -u.group {
		return 0
	}
	group, err := unix.Getpgid(to)
	switch {
	case to > 0 && err != nil:
		return unix.ESRCH
	case to > 0 && group == u.group:
		return 0
	}
	return unix.EPERM
}
