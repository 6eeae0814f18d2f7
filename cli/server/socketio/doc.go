// Package socketio speaks Socket.IO v4 (protocol 5 on Engine.IO 4) with clients
// such as npm's socket.io-client. It knows messages and no methods: whoever
// uses it is a Guest for each session and a Listener for each namespace in it.
//
//	HTTP requests ─ serve.go    which session, which transport
//	                poll.go     long polling: GET brings packets, POST takes them
//	                upgrade.go  a WebSocket, from the beginning or later
//	                     │
//	                session.go  one client: its queue, heartbeat and end
//	                receive.go  what came: packets → namespaces, events
//	                     │
//	        frame.go, packet.go, binary.go   bytes ⇄ packets, pure
//
// A session is a secret of its client's: who knows its id, which is random, may
// speak in it. Whether somebody may begin one, and enter a namespace, is for the
// user of this package to say. So is which pages of a browser may come.
//
// Nothing grows without bound: a client that doesn't take what it is sent makes
// Emit wait, and is hung up on after a while; what it sends is limited in size,
// before it has entered a namespace to very little.
package socketio
