package providers

import (
	"errors"
	"io"
	"os"
	"time"
)

// drainTime is how long a pipe of a dead child may stay silent, and drainMost
// how long it may go on, when some process that left its group holds it open.
const (
	drainTime = 100 * time.Millisecond
	drainMost = 3 * time.Second
)

// pipe is our end of a pipe on which a child writes. What is in it is read to
// the end; hurry only ends the waiting for more.
type pipe struct{ file *os.File }

// Read ends with io.EOF also when there was silence after hurry.
func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.file.Read(b)
	for tries := 0; errors.Is(err, os.ErrDeadlineExceeded); tries++ {
		if tries == 2 { // twice, as a busy machine can make us miss one
			return 0, io.EOF
		}
		_ = p.file.SetReadDeadline(time.Now().Add(drainTime))
		n, err = p.file.Read(b)
	}
	return n, err
}

// Close ends a Read that waits.
func (p *pipe) Close() error { return p.file.Close() }

// hurry is called when the child has ended. Where pipes know no deadlines the
// end of the job has closed the other end.
func (p *pipe) hurry() { _ = p.file.SetReadDeadline(time.Now()) }
