package providers

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// This file runs jq filters where they can do no harm. A single step of a
// filter may take for ever, or all the memory there is, and nothing in a
// process can stop one: so it is another process, which can be killed.
//
//	us                      the other process: our own program (ServeFilters)
//	  ── size, request ──►    one filter at a time; memory is bounded by itself
//	  ◄── size, reply ───     and, on Linux, by the kernel
//
// A process that has answered waits for the next filter, for a minute; a call
// that is over before the answer kills it.

const (
	// filterMemory is what a process may use, in bytes: a value in memory is
	// about ten times its JSON.
	filterMemory = 1 << 30
	// filterIdle is how long one waits for another filter.
	filterIdle = time.Minute
	// maxFrame bounds a request and a reply.
	maxFrame = 512 << 20
	// exitMemory is the exit code of one that used too much.
	exitMemory = 77
)

// filterRequest asks for one filter.
type filterRequest struct {
	Filter string                     `json:"filter"`
	Input  json.RawMessage            `json:"input,omitempty"`
	Vars   map[string]json.RawMessage `json:"vars,omitempty"`
}

// filterReply is what came of it.
type filterReply struct {
	Result json.RawMessage  `json:"result"`
	Error  *protocols.Error `json:"error,omitempty"`
}

// filterWorkers are the processes of one provider.
type filterWorkers struct {
	self     []string // the command that serves filters
	children *children
	memory   int64
	idle     time.Duration

	mu     sync.Mutex
	free   []*filterWorker // the longest idle first
	closed bool
	ending sync.WaitGroup
}

// filterWorker is one process.
type filterWorker struct {
	kid   *child
	in    *bufio.Writer
	out   *bufio.Reader
	said  excerpt // on its standard error
	users sync.WaitGroup
	timer *time.Timer // ends it when it has been idle
}

func newFilterWorkers(self []string, cs *children) *filterWorkers {
	return &filterWorkers{self: self, children: cs, memory: filterMemory, idle: filterIdle}
}

// do has a filter run. The error is about the process; what is wrong with the
// filter is in the reply.
func (ws *filterWorkers) do(ctx context.Context, q filterRequest) (*filterReply, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w, err := ws.take()
	if err != nil {
		return nil, protocols.Errorf(protocols.ProviderNotAvailable, "start a process for the filter: %v", err)
	}
	over := context.AfterFunc(ctx, func() { w.kid.signal(group.kill) })
	reply, err := w.ask(q)
	if !over() || err != nil {
		w.end()
		return nil, w.failure(err)
	}
	ws.leave(w)
	return reply, nil
}

// ask sends a request and reads the reply.
func (w *filterWorker) ask(q filterRequest) (*filterReply, error) {
	if err := writeFrame(w.in, q); err != nil {
		return nil, err
	}
	var reply filterReply
	return &reply, readFrame(w.out, &reply)
}

// breakdowns are the words of a process that was refused memory: the runtime
// says so in many ways, and may not get that far.
var breakdowns = []string{"memory", "allocate", "goroutine ", "SIG", "pthread_create"}

// failure says why a process gave no answer; it has ended.
func (w *filterWorker) failure(err error) error {
	said := w.said.String()
	says := func(words string) bool { return strings.Contains(said, words) }
	switch {
	case says("stack overflow"), says("stack exceeds"):
		return protocols.Errorf(protocols.TaskExecutionFailed, "the filter calls itself too deeply")
	case w.kid.code() == exitMemory, slices.ContainsFunc(breakdowns, says):
		return protocols.Errorf(protocols.TaskExecutionFailed, "the filter took more memory than it may have: work on less at once, or in Python")
	}
	return protocols.Errorf(protocols.InternalError, "the filter's process ended (%s): %v %s", w.kid.exit(), err, clipped(said))
}

// take returns a process that nobody else uses.
func (ws *filterWorkers) take() (*filterWorker, error) {
	for {
		w := ws.pop()
		if w == nil {
			return ws.start()
		}
		select {
		case <-w.kid.ended:
			w.end()
		default:
			return w, nil
		}
	}
}

