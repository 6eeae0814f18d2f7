package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisStore keeps the log in a Redis. All keys of a log have one hash tag, so
// that they lie on one node of a Redis Cluster, and one script can change them
// together. With P for "gleitzeit:{NAME.p0}:", where p0 is the whole of a store
// that isn't divided, and p1 to pN are the partitions of one that is (partitions.go):
//
//	P log            stream      SEQ-0 → field b: the record's body
//	P totals         hash        last, records, values, bytes
//	P of:STREAM      sorted set  the stream's records: SEQ, or SEQ and "m" for the mark of a deletion
//	P streams, live  sorted set  the names of all streams, and of those that have more than such a mark
//	P values, hashes hash, s.s.  hash (32 bytes) → the value; the hashes in order
//	P uses           sorted set  hash and stream: the stream needs the value
//	P claims, keys   hash, s.s.  key → "SEQ STREAM"; the keys in order
//	P checkpoints, checked       stream → "SEQ DATA"; the streams in order
//	P owner          text        "EPOCH TOKEN" of whoever may write
//	P lease          text, ttl   who that is, while it says that it lives
//	P inbox          stream      calls for the owner of a partition (mail.go)
//
// and, of the store as a whole, "gleitzeit:{NAME}", a hash: id, format, writer,
// partitions; and in a divided one, with the same beginning:
//
//	:nodes           sorted set  the servers, by the time (ms) until which they live
//	:named           hash        the id that somebody gave a run → its partition
//
// and "gleitzeit:{NAME:NODE}:mail", a list of answers for a node, of a short life.
// In sorted sets all scores are 0, but for of:STREAM and nodes.
//
// Every commit is one script that first compares the owner and the last record
// (redislease.go): a writer that another one has followed can't change anything
// any more, however late it wakes up. redisread.go reads.
type redisStore struct {
	redisReader
	owner    string // our epoch and token
	patience time.Duration
	steady   *steadfast // the client's
	lease    time.Duration
	lost     func(error) // what becomes of us when another has taken the store over
	release  func() error

	views sync.RWMutex // held for reading by commits, for writing by a view
	ill   atomic.Pointer[error]
}

// redisPatience is how long a commit is tried again while Redis can't be
// reached or refuses to write.
const redisPatience = 2 * time.Minute

// ErrFenced says that another process has taken the store over, so that nothing
// of ours is taken any more.
var ErrFenced = errors.New("another process has taken the store over")

// commitScript carries out a list of commands, all of them or none. ARGV: the
// owner; the last record there must be, or ""; then each command behind the
// number of its words. Redis refuses a script for want of memory or disk only
// before its first change, so nothing is left half done.
var commitScript = redis.NewScript(`
local owner = redis.call('GET', KEYS[1])
if owner ~= ARGV[1] then return {'fenced', owner or ''} end
local last = redis.call('HGET', KEYS[2], 'last') or '0'
if ARGV[2] ~= '' and last ~= ARGV[2] then return {'moved', last} end
local i = 3
while i <= #ARGV do
	local n = tonumber(ARGV[i])
	redis.call(unpack(ARGV, i + 1, i + n))
	i = i + n + 1
end
return {'done'}
`)

// commands are those of one commit.
type commands struct {
	redisReader
	args []any
}

func (c *commands) add(words ...any) { c.args = append(append(c.args, len(words)), words...) }

// each adds commands that take many words of the same kind.
func each[T any](c *commands, name, key string, of []T, words func(T) []any) {
	const most = 500 // Lua has a stack of 8,000
	for len(of) > 0 {
		some := of[:min(most, len(of))]
		of = of[len(some):]
		line := []any{name, key}
		for _, one := range some {
			line = append(line, words(one)...)
		}
		c.add(line...)
	}
}

func (s *redisStore) commit(c *change, _ bool) error {
	s.views.RLock()
	defer s.views.RUnlock()
	cmds := commands{redisReader: s.redisReader, args: []any{s.owner, ""}}
	var before, after string
	if t := c.totals; t != nil {
		before = strconv.FormatUint(uint64(c.before), 10)
		after = strconv.FormatUint(uint64(t.last), 10)
		cmds.args[1] = before
	}
	cmds.drop(&c.drop)
	cmds.records(c)
	cmds.values(c)
	if t := c.totals; t != nil {
		cmds.add("HSET", s.key("totals"), "last", after, "records", t.records, "values", t.values, "bytes", t.valueBytes)
	}
	return s.insist(cmds.args, before, after)
}

// insist has the commit carried out, however often it takes: while Redis is
// away it waits. Whether a commit whose answer was lost has been carried out
// the last record tells, for nobody else can have written.
func (s *redisStore) insist(args []any, before, after string) error {
	defer s.ill.Store(nil)
	for began, pause := time.Now(), 20*time.Millisecond; ; pause = min(2*pause, time.Second) {
		said, err := commitScript.Run(context.Background(), s.client, []string{s.key("owner"), s.key("totals")}, args...).StringSlice()
		switch {
		case err == nil && said[0] == "done":
			return nil
		case err == nil && said[0] == "fenced":
			return owned(said[1])
		case err == nil && said[1] == after:
			return nil
		case err == nil:
			return fmt.Errorf("the Redis has lost what it had acknowledged: its last record is %s, it was %s", said[1], before)
		case !comesBack(err) || time.Since(began) > s.patience:
			return err
		}
		err = fmt.Errorf("the Redis can't be written just now: %w", err)
		s.ill.Store(&err)
		time.Sleep(pause)
	}
}

