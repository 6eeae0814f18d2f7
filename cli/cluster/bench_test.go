package cluster

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
)

// BenchmarkNodes has 256 runs of two tasks at a time submitted by 32 clients to 1,
// 2 and 4 nodes that share a Redis with 16 partitions, which writes everything
// down before it answers. All are in one process, on one machine: it tells what
// sharing costs, not what more machines bring.
func BenchmarkNodes(b *testing.B) {
	for _, count := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(count), func(b *testing.B) { benchNodes(b, count) })
	}
}

func benchNodes(b *testing.B, count int) {
	url := urlIn(redisDir(b), "partitions=16")
	nodes := make([]*member, count)
	for i := range nodes {
		nodes[i] = join(b, url, true, &servertest.Fake{})
	}
	share := 16 / count
	until(b, "each node has its share", func() bool {
		return !slices.ContainsFunc(nodes, func(m *member) bool { return m.has() != share })
	})
	const runs, clients = 256, 32
	var mu sync.Mutex
	var acknowledged []time.Duration
	rounds := 0
	b.ResetTimer()
	for b.Loop() {
		var submitting sync.WaitGroup
		next := make(chan int, runs)
		for i := range runs {
			next <- i
		}
		close(next)
		for range clients {
			submitting.Go(func() {
				for i := range next {
					began := time.Now()
					id := nodes[i%count].submit(servertest.Chain("bench", servertest.Work{Value: "1"}, servertest.Work{Value: "2"}))
					took := time.Since(began)
					mu.Lock()
					acknowledged = append(acknowledged, took)
					mu.Unlock()
					nodes[(i+1)%count].must(server.WorkflowWait, server.WaitParams{ID: id}, nil)
				}
			})
		}
		submitting.Wait()
		rounds++
	}
	slices.Sort(acknowledged)
	b.ReportMetric(float64(rounds*runs)/b.Elapsed().Seconds(), "runs/s")
	b.ReportMetric(float64(acknowledged[len(acknowledged)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(acknowledged[len(acknowledged)*99/100].Microseconds())/1000, "p99-ms")
}
