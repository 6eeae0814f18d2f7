package scheduler

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"gleitzeit/eventlog"
)

// BenchmarkStores measures each store in the same way, one after the other:
// appends of one record, and of a hundred; a chain, with raw writes in turn;
// 64 runs in flight; starting with 10,000 unfinished runs, and what they take on
// disk. Redis is a process of its own here, with each of its policies.
func BenchmarkStores(b *testing.B) {
	for _, store := range []struct{ name, engine, fsync string }{
		{"pebble", "pebble", ""}, {"sqlite", "sqlite", ""},
		{"redis-always", "redis", "always"}, {"redis-everysec", "redis", "everysec"},
	} {
		b.Run(store.name, func(b *testing.B) {
			b.Setenv("GLEITZEIT_BACKEND", store.engine)
			if store.fsync != "" {
				b.Setenv("GLEITZEIT_REDIS_URL", "unix://"+benchRedis(b, store.fsync))
			}
			b.Run("Append-1", func(b *testing.B) { appends(b, 1) })
			b.Run("Append-100", func(b *testing.B) { appends(b, 100) })
			b.Run("Chain", BenchmarkChain)
			b.Run("Throughput-64", func(b *testing.B) { throughput(b, 64) })
			b.Run("Start-10000", func(b *testing.B) { startUp(b, 10_000, 0) })
		})
	}
}

// appends appends batches of so many records, a thousand a round.
func appends(b *testing.B, size int) {
	dir := b.TempDir()
	log, err := eventlog.Open(dir, benchStore(dir))
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	data := make([]byte, 200)
	rounds := 0
	for b.Loop() {
		for range 1000 / size {
			var batch eventlog.Batch
			for range size {
				batch.Add(eventlog.Record{Stream: "one", Type: "bench", Data: data})
			}
			if _, err := log.Append(&batch); err != nil {
				b.Fatal(err)
			}
		}
		rounds++
	}
	b.ReportMetric(float64(1000*rounds)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(rounds*(1000/size)), "ms/append")
}

// benchRedis starts a Redis and returns its socket.
func benchRedis(b *testing.B, fsync string) string {
	dir, err := os.MkdirTemp("", "r") // a socket's path must be short
	if err != nil {
		b.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	redis := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", fsync, "--logfile", filepath.Join(dir, "log"))
	if err := redis.Start(); err != nil {
		b.Skipf("there is no redis-server: %v", err)
	}
	b.Cleanup(func() {
		_ = redis.Process.Kill()
		_ = redis.Wait()
		os.RemoveAll(dir)
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return socket
		}
		if time.Now().After(deadline) {
			b.Fatal("redis-server does not start")
		}
	}
}
