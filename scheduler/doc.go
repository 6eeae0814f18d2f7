// Package scheduler decides what happens next, and makes it happen.
//
// The deciding is pure (command.go, decide.go, tick.go): a command and the
// state give events, and nothing else; no clock, no chance, no goroutine. The
// doing is the shell (scheduler.go, worker.go): one goroutine, the loop, owns
// the state and is the log's only writer; one goroutine per running attempt
// calls a provider and sends the outcome home as a command.
//
//	inbox ──► Decide ──► events ──► State.Apply ─┐
//	            ▲                                │  all waiting commands, then
//	            └── Tick, until nothing follows ◄┘  ONE eventlog.Append
//	                                                   │ only now
//	          replies to callers, workers started ◄────┘
//
// Nobody outside the loop ever sees a fact that isn't on disk. When an append
// fails the process stops: see Options.Fatal.
//
// # Threads
//
// The methods of Scheduler may be called from any goroutine. State never
// leaves the loop: Query runs a function inside it.
package scheduler
