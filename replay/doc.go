// Package replay turns the log back into meaning.
//
// The log is the only truth: every change of a run is first an event in it.
// This package says what events there are (event.go), how each is written and
// read (codec.go), and what they amount to: State, which only Apply changes.
//
//	record ── Codec.Decode ──► Event ── State.Apply ──► State
//	                             │
//	                             └── Timeline, RunView: what people are shown
//
// Apply judges nothing and can't fail: what was accepted once replays for
// ever. All judging is the scheduler's, before the event is written.
//
// The package reads no clock, no file and no environment, and starts no
// goroutine; it doesn't know that time passes.
//
// # Streams
//
// Each run has a stream of its own, run/0000000007 for run number 7. The
// stream "system" holds what concerns the whole store. A checkpoint of a run's
// stream is that run as JSON (checkpoint.go); the checkpoint of "system" says
// up to which Seq the runs' checkpoints cover the log, so that loading reads
// the live runs and the tail and never the whole past.
//
// # The life of a task
//
//	pending ──► ready ──► running ──► completed
//	   │          ▲          │ ├────► failed
//	   │          │          │ └────► cancelled
//	   │          ├─ due ◄─ retrying (waits for its time)
//	   │          └───────◄─ in doubt (the process died, or the attempt was interrupted)
//	   └──► skipped
package replay
