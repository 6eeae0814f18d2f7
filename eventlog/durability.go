package eventlog

// This file says what an acknowledged append lives through: for programs in a
// word, for people in a sentence.

// Durability is what is lost of what was acknowledged, at worst.
type Durability string

// The classes of durability, the best first.
const (
	// DurableAlways: nothing. Each append waits for the disk.
	DurableAlways Durability = "always"
	// DurableEverySecond: the last second or two, when Redis or its machine dies.
	DurableEverySecond Durability = "everysec"
	// DurableSometimes: what the system of Redis's machine had not written yet.
	DurableSometimes Durability = "no"
	// DurableSnapshots: all since the last snapshot, when Redis dies.
	DurableSnapshots Durability = "snapshots"
	// DurableNever: everything, when what keeps it dies.
	DurableNever Durability = "none"
	// DurableUnknown: Redis doesn't tell.
	DurableUnknown Durability = "unknown"
)

// Promise is a class of durability, and the same in plain words.
type Promise struct {
	Class Durability
	Text  string
}

// onDisk is the promise of an engine that syncs each commit.
var onDisk = Promise{DurableAlways, "what was acknowledged is on disk and outlives a power cut"}

// redisPromise says what a policy of Redis's amounts to.
func redisPromise(appendonly, appendfsync, save string) Promise {
	switch {
	case appendonly == "yes" && appendfsync == "always":
		return Promise{DurableAlways, "what was acknowledged is on Redis's disk (AOF, fsync always)"}
	case appendonly == "yes" && appendfsync == "everysec":
		return Promise{DurableEverySecond, "if Redis or its machine dies, the last second may be lost, or two (AOF, fsync everysec)"}
	case appendonly == "yes":
		return Promise{DurableSometimes, "if Redis's machine dies, what its system had not yet written is lost (AOF, fsync no)"}
	case save != "":
		return Promise{DurableSnapshots, "if Redis dies, all since its last snapshot is lost (no AOF, save " + save + ")"}
	}
	return Promise{DurableNever, "if Redis dies, everything is lost (neither AOF nor snapshots)"}
}
