// Package server is the program as other programs meet it: a table of methods
// over one store, and the ways to reach it.
//
//	a client of this process ── pipe ───┐
//	a client of another one ── socket ──┤ the same JSON-RPC
//	whoever started us ── stdin/stdout ─┤
//	anybody ── HTTP, WebSocket, events, │
//	           Socket.IO ───────────────┤ guard.go, token.go: who may come in
//	                                    ▼
//	   stream.go, websocket.go  frames: whole messages, with a limit
//	   caller.go, http.go       one connection: what it asks and watches
//	   socketio.go              the same of a client of Socket.IO (package socketio)
//	   wire.go, dispatch.go     messages ⇄ calls, as JSON-RPC 2.0 has it
//	   methods.go               the table: name, role, parameters, handler
//	                 │                    │
//	                 │ wishes             │ looks
//	                 ▼                    ▼
//	          scheduler (made at     eventlog, replay
//	          the first wish)
//
// The table (api.go has its types) is also what rpc.discover and docs/api.md are
// made of. It knows no transport, and a transport knows no method. Looking
// (workflow/get, list, history, log/follow, system/…) reads the log and never
// starts anything: the scheduler is made when somebody first wishes something.
//
// # One store, many commands
//
// Whoever holds the store's lock makes a Server, uses it through Pipe, and
// lets others in with Listen: at a Unix socket in the store's folder that only
// its user may open, or on Windows at a loopback port with a token that only
// its user can read (address.go). Close lets what runs for others come to its
// end and gives the store up; see package client for the other side.
package server
