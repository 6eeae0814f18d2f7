package eventlog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/redis/go-redis/v9"
)

// PartitionedError is returned by Open for a store that is divided into
// partitions: see OpenPartitions.
type PartitionedError struct {
	Partitions int
}

func (e *PartitionedError) Error() string {
	return fmt.Sprintf("it has %d partitions, each of which is a log of its own", e.Partitions)
}

// Partitions are the parts of a store in a Redis that many nodes share. Each is
// a log with one writer at a time, who holds its lease (Take). Everybody may
// read all of them (Mirror) and send the owner of each a call (mail.go).
// Partitions are numbered from 1.
//
// The folder is the node's own: its lock, its tokens and its socket lie there.
// When a node comes again in the same folder its old leases are its own.
type Partitions struct {
	client  redis.UniversalClient
	address redisAddress
	options Options
	folder  *folder
	marker  marker
	count   int
	node    string

	mu      sync.Mutex
	mirrors map[int]*Log

	closes   sync.Once
	closeErr error
}

// OpenPartitions opens the store of which dir is this node's folder, and makes
// it if need be. Options.Fatal is called when the Redis refuses what can't be
// gone on without.
func OpenPartitions(dir string, o Options) (*Partitions, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	f, err := claimFolder(abs, &disk{FS: vfs.Default, doom: &doom{dir: abs, then: o.Fatal}})
	if err != nil {
		if errors.As(err, new(*LockedError)) {
			return nil, err
		}
		return nil, fmt.Errorf("open store %s: %w", abs, err)
	}
	p, err := openPartitions(f, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", abs, err), f.release())
	}
	return p, nil
}

func openPartitions(f *folder, o Options) (*Partitions, error) {
	m, found, err := readMarker(f)
	if err != nil {
		return nil, err
	}
	engine, err := f.engine(m, found, o.Engine)
	if err != nil {
		return nil, err
	}
	if engine != Redis {
		return nil, fmt.Errorf("a store of %s has no partitions", engine)
	}
	r, client, err := o.redis()
	if err != nil {
		return nil, err
	}
	m, count, err := settle(client, f, m, found, r, o)
	if err == nil && count == 1 {
		err = errors.New("it is not divided into partitions")
	}
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &Partitions{client: client, address: r, options: o, folder: f, marker: m, count: count, node: newID(), mirrors: map[int]*Log{}}, nil
}

// ID returns the random name that the store got when it was made.
func (p *Partitions) ID() string { return p.marker.id }

// Count returns how many partitions there are; it never changes.
func (p *Partitions) Count() int { return p.count }

// Node returns the random name of this node, another one in each process.
func (p *Partitions) Node() string { return p.node }

// Lease returns how long an owner that says nothing is waited for.
func (p *Partitions) Lease() time.Duration { return p.address.lease }

// Dir returns the folder of this node.
func (p *Partitions) Dir() string { return p.folder.dir }

// Close ends the use of the store. The logs must be closed before. A second
// Close returns what the first did.
func (p *Partitions) Close() error {
	p.closes.Do(func() { p.closeErr = p.close() })
	return p.closeErr
}

func (p *Partitions) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, l := range p.mirrors {
		errs = append(errs, l.Close())
	}
	return errors.Join(append(errs, p.client.Close(), p.folder.release())...)
}

// Take makes this node the owner of a partition and returns its log; the error
// is a *LockedError while another node is. Others are told the key with which
// calls for us are to be sealed. lost is called, once, when another node has
// taken the partition over: then nothing of ours was taken any more, and every
// Append returns ErrFenced. The log must be closed then, too.
func (p *Partitions) Take(partition int, key []byte, lost func(error)) (*Log, error) {
	s := newRedisStore(p.client, p.address, partition, p.options)
	d := &doom{dir: p.dirOf(partition), then: p.options.Fatal}
	var l *Log // set before anybody can know of it
	ready := make(chan struct{})
	s.lost = func(err error) {
		<-ready
		if l != nil {
			l.fence(err)
		}
	}
	stop, err := s.acquire(holding{Folder: p.marker.folder, Node: p.node, Key: key}, p.dirOf(partition))
	if err != nil {
		return nil, err
	}
	s.release = stop
	if l, err = newLog(s, p.logID(partition), d); err == nil {
		l.whenFenced = lost
		l.beyond = make(chan struct{})
	}
	close(ready)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return l, nil
}

