package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// openEcho opens the real providers, of which the benchmarks use echo.
func openEcho([]byte) (Providers, error) {
	return providers.Open(providers.Config{}, providers.Options{})
}

// benchStore is what keeps the log in a folder: what GLEITZEIT_BACKEND says, and
// of redis a store of the folder's own in the server that GLEITZEIT_REDIS_URL
// names.
func benchStore(dir string) eventlog.Options {
	o := eventlog.Options{Engine: eventlog.Engine(os.Getenv("GLEITZEIT_BACKEND"))}
	if o.Engine == eventlog.Redis {
		o.RedisURL = os.Getenv("GLEITZEIT_REDIS_URL") + "?store=" + eventlog.Sum([]byte(dir)).String()[:16]
	}
	return o
}

func newBench(b *testing.B, dir string, o Options) (*eventlog.Log, *Scheduler) {
	b.Helper()
	log, err := eventlog.Open(dir, benchStore(dir))
	if err != nil {
		b.Fatal(err)
	}
	o.Open = openEcho
	s, err := New(log, o)
	if err != nil {
		b.Fatal(err)
	}
	return log, s
}

// rawSync writes and syncs n small records the cheapest way there is.
func rawSync(b *testing.B, f *os.File, n int) time.Duration {
	b.Helper()
	record := make([]byte, 256)
	began := time.Now()
	for range n {
		if _, err := f.Write(record); err != nil {
			b.Fatal(err)
		}
		if err := dataSync(f); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began)
}