// pop returns the process that was used last, nil if none is free.
func (ws *filterWorkers) pop() *filterWorker {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.free) == 0 {
		return nil
	}
	w := ws.free[len(ws.free)-1]
	ws.free = ws.free[:len(ws.free)-1]
	w.timer.Stop()
	return w
}

// start starts a process. It needs nothing of the environment.
func (ws *filterWorkers) start() (*filterWorker, error) {
	if len(ws.self) == 0 {
		return nil, errors.New("nobody said which program it is")
	}
	kid, err := ws.children.start(command{Path: ws.self[0], Args: append(ws.self[1:len(ws.self):len(ws.self)], fmt.Sprint(ws.memory))})
	if err != nil {
		return nil, err
	}
	w := &filterWorker{kid: kid, in: bufio.NewWriter(kid.In), out: bufio.NewReader(kid.Out), said: excerpt{First: 4 << 10, Last: 1 << 10}}
	w.users.Go(func() { w.said.readFrom(kid.Err) })
	return w, nil
}

// leave gives a process back.
func (ws *filterWorkers) leave(w *filterWorker) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		ws.ending.Go(w.end)
		return
	}
	ws.free = append(ws.free, w)
	w.timer = time.AfterFunc(ws.idle, func() { ws.expire(w) })
}

// expire ends a process that is still idle.
func (ws *filterWorkers) expire(w *filterWorker) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for i, free := range ws.free {
		if free == w {
			ws.free = append(ws.free[:i:i], ws.free[i+1:]...)
			ws.ending.Go(w.end)
			return
		}
	}
}

// close ends all processes. There are no calls any more.
func (ws *filterWorkers) close() {
	ws.mu.Lock()
	ws.closed = true
	for _, w := range ws.free {
		w.timer.Stop()
		ws.ending.Go(w.end)
	}
	ws.free = nil
	ws.mu.Unlock()
	ws.ending.Wait()
}

// end ends the process and waits for it.
func (w *filterWorker) end() {
	w.kid.signal(group.kill)
	<-w.kid.ended
	w.kid.drain(&w.users)
}

// ServeFilters is the other process: it answers requests from in until that
// ends, and ends the process itself when it uses more than memory bytes.
func ServeFilters(in io.Reader, out io.Writer, memory int64) error {
	debug.SetMemoryLimit(memory - memory/8)
	limitData(memory + memory/4)
	go watchMemory(uint64(memory))
	r, w := bufio.NewReader(in), bufio.NewWriter(out)
	for {
		var q filterRequest
		if err := readFrame(r, &q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := writeFrame(w, runFilter(q)); err != nil {
			return err
		}
	}
}

func runFilter(q filterRequest) filterReply {
	filter, err := protocols.CompileFilter(q.Filter, protocols.FilterVariables(q.Vars))
	if err != nil {
		return filterReply{Error: protocols.Errorf(protocols.TaskParameterError, "the filter is wrong: %v", err)}
	}
	result, err := filter.Run(context.Background(), q.Input, q.Vars)
	if err != nil {
		return filterReply{Error: protocols.Errorf(protocols.TaskExecutionFailed, "the filter failed: %v", err)}
	}
	if !json.Valid(result) {
		return filterReply{Error: protocols.Errorf(protocols.TaskExecutionFailed, "the filter failed: its result is nested too deeply")}
	}
	return filterReply{Result: result}
}

// watchMemory ends the process when it has too much.
func watchMemory(most uint64) {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	for range time.Tick(5 * time.Millisecond) {
		if metrics.Read(heap); heap[0].Value.Uint64() > most {
			os.Exit(exitMemory)
		}
	}
}

// writeFrame writes a value as JSON after its size.
func writeFrame(w *bufio.Writer, v any) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	if err := binary.Write(w, binary.BigEndian, uint32(len(b))); err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.Flush()
}

// readFrame reads what writeFrame wrote.
func readFrame(r *bufio.Reader, v any) error {
	var size uint32
	if err := binary.Read(r, binary.BigEndian, &size); err != nil {
		return err
	}
	if size > maxFrame {
		return fmt.Errorf("a frame of %d bytes", size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