func (p *Partitions) dirOf(partition int) string {
	return fmt.Sprintf("%s (partition %d)", p.folder.dir, partition)
}

// logID is the name of a partition's log.
func (p *Partitions) logID(partition int) string { return fmt.Sprintf("%s.%d", p.marker.id, partition) }

// isFenced tells whether another process has taken the partition over.
func (l *Log) isFenced() bool {
	select {
	case <-l.beyond: // nil unless it is a partition's log
		return true
	default:
		return false
	}
}

// fence lets nothing more be written.
func (l *Log) fence(err error) {
	l.fenced.Do(func() {
		close(l.beyond)
		go l.whenFenced(err) // the queue's lead may be ours
	})
}

// Owner is who carries out what is wished of a partition.
type Owner struct {
	Epoch uint64 // of the last one that there was
	Node  string // "" if nobody says now that he lives
	Host  string
	PID   int
	Key   []byte // with which calls are to be sealed
}

var ownersScript = redis.NewScript(`return {redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[2]) or ''}`)

// Owners asks for the owners of some partitions. A process that had our folder
// before us is dead, whatever its leases say.
func (p *Partitions) Owners(ctx context.Context, partitions ...int) ([]Owner, error) {
	pipe := p.client.Pipeline()
	var said []*redis.Cmd
	for _, n := range partitions {
		r := p.reader(n)
		said = append(said, ownersScript.Eval(ctx, pipe, []string{r.key("owner"), r.key("lease")}))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, unreachable(err)
	}
	owners := make([]Owner, len(said))
	for i, cmd := range said {
		texts, err := cmd.StringSlice()
		if err != nil || len(texts) != 2 {
			return nil, fmt.Errorf("the owner of partition %d is damaged", partitions[i])
		}
		owners[i] = parseOwner(texts[0], texts[1], p.marker.folder, p.node)
	}
	return owners, nil
}

func (p *Partitions) reader(partition int) redisReader {
	return newRedisStore(p.client, p.address, partition, p.options).redisReader
}

// OpenMirror returns a log that shows a partition whoever owns it, and can't be
// written to. It is at the place where Refresh or Watch have brought it; it is
// closed with the partitions.
func (p *Partitions) OpenMirror(partition int) *Log {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.mirrors[partition]; l != nil {
		return l
	}
	s := newRedisStore(p.client, p.address, partition, p.options)
	s.release = func() error { return nil }
	l := &Log{store: s, id: p.logID(partition), doom: &doom{dir: p.dirOf(partition)}, ended: make(chan struct{}), beyond: make(chan struct{})}
	l.whenFenced = func(error) {}
	l.fence(nil)
	p.mirrors[partition] = l
	return l
}

// Refresh shows all that is durable now. It is for a mirror.
func (l *Log) Refresh() error {
	_, err := l.Settled()
	return err
}

// Settled is Refresh that returns the last record of that moment, with which a
// commit ends. Last may lie within one, of which Watch has read a part.
func (l *Log) Settled() (Seq, error) {
	if err := l.enter(); err != nil {
		return 0, err
	}
	defer l.leave()
	now, err := l.store.totals()
	if err != nil {
		return 0, unreachable(err)
	}
	l.advance(now.last, nil)
	l.bells.ringAll() // it isn't known which streams have more
	return now.last, nil
}

// advance shows a mirror's followers records up to last.
func (l *Log) advance(last Seq, touched []touch) {
	for {
		old := l.last.Load()
		if uint64(last) <= old {
			break
		}
		if l.last.CompareAndSwap(old, uint64(last)) {
			break
		}
	}
	l.bells.ring(touched)
}

// watchPause is how long a watch waits for a record before it looks whether it
// should end, and after a failure before it tries again; a test may change it.
var watchPause = time.Second

// Watch shows a mirror's followers what happens, as it happens, until ctx ends
// or the mirror is closed.
func (l *Log) Watch(ctx context.Context) {
	s := l.store.(*redisStore)
	if l.Refresh() != nil {
		l.rest(ctx)
	}
	for at := l.Last(); ctx.Err() == nil && !l.isEnded(); {
		some, err := s.client.XRead(ctx, &redis.XReadArgs{Streams: []string{s.key("log"), entry(at)}, Count: pageRows, Block: watchPause}).Result()
		if err != nil && !absent(err) {
			l.rest(ctx)
			continue
		}
		var touched []touch
		last := at
		for _, stream := range some {
			for _, m := range stream.Messages {
				if t, q, ok := touchOf(m); ok {
					touched, last = append(touched, t), q
				}
			}
		}
		if last == at && !absent(err) {
			l.rest(ctx)
		}
		at = last
		l.advance(at, touched)
	}
}

