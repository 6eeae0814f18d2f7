package llmtest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// wire is one server's form: how an answer is written whole, and in pieces.
type wire struct {
	media  string // of a stream
	whole  func(q Request, reply Reply) any
	pieces func(q Request, reply Reply) []string // each as it is sent
}

// chat answers as one document or, if asked, as a stream, a piece per word.
func (s *Server) chat(w http.ResponseWriter, r *http.Request, q Request, fault Fault, form wire) {
	if !wait(r, fault.Delay) {
		s.gone()
		return
	}
	reply := s.reply(q)
	if !q.Stream {
		write(w, form.whole(q, reply))
		return
	}
	media := form.media
	if fault.Type != "" {
		media = fault.Type
	}
	w.Header().Set("Content-Type", media)
	w.(http.Flusher).Flush()
	for i, piece := range form.pieces(q, reply) {
		if !wait(r, fault.Pause) {
			s.gone()
			return
		}
		if i == fault.After && s.spoil(w, r, fault) {
			return
		}
		io.WriteString(w, piece)
		w.(http.Flusher).Flush()
	}
}

// spoil does what the fault says and tells whether that was the end.
func (s *Server) spoil(w http.ResponseWriter, r *http.Request, fault Fault) bool {
	block := strings.Repeat("x", 1<<16)
	for n := 0; n < fault.Flood; n += len(block) {
		if _, err := io.WriteString(w, block); err != nil {
			s.gone()
			return true
		}
	}
	if fault.Garbage != "" {
		fmt.Fprint(w, fault.Garbage)
		w.(http.Flusher).Flush()
	}
	if fault.Cut {
		panic(http.ErrAbortHandler)
	}
	if fault.Hang {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		s.gone()
	}
	return fault.Hang || fault.End
}

func (s *Server) gone() {
	if s.Gone != nil {
		s.Gone()
	}
}

// wait tells whether the client is still there after the pause.
func wait(r *http.Request, pause time.Duration) bool {
	if pause == 0 {
		return r.Context().Err() == nil
	}
	select {
	case <-time.After(pause):
		return true
	case <-r.Context().Done():
		return false
	}
}

// words are the pieces of a text.
func words(text string) []string {
	if text == "" {
		return nil
	}
	return strings.SplitAfter(text, " ")
}

// count is the number of tokens of an answer: its words. Any prompt has three.
func count(reply Reply) int { return len(strings.Fields(reply.Text)) }

const promptTokens = 3
