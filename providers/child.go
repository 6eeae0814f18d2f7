package providers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// This file owns child processes. A child is started in a group of its own,
// with exactly the environment it is given, and whatever happens, it and the
// rest of its group are ended and reaped:
//
//	what happens                       Linux          other Unix     Windows
//	the child itself ends              group killed   group killed   job killed
//	stop, children.close               group killed   group killed   job killed
//	we end in any way, SIGKILL too     group killed¹  group killed²  job killed³
//
// ¹ by the guard (child_guard_unix.go); the kernel kills the child itself even
// without a guard, as when there is no /bin/sh. ² by the guard; a child that
// hasn't been told to the guard yet lives on, a matter of microseconds. ³ by
// the kernel, for all that was started after the child had joined its job.
//
// On Unix a process that leaves its group of its own will (setsid, setpgid)
// is out of reach; it can't hold up a call, for its pipes are closed.

// backArg in a command's arguments stands for the number of the back pipe.
const backArg = "{back}"

var errChildrenClosed = errors.New("closed: no more processes are started")

// command says what to start.
type command struct {
	Path string   // found already: no look at PATH
	Args []string // without the name of the program
	Env  []string // all of it
	Dir  string   // "" is ours
	Back bool     // one more pipe from the child to us, see backArg
	// Files are handed down after the back pipe, and stay the caller's to close.
	// Not on Windows.
	Files []*os.File
}

// firstFile is the descriptor of the first of Files where there is a back pipe.
const firstFile = 4

// child is one process of ours. Its pipes are the owner's to read and write,
// all at once, or else the child may wait for ever; drain closes them.
type child struct {
	In             *os.File // its stdin
	Out, Err, Back *pipe    // its stdout, its stderr and the back pipe, if asked for

	cmd    *exec.Cmd     // nil: it was forked by another child (adopt)
	theirs []*os.File    // the child's ends, until it has started
	ended  chan struct{} // closed by reap: dead and reaped, its group too
	wait   func()        // returns when it has ended; its number is still its own
	bury   func() exit   // then gives its number away
	last   exit          // what bury returned
	// overdue is called when a killed process's end isn't heard of; nil: the
	// kernel tells of it.
	overdue func()

	mu     sync.Mutex
	group  group // how to reach it and all that it started
	reaped bool  // its number may be another's now
}

// exit is how a process ended.
type exit struct {
	text string // in words
	code int    // -1 when a signal ended it
}

// overdueTime is how long the end of a killed process may stay unheard of.
const overdueTime = 10 * time.Second

// children owns the processes of one Set. The zero value is ready to use.
type children struct {
	mu     sync.Mutex
	work   chan func() // to the starter; nil before the first start
	live   map[*child]struct{}
	closed bool
	guard  guard
	busy   sync.WaitGroup // the starter and the reapers
}

// start starts a process and looks after it until it has ended.
func (cs *children) start(c command) (*child, error) {
	kid, err := newChild(c)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	err = cs.run(kid)
	closeFiles(kid.theirs)
	if err != nil {
		kid.closePipes()
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	return kid, nil
}

// newChild opens the pipes. They are handed to the child as they are, so that
// exec.Cmd starts no goroutines of its own that a held pipe could keep.
func newChild(c command) (*child, error) {
	kid := &child{cmd: exec.Command(c.Path, c.Args...), ended: make(chan struct{})}
	kid.wait = func() { awaitEnd(kid.cmd) }
	kid.bury = func() exit {
		_ = kid.cmd.Wait() // the status is in ProcessState
		return exit{exitText(kid.cmd.ProcessState), kid.cmd.ProcessState.ExitCode()}
	}
	kid.cmd.Env = c.Env
	if c.Env == nil {
		kid.cmd.Env = []string{} // nil would hand on ours
	}
	kid.cmd.Dir = c.Dir
	prepare(kid.cmd)
	if err := kid.open(c.Back); err != nil {
		closeFiles(kid.theirs)
		kid.closePipes()
		return nil, err
	}
	kid.cmd.Stdin, kid.cmd.Stdout, kid.cmd.Stderr = kid.theirs[0], kid.theirs[1], kid.theirs[2]
	if err := kid.handDown(c); err != nil {
		closeFiles(kid.theirs)
		kid.closePipes()
		return nil, err
	}
	return kid, nil
}

// open opens the pipes; theirs are stdin, stdout, stderr and perhaps back.
func (c *child) open(back bool) error {
	in, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	c.In, c.theirs = ours, []*os.File{in}
	if c.Out, err = c.newPipe(); err != nil {
		return err
	}
	if c.Err, err = c.newPipe(); err != nil {
		return err
	}
	if back {
		c.Back, err = c.newPipe()
	}
	return err
}

// handDown gives the child what it has besides stdin, stdout and stderr.
func (c *child) handDown(from command) error {
	for i, f := range append(c.theirs[3:len(c.theirs):len(c.theirs)], from.Files...) {
		number, err := inherit(c.cmd, f)
		if err != nil {
			return err
		}
		for j, arg := range c.cmd.Args {
			if arg == backArg && i == 0 && from.Back {
				c.cmd.Args[j] = strconv.Itoa(number)
			}
		}
	}
	return nil
}

// newPipe returns our end of a pipe; the other one is added to theirs.
func (c *child) newPipe() (*pipe, error) {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.theirs = append(c.theirs, theirs)
	return &pipe{ours}, nil
}

func (c *child) closePipes() {
	closeFiles([]*os.File{c.In})
	for _, p := range []*pipe{c.Out, c.Err, c.Back} {
		if p != nil {
			p.Close()
		}
	}
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// run starts the process on the starter's thread: the kernel of Linux kills a
// child with a parent-death signal when the thread that started it ends, so
// it must be a thread that stays.
func (cs *children) run(kid *child) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		return errChildrenClosed
	}
	if cs.work == nil {
		cs.work = make(chan func())
		cs.live = map[*child]struct{}{}
		cs.busy.Go(func() { starter(cs.work) })
	}
	started := make(chan error)
	cs.work <- func() { started <- kid.cmd.Start() }
	if err := <-started; err != nil {
		return err
	}
	cs.watch(kid, groupOf(kid.cmd.Process))
	return nil
}