// touchOf reads of an entry of the log what its followers are woken by.
func touchOf(m redis.XMessage) (t touch, q Seq, ok bool) {
	q, err := parsePlace(m.ID)
	body, _ := m.Values["b"].(string)
	if err != nil {
		return t, 0, false
	}
	var d decoder
	r, err := d.record(row{seq: q, body: []byte(body)})
	if err != nil {
		return touch{}, q, true // whoever reads it is told
	}
	return touch{stream: r.Stream}, q, true
}

func (l *Log) isEnded() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

func (l *Log) rest(ctx context.Context) {
	select {
	case <-time.After(watchPause / 10):
	case <-ctx.Done():
	case <-l.ended:
	}
}

// whole is the beginning of the keys of the store as a whole.
func (p *Partitions) whole() string { return "gleitzeit:{" + p.address.name + "}" }

var joinScript = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)
`)

// Join says that this node is a server, which wants its share of the partitions,
// for the time of a lease, and returns all servers.
func (p *Partitions) Join(ctx context.Context) ([]string, error) {
	nodes, err := joinScript.Run(ctx, p.client, []string{p.whole() + ":nodes"}, p.node, p.address.lease.Milliseconds()).StringSlice()
	if err != nil {
		return nil, unreachable(err)
	}
	return nodes, nil
}

var servedScript = redis.NewScript(`
local t = redis.call('TIME')
return redis.call('ZCOUNT', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), '+inf')
`)

// Served tells whether there are servers, who take what nobody has.
func (p *Partitions) Served(ctx context.Context) (bool, error) {
	n, err := servedScript.Run(ctx, p.client, []string{p.whole() + ":nodes"}).Int()
	if err != nil {
		return false, unreachable(err)
	}
	return n > 0, nil
}

// Leave takes that back.
func (p *Partitions) Leave(ctx context.Context) error {
	return p.client.ZRem(ctx, p.whole()+":nodes", p.node).Err()
}

// Name notes in which partition the run with an id is that somebody gave it,
// unless that was said before, and returns which it is.
func (p *Partitions) Name(ctx context.Context, id string, partition int) (has int, fresh bool, err error) {
	said, err := nameScript.Run(ctx, p.client, []string{p.whole() + ":named"}, id, partition).StringSlice()
	if err != nil {
		return 0, false, unreachable(err)
	}
	has, err = p.parseNamed(id, said[0])
	return has, said[1] == "fresh", err
}

var nameScript = redis.NewScript(`
local has = redis.call('HGET', KEYS[1], ARGV[1])
if has then return {has, 'known'} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return {ARGV[2], 'fresh'}
`)

var unnameScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
return 1
`)

// Unname takes that back.
func (p *Partitions) Unname(ctx context.Context, id string, partition int) error {
	return unnameScript.Run(ctx, p.client, []string{p.whole() + ":named"}, id, strconv.Itoa(partition)).Err()
}

// Named returns the partition of the run with such an id, 0 if there is none.
func (p *Partitions) Named(ctx context.Context, id string) (int, error) {
	text, err := p.client.HGet(ctx, p.whole()+":named", id).Result()
	if absent(err) {
		return 0, nil
	}
	if err != nil {
		return 0, unreachable(err)
	}
	return p.parseNamed(id, text)
}

func (p *Partitions) parseNamed(id, text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > p.count {
		return 0, fmt.Errorf("the partition of run %q is damaged: %q", id, text)
	}
	return n, nil
}

// Promise says what an acknowledged event lives through.
func (p *Partitions) Promise() Promise {
	_, _, promise := newRedisStore(p.client, p.address, 1, p.options).about()
	return promise
}

// Trouble tells why nothing can be written just now; nil if it can.
func (p *Partitions) Trouble() error {
	if why := p.address.steady.away.Load(); why != nil {
		return *why
	}
	return nil
}