func rawFile(b *testing.B) *os.File {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

// BenchmarkChain: one run of ten echo tasks after the other, each step one
// sync; beside it the same number of raw writes with fdatasync.
func BenchmarkChain(b *testing.B) {
	const steps = 11
	w := compile(b, chainYAML(10))
	log, s := newBench(b, b.TempDir(), Options{})
	defer log.Close()
	defer s.Close()
	raw := rawFile(b)
	var ours, theirs time.Duration
	for b.Loop() {
		theirs += rawSync(b, raw, steps)
		began := time.Now()
		id, err := s.Submit(b.Context(), Submission{Workflow: w, Setup: echoSetup})
		if err != nil {
			b.Fatal(err)
		}
		waitEnd(b, b.Context(), log, id)
		ours += time.Since(began)
	}
	perStep := ours.Seconds() * 1000 / float64(b.N*steps)
	perSync := theirs.Seconds() * 1000 / float64(b.N*steps)
	b.ReportMetric(perStep, "ms/step")
	b.ReportMetric(perSync, "ms/fdatasync")
	b.ReportMetric(perStep/(1.5*perSync+0.2), "of-limit")
}

// BenchmarkThroughput: echo tasks per second with many runs of five tasks in
// flight, in turn with a loop that appends the same records in batches of the
// same size.
func BenchmarkThroughput(b *testing.B) {
	for _, flight := range []int{64, 256, 1024} {
		b.Run(fmt.Sprint(flight), func(b *testing.B) { throughput(b, flight) })
	}
}

func throughput(b *testing.B, flight int) {
	w := compile(b, chainYAML(5))
	var ours, theirs time.Duration
	tasks, appends, records := 0, 0, 0
	for b.Loop() {
		runs := max(4096, 8*flight)
		log, s := newBench(b, b.TempDir(), Options{Policy: Policy{Slots: 1 << 20}})
		began := time.Now()
		keepInFlight(b, log, s, w, flight, runs)
		ours += time.Since(began)
		s.Close()
		all := allRecords(b, log)
		size := max(1, len(all)/max(1, int(log.Stats().Appends)))
		appends += int(log.Stats().Appends)
		records += len(all)
		log.Close()
		tasks += 5 * runs
		theirs += appendAll(b, all, size)
	}
	b.ReportMetric(float64(tasks)/ours.Seconds(), "tasks/s")
	b.ReportMetric(float64(tasks)/theirs.Seconds(), "appended-tasks/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "of-append-loop")
	b.ReportMetric(float64(records)/float64(appends), "records/append")
}

// keepInFlight submits runs so that always the same number is in flight.
func keepInFlight(b *testing.B, log *eventlog.Log, s *Scheduler, w *protocols.Workflow, flight, runs int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	free := make(chan struct{}, flight)
	for range flight {
		free <- struct{}{}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		ended := 0
		for rec, err := range log.Follow(ctx, 1) {
			if err != nil {
				b.Error(err)
				return
			}
			if replay.IsEnd(rec.Type) {
				if ended++; ended == runs {
					return
				}
				free <- struct{}{}
			}
		}
	})
	for range flight {
		wg.Go(func() {
			for range runs / flight {
				<-free
				if _, err := s.Submit(ctx, Submission{Workflow: w, Setup: echoSetup}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// appendAll appends the records to a new log, size at a time.
func appendAll(b *testing.B, all []eventlog.Record, size int) time.Duration {
	dir := b.TempDir()
	log, err := eventlog.Open(dir, benchStore(dir))
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	began := time.Now()
	var batch eventlog.Batch
	for len(all) > 0 {
		n := min(size, len(all))
		batch.Reset()
		for _, r := range all[:n] {
			r.Refs = nil // the values aren't copied
			batch.Add(r)
		}
		if _, err := log.Append(&batch); err != nil {
			b.Fatal(err)
		}
		all = all[n:]
	}
	return time.Since(began)
}

// layered is a workflow of tasks in layers of a hundred, each waiting for the
// one above it.
func layered(tasks int) string {
	var b strings.Builder
	b.WriteString("name: layered\ntasks:\n")
	for i := range tasks {
		fmt.Fprintf(&b, "- {id: t%d, method: echo/echo", i)
		if i >= 100 {
			fmt.Fprintf(&b, ", dependencies: [t%d]", i-100)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// BenchmarkBigRun: one run of 20,000 tasks, and the same tasks as 20 runs.
func BenchmarkBigRun(b *testing.B) {
	big, small := compile(b, layered(20_000)), compile(b, layered(1_000))
	var one, many time.Duration
	for b.Loop() {
		one += timeRuns(b, big, 1)
		many += timeRuns(b, small, 20)
	}
	b.ReportMetric(one.Seconds()/float64(b.N), "s/one-run")
	b.ReportMetric(many.Seconds()/float64(b.N), "s/20-runs")
	b.ReportMetric(one.Seconds()/many.Seconds(), "ratio")
}

// BenchmarkForeach: a foreach over 10,000 items, and 10,000 separate tasks.
func BenchmarkForeach(b *testing.B) {
	const n = 10_000
	each := compile(b, "name: each\ntasks:\n- {id: a, method: echo/echo, foreach: ["+numbers(n)+"], parameters: {n: '${item}'}}\n")
	var plain strings.Builder
	plain.WriteString("name: plain\ntasks:\n- {id: one, method: echo/echo, parameters: {n: 1}}\n")
	for i := range n {
		fmt.Fprintf(&plain, "- {id: t%d, method: echo/echo, parameters: {n: '${one.n}'}}\n", i)
	}
	tasks := compile(b, plain.String())
	var ours, theirs time.Duration
	for b.Loop() {
		ours += timeRuns(b, each, 1)
		theirs += timeRuns(b, tasks, 1)
	}
	b.ReportMetric(ours.Seconds()/float64(b.N), "s/foreach")
	b.ReportMetric(theirs.Seconds()/float64(b.N), "s/tasks")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "ratio")
}

// BenchmarkForeachItem: what an item costs in foreaches of more and more items.
func BenchmarkForeachItem(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := compile(b, "name: each\ntasks:\n- {id: a, method: echo/echo, foreach: ["+numbers(n)+"], parameters: {n: '${item}'}}\n")
			var took time.Duration
			for b.Loop() {
				took += timeRuns(b, w, 1)
			}
			b.ReportMetric(took.Seconds()*1e6/float64(b.N*n), "µs/item")
		})
	}
}

func timeRuns(b *testing.B, w *protocols.Workflow, n int) time.Duration {
	log, s := newBench(b, b.TempDir(), Options{Policy: Policy{Slots: 1 << 20}})
	defer log.Close()
	defer s.Close()
	began := time.Now()
	ids := make([]string, n)
	for i := range ids {
		id, err := s.Submit(b.Context(), Submission{Workflow: w, Setup: echoSetup})
		if err != nil {
			b.Fatal(err)
		}
		ids[i] = id
	}
	for _, id := range ids {
		waitEnd(b, b.Context(), log, id)
	}
	return time.Since(began)
}

// BenchmarkMemory: heap in use per live run of five tasks, one of them done.
func BenchmarkMemory(b *testing.B) {
	const runs = 20_000
	w := compile(b, chainYAML(5))
	for b.Loop() {
		s := replay.NewState()
		before := heap()
		var cmd *Submit
		for i := range runs {
			c, err := (&Scheduler{}).submit(Submission{Workflow: w, Setup: echoSetup, Key: fmt.Sprintf("key-%d", i)})
			if err != nil {
				b.Fatal(err)
			}
			cmd = c
			apply(b, s, *cmd)
			apply(b, s, Finish{Run: uint64(i + 1), Attempt: 1, Result: replay.NewValue(json.RawMessage(`{"n":0,"text":"a short result"}`))})
		}
		b.ReportMetric(float64(heap()-before)/runs, "B/run")
		runtime.KeepAlive(s)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// apply decides a command and all that follows, on the state alone.
func apply(b *testing.B, s *replay.State, c Command) {
	now := time.Now().UTC()
	p := Policy{Slots: 1 << 30}
	decided, err := Decide(s, p, now, c)
	if err != nil {
		b.Fatal(err)
	}
	for len(decided) > 0 {
		for _, f := range decided {
			f.Seq = s.Seq + 1
			s.Apply(f)
		}
		decided = Tick(s, p, now)
	}
}

// BenchmarkStart: from opening the store until the first resumed task starts,
// by the number of unfinished runs; with GLEITZEIT_BENCH_PAST=N beside N
// finished ones.
func BenchmarkStart(b *testing.B) {
	past := 0
	fmt.Sscan(os.Getenv("GLEITZEIT_BENCH_PAST"), &past)
	for _, live := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("%d-live-%d-past", live, past), func(b *testing.B) { startUp(b, live, past) })
	}
}

func startUp(b *testing.B, live, past int) {
	dir := b.TempDir()
	generate(b, dir, live, past)
	var took time.Duration
	var read int64
	n := 0
	for b.Loop() {
		began := time.Now()
		log, s := newBench(b, dir, Options{})
		from := log.Last() + 1
		go s.ResumeAll(context.Background(), true, "")
		for rec, err := range log.Follow(b.Context(), from) {
			if err != nil {
				b.Fatal(err)
			}
			if rec.Type == "task.started" {
				break
			}
		}
		took += time.Since(began)
		read += int64(log.Stats().BytesRead)
		n++
		s.Close()
		log.Close()
	}
	b.ReportMetric(took.Seconds()*1000/float64(n), "ms/start")
	b.ReportMetric(float64(read)/float64(n)/1024, "KiB-read")
	b.ReportMetric(bytesOfStore(b, dir)/float64(live+past), "bytes/run")
}

// bytesOfStore is what a store takes when what it doesn't need was cleared away.
func bytesOfStore(b *testing.B, dir string) float64 {
	log, err := eventlog.Open(dir, benchStore(dir))
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	if err := log.Compact(b.Context()); err != nil {
		b.Fatal(err)
	}
	return float64(log.Stats().DiskBytes)
}

// generate writes a store with finished and unfinished runs through the codec.
func generate(b *testing.B, dir string, live, past int) {
	b.Helper()
	f := newForge(b, dir)
	defer f.close()
	w := compile(b, chainYAML(5))
	result := replay.NewValue(json.RawMessage(`{"n":0}`))
	for i := range past + live {
		run := f.submit(w)
		f.do(Finish{Run: run, Task: 0, Attempt: 1, Result: result})
		for task := 1; task < 5 && i < past; task++ {
			f.do(Finish{Run: run, Task: task, Attempt: 1, Result: result})
		}
	}
}

// forge writes a store as a scheduler would, without carrying anything out.
type forge struct {
	b     *testing.B
	log   *eventlog.Log
	state *replay.State
	batch eventlog.Batch
}

func newForge(b *testing.B, dir string) *forge {
	b.Helper()
	log, err := eventlog.Open(dir, benchStore(dir))
	if err != nil {
		b.Fatal(err)
	}
	f := &forge{b: b, log: log, state: replay.NewState()}
	f.do(Start{})
	return f
}

// submit makes a run and returns its number.
func (f *forge) submit(w *protocols.Workflow) uint64 {
	c, err := (&Scheduler{}).submit(Submission{Workflow: w, Setup: echoSetup})
	if err != nil {
		f.b.Fatal(err)
	}
	number := f.state.NextRun
	f.do(*c)
	return number
}

// do carries out a command and all that follows.
func (f *forge) do(c Command) {
	now := time.Now().UTC()
	p := Policy{Slots: 1 << 30}
	decided, err := Decide(f.state, p, now, c)
	for err == nil && len(decided) > 0 {
		for _, fact := range decided {
			fact.Seq = f.state.Seq + 1
			f.state.Apply(fact)
			if err := replay.Encode(fact, &f.batch); err != nil {
				f.b.Fatal(err)
			}
		}
		decided = Tick(f.state, p, now)
	}
	if err != nil {
		f.b.Fatal(err)
	}
	if f.batch.Len() >= 2000 {
		f.flush()
	}
}

func (f *forge) flush() {
	if f.batch.Len() == 0 {
		return
	}
	if _, err := f.log.Append(&f.batch); err != nil {
		f.b.Fatal(err)
	}
	f.batch.Reset()
}

// close writes checkpoints and closes the store.
func (f *forge) close() {
	f.flush()
	saver, err := replay.NewCheckpointer(f.log)
	if err != nil {
		f.b.Fatal(err)
	}
	if _, err := saver.Save(); err != nil {
		f.b.Fatal(err)
	}
	f.log.Close()
}
