package providers

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// excerpt keeps the first bytes and the last bytes of what is written to it,
// so that a process may say as much as it likes. It never fails and is safe
// for many goroutines.
type excerpt struct {
	First, Last int // how many bytes of either are kept

	mu    sync.Mutex
	head  []byte
	tail  []byte // at most twice Last
	total int64
}

// Write takes all of p.
func (e *excerpt) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(p)
	e.total += int64(n)
	if room := e.First - len(e.head); room > 0 {
		room = min(room, len(p))
		e.head = append(e.head, p[:room]...)
		p = p[room:]
	}
	if len(p) > e.Last {
		p = p[len(p)-e.Last:]
		e.tail = e.tail[:0]
	}
	e.tail = append(e.tail, p...)
	if len(e.tail) > 2*e.Last {
		e.tail = append(e.tail[:0], e.tail[len(e.tail)-e.Last:]...)
	}
	return n, nil
}

// readFrom writes all that comes from r, until it ends in whatever way.
func (e *excerpt) readFrom(r io.Reader) {
	_, _ = io.Copy(e, r)
}

// Missing is the number of bytes that were not kept.
func (e *excerpt) Missing() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.missing()
}

func (e *excerpt) missing() int64 {
	return max(e.total-int64(len(e.head))-int64(e.Last), 0)
}

// String is what was kept, as valid UTF-8, with a line between the parts that
// says how much is missing.
func (e *excerpt) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	tail := e.tail[max(len(e.tail)-e.Last, 0):]
	gap := ""
	if n := e.missing(); n > 0 {
		gap = fmt.Sprintf("\n… %d bytes left out …\n", n)
		if len(e.head) == 0 {
			gap = gap[1:]
		}
	}
	return strings.ToValidUTF8(string(e.head)+gap+string(tail), "\ufffd")
}
