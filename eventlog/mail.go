package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// This file carries calls to the owner of a partition, and answers back, by way
// of the Redis that all nodes share.
//
// A call is an entry in the partition's inbox, for one epoch alone: a new owner
// clears the inbox, and whoever sent a call and sees another epoch sends it
// again. That it is then carried out once is the callers' matter: what would
// count twice has a key (see scheduler.Submission).
//
// An answer goes into a list of the node that asked. It is pushed only while
// the partition is still the answerer's, so that a writer who was fenced tells
// nobody what was true once.

// Letter is one call for the owner of a partition.
type Letter struct {
	ID   string `json:"id"`   // to be answered under; the same again: the same call
	From string `json:"from"` // the node
	// Over says that nobody waits for the answer to the call with that id any
	// more; nothing else counts then.
	Over bool   `json:"over,omitempty"`
	Body []byte `json:"body,omitempty"` // sealed
}

// Answer is the answer to a call.
type Answer struct {
	ID   string `json:"id"`
	Body []byte `json:"body"`
}

// The bounds of what lies in the Redis unread.
const mailLife = time.Minute // of answers that nobody fetches

// maxInbox is of the calls of one partition; a test may lower it.
var maxInbox = 100_000

var sendScript = redis.NewScript(`
local owner = redis.call('GET', KEYS[1]) or ''
if string.match(owner, '^%d+') ~= ARGV[1] then return 'moved' end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[2]) then return 'full' end
return redis.call('XADD', KEYS[2], '*', 'l', ARGV[3])
`)

// ErrMoved says that a partition has another owner than the one meant.
var ErrMoved = errors.New("the partition has another owner now")

// ErrFull says that a partition's owner doesn't keep up with its calls.
var ErrFull = errors.New("too many calls wait for the partition's owner")

// Send sends a call to the owner of a partition in that epoch; or returns
// ErrMoved or ErrFull.
func (p *Partitions) Send(ctx context.Context, partition int, epoch uint64, l Letter) error {
	l.From = p.node
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	r := p.reader(partition)
	said, err := sendScript.Run(ctx, p.client, []string{r.key("owner"), r.key("inbox")}, epoch, maxInbox, text).Text()
	switch {
	case err != nil:
		return unreachable(err)
	case said == "moved":
		return ErrMoved
	case said == "full":
		return ErrFull
	}
	return nil
}

// Inbox hands what is sent to a partition to take, one after the other, until
// ctx ends or the log is fenced or closed.
func (p *Partitions) Inbox(ctx context.Context, l *Log, take func(Letter)) {
	s := l.store.(*redisStore)
	key, at := s.key("inbox"), "0"
	tidy := func(had ...any) { // what isn't removed now goes with the next owner
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), watchPause)
		defer cancel()
		_ = tidyScript.Run(ctx, s.client, []string{s.key("owner"), key}, append([]any{s.owner}, had...)...).Err()
	}
	defer wakes(ctx, func(ctx context.Context) {
		if id, err := sendScript.Run(ctx, s.client, []string{s.key("owner"), key}, l.Epoch(), maxInbox, "").Text(); err == nil {
			tidy(id)
		}
	})()
	for ctx.Err() == nil && !l.isFenced() && !l.isEnded() {
		some, err := s.client.XRead(ctx, &redis.XReadArgs{Streams: []string{key, at}, Count: pageRows, Block: watchPause}).Result()
		if err != nil {
			if !absent(err) {
				l.rest(ctx)
			}
			continue
		}
		var had []any
		for _, m := range some[0].Messages {
			at = m.ID
			had = append(had, m.ID)
			var letter Letter
			text, _ := m.Values["l"].(string)
			if json.Unmarshal([]byte(text), &letter) == nil {
				take(letter)
			}
		}
		tidy(had...)
	}
}

// tidyScript removes letters that were read, unless a later owner is to read
// them.
var tidyScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('XDEL', KEYS[2], unpack(ARGV, 2)) end
return 1
`)

// Reply answers a call that came to a partition's log, unless the partition is
// somebody else's by now: then it returns ErrFenced.
func (p *Partitions) Reply(ctx context.Context, l *Log, to string, a Answer) error {
	s := l.store.(*redisStore)
	owner, err := s.client.Get(ctx, s.key("owner")).Result()
	if err != nil && !absent(err) {
		return unreachable(err)
	}
	if owner != s.owner {
		return ErrFenced
	}
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	key := p.mail(to)
	pipe := p.client.TxPipeline()
	pipe.RPush(ctx, key, text)
	pipe.PExpire(ctx, key, mailLife)
	if _, err := pipe.Exec(ctx); err != nil {
		return unreachable(err)
	}
	return nil
}

// mail is the list of the answers for a node. It lies where chance puts it in a
// Redis Cluster.
func (p *Partitions) mail(node string) string {
	return fmt.Sprintf("gleitzeit:{%s:%s}:mail", p.address.name, node)
}

// wakes has whoever waits for something to read until ctx ends get something then,
// or a command would be over only when its patience is. What it returns waits
// until that is done.
func wakes(ctx context.Context, send func(context.Context)) (done func()) {
	sent := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(sent)
		soon, cancel := context.WithTimeout(context.Background(), watchPause)
		defer cancel()
		send(soon)
	})
	return func() {
		if !stop() {
			<-sent
		}
	}
}

// Answers hands the answers for this node to take, until ctx ends.
func (p *Partitions) Answers(ctx context.Context, take func(Answer)) {
	key := p.mail(p.node)
	defer wakes(ctx, func(ctx context.Context) {
		pipe := p.client.TxPipeline()
		pipe.RPush(ctx, key, "")
		pipe.PExpire(ctx, key, mailLife)
		_, _ = pipe.Exec(ctx)
	})()
	for ctx.Err() == nil {
		some, err := p.client.BLPop(ctx, watchPause, key).Result()
		if err != nil {
			if !absent(err) {
				select {
				case <-time.After(watchPause / 10):
				case <-ctx.Done():
				}
			}
			continue
		}
		var a Answer
		if json.Unmarshal([]byte(some[1]), &a) == nil {
			take(a)
		}
	}
}

// parseOwner reads what the keys owner and lease say, for the node that has the
// folder.
func parseOwner(owner, lease, folder, node string) (o Owner) {
	text, _, _ := strings.Cut(owner, " ")
	o.Epoch, _ = strconv.ParseUint(text, 10, 64)
	var h holding
	if lease != "" && json.Unmarshal([]byte(lease), &h) == nil && (h.Folder != folder || h.Node == node) {
		o.Node, o.Host, o.PID, o.Key = h.Node, h.Host, h.PID, h.Key
	}
	return o
}

// Epoch returns the epoch in which this process owns a partition's log.
func (l *Log) Epoch() uint64 {
	s, ok := l.store.(*redisStore)
	if !ok {
		return 0
	}
	return parseOwner(s.owner, "", "", "").Epoch
}
