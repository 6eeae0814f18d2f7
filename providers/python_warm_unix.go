//go:build unix

package providers

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// This file keeps warm interpreters. One is started when it is first needed,
// and forks a process for each call (python_zygote.py). We talk over a socket,
// in lines:
//
//	us → it   fork N        with the descriptors of the new process
//	          bury PID      its number is free now
//	it → us   hello JSON    once
//	          pid N PID     request N became process PID
//	          end PID CODE  it has ended: its exit code, or minus the signal
//
// A forked process is one of our children like any other: guarded, killed with
// its group, waited for. It starts to work when it gets its request, by then
// the guard knows it. When the warm interpreter dies the kernel kills what it
// forked (Linux), and so do we; when we die it does.

const (
	warmIdle   = 2 * time.Minute  // until a warm interpreter that nobody uses is ended
	warmAnswer = 30 * time.Second // for what a warm interpreter does at once; that it died is heard sooner
)

var errWarmDied = errors.New("the warm interpreter died")

// nursery keeps the warm interpreters of one provider, by path.
type nursery struct {
	children *children
	idle     time.Duration

	mu     sync.Mutex
	warm   map[string]*zygote
	unfit  map[string]bool // those that can't serve
	closed bool
	ending sync.WaitGroup // those who wait for a user's or a zygote's end
}

func newNursery(cs *children) *nursery {
	return &nursery{children: cs, idle: warmIdle, warm: map[string]*zygote{}, unfit: map[string]bool{}}
}

// fork returns a new process of the interpreter. An error means that none was
// made: start an interpreter instead.
func (n *nursery) fork(interpreter string, env []string, files ...*os.File) (*child, error) {
	var err error
	for range 2 { // one that has died is replaced, once
		var z *zygote
		if z, err = n.take(interpreter, env); err != nil {
			return nil, err
		}
		var kid *child
		if kid, err = z.fork(n.children, files); err == nil {
			n.ending.Go(func() {
				<-kid.ended
				n.leave(z)
			})
			return kid, nil
		}
		n.leave(z)
		if !errors.Is(err, errWarmDied) {
			break
		}
	}
	return nil, err
}

// take returns a warm interpreter that the caller is a user of.
func (n *nursery) take(interpreter string, env []string) (*zygote, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.unfit[interpreter] {
		return nil, errors.New("no warm interpreter")
	}
	z := n.warm[interpreter]
	if z != nil && !z.fresh() {
		n.retire(z)
		z = nil
	}
	if z == nil {
		var err error
		if z, err = startZygote(n.children, interpreter, env); err != nil {
			n.unfit[interpreter] = true
			return nil, err
		}
		n.warm[interpreter] = z
	}
	z.inUse++
	if z.timer != nil {
		z.timer.Stop()
	}
	return z, nil
}

// leave is called by a user of z who is done.
func (n *nursery) leave(z *zygote) {
	n.mu.Lock()
	defer n.mu.Unlock()
	z.inUse--
	switch {
	case z.inUse > 0:
	case n.warm[z.interpreter] != z:
		n.end(z)
	case n.closed: // close has ended it
	default:
		z.timer = time.AfterFunc(n.idle, func() { n.expire(z) })
	}
}

// expire ends z if nobody has come since its timer was set.
func (n *nursery) expire(z *zygote) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if z.inUse == 0 && !n.closed && n.warm[z.interpreter] == z {
		n.retire(z)
	}
}

// retire takes z out of use; its last user ends it.
func (n *nursery) retire(z *zygote) {
	delete(n.warm, z.interpreter)
	if z.inUse == 0 {
		n.end(z)
	}
}

func (n *nursery) end(z *zygote) { n.ending.Go(z.end) }

// close ends all. There are no users any more.
func (n *nursery) close() {
	n.mu.Lock()
	n.closed = true
	for _, z := range n.warm {
		if z.timer != nil {
			z.timer.Stop()
		}
		n.end(z)
	}
	n.mu.Unlock()
	n.ending.Wait()
}

// zygote is one warm interpreter.
type zygote struct {
	interpreter string
	kid         *child
	conn        *net.UnixConn
	users       sync.WaitGroup // of its pipes and of conn
	dead        chan struct{}  // closed by listen: nothing more is heard
	greeted     chan struct{}  // closed by listen, after hello
	inUse       int            // of the nursery, under its mu
	timer       *time.Timer    // likewise
	stamps      map[string]time.Time

	mu     sync.Mutex
	asked  int               // number of the last request
	pids   map[int]chan int  // by request
	ends   map[int]chan exit // by process
	failed bool              // nothing more is heard
}

// startZygote starts one and waits until it is ready.
func startZygote(cs *children, interpreter string, env []string) (*zygote, error) {
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	kid, err := cs.start(command{
		Path: interpreter, Args: []string{"-X", "utf8", "-c", pythonBoot, "serve", "3"}, Env: env, Dir: "/", Files: []*os.File{theirs},
	})
	theirs.Close() // or we don't hear that it died
	if err != nil {
		conn.Close()
		return nil, err
	}
	z := &zygote{interpreter: interpreter, kid: kid, conn: conn, dead: make(chan struct{}), greeted: make(chan struct{}),
		pids: map[int]chan int{}, ends: map[int]chan exit{}}
	z.users.Go(func() { (&excerpt{}).readFrom(kid.Out) })
	z.users.Go(func() { (&excerpt{}).readFrom(kid.Err) })
	z.users.Go(z.listen)
	z.users.Go(func() {
		_, _ = io.WriteString(kid.In, pythonPrelude) // a failure shows in the missing greeting
		kid.In.Close()
	})
	if !z.await(z.greeted) {
		z.end()
		return nil, fmt.Errorf("%s can't be kept warm: it %s", interpreter, kid.exit())
	}
	return z, nil
}

