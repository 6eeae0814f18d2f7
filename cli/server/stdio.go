package server

import (
	"io"
	"sync"
)

// ServeStdio talks to whoever started this process, until in ends or we leave.
// What is read when we leave is given up with the process.
func (s *Server) ServeStdio(in io.Reader, out io.WriteCloser) {
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, in)
		w.CloseWithError(err)
	}()
	done := make(chan struct{})
	if s.welcome(func() {
		defer close(done)
		s.serve(newLines(&stdio{r: r, out: out}), &Peer{trusted: true, patient: true}, "")
	}) {
		<-done
	}
}

// stdio is a connection made of two ends.
type stdio struct {
	r    *io.PipeReader
	out  io.WriteCloser
	once sync.Once
}

// Read reads what came.
func (s *stdio) Read(b []byte) (int, error) { return s.r.Read(b) }

// Write writes to the other end.
func (s *stdio) Write(b []byte) (int, error) { return s.out.Write(b) }

// Close ends both ways.
func (s *stdio) Close() error {
	s.once.Do(func() {
		s.r.Close()
		s.out.Close()
	})
	return nil
}
