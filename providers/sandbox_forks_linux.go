package providers

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file answers what a confined process's filter asks: whether it may have
// one more process, and on kernels where Landlock doesn't see to that, whether
// it may send a signal. RLIMIT_NPROC would count all of a user's processes, and
// none of root's.
//
// None of those processes can leave its group, so they are counted by it.

// forkCounter is asked by one process and all that it starts.
type forkCounter struct {
	conn *net.UnixConn // on which the descriptor of the questions comes
	most int           // processes at once; 0: any number
	busy sync.WaitGroup

	mu     sync.Mutex
	file   *os.File // the questions; nil: not yet
	closed bool

	group  int
	room   int       // forks that need no counting
	full   time.Time // when there was found to be no room
	looked func(group int) int
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
func (f *forkCounter) start(group int) {
	f.group, f.looked = group, countGroup
	f.busy.Go(func() {
		if file := f.receive(); file != nil {
			f.serve(file)
		}
	})
}

// close ends it all. Whoever still asks is told that there is no such call.
func (f *forkCounter) close() {
	f.conn.Close()
	f.mu.Lock()
	f.closed = true
	if f.file != nil {
		f.file.Close()
	}
	f.mu.Unlock()
	f.busy.Wait()
}

// receive waits for the descriptor, nil if none comes.
func (f *forkCounter) receive() *os.File {
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := f.conn.ReadMsgUnix(make([]byte, 1), rights)
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
	f.mu.Lock()
	defer f.mu.Unlock()
	f.file = os.NewFile(uintptr(fds[0]), "seccomp")
	if f.closed {
		f.file.Close()
	}
	return f.file
}

// serve answers until nobody is left to ask.
func (f *forkCounter) serve(file *os.File) {
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
			f.one(fd)
		}
	})
}

// one takes one question and answers it.
func (f *forkCounter) one(fd uintptr) {
	var q question
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&q))); errno != 0 {
		return // it has been killed meanwhile
	}
	a := answer{ID: q.ID, Flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if errno := f.judge(&q); errno != 0 {
		a = answer{ID: q.ID, Error: -int32(errno)}
	}
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a)))
}

// judge returns 0 for yes.
func (f *forkCounter) judge(q *question) unix.Errno {
	switch q.Call {
	case unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO:
		return f.signal(int(int32(q.Args[0])))
	}
	if f.room == 0 {
		f.count()
	}
	if f.room == 0 {
		return unix.EAGAIN
	}
	f.room--
	return 0
}

// count finds out how many more there may be. Whoever keeps asking is not
// worth the work.
func (f *forkCounter) count() {
	if f.most == 0 || time.Since(f.full) < 20*time.Millisecond {
		return
	}
	if f.room = max(f.most-f.looked(f.group), 0); f.room == 0 {
		f.full = time.Now()
	}
}

// signal lets them signal each other.
func (f *forkCounter) signal(to int) unix.Errno {
	if to == 0 || to == -f.group || to > 0 && groupNumber(strconv.Itoa(to)) == f.group {
		return 0
	}
	return unix.EPERM
}

// groupNumber is the group of a process, 0 if there is no such process.
func groupNumber(pid string) int {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 3 {
		return 0
	}
	n, _ := strconv.Atoi(fields[2])
	return n
}

// countGroup counts the processes of a group.
func countGroup(group int) (n int) {
	dir, err := os.Open("/proc")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if name[0] >= '1' && name[0] <= '9' && groupNumber(name) == group {
			n++
		}
	}
	return n
}
