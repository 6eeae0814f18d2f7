//go:build unix

package main

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// chaosProxy stands between a server and its Redis.
type chaosProxy struct {
	socket string // of the Redis
	listen net.Listener

	mu    sync.Mutex
	mood  proxyMood
	moved chan struct{} // closed when the mood changes
	conns map[net.Conn]bool
}

// proxyMood is what becomes of what goes through.
type proxyMood int

const (
	proxyWell proxyMood = iota
	proxyCut            // connections are dropped, and none made
	proxyHold           // nothing goes through, nothing says so
	proxySlow           // each connection waits for itself, so that one overtakes the other
)

func newChaosProxy(t *testing.T, socket string) *chaosProxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &chaosProxy{socket: socket, listen: l, moved: make(chan struct{}), conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		l.Close()
		p.set(proxyCut)
	})
	go p.accept()
	return p
}

func (p *chaosProxy) accept() {
	for {
		conn, err := p.listen.Accept()
		if err != nil {
			return
		}
		go p.serve(conn)
	}
}

// be is in a mood for a while.
func (p *chaosProxy) be(m proxyMood, lasts time.Duration) {
	p.set(m)
	time.Sleep(lasts)
	p.set(proxyWell)
}

func (p *chaosProxy) set(m proxyMood) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mood = m
	close(p.moved)
	p.moved = make(chan struct{})
	if m == proxyCut {
		for conn := range p.conns {
			conn.Close()
		}
	}
}

func (p *chaosProxy) now() (proxyMood, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mood, p.moved
}

// serve brings a connection to the Redis, unless none are made.
func (p *chaosProxy) serve(conn net.Conn) {
	defer conn.Close()
	if mood, _ := p.now(); mood == proxyCut {
		return
	}
	far, err := net.Dial("unix", p.socket)
	if err != nil {
		return
	}
	defer far.Close()
	p.note(conn, true)
	defer p.note(conn, false)
	go func() {
		defer conn.Close()
		p.copy(conn, far)
	}()
	p.copy(far, conn)
}

func (p *chaosProxy) note(conn net.Conn, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[conn] = on; !on {
		delete(p.conns, conn)
	}
}

// copy passes on what comes, as the mood has it.
func (p *chaosProxy) copy(to io.Writer, from io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			mood, moved := p.now()
			for mood == proxyHold {
				<-moved
				mood, moved = p.now()
			}
			if mood == proxySlow {
				time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