// adopt looks after a process that another child of ours has forked.
func (cs *children) adopt(kid *child, group group) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		group.kill()
		return errChildrenClosed
	}
	cs.watch(kid, group)
	return nil
}

// watch puts a process into the books. The caller holds mu.
func (cs *children) watch(kid *child, group group) {
	kid.group = group
	cs.guard.add(group)
	cs.live[kid] = struct{}{}
	cs.busy.Go(func() { cs.reap(kid) })
}

// starter does what it is sent until work is closed.
func starter(work <-chan func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for do := range work {
		do()
	}
}

// reap waits for the child's end, and ends what it leaves behind. Its group
// is killed while its number is still taken, so that no stranger is hit.
func (cs *children) reap(kid *child) {
	kid.wait()
	kid.signal(group.kill)
	cs.guard.remove(kid.group)
	kid.mu.Lock()
	kid.last = kid.bury()
	kid.group.release()
	kid.reaped = true
	kid.mu.Unlock()
	cs.mu.Lock()
	delete(cs.live, kid)
	cs.mu.Unlock()
	close(kid.ended)
}

// close kills what still runs, waits for it, and starts nothing more.
func (cs *children) close() {
	cs.mu.Lock()
	if cs.work != nil && !cs.closed {
		close(cs.work)
	}
	cs.closed = true
	for kid := range cs.live {
		kid.signal(group.kill)
	}
	cs.mu.Unlock()
	cs.busy.Wait()
	cs.guard.close()
}

// stop asks the group to end, waits for grace, kills it, and returns when the
// child has ended.
func (c *child) stop(grace time.Duration) {
	c.signal(group.terminate)
	if !c.endsWithin(grace) {
		c.signal(group.kill)
	}
	if c.overdue != nil && !c.endsWithin(overdueTime) {
		c.overdue()
	}
	<-c.ended
}

// signal reaches the child's group, unless it has been reaped.
func (c *child) signal(send func(group)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		send(c.group)
	}
}

// endsWithin tells whether the child ends within d.
func (c *child) endsWithin(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.ended:
		return true
	case <-timer.C:
		return false
	}
}

// await waits for the child's end, or stops it when ctx ends first.
func (c *child) await(ctx context.Context, grace time.Duration) {
	select {
	case <-c.ended:
	case <-ctx.Done():
		c.stop(grace)
	}
}

// drain is called once the child has ended. It waits for those who read and
// write its pipes, and closes the pipes.
func (c *child) drain(users *sync.WaitGroup) {
	c.In.Close()
	for _, p := range []*pipe{c.Out, c.Err, c.Back} {
		if p != nil {
			p.hurry()
		}
	}
	late := time.AfterFunc(drainMost, c.closePipes)
	users.Wait()
	late.Stop()
	c.closePipes()
}

// exit says in words how the child ended.
func (c *child) exit() string { return c.last.text }

// code is the exit code, -1 when a signal ended it.
func (c *child) code() int { return c.last.code }
