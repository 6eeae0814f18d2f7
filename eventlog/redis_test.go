package eventlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// fatal collects how a log ends, and leaves its goroutine behind, as a process
// does that is about to exit.
func fatal() (func(error), <-chan error) {
	ends := make(chan error, 10)
	return func(err error) {
		ends <- err
		select {}
	}, ends
}

func endsWith(t *testing.T, ends <-chan error, want string) {
	t.Helper()
	select {
	case err := <-ends:
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it ends with %v, want …%s…", err, want)
		}
	case <-soon(t).Done():
		t.Error("it does not end")
	}
}

// TestRedisFence: a writer whose lease ran out while it slept, and that another
// one has followed, changes nothing any more.
func TestRedisFence(t *testing.T) {
	url := redisURL(t)
	ended, ends := fatal()
	first, err := Open(t.TempDir(), Options{Engine: Redis, RedisURL: url, Fatal: ended})
	if err != nil {
		t.Fatal(err)
	}
	add(t, first, rec("a", "1"))
	var locked *LockedError
	if _, err := Open(t.TempDir(), Options{Engine: Redis, RedisURL: url}); !errors.As(err, &locked) || locked.PID == 0 || locked.Host == "" {
		t.Fatalf("a second opener gets %v", err)
	}
	redisDo(t, first, "DEL", first.store.(*redisStore).key("lease")) // as if it had run out
	second := openRedisIn(t, t.TempDir(), url)
	add(t, second, rec("a", "2"))
	go func() {
		var b Batch
		b.Add(rec("a", "late"))
		_, _ = first.Append(&b)
	}()
	endsWith(t, ends, "another process has taken the store over")
	if got := brief(all(t, second.Read(0))); got != "1:a=1 2:a=2" {
		t.Errorf("the log: %s", got)
	}
	sound(t, second)
}

// TestRedisLeaseNotices: whoever was followed learns it without an append.
func TestRedisLeaseNotices(t *testing.T) {
	ended, ends := fatal()
	l, err := Open(t.TempDir(), Options{Engine: Redis, RedisURL: redisURL(t), Fatal: ended})
	if err != nil {
		t.Fatal(err)
	}
	redisDo(t, l, "SET", l.store.(*redisStore).key("owner"), "7 somebody")
	endsWith(t, ends, "another process has taken the store over")
}

// TestRedisKilledUnderLoad kills a Redis with fsync always, twice, while four
// goroutines append. They wait, and go on when it is back; nothing that was
// acknowledged is lost, and nothing is there twice.
func TestRedisKilledUnderLoad(t *testing.T) {
	server := startRedis(t)
	l := openRedisIn(t, t.TempDir(), server.url("x"))
	var acked [4]atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range acked {
		wg.Go(func() {
			var b Batch
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				b.Reset()
				b.Add(rec(fmt.Sprint("w", w), fmt.Sprint(n)))
				b.Add(rec(fmt.Sprint("w", w), fmt.Sprint(n)))
				if _, err := l.Append(&b); err != nil {
					t.Error(err)
					return
				}
				acked[w].Add(1)
			}
		})
	}
	waitFor := func(what string, done func() bool) {
		t.Helper()
		for ctx := soon(t); !done(); time.Sleep(time.Millisecond) {
			if ctx.Err() != nil {
				t.Fatalf("%s: it does not happen", what)
			}
		}
	}
	for range 2 {
		before := acked[0].Load()
		waitFor("appends", func() bool { return acked[0].Load() > before+20 })
		server.stop()
		waitFor("trouble", func() bool { return l.Trouble() != nil })
		server.start(t)
		waitFor("appends after the restart", func() bool { return l.Trouble() == nil && acked[0].Load() > before+30 })
	}
	close(stop)
	wg.Wait()
	for w := range acked {
		records := all(t, l.ReadStream(fmt.Sprint("w", w), 0))
		if int64(len(records)) != 2*acked[w].Load() {
			t.Errorf("writer %d has %d records of %d batches", w, len(records), acked[w].Load())
		}
		for i, r := range records {
			if string(r.Data) != fmt.Sprint(i/2+1) {
				t.Fatalf("writer %d: record %d is %s", w, i, r.Data)
			}
		}
	}
	sound(t, l)
}

