package eventlog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var (
	// ErrNotFound is returned for a value that the log does not have.
	ErrNotFound = errors.New("not in the log")
	// ErrClosed is returned by everything that is asked of a closed log; a
	// follower gets it when the log is closed under it.
	ErrClosed = errors.New("the log is closed")
)

// Options are the settings of a log; the zero value is a good one.
type Options struct {
	// FS is where Open keeps the store; nil is the disk. It is the seam for
	// tests of crashes and of a failing disk.
	FS vfs.FS
	// Logger gets what the store says about itself; nil discards it.
	Logger *slog.Logger
	// Fatal is called when a write can't be made durable: the disk is full
	// or broken, and what the log holds in memory is no longer what a
	// restart would find. Records that were acknowledged before are safe:
	// the cure is to start again. Fatal must end the process as os.Exit
	// does; it must not return, panic or call the log, as locks are held. It
	// may be called from any goroutine and more than once. If it is nil, or
	// returns, the process ends in a panic.
	Fatal func(error)
	// Writer names the program and its version in a new store, for whoever
	// finds that it can't read it. Empty: the main module and its version.
	Writer string
	// Engine is what keeps a new store; "" is Pebble. A store that is there
	// already must be of this engine, unless it is "".
	Engine Engine
	// SQLitePath is the file of a store of SQLite; "" is one in its folder.
	SQLitePath string
	// RedisURL says where a store of Redis lies: see ParseRedisURL.
	RedisURL string
	// RedisPatience is how long an append waits for a Redis that can't be
	// reached before it calls Fatal; 0 is two minutes.
	RedisPatience time.Duration
	// Looks is for whoever only reads: a store that can't be written (the disk is
	// full or mounted for reading, the folder somebody else's) is opened all the
	// same. See Log.ReadOnly.
	Looks bool
	// Reserve sets 64 MiB aside in the folder, where the system can (Linux), for
	// the day on which the disk is full; whoever opens the store with Spend then
	// has them. A store of Redis needs none.
	Reserve, Spend bool
	// id is the name of a new store; "" is a random one.
	id string
	// Views are made in a store of SQLite, for people who look into it with
	// other programs: SELECT statements by the name of the view.
	Views map[string]string
}

// Log is a durable list of records with one writer. Its methods may be called
// from many goroutines.
type Log struct {
	store store
	id    string
	doom  *doom

	// Every use of store holds life for reading, so that Close waits for it.
	life   sync.RWMutex
	closed bool // guarded by life
	closes sync.Once
	ended  chan struct{} // closed by Close
	err    error         // what Close returned first

	last   atomic.Uint64 // Seq of the last durable record; only lead writes it
	queue  queue
	writer writer // used by whoever leads the queue, and by nobody else
	bells  bells
	counts counts

	disk       *disk // nil in memory, and if the log is only read
	readOnly   error // see ReadOnly
	readByOpen uint64

	// whenFenced is called, once, when another process has taken a partition
	// over; nil means that this ends the process.
	whenFenced func(error)
	fenced     sync.Once
	beyond     chan struct{} // closed then
}

// newID makes the name of a new store.
func newID() string { return strings.ToLower(rand.Text()) }

// OpenMemory returns a log that lives in memory and ends with the process.
func OpenMemory(o Options) *Log {
	l, err := newLog(newMemoryStore(), newID(), &doom{dir: "in memory", then: o.Fatal})
	if err != nil {
		panic(fmt.Sprintf("an empty log in memory: %v", err))
	}
	return l
}

// newLog starts a log on a store; it is the store's owner from then on.
func newLog(s store, id string, d *doom) (*Log, error) {
	sums, err := s.totals()
	if err != nil {
		return nil, fmt.Errorf("read the store's totals: %w", err)
	}
	last, err := s.last()
	if err != nil {
		return nil, fmt.Errorf("look for the last record: %w", err)
	}
	if last != sums.last {
		return nil, fmt.Errorf("the totals end at record %d, but the last one is %d: the store is damaged", sums.last, last)
	}
	l := &Log{store: s, id: id, doom: d, ended: make(chan struct{})}
	l.last.Store(uint64(sums.last))
	l.writer = newWriter(s, sums)
	return l, nil
}

// Trouble returns why appends and reads wait just now, for a Redis that can't be
// reached; nil if they don't.
func (l *Log) Trouble() error {
	if s, ok := l.store.(troubled); ok {
		return s.trouble()
	}
	return nil
}

// MayWait tells whether there can be Trouble: what keeps the log is elsewhere.
func (l *Log) MayWait() bool {
	_, ok := l.store.(troubled)
	return ok
}

type troubled interface{ trouble() error }

// ID returns the random name that the store got when it was made.
func (l *Log) ID() string { return l.id }

// Last returns the Seq of the last durable record, 0 in an empty log.
func (l *Log) Last() Seq { return Seq(l.last.Load()) }

// Close waits for the calls that are under way, ends all followers with
// ErrClosed and closes the store. A second Close returns what the first did.
// A log that had to call Options.Fatal is not closed cleanly.
func (l *Log) Close() error {
	l.closes.Do(func() {
		close(l.ended)
		l.life.Lock()
		defer l.life.Unlock()
		l.closed = true
		if l.disk != nil {
			l.disk.running.Store(false) // nothing more is acknowledged
		}
		if l.doom.reason() == nil {
			l.err = l.store.close()
		}
	})
	return l.err
}

// enter must be called before the store is used, and leave after.
func (l *Log) enter() error {
	l.life.RLock()
	if l.closed {
		l.life.RUnlock()
		return ErrClosed
	}
	return nil
}

func (l *Log) leave() { l.life.RUnlock() }