// await tells whether something happens before z dies or has been silent for
// too long.
func (z *zygote) await(what <-chan struct{}) bool {
	timer := time.NewTimer(warmAnswer)
	defer timer.Stop()
	select {
	case <-what:
		return true
	case <-z.dead:
	case <-timer.C:
	}
	return false
}

// end ends the interpreter, which ends what it has forked.
func (z *zygote) end() {
	z.conn.Close()
	z.kid.stop(pythonGrace)
	z.kid.drain(&z.users)
}

// fresh tells whether z lives, and nothing has changed that it has loaded.
func (z *zygote) fresh() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	for path, at := range z.stamps {
		if stamp(path) != at {
			return false
		}
	}
	return !z.failed
}

// stamp is when a file or folder was changed, zero if it isn't there.
func stamp(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// fork asks for a process. Those files are handed to it behind its pipes.
func (z *zygote) fork(cs *children, files []*os.File) (*child, error) {
	kid := &child{ended: make(chan struct{})}
	if err := kid.open(true); err != nil {
		closeFiles(kid.theirs)
		kid.closePipes()
		return nil, err
	}
	pid, err := z.ask(append(kid.theirs, files...))
	closeFiles(kid.theirs)
	if err != nil {
		kid.closePipes()
		return nil, err
	}
	z.mu.Lock()
	ended := z.ends[pid]
	z.mu.Unlock()
	var how exit
	kid.wait = func() { how = <-ended }
	kid.bury = func() exit {
		z.mu.Lock()
		delete(z.ends, pid)
		z.mu.Unlock()
		_ = z.say("bury", pid) // if it can't hear, there is nothing to bury
		return how
	}
	kid.overdue = func() { z.kid.signal(group.kill) }
	if err := cs.adopt(kid, group{pid}); err != nil {
		kid.closePipes()
		return nil, err
	}
	return kid, nil
}

// ask sends the request and returns the number of the process that it became.
func (z *zygote) ask(files []*os.File) (int, error) {
	answer := make(chan int, 1)
	z.mu.Lock()
	if z.failed {
		z.mu.Unlock()
		return 0, errWarmDied
	}
	z.asked++
	which := z.asked
	z.pids[which] = answer
	z.mu.Unlock()
	if err := z.say("fork", which, files...); err != nil {
		return 0, fmt.Errorf("%w: %v", errWarmDied, err)
	}
	timer := time.NewTimer(warmAnswer)
	defer timer.Stop()
	select {
	case pid := <-answer:
		if pid == 0 {
			return 0, errors.New("the warm interpreter can't fork")
		}
		return pid, nil
	case <-z.dead:
	case <-timer.C:
		z.kid.signal(group.kill) // and with it what it may have forked
	}
	return 0, errWarmDied
}

func (z *zygote) say(word string, number int, files ...*os.File) error {
	var rights []byte
	if len(files) > 0 {
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		rights = unix.UnixRights(fds...)
	}
	_ = z.conn.SetWriteDeadline(time.Now().Add(warmAnswer))
	_, _, err := z.conn.WriteMsgUnix(fmt.Appendf(nil, "%s %d\n", word, number), rights, nil)
	return err
}

// listen hears what z says until it says no more.
func (z *zygote) listen() {
	for lines := bufio.NewScanner(z.conn); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		var a, b int
		_, _ = fmt.Sscan(rest, &a, &b)
		switch word {
		case "hello":
			z.hear(rest)
		case "pid":
			z.mu.Lock()
			z.ends[b] = make(chan exit, 1)
			z.pids[a] <- b
			delete(z.pids, a)
			z.mu.Unlock()
		case "end":
			z.report(a, exitOf(b))
		}
	}
	z.mu.Lock()
	z.failed = true
	for _, ended := range z.ends {
		select {
		case ended <- exit{"killed, for its warm interpreter died", -1}:
		default: // it has ended already
		}
	}
	z.mu.Unlock()
	close(z.dead)
}

func (z *zygote) hear(hello string) {
	var h struct{ Paths []string }
	_ = json.Unmarshal([]byte(hello), &h)
	z.mu.Lock()
	z.stamps = map[string]time.Time{}
	for _, path := range h.Paths {
		z.stamps[path] = stamp(path)
	}
	z.mu.Unlock()
	close(z.greeted)
}

func (z *zygote) report(pid int, how exit) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if ended := z.ends[pid]; ended != nil {
		ended <- how
	}
}

// exitOf is how a process ended whose exit code that is, or minus the signal.
func exitOf(code int) exit {
	if code < 0 {
		return exit{killedText(syscall.Signal(-code)), -1}
	}
	return exit{fmt.Sprintf("exited with status %d", code), code}
}

// socketPair returns two connected sockets: ours, and one to hand down.
func socketPair() (*net.UnixConn, *os.File, error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}
