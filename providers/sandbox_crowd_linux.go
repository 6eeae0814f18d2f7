package providers

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// This file sees to it that a call has no more processes at once than it may,
// and no more threads than threadsEach for each of those. One that has is ended
// as a whole: none of its processes can leave its group, and a group is killed
// by one signal, with no fork in between.
//
// They are counted from outside. RLIMIT_NPROC would count all processes of a
// user, and none of root's; a cgroup needs somebody to delegate one; and a fork
// for which seccomp asks us can be broken off by a signal, which programs don't
// expect: a shell whose pipeline's first program has ended says "Cannot fork".
//
// A fork bomb makes thousands of processes in the time that it takes to list
// all there are. So nothing is listed where the kernel tells which number it
// gave away last: only those since the last look are looked at, each by one
// system call. When nothing begins anywhere, that is all.

const crowdPause = 10 * time.Millisecond // between two looks

// crowd is the processes of one call.
type crowd struct {
	most  int // processes at once
	group int
	over  atomic.Bool // there were too many

	ended chan struct{} // closed by close
	busy  sync.WaitGroup

	numbers
	last    int   // number that was given away when it was looked last
	unborn  []int // numbers that nobody had yet, or nobody any more
	members []int // processes of the group, perhaps with some that are gone
	threads int   // of it, more than one for a process, perhaps likewise
}

// start watches until close, and has kill end them when they are too many.
func (c *crowd) start(group int, kill func()) {
	c.group, c.ended = group, make(chan struct{})
	c.last, c.members = group, []int{group}
	c.busy.Go(func() {
		c.open(group)
		defer c.shut()
		tick := time.NewTicker(crowdPause)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-c.ended:
				return
			}
			if c.look(); c.over.Load() {
				kill()
				return
			}
		}
	})
}

func (c *crowd) close() {
	if c.ended != nil {
		close(c.ended)
		c.busy.Wait()
	}
}

// look looks at those that have begun, and sets over.
func (c *crowd) look() {
	now, known := c.given()
	if !known {
		c.list()
		return
	}
	again := c.unborn
	c.unborn = c.unborn[:0:0]
	for _, pid := range again {
		c.meet(pid, false)
	}
	for c.last != now && !c.over.Load() {
		c.last = c.next(c.last)
		c.meet(c.last, true)
	}
}

// list looks at all there are.
func (c *crowd) list() {
	dir, err := os.Open("/proc")
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	c.members = c.members[:0]
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			c.meet(pid, false)
		}
	}
	c.count()
}

// meet notes a process or thread of the group. A number is given away a moment
// before its process can be found: it is looked at twice.
func (c *crowd) meet(pid int, first bool) {
	group, err := unix.Getpgid(pid)
	switch {
	case err != nil && first:
		c.unborn = append(c.unborn, pid)
	case err != nil || group != c.group:
	case unix.Tgkill(pid, pid, 0) == nil: // not so if it is a thread
		if c.members = append(c.members, pid); len(c.members) > c.most {
			c.count()
		}
	default:
		if c.threads++; c.threads > c.most*threadsEach {
			c.count()
		}
	}
}

// count forgets those that are gone.
func (c *crowd) count() {
	members := c.members[:0]
	for _, pid := range c.members {
		if group, err := unix.Getpgid(pid); err == nil && group == c.group {
			members = append(members, pid)
		}
	}
	c.members, c.threads = members, 0
	if len(members) <= c.most {
		for _, pid := range members {
			c.threads += threadsOf(pid) - 1
		}
	}
	if len(members) > c.most || c.threads > c.most*threadsEach {
		c.over.Store(true)
	}
}

// threadsOf is 1 for a process that is gone.
func threadsOf(pid int) int {
	stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]); len(fields) > 17 {
		n, _ := strconv.Atoi(string(fields[17]))
		return max(n, 1)
	}
	return 1
}

// numbers tells which number the kernel gave away last.
type numbers struct {
	file *os.File // nil: it can't be known
	size int      // from here on they begin anew
}

// open is told a number that was given away just now: what tells of others is
// about another machine's, as in some containers.
func (n *numbers) open(pid int) {
	text, _ := os.ReadFile("/proc/sys/kernel/pid_max")
	n.size, _ = strconv.Atoi(string(bytes.TrimSpace(text)))
	n.size = max(n.size, 1<<15)
	for _, name := range []string{"/proc/sys/kernel/ns_last_pid", "/proc/loadavg"} {
		n.file, _ = os.Open(name)
		if last, known := n.given(); known && (last-pid+n.size)%n.size < n.size/8 {
			return
		}
		n.shut()
	}
}

func (n *numbers) shut() {
	closeFiles([]*os.File{n.file})
	n.file = nil
}

// given returns the number.
func (n *numbers) given() (last int, known bool) {
	if n.file == nil {
		return 0, false
	}
	var text [128]byte
	length, _ := n.file.ReadAt(text[:], 0)
	said := bytes.TrimSpace(text[:length])
	last, err := strconv.Atoi(string(said[bytes.LastIndexByte(said, ' ')+1:]))
	return last, err == nil && last > 0 && last < n.size
}

// next is the number behind that one.
func (n *numbers) next(pid int) int { return (pid + 1) % n.size }
