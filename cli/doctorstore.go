package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gleitzeit/eventlog"
)

// This file looks at the store, and says how durable it is.

// store looks at it and returns the folder whose disk matters, "" if none does.
func (d *diagnosis) store(ctx context.Context, c *config) string {
	if c.Backend == "memory" {
		d.Durability, d.Durable = eventlog.DurableNever, "nothing: a store in memory ends with the command."
		d.add(finding{State: warning, About: "store", Text: "memory: no run outlives its command",
			Remedy: "choose another backend: pebble needs nothing but a folder"})
		return ""
	}
	in, err := eventlog.Inspect(ctx, c.Store, c.log())
	if err != nil {
		d.Durability, d.Durable = eventlog.DurableUnknown, "unknown: the store can't be used as it is."
		d.add(finding{State: bad, About: "store", Text: err.Error(), Remedy: remedyOfStore(in), code: exitStore})
		return existing(c.Store)
	}
	d.Durability, d.Durable = in.Promise.Class, capital(in.Promise.Text)+"."
	d.add(storeFinding(c, in))
	d.secrecy(c.Store)
	if !in.Newest.IsZero() && time.Until(in.Newest) > 2*time.Second {
		d.add(finding{State: warning, About: "clock", Text: fmt.Sprintf("the store was written %s from now: the clock has been set back", short(time.Until(in.Newest))),
			Remedy: "let the system keep its clock (NTP); until then events get the time of the last one, and timers are late"})
	}
	if in.Redis != nil {
		d.redis(in.Redis)
		return ""
	}
	return existing(filepath.Dir(in.Path))
}

func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}

// remedyOfStore is what to try when a store can't be opened.
func remedyOfStore(in eventlog.Inspection) string {
	switch {
	case in.Engine == eventlog.Redis:
		return "start the Redis, or correct redis_url; runs are in the Redis, not in the folder"
	case in.Format > eventlog.Format:
		return "use the newer gleitzeit that made it"
	}
	return "choose another --store or --backend, or restore a backup: gleitzeit system restore FILE --store DIR"
}

func storeFinding(c *config, in eventlog.Inspection) finding {
	details := map[string]any{"folder": c.Store, "engine": in.Engine, "format": in.Format, "bytes": in.Bytes}
	f := finding{State: good, About: "store", Details: details}
	if !in.Found {
		f.Text = fmt.Sprintf("%s: there is none yet; the first run makes one of %s", c.Store, in.Engine)
		return f
	}
	details["id"] = in.ID
	f.Text = fmt.Sprintf("%s: %s, format %d, made by %s", c.Store, in.Engine, in.Format, in.Writer)
	if in.Redis == nil {
		f.Text += ", " + bytesOf(in.Bytes)
	}
	if in.Held {
		details["pid"] = in.PID
		f.Text += fmt.Sprintf(", held by process %d", in.PID)
	}
	return f
}

// secrecy looks who else may read the store.
func (d *diagnosis) secrecy(dir string) {
	info, err := os.Stat(dir)
	if err == nil && hasModes && info.Mode().Perm()&0o077 != 0 {
		d.add(finding{State: warning, About: "store", Text: fmt.Sprintf("%s can be read by other users (mode %o)", dir, info.Mode().Perm()),
			Remedy: "chmod 700 " + dir})
	}
}

// existing returns dir, or what is there above it.
func existing(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
		above := filepath.Dir(dir)
		if above == dir {
			return ""
		}
		dir = above
	}
}

// redis says what a Redis promises.
func (d *diagnosis) redis(r *eventlog.RedisState) {
	f := finding{State: good, About: "redis", Details: map[string]any{"version": r.Version, "name": r.Name, "durability": r.Promise.Class,
		"maxmemory_policy": r.Eviction, "maxmemory": r.MaxMemory, "used_memory": r.Memory, "role": r.Role, "replicas": r.Replicas, "cluster": r.Cluster}}
	f.Text = fmt.Sprintf("%s, store %s, a question takes %s: %s", r.Version, r.Name, short(r.RoundTrip), r.Promise.Text)
	if r.Promise.Class != eventlog.DurableAlways {
		f.State = warning
		f.Remedy = "for nothing to be lost: redis-cli CONFIG SET appendonly yes, then CONFIG SET appendfsync always, and both in redis.conf"
	}
	d.add(f)
	if r.Eviction != "" && r.Eviction != "noeviction" {
		d.add(finding{State: bad, About: "redis", Text: fmt.Sprintf("when its memory is full it throws keys away (maxmemory-policy %s): runs would be damaged", r.Eviction),
			Remedy: "redis-cli CONFIG SET maxmemory-policy noeviction, and in redis.conf", code: exitStore})
		d.Durability, d.Durable = eventlog.DurableNever, "Not at all: this Redis throws keys away when its memory is full."
	}
	if r.MaxMemory > 0 && r.Memory > r.MaxMemory/10*9 {
		d.add(finding{State: warning, About: "redis", Text: fmt.Sprintf("%s of %s of its memory are used", bytesOf(r.Memory), bytesOf(r.MaxMemory)),
			Remedy: "give it more (maxmemory), or remove what is old: gleitzeit system gc --older-than 30d"})
	}
	if r.Trouble != "" {
		d.add(finding{State: bad, About: "redis", Text: "it reports that it can't write its own files: " + r.Trouble, Remedy: "see its log, and its disk", code: exitStore})
	}
	if r.Role == "slave" {
		d.add(finding{State: bad, About: "redis", Text: "it is a replica, which takes no writes", Remedy: "name the master in redis_url", code: exitStore})
	}
	if r.Replicas > 0 || r.Cluster {
		d.add(finding{State: note, About: "redis", Text: "a failover to a replica loses what the replica had not got yet",
			Remedy: "whoever holds the store then notices it and ends; resume goes on with the log as it is"})
	}
	if r.Ahead.Abs() > 2*time.Second {
		d.add(finding{State: note, About: "clock", Text: fmt.Sprintf("Redis's clock is %s off ours; nothing depends on it", short(r.Ahead.Abs()))})
	}
}
