// Package mcp is the store as language models and their hosts meet it, over the
// Model Context Protocol: each workflow of a folder is a tool, a call of it is a
// run, and runs and their histories are resources.
//
//	a host, over stdin and stdout ──┐
//	a host, over HTTP at /mcp ──────┤  desk.go, http.go: sessions
//	                                ▼
//	   tools.go, runtools.go   a tool's arguments → a submission, a wish
//	   attend.go, looks.go     one call stays with one run: progress, its end,
//	   ask.go                  what it asks of a person
//	   outcome.go, standing.go the run → what the model reads
//	   resources.go            gleitzeit://runs/…
//	                                │
//	                                ▼
//	   Store: the methods of package server, over a client's connection or
//	   inside the server with the rights of whoever came in
//
// # A call is a run
//
// The run is durable from the moment it was submitted, and goes on whatever
// becomes of the call: a client that was killed, or that has no patience any
// more, finds it again by its id, or by calling again with the same
// idempotency key. Only a client that says that it doesn't want the call any
// more ends its run; see cancelled.go.
package mcp
