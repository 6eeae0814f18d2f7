package scheduler

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/replay"
)

// waiters are the workflows of BenchmarkWaiting: a task that is done, and one
// that waits.
var waiters = map[string]string{
	"timer":  "name: nap\ntasks:\n- {id: a, method: echo/echo, parameters: {n: 1}}\n- {id: w, method: wait/timer, dependencies: [a], parameters: {duration: 24h}}\n",
	"signal": "name: told\ntasks:\n- {id: a, method: echo/echo, parameters: {n: 1}}\n- {id: w, method: wait/signal, dependencies: [a], parameters: {name: go}}\n",
}

// BenchmarkWaiting: runs that wait, by their number. How long it takes until
// all are read, and until all are taken on again; what they take of memory and
// how many goroutines; how long a signal takes, in turn with a raw append to a
// store of its own.
func BenchmarkWaiting(b *testing.B) {
	for _, kind := range []string{"timer", "signal"} {
		for _, n := range []int{10_000, 100_000} {
			b.Run(fmt.Sprintf("%s-%d", kind, n), func(b *testing.B) {
				dir := b.TempDir()
				generateWaiting(b, dir, kind, n)
				m := &waitingFigures{}
				for b.Loop() {
					m.measure(b, dir, kind, n)
				}
				m.report(b, n)
			})
		}
	}
}

// generateWaiting writes a store with runs that wait.
func generateWaiting(b *testing.B, dir, kind string, n int) {
	b.Helper()
	f := newForge(b, dir)
	defer f.close()
	w := compile(b, waiters[kind])
	wait := replay.Wait{Kind: replay.WaitKind(kind)}
	if kind == "signal" {
		wait.Signal = "go"
	}
	for range n {
		run := f.submit(w)
		f.do(Finish{Run: run, Task: 0, Attempt: 1, Result: paid})
		c := Await{Run: run, Task: 1, Attempt: 1, Wait: wait}
		if kind == "timer" {
			c.For = 24 * time.Hour
		}
		f.do(c)
	}
}

// waitingFigures are sums over all rounds.
type waitingFigures struct {
	rounds           int
	load, resume     time.Duration
	bytes, routines  int64
	signals, appends int
	signal, raw      time.Duration
}

func (m *waitingFigures) measure(b *testing.B, dir, kind string, n int) {
	before, routines := heap(), runtime.NumGoroutine()
	began := time.Now()
	log, s := newBench(b, dir, Options{CheckpointEvery: 1 << 30})
	defer log.Close()
	m.load += time.Since(began)
	if _, err := s.ResumeAll(b.Context(), true, ""); err != nil {
		b.Fatal(err)
	}
	m.resume += time.Since(began)
	m.rounds++
	// The store's own caches are no part of the runs: what they take is what a
	// store takes that holds none.
	m.bytes += heap() - before
	m.routines += int64(runtime.NumGoroutine() - routines)
	s.Query(b.Context(), func(state *replay.State) {
		if state.Runs() < n-5000 {
			b.Fatalf("%d runs live", state.Runs())
		}
	})
	if kind == "signal" {
		m.tell(b, log, s)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// tell sends some runs their signal, in turn with raw appends of as much.
func (m *waitingFigures) tell(b *testing.B, log *eventlog.Log, s *Scheduler) {
	other, err := eventlog.Open(b.TempDir(), eventlog.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer other.Close()
	var runs []uint64
	s.Query(b.Context(), func(state *replay.State) {
		state.Each(func(r *replay.Run) {
			if len(runs) < 200 {
				runs = append(runs, r.Number)
			}
		})
	})
	for _, run := range runs {
		from, appends := log.Last(), log.Stats().Appends
		began := time.Now()
		if err := s.Signal(context.Background(), Signal{Run: run, Name: "go", Data: paid}); err != nil {
			b.Fatal(err)
		}
		m.signal += time.Since(began)
		m.signals++
		m.appends += int(log.Stats().Appends - appends)
		m.raw += rawAppend(b, log, other, from+1)
	}
}

// rawAppend appends to the other store what the signal appended to the log.
func rawAppend(b *testing.B, log, other *eventlog.Log, from eventlog.Seq) time.Duration {
	var batch eventlog.Batch
	for r, err := range log.Read(from) {
		if err != nil {
			b.Fatal(err)
		}
		r.Refs = nil
		batch.Add(r)
		if batch.Len() == 3 {
			break
		}
	}
	began := time.Now()
	if _, err := other.Append(&batch); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

func (m *waitingFigures) report(b *testing.B, n int) {
	per := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(m.rounds) }
	b.ReportMetric(per(m.load), "ms/read")
	b.ReportMetric(per(m.resume), "ms/taken-on")
	b.ReportMetric(float64(m.bytes)/float64(m.rounds*n), "B/run")
	b.ReportMetric(float64(m.routines)/float64(m.rounds), "goroutines")
	if m.signals > 0 {
		b.ReportMetric(m.signal.Seconds()*1000/float64(m.signals), "ms/signal")
		b.ReportMetric(m.raw.Seconds()*1000/float64(m.signals), "ms/raw-append")
		b.ReportMetric(float64(m.appends)/float64(m.signals), "appends/signal")
	}
}
