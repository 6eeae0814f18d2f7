package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// life is a sequence of steps that uses everything that writes. Big values make
// Pebble change its files in the midst of it.
func life() (steps []func(*Log) error) {
	appending := func(n int, stream string, size int) func(*Log) error {
		return func(l *Log) error {
			var b Batch
			for i := range n {
				r := rec(stream, fmt.Sprint(i))
				r.Keys = []string{stream}
				if size > 0 {
					r.Refs = []Hash{b.Put(bytes.Repeat([]byte{byte(i), stream[0]}, size/2))}
				}
				b.Add(r)
				b.Add(rec("common", stream))
			}
			_, err := l.Append(&b)
			return err
		}
	}
	deleting := func(stream string) func(*Log) error {
		return func(l *Log) error { return l.Delete(stream) }
	}
	folding := func(l *Log) error {
		marks, err := l.Marks(context.Background(), l.Last())
		if err != nil {
			return err
		}
		return l.Fold(marks)
	}
	saving := func(l *Log) error {
		return l.SaveCheckpoints([]Checkpoint{{"common", l.Last(), []byte("so far")}}, nil)
	}
	return []func(*Log) error{
		appending(1, "a", 0), appending(3, "b", 2000), saving, appending(2, "c", 150_000),
		appending(5, "d", 0), deleting("b"), appending(1, "a", 300_000), saving, deleting("c"),
		appending(2, "b", 0), deleting("a"), folding, appending(1, "e", 10),
		deleting("d"), deleting("b"), folding,
	}
}

// state is everything that can be read from a log, for comparison.
func state(l *Log) (string, error) {
	var sb strings.Builder
	for r, err := range l.Read(0) {
		if err != nil {
			return "", err
		}
		sb.WriteString(brief([]Record{r}))
		for _, h := range r.Refs {
			v, err := l.Value(h)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&sb, "+%d", len(v))
		}
		sb.WriteByte(' ')
	}
	return sb.String(), nil
}

// lifeStates returns the states before the first step and after each.
func lifeStates(t testing.TB) (states []string) {
	l := OpenMemory(Options{})
	defer l.Close()
	for i, step := range append([]func(*Log) error{func(*Log) error { return nil }}, life()...) {
		if err := step(l); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		s, err := state(l)
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, s)
	}
	return states
}

// liveIn lives in a store on fs; half way it closes the store and opens it
// again. done counts the steps that were acknowledged.
func liveIn(fs vfs.FS, fatal func(error), done *atomic.Int64) error {
	steps := life()
	for _, half := range [][]func(*Log) error{steps[:len(steps)/2], steps[len(steps)/2:]} {
		l, err := Open("store", Options{FS: fs, Fatal: fatal})
		if err != nil {
			return err
		}
		for _, step := range half {
			if err := step(l); err != nil {
				return err
			}
			done.Add(1)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// survived opens what a crash left and checks that it is sound, that it has
// all acknowledged steps and at most the one that was under way, whole.
func survived(fs vfs.FS, states []string, done int64) error {
	l, err := Open("store", Options{FS: fs})
	if err != nil {
		return err
	}
	defer l.Close()
	got, err := state(l)
	if err != nil {
		return err
	}
	if got != states[done] && (done+1 == int64(len(states)) || got != states[done+1]) {
		return fmt.Errorf("after %d steps the log has\n%s\nwant\n%s", done, got, states[done])
	}
	r, err := l.Verify(context.Background())
	if err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		return fmt.Errorf("verify: %s", strings.Join(r.Problems, "; "))
	}
	var b Batch
	b.Add(rec("after", "crash"))
	if _, err := l.Append(&b); err != nil {
		return fmt.Errorf("append after the crash: %w", err)
	}
	return nil
}

// TestCrashAtEveryWrite cuts the power before every single call that writes,
// from the making of the store on, with nothing of what was not synced, with
// half of it, and with all of it (a mere kill).
func TestCrashAtEveryWrite(t *testing.T) {
	states := lifeStates(t)
	mem := vfs.NewCrashableMem()
	var (
		done    atomic.Int64
		mu      sync.Mutex
		crashes int
	)
	cut := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		crashes++
		for _, percent := range []int{0, 50, 100} {
			acknowledged := done.Load()
			rng := rand.New(rand.NewPCG(uint64(crashes), 1))
			clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			if err := survived(clone, states, acknowledged); err != nil {
				t.Errorf("crash %d, before %v %s, with %d %% of unsynced data: %v", crashes, op.Kind, op.Path, percent, err)
			}
		}
		return nil
	})
	if err := liveIn(errorfs.Wrap(mem, cut), nil, &done); err != nil {
		t.Fatal(err)
	}
	if crashes < 100 {
		t.Errorf("only %d crashes", crashes)
	}
	t.Logf("%d crashes, %d steps", crashes, done.Load())
}

// TestCrashUnderLoad cuts the power while eight goroutines append.
func TestCrashUnderLoad(t *testing.T) {
	const writers, rounds, batches = 8, 12, 10
	mem := vfs.NewCrashableMem()
	l, err := Open("store", Options{FS: mem})
	if err != nil {
		t.Fatal(err)
	}
	var acked [writers]atomic.Int64
	write := func(w int) {
		var b Batch
		for range batches {
			b.Reset()
			b.Add(rec(fmt.Sprintf("w%d", w), "first"))
			b.Add(rec(fmt.Sprintf("w%d", w), "second"))
			if _, err := l.Append(&b); err != nil {
				t.Error(err)
				return
			}
			acked[w].Add(1)
		}
	}
	for round := range rounds {
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() { write(w) })
		}
		half := int64(round*batches + batches/2)
		for acked[round%writers].Load() < half && !t.Failed() {
			runtime.Gosched()
		}
		var before [writers]int64
		for w := range before {
			before[w] = acked[w].Load()
		}
		cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: round % 2 * 50, RNG: rand.New(rand.NewPCG(uint64(round), 1))}
		crashed := openOn(t, mem.CrashClone(cfg))
		sound(t, crashed)
		for w := range before {
			n := len(all(t, crashed.ReadStream(fmt.Sprintf("w%d", w), 0)))
			if int64(n) < 2*before[w] || n%2 != 0 {
				t.Errorf("crash %d: writer %d has %d records of %d acknowledged batches", round, w, n, before[w])
			}
		}
		wg.Wait()
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
