package eventlog

import (
	"context"
	"fmt"
	"github.com/redis/go-redis/v9"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// This file starts real Redis servers for tests.

// redisProcess is a Redis of our own, on a socket.
type redisProcess struct {
	dir  string
	args []string
	cmd  *exec.Cmd
}

// startRedis starts a server with an append-only file in a folder of its own.
// Where there is no redis-server the test is skipped, unless
// GLEITZEIT_TEST_REDIS is "required".
func startRedis(t testing.TB, args ...string) *redisProcess {
	t.Helper()
	needRedis(t)
	dir, err := os.MkdirTemp("", "r") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	p := &redisProcess{dir: dir, args: args}
	t.Cleanup(func() {
		p.stop()
		os.RemoveAll(dir)
	})
	p.start(t)
	return p
}

func needRedis(t testing.TB) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("GLEITZEIT_TEST_REDIS") == "required" {
			t.Fatal("there is no redis-server")
		}
		t.Skip("SKIPPED, NOT PROVEN: there is no redis-server")
	}
}

func (p *redisProcess) start(t testing.TB) {
	t.Helper()
	args := append([]string{"--port", "0", "--unixsocket", p.socket(), "--dir", p.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--logfile", filepath.Join(p.dir, "log")}, p.args...)
	p.cmd = exec.Command("redis-server", args...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client, err := testClient(p.url("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for ctx := soon(t); ; time.Sleep(5 * time.Millisecond) {
		if err := client.Ping(ctx).Err(); err == nil {
			return
		}
		if ctx.Err() != nil {
			log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			t.Fatalf("Redis does not start:\n%s", log)
		}
	}
}

func (p *redisProcess) socket() string { return filepath.Join(p.dir, "s") }

// url names a store in it.
func (p *redisProcess) url(store string) string { return "unix://" + p.socket() + "?store=" + store }

// stop kills it, as a crash would.
func (p *redisProcess) stop() {
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// commonRedis is one server for all tests that don't harm it. TestMain stops
// it.
var commonRedis struct {
	once   sync.Once
	server *redisProcess
	stores atomic.Int64
}

// redisURL names a store that nobody has used, in the common server.
func redisURL(t testing.TB) string {
	needRedis(t)
	commonRedis.once.Do(func() {
		dir, err := os.MkdirTemp("", "r")
		if err != nil {
			t.Fatal(err)
		}
		commonRedis.server = &redisProcess{dir: dir}
		commonRedis.server.start(t)
	})
	return commonRedis.server.url(fmt.Sprint("s", commonRedis.stores.Add(1)))
}

func stopCommonRedis() {
	if p := commonRedis.server; p != nil {
		p.stop()
		os.RemoveAll(p.dir)
	}
}

// redisDo sends the store's Redis a command of its own.
func redisDo(t testing.TB, l *Log, words ...any) any {
	t.Helper()
	said, err := l.store.(*redisStore).client.Do(context.Background(), words...).Result()
	if err != nil && !absent(err) {
		t.Fatalf("%v: %v", words, err)
	}
	return said
}

// testClient is a client of the Redis at a URL.
func testClient(url string) (redis.UniversalClient, error) {
	_, client, err := Options{RedisURL: url}.redis()
	return client, err
}