// TestRedisReadsWait: whoever reads while Redis is away, be it to write, gets
// what it wants when Redis is back.
func TestRedisReadsWait(t *testing.T) {
	server := startRedis(t)
	l := openRedisIn(t, t.TempDir(), server.url("x"))
	var b Batch
	r := rec("a", "1")
	h := b.Put([]byte("one"))
	r.Refs = []Hash{h}
	b.Add(r)
	addBatch(t, l, &b)
	server.stop()
	var wg sync.WaitGroup
	wait := func(what string, do func() error) {
		wg.Go(func() {
			if err := do(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	wait("an append to a stream that nobody has looked at", func() error {
		var b Batch
		b.Add(rec("fresh", "1"))
		_, err := l.Append(&b)
		return err
	})
	wait("a value", func() error { _, err := l.Value(h); return err })
	wait("the list of streams", func() error {
		for _, err := range l.Streams("", false, "") {
			return err
		}
		return errors.New("it is empty")
	})
	wait("a follower", func() error {
		for _, err := range l.FollowStream(t.Context(), "fresh", 1) {
			return err
		}
		return nil
	})
	for ctx := soon(t); l.Trouble() == nil && ctx.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	if l.Trouble() == nil {
		t.Error("nobody notices")
	}
	server.start(t)
	wg.Wait()
	if why := l.Trouble(); why != nil {
		t.Errorf("trouble after the end: %v", why)
	}
	sound(t, l)
}

// lostAnswers lets each script be carried out and then loses the answer of
// every second one.
type lostAnswers struct{ calls atomic.Int64 }

func (h *lostAnswers) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h *lostAnswers) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (h *lostAnswers) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == "evalsha" && h.calls.Add(1)%2 == 1 && err == nil {
			cmd.SetErr(io.ErrUnexpectedEOF)
			return io.ErrUnexpectedEOF
		}
		return err
	}
}

// TestRedisLostAnswers: a commit whose answer was lost counts once.
func TestRedisLostAnswers(t *testing.T) {
	l := openRedisIn(t, t.TempDir(), redisURL(t))
	add(t, l, rec("a", "0"))
	s := l.store.(*redisStore)
	hook := &lostAnswers{}
	s.client.AddHook(hook)
	for i := range 5 {
		var b Batch
		r := rec("a", fmt.Sprint(i+1))
		r.Refs, r.Keys = []Hash{b.Put([]byte(fmt.Sprint(i)))}, []string{fmt.Sprint(i)}
		b.Add(r)
		addBatch(t, l, &b)
	}
	if err := l.SaveCheckpoints([]Checkpoint{{"a", 3, []byte("x")}}, nil); err != nil {
		t.Fatal(err)
	}
	lost := hook.calls.Load() / 2
	hook.calls.Store(-1 << 40) // even: no more, but for reads
	if lost < 5 {
		t.Errorf("%d answers were lost", lost)
	}
	client, err := testClient(commonRedis.server.url("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	clean := redisReader{client, s.prefix}
	var p page
	if err := clean.records(1, 100, &p); err != nil || len(p.rows) != 6 {
		t.Errorf("%d records, %v", len(p.rows), err)
	}
	if sums, err := clean.totals(); err != nil || sums.last != 6 || sums.records != 6 || sums.values != 5 {
		t.Errorf("totals %+v, %v", sums, err)
	}
}

// TestRedisThatForgets: when a Redis comes back without what it had
// acknowledged, the log ends and says so; it does not write on.
func TestRedisThatForgets(t *testing.T) {
	ended, ends := fatal()
	l, err := Open(t.TempDir(), Options{Engine: Redis, RedisURL: redisURL(t), Fatal: ended})
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, rec("a", "1"))
	before := redisDo(t, l, "HGETALL", l.store.(*redisStore).key("totals"))
	add(t, l, rec("a", "2"))
	s := l.store.(*redisStore)
	redisDo(t, l, "XDEL", s.key("log"), "2-0")
	for k, v := range before.(map[any]any) {
		redisDo(t, l, "HSET", s.key("totals"), k, v)
	}
	go func() {
		var b Batch
		b.Add(rec("a", "3"))
		_, _ = l.Append(&b)
	}()
	endsWith(t, ends, "Redis has lost what it had acknowledged: its last record is 1, it was 2")
}

// TestRedisEmptied: a folder knows its store, and does not begin a new one in a
// Redis that was emptied.
func TestRedisEmptied(t *testing.T) {
	server := startRedis(t)
	dir := t.TempDir()
	l := openRedisIn(t, dir, server.url("x"))
	redisDo(t, l, "FLUSHALL")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{RedisURL: server.url("x")}); err == nil || !strings.Contains(err.Error(), "but the Redis has none under the name x: was it emptied") {
		t.Errorf("got %v", err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "say which, with redis_url") {
		t.Errorf("got %v", err)
	}
	server.stop()
	if _, err := Open(t.TempDir(), Options{Engine: Redis, RedisURL: server.url("x")}); err == nil || !strings.Contains(err.Error(), "Redis can't be reached") {
		t.Errorf("got %v", err)
	}
}

// TestRedisFull: a Redis without memory refuses a commit whole, and takes it
// when it has some again; one that has none for too long ends the log.
func TestRedisFull(t *testing.T) {
	server := startRedis(t)
	l := openRedisIn(t, t.TempDir(), server.url("x"))
	add(t, l, rec("a", "1"))
	redisDo(t, l, "CONFIG", "SET", "maxmemory", "1")
	done := make(chan error, 1)
	go func() {
		var b Batch
		b.Add(rec("a", "2"))
		b.Add(rec("b", "2"))
		_, err := l.Append(&b)
		done <- err
	}()
	for ctx := soon(t); l.Trouble() == nil && ctx.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	if err := l.Trouble(); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("trouble: %v", err)
	}
	redisDo(t, l, "CONFIG", "SET", "maxmemory", "0")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := brief(all(t, l.Read(0))); got != "1:a=1 2:a=2 3:b=2" {
		t.Errorf("the log: %s", got)
	}
	sound(t, l)

	ended, ends := fatal()
	short, err := Open(t.TempDir(), Options{Engine: Redis, RedisURL: server.url("y"), Fatal: ended, RedisPatience: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	redisDo(t, short, "CONFIG", "SET", "maxmemory", "1")
	go func() {
		var b Batch
		b.Add(rec("a", "2"))
		_, _ = short.Append(&b)
	}()
	endsWith(t, ends, "OOM")
	redisDo(t, short, "CONFIG", "SET", "maxmemory", "0")
}

// TestRedisCluster: all keys of a log lie on one node of a Redis Cluster.
func TestRedisCluster(t *testing.T) {
	server := startRedis(t, "--cluster-enabled", "yes", "--port", "0", "--cluster-port", "0")
	single, err := testClient(server.url("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer single.Close()
	if err := single.Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
		t.Skipf("SKIPPED, NOT PROVEN: no cluster can be made here: %v", err)
	}
	for ctx := soon(t); ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		if info, _ := single.ClusterInfo(ctx).Result(); strings.Contains(info, "cluster_state:ok") {
			break
		}
	}
	l := openRedisIn(t, t.TempDir(), server.url("x"))
	full(t, l)
	keys, err := single.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slots := map[int64]bool{}
	for _, key := range keys {
		if key != "gleitzeit:{x}" {
			slots[single.ClusterKeySlot(t.Context(), key).Val()] = true
		}
	}
	if len(keys) < 10 || len(slots) != 1 {
		t.Errorf("%d keys lie in %d slots", len(keys), len(slots))
	}
}

// TestRedisEachMemberCounts takes away each member of each key, and changes
// what hashes hold: Verify must tell and name the place.
func TestRedisEachMemberCounts(t *testing.T) {
	l := openRedisIn(t, t.TempDir(), redisURL(t))
	full(t, l)
	s := l.store.(*redisStore)
	blame := func(what, name string) {
		t.Helper()
		_, _ = state(l)
		r, err := l.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if said := strings.Join(r.Problems, "\n"); !strings.Contains(said, name) {
			t.Errorf("%s: want %q to be named in:\n%s", what, name, said)
		}
	}
	members := 0
	sets := map[string]func(string) string{
		"streams":  func(m string) string { return m },
		"hashes":   func(m string) string { return "totals" },
		"uses":     func(m string) string { return Hash([]byte(m[:32])).String() },
		"keys":     func(m string) string { return "" },
		"of:run-0": func(m string) string { return "record " + m },
		"of:run-1": func(m string) string { return "record" },
	}
	for set, name := range sets {
		all, err := s.client.ZRangeWithScores(t.Context(), s.key(set), 0, -1).Result()
		if err != nil || len(all) == 0 {
			t.Fatal(set, err)
		}
		for _, m := range all {
			member := m.Member.(string)
			redisDo(t, l, "ZREM", s.key(set), member)
			if set != "keys" { // the list of keys is only for Verify
				blame("a member of "+set, name(member))
			}
			redisDo(t, l, "ZADD", s.key(set), m.Score, member)
			members++
		}
	}
	hashes := map[string]func(string) string{
		"values": func(m string) string { return Hash([]byte(m)).String() },
		"claims": func(m string) string { return m },
		"totals": func(m string) string { return "totals" },
	}
	for hash, name := range hashes {
		all, err := s.client.HGetAll(t.Context(), s.key(hash)).Result()
		if err != nil || len(all) == 0 {
			t.Fatal(hash, err)
		}
		for field, v := range all {
			redisDo(t, l, "HDEL", s.key(hash), field)
			blame("a field of "+hash, name(field))
			redisDo(t, l, "HSET", s.key(hash), field, "1"+v)
			blame("a field of "+hash+", changed", name(field))
			redisDo(t, l, "HSET", s.key(hash), field, v)
			members++
		}
	}
	sound(t, l)
	redisDo(t, l, "XDEL", s.key("log"), "3-0")
	blame("a record", "record 3")
	if members < 22 {
		t.Errorf("%d members", members)
	}
}

func TestRedisURL(t *testing.T) {
	for text, want := range map[string]string{
		"redis://localhost":                       RedisName,
		"rediss://u:p@example.com:1234/3?store=a": "a",
		"unix:///run/redis.sock?db=2&store=b.c-d": "b.c-d",
		"redis+cluster://a:1?addr=b:2&store=x":    "x",
	} {
		if name, err := ParseRedisURL(text); name != want || err != nil {
			t.Errorf("%s: %q, %v", text, name, err)
		}
	}
	for text, want := range map[string]string{
		"localhost:6379":                 "must begin with redis://",
		"http://x":                       "must begin with redis://",
		"redis://u:geheim@h:1/0?store=":  "a name has up to",
		"redis://u:geheim@h:1/x":         "database",
		"redis://u:geheim@h:port/0":      "no URL",
		"redis://u:geheim@h/0?stroe=x":   "stroe",
		"redis+cluster://u:geheim@h/0?x": "Cluster",
	} {
		_, err := ParseRedisURL(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v, want …%s…", text, err, want)
		}
	}
}

func TestRedisPromise(t *testing.T) {
	l := openRedisIn(t, t.TempDir(), redisURL(t))
	add(t, l, rec("a", "1"))
	if s := l.Stats(); s.Engine != Redis || s.Promise != (Promise{DurableAlways, "what was acknowledged is on Redis's disk (AOF, fsync always)"}) || s.DiskBytes == 0 {
		t.Errorf("%+v", s)
	}
	for _, c := range [][4]string{
		{"yes", "everysec", "", "the last second may be lost"},
		{"yes", "no", "", "what its system had not yet written is lost"},
		{"no", "always", "3600 1", "since its last snapshot is lost"},
		{"no", "always", "", "everything is lost"},
	} {
		if got := redisPromise(c[0], c[1], c[2]); !strings.Contains(got.Text, c[3]) {
			t.Errorf("%v: %s", c, got)
		}
	}
}

// TestInspectRedis: a Redis is asked what it promises, and nothing is changed
// in it.
func TestInspectRedis(t *testing.T) {
	dir, url := t.TempDir(), redisURL(t)
	in, err := Inspect(t.Context(), dir, Options{Engine: Redis, RedisURL: url})
	if err != nil || in.Found || in.Held || in.Redis == nil || in.Promise.Class != DurableAlways {
		t.Fatalf("%+v, %v", in, err)
	}
	if some, _ := os.ReadDir(dir); len(some) > 0 {
		t.Errorf("it left %v", some)
	}
	l := openRedisIn(t, dir, url)
	add(t, l, rec("a", "1"))
	before := everything(t, l)
	in, err = Inspect(t.Context(), dir, Options{RedisURL: url})
	if err != nil || !in.Found || !in.Held || in.ID != l.ID() || in.PID != os.Getpid() {
		t.Errorf("%+v, %v", in, err)
	}
	if r := in.Redis; r.Version == "" || r.Eviction != "noeviction" || r.Role != "master" || r.RoundTrip <= 0 || r.Trouble != "" {
		t.Errorf("%+v", r)
	}
	if after := everything(t, l); after != before {
		t.Error("it changed the store")
	}
	for bad, want := range map[string]string{"": "say which", "redis://127.0.0.1:9": "can't be reached"} {
		if _, err := Inspect(t.Context(), dir, Options{RedisURL: bad}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestRedisHangsUp: a connection that is dropped while it greets isn't greeted
// again until patience ends, another one is made.
func TestRedisHangsUp(t *testing.T) {
	redis := startRedis(t)
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listen.Close()
	var drops atomic.Int64 // how many connections more are dropped
	var all sync.Map
	go func() {
		for {
			conn, err := listen.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if drops.Add(-1) >= 0 {
					_, _ = conn.Read(make([]byte, 1))
					return
				}
				far, err := net.Dial("unix", redis.socket())
				if err != nil {
					return
				}
				defer far.Close()
				all.Store(conn, true)
				go func() { _, _ = io.Copy(conn, far) }()
				_, _ = io.Copy(far, conn)
			}()
		}
	}()
	l, err := Open(t.TempDir(), Options{Engine: Redis, RedisURL: "redis://" + listen.Addr().String(), RedisPatience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var b Batch
	b.Add(Record{Stream: "s", Type: "t"})
	if _, err := l.Append(&b); err != nil {
		t.Fatal(err)
	}
	drops.Store(3)
	all.Range(func(conn, _ any) bool { return conn.(net.Conn).Close() == nil })
	read := make(chan error, 1)
	go func() {
		_, _, err := l.Head("s")
		read <- err
	}()
	select {
	case err := <-read:
		if err != nil {
			t.Error(err)
		}
	case <-soon(t).Done():
		t.Fatal("who reads is still told that the connection is dead")
	}
}
