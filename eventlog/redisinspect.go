package eventlog

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisState is what a Redis says of itself that matters to a store in it.
type RedisState struct {
	Name    string // of the store
	Version string
	Promise Promise
	// Eviction is maxmemory-policy, "" if Redis doesn't say it. Memory is in use,
	// of MaxMemory bytes, 0 for no bound.
	Eviction          string
	Memory, MaxMemory int64
	Role              string // master, or slave
	Replicas          int
	Cluster           bool
	// Trouble is what Redis reports of its own writing, "" if that went well.
	Trouble string
	// RoundTrip is the quickest of some questions, and Ahead how far Redis's
	// clock is before ours.
	RoundTrip, Ahead time.Duration
}

// inspectRedis asks a Redis and changes nothing in it.
func inspectRedis(ctx context.Context, m marker, found bool, url string) (*RedisState, error) {
	address, client, err := Options{RedisURL: url}.redis()
	if err != nil {
		return nil, err
	}
	name := address.name
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, redisDial+2*time.Second)
	defer cancel()
	said, err := client.HGetAll(ctx, "gleitzeit:{"+name+"}").Result()
	if err != nil {
		return nil, unreachable(err)
	}
	if found && said["id"] != m.id {
		return nil, fmt.Errorf("the folder belongs to store %s, but the Redis has %s under the name %s: was it emptied, or is it another one?",
			m.id, firstText(said["id"], "none"), name)
	}
	if format, _ := strconv.Atoi(said["format"]); format > Format {
		return nil, fmt.Errorf("it was written by %s in format %d; this program reads formats up to %d: use a newer version", said["writer"], format, Format)
	}
	r := &RedisState{Name: name}
	if err := r.info(ctx, client); err != nil {
		return nil, unreachable(err)
	}
	r.Promise = policyOf(ctx, client)
	return r, r.clock(ctx, client)
}

// info reads what INFO says.
func (r *RedisState) info(ctx context.Context, client redis.UniversalClient) error {
	text, err := client.Info(ctx).Result()
	if err != nil {
		return err
	}
	said := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		said[name] = value
	}
	r.Version, r.Role, r.Cluster = said["redis_version"], said["role"], said["cluster_enabled"] == "1"
	r.Replicas, _ = strconv.Atoi(said["connected_slaves"])
	r.Memory, _ = strconv.ParseInt(said["used_memory"], 10, 64)
	r.MaxMemory, _ = strconv.ParseInt(said["maxmemory"], 10, 64)
	r.Eviction = said["maxmemory_policy"]
	for _, name := range []string{"aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"} {
		if said[name] == "err" {
			r.Trouble = name + " is err"
		}
	}
	return nil
}

// policyOf asks a Redis how durable it is; it may refuse to say.
func policyOf(ctx context.Context, client redis.UniversalClient) Promise {
	set := map[string]string{}
	for _, name := range []string{"appendonly", "appendfsync", "save"} {
		said, err := client.ConfigGet(ctx, name).Result()
		if err != nil {
			return Promise{DurableUnknown, fmt.Sprintf("Redis doesn't say how durable it is (%v)", err)}
		}
		set[name] = said[name]
	}
	return redisPromise(set["appendonly"], set["appendfsync"], set["save"])
}

// clock compares Redis's clock with ours, by the quickest of some questions.
func (r *RedisState) clock(ctx context.Context, client redis.UniversalClient) error {
	for range 10 {
		began := time.Now()
		theirs, err := client.Time(ctx).Result()
		if err != nil {
			return unreachable(err)
		}
		if took := time.Since(began); r.RoundTrip == 0 || took < r.RoundTrip {
			r.RoundTrip, r.Ahead = took, theirs.Sub(began.Add(took/2))
		}
	}
	return nil
}
