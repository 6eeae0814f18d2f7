package eventlog

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// This file fails over from a real Redis to its real replica, which a sentinel
// or an operator would do.

// replicated is a Redis and its replica. What a store is opened with is the
// address of whichever was promoted last, as a sentinel or a proxy has it.
type replicated struct {
	primary, replica *redisProcess
}

func startReplicated(t *testing.T) *replicated {
	t.Helper()
	needRedis(t)
	port := freePort(t)
	r := &replicated{primary: startRedis(t, "--bind", "127.0.0.1", "--port", port, "--repl-diskless-sync-delay", "0")}
	r.replica = startRedis(t, "--replicaof", "127.0.0.1 "+port)
	r.until(t, "master_link_status:up")
	ask(t, r.primary, "SET", "begun", "1")
	if ask(t, r.primary, "WAIT", 1, 15000) != "1" { // what comes now is sent at once
		t.Fatal("the replica does not follow")
	}
	return r
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// ask sends a Redis a command and returns its answer as text.
func ask(t *testing.T, p *redisProcess, words ...any) string {
	t.Helper()
	c, err := testClient(p.url("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	said, err := c.Do(t.Context(), words...).Result()
	if err != nil {
		t.Fatalf("%v: %v", words, err)
	}
	return fmt.Sprint(said)
}

// until waits for a line of what the replica says of replication.
func (r *replicated) until(t *testing.T, line string) {
	t.Helper()
	for ctx := soon(t); !strings.Contains(ask(t, r.replica, "INFO", "replication"), line); time.Sleep(5 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("the replica never says %s", line)
		}
	}
}

// caughtUp waits until the replica has all that the primary has.
func (r *replicated) caughtUp(t *testing.T) {
	t.Helper()
	_, offset, _ := strings.Cut(ask(t, r.primary, "INFO", "replication"), "master_repl_offset:")
	r.until(t, "slave_repl_offset:"+strings.Fields(offset)[0])
}

// promote makes the replica a Redis that may be written to.
func (r *replicated) promote(t *testing.T) { ask(t, r.replica, "REPLICAOF", "NO", "ONE") }

// turn kills the primary and puts the other one at its address.
func (r *replicated) turn(t *testing.T) {
	t.Helper()
	r.primary.stop()
	if err := os.Rename(r.replica.socket(), r.primary.socket()); err != nil {
		t.Fatal(err)
	}
}

// TestRedisFailover: a replica that has everything is gone on with; behind one
// that hasn't, the writer ends and says so, and the next one finds a log that
// is whole up to what the replica has.
func TestRedisFailover(t *testing.T) {
	t.Run("whole", func(t *testing.T) {
		r := startReplicated(t)
		l := openRedisIn(t, t.TempDir(), r.primary.url("x"))
		add(t, l, rec("a", "1"), rec("b", "2"))
		r.caughtUp(t)
		r.promote(t)
		r.turn(t)
		add(t, l, rec("a", "3"))
		if got := brief(all(t, l.Read(0))); got != "1:a=1 2:b=2 3:a=3" {
			t.Errorf("the log: %s", got)
		}
		sound(t, l)
	})
	t.Run("behind", func(t *testing.T) {
		r := startReplicated(t)
		ended, ends := fatal()
		l, err := Open(t.TempDir(), Options{Engine: Redis, RedisURL: r.primary.url("x"), Fatal: ended})
		if err != nil {
			t.Fatal(err)
		}
		add(t, l, rec("a", "1"), rec("b", "2"))
		r.caughtUp(t)
		r.promote(t) // it hears no more of the primary
		add(t, l, rec("a", "3"))
		r.turn(t)
		go func() {
			var b Batch
			b.Add(rec("a", "4"))
			_, _ = l.Append(&b)
		}()
		endsWith(t, ends, "Redis has lost what it had acknowledged: its last record is 2, it was 3")
		next := r.follow(t, l)
		add(t, next, rec("b", "5"))
		if got := brief(all(t, next.Read(0))); got != "1:a=1 2:b=2 3:b=5" {
			t.Errorf("the log: %s", got)
		}
		sound(t, next)
	})
}

// follow opens the store of a log that has ended, as if its lease had run out.
func (r *replicated) follow(t *testing.T, ended *Log) *Log {
	t.Helper()
	ask(t, r.primary, "DEL", ended.store.(*redisStore).key("lease"))
	return openRedisIn(t, t.TempDir(), r.primary.url("x"))
}

// TestRedisFailoverToNothing: an empty replica isn't another process.
func TestRedisFailoverToNothing(t *testing.T) {
	for _, how := range []string{"append", "lease"} {
		t.Run(how, func(t *testing.T) {
			server := startRedis(t)
			ended, ends := fatal()
			l, err := Open(t.TempDir(), Options{Engine: Redis, RedisURL: server.url("x") + "&lease=1s", Fatal: ended})
			if err != nil {
				t.Fatal(err)
			}
			add(t, l, rec("a", "1"))
			redisDo(t, l, "FLUSHALL")
			if how == "append" {
				go func() {
					var b Batch
					b.Add(rec("a", "2"))
					_, _ = l.Append(&b)
				}()
			}
			endsWith(t, ends, "Redis has lost what it had acknowledged: it has nothing of this store")
		})
	}
}

// TestRedisFailoverUnderLoad kills the primary while records are appended, with
// fsync always, and promotes the replica at once: it says how many records that
// were acknowledged are gone (docs/stores.md). What is left is sound, and
// nothing is left out in the middle. GLEITZEIT_FAILOVERS is how often; one by
// default.
func TestRedisFailoverUnderLoad(t *testing.T) {
	times, _ := strconv.Atoi(os.Getenv("GLEITZEIT_FAILOVERS"))
	harmed, worst := 0, int64(0)
	for range max(times, 1) {
		lost := failOver(t)
		worst = max(worst, lost)
		if lost > 0 {
			harmed++
		}
	}
	t.Logf("%d failovers under load: %d lost records, at most %d", max(times, 1), harmed, worst)
}

// failOver returns how many acknowledged records are gone.
func failOver(t *testing.T) int64 {
	t.Helper()
	r := startReplicated(t)
	ended, ends := fatal()
	l, err := Open(t.TempDir(), Options{Engine: Redis, RedisURL: r.primary.url("x"), Fatal: ended})
	if err != nil {
		t.Fatal(err)
	}
	var acked atomic.Int64
	go func() {
		for n := 1; ; n++ {
			var b Batch
			b.Add(rec("a", fmt.Sprint(n)))
			if _, err := l.Append(&b); err != nil {
				return
			}
			acked.Store(int64(n))
		}
	}()
	for ctx := soon(t); acked.Load() < 300; time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatal("it appends nothing")
		}
	}
	r.primary.stop()
	before := acked.Load()
	r.promote(t)
	r.turn(t)
	lost := int64(0)
	for ctx := soon(t); lost == 0 && acked.Load() < before+10; {
		select {
		case err := <-ends:
			var has, had int64
			if _, bad := fmt.Sscanf(err.Error(), "the Redis has lost what it had acknowledged: its last record is %d, it was %d", &has, &had); bad != nil || had < before || had > before+1 {
				t.Fatalf("it ends with %v after %d records", err, before)
			}
			lost = had - has
			l = r.follow(t, l)
		case <-ctx.Done():
			t.Fatal("it neither goes on nor ends")
		case <-time.After(time.Millisecond):
		}
	}
	for i, record := range all(t, l.Read(0)) {
		if record.Seq != Seq(i+1) || string(record.Data) != fmt.Sprint(i+1) {
			t.Fatalf("record %d is %s", i+1, record.Data)
		}
	}
	sound(t, l)
	return lost
}
