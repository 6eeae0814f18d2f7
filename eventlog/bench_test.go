package eventlog

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// fillBatch makes n records of 200 bytes on n/5 streams, as the scheduler does.
func fillBatch(b *Batch, n, round int) {
	b.Reset()
	data := make([]byte, 200)
	for i := range data {
		data[i] = byte('a' + (i*7+round)%26)
	}
	for i := range n {
		b.Add(Record{
			Time:   time.Unix(1_700_000_000, int64(i)),
			Stream: fmt.Sprintf("run-%d", round*n/5+i/5),
			Type:   "task.completed",
			Data:   data,
		})
	}
}

// BenchmarkAppend appends batches, each with one sync, beside a loop that
// writes as many bytes to a file and syncs it. The two alternate in one run.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			l, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			raw, err := os.Create(filepath.Join(b.TempDir(), "raw"))
			if err != nil {
				b.Fatal(err)
			}
			defer raw.Close()
			var (
				batch      Batch
				inRaw, inL time.Duration
				buf        = make([]byte, 300*n)
			)
			round := 0
			for b.Loop() {
				fillBatch(&batch, n, round)
				round++
				start := time.Now()
				if _, err := l.Append(&batch); err != nil {
					b.Fatal(err)
				}
				mid := time.Now()
				if _, err := raw.Write(buf); err != nil {
					b.Fatal(err)
				}
				if err := syncData(raw); err != nil {
					b.Fatal(err)
				}
				inL += mid.Sub(start)
				inRaw += time.Since(mid)
			}
			b.ReportMetric(float64(inL.Microseconds())/float64(round), "log-µs/batch")
			b.ReportMetric(float64(inRaw.Microseconds())/float64(round), "raw-µs/batch")
			b.ReportMetric(float64(inL)/float64(inRaw), "log/raw")
		})
	}
}

// BenchmarkRecord is what a record costs without a disk: numbering, encoding,
// sums and the store's own work.
func BenchmarkRecord(b *testing.B) {
	for _, kind := range storeKinds {
		b.Run(kind.name, func(b *testing.B) {
			l, _ := kind.open(b)
			var batch Batch
			n, round := 200, 0
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				fillBatch(&batch, n, round)
				round++
				b.StartTimer()
				if _, err := l.Append(&batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}
