package server

import "sync"

// crowd are the clients that speak Socket.IO and have entered "/".
type crowd struct {
	mu  sync.Mutex
	all map[*ioSocket]bool
}

func (c *crowd) enter(l *ioSocket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[l] = true
}

func (c *crowd) leave(l *ioSocket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, l)
}

// tell tells all others that may look at everything, without waiting for any.
func (c *crowd) tell(from *ioSocket, event string, what any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.all {
		if l == from || l.peer.may(Method{Role: Read}) != nil || l.guest.admit() != nil {
			continue
		}
		go func() {
			defer l.guest.dismiss()
			l.socket.Emit(event, what)
		}()
	}
}
