// Package eventlog is a durable, ordered, append-only list of records: the one
// truth of the program. It knows nothing of what the records mean.
//
// # What it promises
//
// A Batch is appended whole or not at all, and is on disk when Append returns.
// Records are numbered from 1 without a gap, in the order of the calls, and
// nobody is shown a record that is not on disk yet: Read, Head, Lookup and
// Follow all end at the last durable one. Follow is the bus by which the rest of
// the program hears of facts.
//
// Each record belongs to a stream, which can be read, followed and deleted by
// itself at no cost for the others. Anything big is a value, kept once under its
// hash for as long as a stream needs it. Checkpoints are bytes that a reader
// derived from a stream; they may be lost, the records may not.
//
// If the disk fails or is full, what the process has in memory is no longer what
// a restart would find. Then Options.Fatal ends the process; everything that was
// acknowledged is there when the store is opened again.
//
// # How it works
//
//	Append ─► queue ─► leader: number, chain the sums, one change ─► store.commit, one sync
//	                                                                    │
//	   Follow ◄─ bells ◄─ last durable record ◄─────────────────────────┘
//
// append.go has the queue, writer.go makes the change, store.go draws the line
// between the log and whatever keeps its bytes: memory.go, Pebble (pebble.go
// and its neighbours, over disk.go) SQLite (sqlite.go) or Redis (redis.go). read.go and follow.go read, delete.go and
// verify.go do what they say. acked.go remembers what was acknowledged, by which
// walcheck.go and sqlitewal.go tell damage from a write that was cut short.
//
// # The chain
//
// Each record carries a sum: the SHA-256 of the sum of the record before it in
// its stream (zeros for the first) and of its own bytes. So Verify sees it when
// a record is changed, lost, moved or slipped in. When a stream is deleted, its
// records make place for one, of type StreamDeleted, that tells their numbers
// and the last sum, from which the chain goes on. Such marks can be folded
// (fold.go): many make place for one, of the stream "folded", that covers what
// they covered, and them.
//
// # Layout
//
// A store is a folder. Beside the engine's files it has
//
//	STORE   text: "gleitzeit store", then lines "format …", "id …", "writer …",
//	        and from format 2 on "engine …"
//	PID     text: the process that has the store, beside the file LOCK
//	ACKED   text: what was acknowledged, two lines written in turns; none for Redis
//
// STORE is read before anything else. A format higher than this program's is
// refused. Format 1 is Pebble's, format 2 that of any other engine. The format
// moves up with any change to what follows, and with Pebble's own format
// (FormatValueSeparation).
//
// SQLite's tables are drawn in sqlite.go: the same with other words, but that a
// record lies in the columns of its body (columns.go), without the body's
// version, which is that of the tables. Redis's keys are drawn in redis.go; then
// the folder has nothing but the lock, and STORE a line "folder …", its own id.
//
// Pebble's keys. Seq is 8 bytes, the highest first; uvarint and varint are those
// of encoding/binary; hashes are 32 bytes; a stream's name holds no 0.
//
//	key                      value
//	'r' seq                  the record's body
//	's' stream 0 seq         kind, spans    some records of the stream, the first being seq;
//	                                        kind 0: records, 1: the mark of a deletion
//	'v' hash                 the value
//	'u' hash stream          nothing        the stream needs the value
//	'k' key                  seq, stream    record seq of the stream took the key
//	'c' stream               seq, data      the checkpoint, of record seq
//	't'                      1, then uvarints: last seq, records, values, bytes in values
//
// One Append writes one 's' entry for each stream in it, so a record costs one
// key, and reading a stream touches its entries and its records only.
//
// A body:
//
//	┌─────┬─────────┬─────┬─────────┬─────────┬────────┬──────┬──────┬──────┬──────┐
//	│ sum │ version │ seq │ seconds │ nanosec │ stream │ type │ data │ refs │ keys │
//	│ 32  │ 1: 1    │ 8   │ varint  │ uvarint │ text   │ text │ text │      │      │
//	└─────┴─────────┴─────┴─────────┴─────────┴────────┴──────┴──────┴──────┴──────┘
//
//	text   uvarint length, bytes
//	refs   uvarint count, hashes
//	keys   uvarint count, then each: uvarint 2·length + (1 if the record took it), bytes
//
// The sum is that of the sum before and all that follows it in the body.
//
// Spans are an ascending set of numbers: for each run without a gap a pair of
// uvarints, the distance from the end of the run before (from 0 for the first)
// and the length less one.
//
// # Limits
//
// One process has a store at a time. Damage in a write-ahead log is told by
// ACKED, which is written after each commit but left to the system to sync
// (acked.go): after a power cut it may be some seconds old. Damage among what
// was acknowledged in those seconds is told if Pebble's log itself proves it
// (walcheck.go): it does for all but about the last batch, or less where batches
// are larger than its blocks of 32 KiB. Else it can't be told from a write that
// was cut short, and the log ends at the batch before.
// Verify knows a lost checkpoint from no checkpoint as little as anybody.
package eventlog
