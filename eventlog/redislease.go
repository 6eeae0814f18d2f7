package eventlog

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// This file opens a store in a Redis, and holds it. Whoever opens it becomes
// its owner, in a new epoch, and says every few seconds that it lives. When it
// hasn't for the time of its lease another may open the store; from then on nothing of the
// first one's is taken, for each commit names its owner.
//
// The folder is this machine's place for the lock and the socket. Its lock
// tells at once that an owner of the same folder is dead.

// leaseTime is how long an owner that says nothing is waited for, unless the
// URL says it.
const leaseTime = 10 * time.Second

// holding is what the lease says, for others.
type holding struct {
	PID    int    `json:"pid"`
	Host   string `json:"host"`
	Folder string `json:"folder"`         // the id of the folder, see marker
	Node   string `json:"node,omitempty"` // see Partitions.Node
	Key    []byte `json:"key,omitempty"`  // with which calls for it are sealed
}

var acquireScript = redis.NewScript(`
local held = redis.call('GET', KEYS[2])
if held and ARGV[4] == '' then return {'held', held} end
if held and cjson.decode(held).folder ~= ARGV[4] then return {'held', held} end
local owner = redis.call('GET', KEYS[1]) or '0 '
local epoch = tonumber(string.match(owner, '^%d+')) + 1
owner = string.format('%d', epoch) .. ' ' .. ARGV[1]
redis.call('SET', KEYS[1], owner)
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[3])
return {'owner', owner}
`)

var renewScript = redis.NewScript(`
local owner = redis.call('GET', KEYS[1]) or ''
if owner == ARGV[1] then redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3]) end
return owner
`)

var releaseScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1
`)

// RedisName is the name of a store in a Redis whose URL doesn't say it.
const RedisName = "gleitzeit"

var redisNames = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)

// ParseRedisURL reads the URL of a store in a Redis:
//
//	redis://[USER:PASSWORD@]HOST[:PORT][/DB][?store=NAME&partitions=N&lease=TIME]
//
// rediss is with TLS, unix:///PATH?db=DB a socket, and redis+cluster (or
// rediss+cluster) a Redis Cluster. partitions is how many parts a new store is
// divided into, 1 to MaxPartitions; lease how long an owner that says nothing is
// waited for, a second at least. It returns the store's name, and an error
// without the password.
func ParseRedisURL(text string) (name string, err error) {
	r, err := parseRedis(text)
	return r.name, err
}

// MaxPartitions is how many parts a store can have.
const MaxPartitions = 1024

// redisAddress is what a URL says.
type redisAddress struct {
	name       string
	partitions int // 0: it doesn't say
	lease      time.Duration
	single     *redis.Options // or
	cluster    *redis.ClusterOptions
	steady     *steadfast // of the client
}

func parseRedis(text string) (r redisAddress, err error) {
	u, err := url.Parse(text)
	if err != nil {
		var inside *url.Error
		if errors.As(err, &inside) {
			err = inside.Err // without the text, which may hold a password
		}
		return r, fmt.Errorf("it is no URL: %w", err)
	}
	if err := r.ours(u); err != nil {
		return r, err
	}
	scheme, cluster := strings.CutSuffix(u.Scheme, "+cluster")
	if u.Scheme = scheme; cluster {
		if r.cluster, err = redis.ParseClusterURL(u.String()); err != nil {
			return r, errors.New("it is no URL of a Redis Cluster")
		}
		return r, nil
	}
	if r.single, err = redis.ParseURL(u.String()); err != nil {
		return r, fmt.Errorf("it must begin with redis://, rediss:// (with TLS), redis+cluster:// or unix://: %s", strings.TrimPrefix(err.Error(), "redis: "))
	}
	return r, nil
}

// ours takes from the URL what is ours and not Redis's.
func (r *redisAddress) ours(u *url.URL) (err error) {
	query := u.Query()
	take := func(name, otherwise string) string {
		if query.Has(name) {
			otherwise = query.Get(name)
			query.Del(name)
		}
		return otherwise
	}
	if r.name = take("store", RedisName); !redisNames.MatchString(r.name) {
		return fmt.Errorf("store=%s: a name has up to 100 letters, digits, dots and lines", r.name)
	}
	if text := take("partitions", ""); text != "" {
		if r.partitions, err = strconv.Atoi(text); err != nil || r.partitions < 1 || r.partitions > MaxPartitions {
			return fmt.Errorf("partitions=%s: a store has 1 to %d", text, MaxPartitions)
		}
	}
	text := take("lease", leaseTime.String())
	if r.lease, err = time.ParseDuration(text); err != nil || r.lease < time.Second || r.lease > time.Hour {
		return fmt.Errorf("lease=%s: a time from 1s to 1h", text)
	}
	u.RawQuery = query.Encode()
	return nil
}

// connect makes a client, which reaches out when it is used.
func (r redisAddress) connect() redis.UniversalClient {
	if r.cluster != nil {
		return clusterClient(r.cluster)
	}
	return singleClient(r.single)
}

// What is asked for when the URL says nothing. A commit is tried again by the
// store, which knows when that is safe.
const (
	redisDial = 3 * time.Second
	redisRead = 20 * time.Second
)

// redisConns bounds the connections of a process. Those that wait for calls and
// records of a partition stay in use.
const redisConns = 4 * MaxPartitions

// silent is a logger that says nothing: errors come back to whoever asked.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func singleClient(o *redis.Options) redis.UniversalClient {
	redis.SetLogger(silent{})
	o.DialerRetries = 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = or(o.DialTimeout, redisDial), or(o.ReadTimeout, redisRead), or(o.WriteTimeout, redisRead)
	o.DisableIdentity, o.ContextTimeoutEnabled = true, true
	o.PoolSize = max(o.PoolSize, redisConns)
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o)
}

func clusterClient(o *redis.ClusterOptions) redis.UniversalClient {
	redis.SetLogger(silent{})
	o.DialerRetries = 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = or(o.DialTimeout, redisDial), or(o.ReadTimeout, redisRead), or(o.WriteTimeout, redisRead)
	o.DisableIdentity, o.ContextTimeoutEnabled = true, true
	o.PoolSize = max(o.PoolSize, redisConns)
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClusterClient(o)
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func openRedis(f *folder, d *doom, m marker, found bool, o Options) (*Log, error) {
	r, client, err := o.redis()
	if err != nil {
		return nil, err
	}
	s := newRedisStore(client, r, 0, o)
	s.lost = d.fail
	m, partitions, err := settle(client, f, m, found, r, o)
	if err == nil && partitions > 1 {
		err = &PartitionedError{partitions}
	}
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	stop, err := s.acquire(holding{Folder: m.folder}, f.dir)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	s.release = func() error { return errors.Join(stop(), client.Close()) }
	l, err := newLog(s, m.id, d)
	if err != nil {
		return nil, errors.Join(err, s.release())
	}
	end := s.release
	s.release = func() error { return errors.Join(end(), f.release()) }
	return l, nil
}

// redis makes a client of the Redis that the options name.
func (o Options) redis() (redisAddress, redis.UniversalClient, error) {
	if o.RedisURL == "" {
		return redisAddress{}, nil, errors.New("it is a store in a Redis: say which, with redis_url")
	}
	r, err := parseRedis(o.RedisURL)
	if err != nil {
		return r, nil, fmt.Errorf("redis_url: %w", err)
	}
	client := r.connect()
	r.steady = &steadfast{patience: o.redisPatience()}
	client.AddHook(r.steady)
	return r, client, nil
}

func (o Options) redisPatience() time.Duration {
	if o.RedisPatience > 0 {
		return o.RedisPatience
	}
	return redisPatience
}

// newRedisStore is a partition that we don't own yet; 0 is the whole of an
// undivided store.
func newRedisStore(client redis.UniversalClient, r redisAddress, partition int, o Options) *redisStore {
	return &redisStore{redisReader: redisReader{client, fmt.Sprintf("gleitzeit:{%s.p%d}:", r.name, partition)},
		patience: o.redisPatience(), lease: r.lease, steady: r.steady}
}

// settle makes sure that the Redis and the folder belong together, and makes
// the store if there is none. It returns how many partitions there are.
func settle(client redis.UniversalClient, f *folder, m marker, found bool, r redisAddress, o Options) (marker, int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), redisDial+2*time.Second)
	defer cancel()
	if !found {
		m = newMarker(o, Redis)
		m.folder = newID()
	}
	whole := "gleitzeit:{" + r.name + "}"
	if !found {
		made := map[string]string{"id": m.id, "format": strconv.Itoa(m.format), "writer": m.writer, "partitions": strconv.Itoa(max(1, r.partitions))}
		for _, field := range []string{"partitions", "format", "writer", "id"} {
			if err := client.HSetNX(ctx, whole, field, made[field]).Err(); err != nil {
				return m, 0, unreachable(err)
			}
		}
	}
	said, err := client.HGetAll(ctx, whole).Result()
	if err != nil {
		return m, 0, unreachable(err)
	}
	format, _ := strconv.Atoi(said["format"])
	partitions, _ := strconv.Atoi(said["partitions"])
	switch {
	case found && said["id"] != m.id:
		return m, 0, fmt.Errorf("the folder belongs to store %s, but the Redis has %s under the name %s: was it emptied, or is it another one?",
			m.id, firstText(said["id"], "none"), r.name)
	case format > Format:
		return m, 0, fmt.Errorf("it was written by %s in format %d; this program reads formats up to %d: use a newer version", said["writer"], format, Format)
	case partitions < 1 || partitions > MaxPartitions:
		return m, 0, fmt.Errorf("it has %q partitions, this program knows stores of 1 to %d: use a newer version", said["partitions"], MaxPartitions)
	case r.partitions > 0 && r.partitions != partitions:
		return m, 0, fmt.Errorf("it has %d partitions, not %d: their number was fixed when it was made", partitions, r.partitions)
	case found:
		return m, partitions, nil
	}
	m.id = said["id"]
	return m, partitions, errors.Join(beginMarker(f, m), finishMarker(f))
}

func firstText(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// unreachable says what to look at.
func unreachable(err error) error {
	var said redis.Error
	if errors.As(err, &said) {
		return fmt.Errorf("the Redis refuses: %w", err)
	}
	return fmt.Errorf("the Redis can't be reached: %w", err)
}

// acquire makes us the owner, to whom nothing has been sent, and keeps saying that we live until stop. The
// folder is that of the error if another one is.
func (s *redisStore) acquire(who holding, dir string) (stop func() error, err error) {
	who.PID = os.Getpid()
	who.Host, _ = os.Hostname()
	us, err := json.Marshal(who)
	if err != nil {
		return nil, err
	}
	keys := []string{s.key("owner"), s.key("lease")}
	ctx, cancel := context.WithCancel(context.Background())
	said, err := acquireScript.Run(ctx, s.client, append(keys, s.key("inbox")), rand.Text(), us, s.lease.Milliseconds(), who.Folder).StringSlice()
	if err != nil {
		cancel()
		return nil, unreachable(err)
	}
	if said[0] == "held" {
		cancel()
		var them holding
		_ = json.Unmarshal([]byte(said[1]), &them) // for people
		return nil, &LockedError{Dir: dir, PID: them.PID, Host: them.Host}
	}
	s.owner = said[1]
	var keeping sync.WaitGroup
	keeping.Go(func() { s.keep(ctx, keys, us) })
	return func() error {
		cancel()
		keeping.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), redisDial)
		defer cancel()
		// If Redis is away, the lease runs out by itself.
		_ = releaseScript.Run(ctx, s.client, keys, s.owner).Err()
		return nil
	}, nil
}

// keep renews the lease. That it runs out while Redis can't be reached is no
// harm as long as nobody else comes.
func (s *redisStore) keep(ctx context.Context, keys []string, us []byte) {
	tick := time.NewTicker(s.lease / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		owner, err := renewScript.Run(ctx, s.client, keys, s.owner, us, s.lease.Milliseconds()).Text()
		if err == nil && owner != s.owner {
			s.lost(owned(owner))
			return
		}
	}
}

// owned says what it means that the owner isn't who we are: somebody follows
// another one, but nobody takes the owner's name away, so that where there is
// none all is gone, by a failover to an empty replica, say.
func owned(owner string) error {
	if owner == "" {
		return errors.New("the Redis has lost what it had acknowledged: it has nothing of this store any more")
	}
	return fmt.Errorf("%w (its owner is %q now)", ErrFenced, owner)
}
