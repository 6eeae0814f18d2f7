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
// hasn't for leaseTime another may open the store; from then on nothing of the
// first one's is taken, for each commit names its owner.
//
// The folder is this machine's place for the lock and the socket. Its lock
// tells at once that an owner of the same folder is dead.

// leaseTime is how long an owner that says nothing is waited for.
const leaseTime = 10 * time.Second

// holding is what the lease says, for others.
type holding struct {
	PID    int    `json:"pid"`
	Host   string `json:"host"`
	Folder string `json:"folder"` // the id of the folder, see marker
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
return {'owner', owner}
`)

var renewScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
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
//	redis://[USER:PASSWORD@]HOST[:PORT][/DB][?store=NAME]
//
// rediss is with TLS, unix:///PATH?db=DB a socket, and redis+cluster (or
// rediss+cluster) a Redis Cluster. It returns the store's name, and an error
// without the password.
func ParseRedisURL(text string) (name string, err error) {
	_, name, err = redisClient(text)
	return name, err
}

func redisClient(text string) (redis.UniversalClient, string, error) {
	u, err := url.Parse(text)
	if err != nil {
		var inside *url.Error
		if errors.As(err, &inside) {
			err = inside.Err // without the text, which may hold a password
		}
		return nil, "", fmt.Errorf("it is no URL: %w", err)
	}
	query := u.Query()
	name := RedisName
	if query.Has("store") {
		name = query.Get("store")
		query.Del("store")
		u.RawQuery = query.Encode()
	}
	if !redisNames.MatchString(name) {
		return nil, "", fmt.Errorf("store=%s: a name has up to 100 letters, digits, dots and lines", name)
	}
	scheme, cluster := strings.CutSuffix(u.Scheme, "+cluster")
	if u.Scheme = scheme; cluster {
		o, err := redis.ParseClusterURL(u.String())
		if err != nil {
			return nil, "", errors.New("it is no URL of a Redis Cluster")
		}
		return clusterClient(o), name, nil
	}
	o, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, "", fmt.Errorf("it must begin with redis://, rediss:// (with TLS), redis+cluster:// or unix://: %s", strings.TrimPrefix(err.Error(), "redis: "))
	}
	return singleClient(o), name, nil
}

// What is asked for when the URL says nothing. A commit is tried again by the
// store, which knows when that is safe.
const (
	redisDial = 3 * time.Second
	redisRead = 20 * time.Second
)

// silent is a logger that says nothing: errors come back to whoever asked.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func singleClient(o *redis.Options) redis.UniversalClient {
	redis.SetLogger(silent{})
	o.DialerRetries = 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = or(o.DialTimeout, redisDial), or(o.ReadTimeout, redisRead), or(o.WriteTimeout, redisRead)
	o.DisableIdentity, o.ContextTimeoutEnabled = true, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o)
}

func clusterClient(o *redis.ClusterOptions) redis.UniversalClient {
	redis.SetLogger(silent{})
	o.DialerRetries = 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = or(o.DialTimeout, redisDial), or(o.ReadTimeout, redisRead), or(o.WriteTimeout, redisRead)
	o.DisableIdentity, o.ContextTimeoutEnabled = true, true
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
	if o.RedisURL == "" {
		return nil, errors.New("it is a store in a Redis: say which, with redis_url")
	}
	client, name, err := redisClient(o.RedisURL)
	if err != nil {
		return nil, fmt.Errorf("redis_url: %w", err)
	}
	s := &redisStore{redisReader: redisReader{client, "gleitzeit:{" + name + ".p0}:"}, patience: redisPatience}
	if o.RedisPatience > 0 {
		s.patience = o.RedisPatience
	}
	s.steady = &steadfast{patience: s.patience}
	client.AddHook(s.steady)
	if m, err = s.settle(f, m, found, name, o); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	stop, err := s.acquire(f, m, d)
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

// settle makes sure that the Redis and the folder belong together, and makes
// the store if there is none.
func (s *redisStore) settle(f *folder, m marker, found bool, name string, o Options) (marker, error) {
	ctx, cancel := context.WithTimeout(context.Background(), redisDial+2*time.Second)
	defer cancel()
	if !found {
		m = newMarker(o, Redis)
		m.folder = newID()
	}
	whole := "gleitzeit:{" + name + "}"
	if !found {
		made := map[string]string{"id": m.id, "format": strconv.Itoa(m.format), "writer": m.writer, "partitions": "1"}
		for _, field := range []string{"format", "writer", "partitions", "id"} {
			if err := s.client.HSetNX(ctx, whole, field, made[field]).Err(); err != nil {
				return m, unreachable(err)
			}
		}
	}
	said, err := s.client.HGetAll(ctx, whole).Result()
	if err != nil {
		return m, unreachable(err)
	}
	format, _ := strconv.Atoi(said["format"])
	switch {
	case found && said["id"] != m.id:
		return m, fmt.Errorf("the folder belongs to store %s, but the Redis has %s under the name %s: was it emptied, or is it another one?",
			m.id, firstText(said["id"], "none"), name)
	case format > Format:
		return m, fmt.Errorf("it was written by %s in format %d; this program reads formats up to %d: use a newer version", said["writer"], format, Format)
	case said["partitions"] != "1":
		return m, fmt.Errorf("it has %s partitions, this program knows stores of one: use a newer version", said["partitions"])
	case found:
		return m, nil
	}
	m.id = said["id"]
	return m, errors.Join(beginMarker(f, m), finishMarker(f))
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

// acquire makes us the owner, and keeps saying that we live until stop.
func (s *redisStore) acquire(f *folder, m marker, d *doom) (stop func() error, err error) {
	host, _ := os.Hostname()
	us, err := json.Marshal(holding{PID: os.Getpid(), Host: host, Folder: m.folder})
	if err != nil {
		return nil, err
	}
	keys := []string{s.key("owner"), s.key("lease")}
	ctx, cancel := context.WithCancel(context.Background())
	said, err := acquireScript.Run(ctx, s.client, keys, rand.Text(), us, leaseTime.Milliseconds(), m.folder).StringSlice()
	if err != nil {
		cancel()
		return nil, unreachable(err)
	}
	if said[0] == "held" {
		cancel()
		var them holding
		_ = json.Unmarshal([]byte(said[1]), &them) // for people
		return nil, &LockedError{Dir: f.dir, PID: them.PID, Host: them.Host}
	}
	s.owner = said[1]
	var keeping sync.WaitGroup
	keeping.Go(func() { s.keep(ctx, keys, us, d) })
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
func (s *redisStore) keep(ctx context.Context, keys []string, us []byte, d *doom) {
	tick := time.NewTicker(leaseTime / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ours, err := renewScript.Run(ctx, s.client, keys, s.owner, us, leaseTime.Milliseconds()).Int()
		if err == nil && ours == 0 {
			d.fail(errors.New("another process has taken the store over"))
		}
	}
}
