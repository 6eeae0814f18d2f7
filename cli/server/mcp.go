package server

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"gleitzeit/protocols"
)

// This file lets clients of the Model Context Protocol in at /mcp. What they
// find there is not of this package: HTTPOptions.MCP.

// MCP serves clients of the Model Context Protocol.
type MCP interface {
	// ServeMCP answers a request by the rights of a visitor.
	ServeMCP(w http.ResponseWriter, r *http.Request, v *Visitor)
	// Watch looks for what clients should be told, until done.
	Watch(done <-chan struct{})
}

// serveMCP answers /mcp. A request may take as long as a run does, so it counts
// as a stream.
func (h *httpDoor) serveMCP(w http.ResponseWriter, r *http.Request, p *Peer) {
	if h.o.MCP == nil {
		refuse(w, protocols.Errorf(protocols.MethodNotSupported, "this server doesn't offer MCP"))
		return
	}
	if err := p.may(Method{Name: "/mcp", Role: Read}); err != nil { // what tools there are is something to look at
		refuse(w, err)
		return
	}
	release, err := h.streams.take(p.name)
	if err != nil {
		refuse(w, err)
		return
	}
	defer release()
	if r.Method == http.MethodPost {
		body, err := h.body(w, r)
		if err != nil {
			refuse(w, err)
			return
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if http.NewResponseController(w).SetReadDeadline(time.Time{}) != nil {
			return
		}
	}
	h.o.MCP.ServeMCP(&prompt{w, http.NewResponseController(w)}, r, h.visitor(p))
}

// prompt is an answer of which each part must be taken in time.
type prompt struct {
	http.ResponseWriter
	conn *http.ResponseController
}

// Write writes to a client that takes it in time.
func (p *prompt) Write(b []byte) (int, error) {
	inTime := time.Now().Add(bodyGrace + time.Duration(len(b)/bodyRate)*time.Second)
	if err := p.conn.SetWriteDeadline(inTime); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}

// Unwrap returns the answer itself, for whoever flushes it.
func (p *prompt) Unwrap() http.ResponseWriter { return p.ResponseWriter }
