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

// filled makes a store on disk with so many streams of 10 records.
func filled(b *testing.B, streams int) string {
	dir := b.TempDir()
	l, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	var batch Batch
	for i := range streams {
		for range 10 {
			batch.Add(Record{
				Time:   time.Unix(1_700_000_000, int64(i)),
				Stream: fmt.Sprintf("run-%d", i),
				Type:   "task.completed",
				Data:   fmt.Appendf(nil, "%0200d", i),
			})
		}
		if batch.Len() >= 1000 || i == streams-1 {
			if _, err := l.Append(&batch); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	return dir
}

// BenchmarkOpen opens and closes stores with more and more streams.
func BenchmarkOpen(b *testing.B) {
	for _, streams := range []int{0, 1000, 100_000} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			dir := filled(b, max(streams, 1))
			var opening time.Duration
			var read uint64
			for b.Loop() {
				start := time.Now()
				l, err := Open(dir, Options{})
				if err != nil {
					b.Fatal(err)
				}
				opening += time.Since(start)
				read = l.Stats().OpenBytesRead
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(opening.Microseconds())/float64(b.N), "open-µs")
			b.ReportMetric(float64(read), "bytes-read")
		})
	}
}

// BenchmarkRead reads 100,000 records: all at once, and stream by stream.
func BenchmarkRead(b *testing.B) {
	dir := filled(b, 10_000)
	l, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	perRecord := func(b *testing.B, records int) {
		if records != b.N*100_000 {
			b.Fatalf("%d records", records)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
	}
	b.Run("log", func(b *testing.B) {
		n := 0
		for b.Loop() {
			for _, err := range l.Read(0) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
		}
		perRecord(b, n)
	})
	b.Run("streams", func(b *testing.B) {
		n := 0
		for b.Loop() {
			for i := range 10_000 {
				for _, err := range l.ReadStream(fmt.Sprintf("run-%d", i), 0) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
			}
		}
		perRecord(b, n)
	})
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for _, err := range l.Streams("run-", false, "") {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != 10_000 {
				b.Fatalf("%d streams", n)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			sound(b, l)
		}
	})
}

// BenchmarkAppendConcurrently has each of so many goroutines append one record
// at a time.
func BenchmarkAppendConcurrently(b *testing.B) {
	for _, writers := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			l, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			b.SetParallelism((writers + 1) / 2)
			data := make([]byte, 200)
			b.RunParallel(func(pb *testing.PB) {
				var batch Batch
				for pb.Next() {
					batch.Reset()
					batch.Add(Record{Stream: "a", Type: "t", Data: data})
					if _, err := l.Append(&batch); err != nil {
						b.Error(err)
						return
					}
				}
			})
			s := l.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(s.Appends)/float64(s.Commits), "appends/sync")
		})
	}
}