// comesBack tells whether waiting may help.
func comesBack(err error) bool {
	var said redis.Error
	if !errors.As(err, &said) {
		return true // the network
	}
	for _, word := range []string{"LOADING", "MISCONF", "OOM", "BUSY", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "max number of clients"} {
		if strings.Contains(err.Error(), word) {
			return true
		}
	}
	return false
}

// trouble returns why commits or reads wait, nil if they don't.
func (s *redisStore) trouble() error {
	for _, why := range []*error{s.ill.Load(), s.steady.away.Load()} {
		if why != nil {
			return *why
		}
	}
	return nil
}

func (c *commands) drop(d *drops) {
	each(c, "XDEL", c.key("log"), d.records, func(q Seq) []any { return []any{entry(q)} })
	for _, s := range d.streams {
		c.add("DEL", c.of(s))
	}
	each(c, "ZREM", c.key("live"), d.streams, func(s string) []any { return []any{s} })
	each(c, "ZREM", c.key("streams"), d.streams, func(s string) []any { return []any{s} })
	each(c, "HDEL", c.key("values"), d.values, func(h Hash) []any { return []any{h[:]} })
	each(c, "ZREM", c.key("hashes"), d.values, func(h Hash) []any { return []any{h[:]} })
	each(c, "ZREM", c.key("uses"), d.uses, func(u use) []any { return []any{u.redis()} })
	each(c, "HDEL", c.key("claims"), d.claims, func(k string) []any { return []any{k} })
	each(c, "ZREM", c.key("keys"), d.claims, func(k string) []any { return []any{k} })
	each(c, "HDEL", c.key("checkpoints"), d.checkpoints, func(s string) []any { return []any{s} })
	each(c, "ZREM", c.key("checked"), d.checkpoints, func(s string) []any { return []any{s} })
}

func (c *commands) records(ch *change) {
	for _, r := range ch.records {
		c.add("XADD", c.key("log"), entry(r.seq), "b", r.body)
	}
	for _, t := range ch.touched {
		mark := ""
		if t.mark {
			mark = "m"
		}
		each(c, "ZADD", c.of(t.stream), t.seqs, func(q Seq) []any {
			text := strconv.FormatUint(uint64(q), 10)
			return []any{text, text + mark}
		})
	}
	each(c, "ZADD", c.key("streams"), ch.touched, func(t touch) []any { return []any{0, t.stream} })
	var live []touch
	for _, t := range ch.touched {
		if !t.mark {
			live = append(live, t)
		}
	}
	each(c, "ZADD", c.key("live"), live, func(t touch) []any { return []any{0, t.stream} })
}

func (c *commands) values(ch *change) {
	each(c, "HSET", c.key("values"), ch.values, func(v value) []any { return []any{v.hash[:], v.bytes} })
	each(c, "ZADD", c.key("hashes"), ch.values, func(v value) []any { return []any{0, v.hash[:]} })
	each(c, "ZADD", c.key("uses"), ch.uses, func(u use) []any { return []any{0, u.redis()} })
	each(c, "HSET", c.key("claims"), ch.claims, func(k claim) []any { return []any{k.key, fmt.Sprint(k.seq, " ", k.stream)} })
	each(c, "ZADD", c.key("keys"), ch.claims, func(k claim) []any { return []any{0, k.key} })
	each(c, "HSET", c.key("checkpoints"), ch.checkpoints, func(p Checkpoint) []any {
		return []any{p.Stream, append(fmt.Appendf(nil, "%d ", p.At), p.Data...)}
	})
	each(c, "ZADD", c.key("checked"), ch.checkpoints, func(p Checkpoint) []any { return []any{0, p.Stream} })
}

// entry is a record's id in the log.
func entry(q Seq) string { return strconv.FormatUint(uint64(q), 10) + "-0" }

// redis is a use as a member of a set.
func (u use) redis() string { return string(u.hash[:]) + u.stream }

// about asks Redis how durable it is; it may refuse to say.
func (s *redisStore) about() (Engine, int, Promise) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return Redis, Format, policyOf(ctx, s.client)
}

// size asks for the big keys only.
func (s *redisStore) size() (n int64) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, name := range []string{"log", "values", "hashes", "uses", "claims", "keys", "checkpoints", "streams", "live"} {
		if bytes, err := s.client.MemoryUsage(ctx, s.key(name), 20).Result(); err == nil {
			n += bytes
		}
	}
	return n
}

// view lets nobody write until it is closed: Redis has no snapshots.
func (s *redisStore) view() (store, error) {
	s.views.Lock()
	return &redisStore{redisReader: s.redisReader, release: func() error {
		s.views.Unlock()
		return nil
	}}, nil
}

// compact has Redis rewrite its append-only file in the background, if it has
// one and lets us.
func (s *redisStore) compact(ctx context.Context) error {
	err := s.client.BgRewriteAOF(ctx).Err()
	if err != nil && strings.Contains(err.Error(), "in progress") {
		return nil
	}
	return err
}

func (s *redisStore) close() error { return s.release() }
