package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestEndless carries out runs for as long as GLEITZEIT_ENDLESS says, on the
// backend that GLEITZEIT_BACKEND names, with a retention of 1,000 runs: what the
// store takes on disk and how many records it has must not grow any more once
// the retention is reached, and the store must be sound. It prints how both and
// the time that a run takes went on, by tenths.
func TestEndless(t *testing.T) {
	lasts, err := time.ParseDuration(os.Getenv("GLEITZEIT_ENDLESS"))
	if err != nil {
		t.Skip("a part of the long check: GLEITZEIT_ENDLESS=10m")
	}
	env, dir, slack := []string{"GLEITZEIT_BACKEND=" + os.Getenv("GLEITZEIT_BACKEND")}, "", int64(0)
	if os.Getenv("GLEITZEIT_BACKEND") == "redis" {
		redis := newRedis(t, "--appendfsync", "always")
		env, dir = append(env, "GLEITZEIT_REDIS_URL=unix://"+redis.socket()), redis.dir
		slack = 128 << 20 // it rewrites its file when that has 64 MiB and is twice as long as need be
	}
	s := startServerWith(t, "store: store\nretention: {runs: 1000}\n", env...)
	if dir == "" {
		dir = filepath.Join(s.dir, "store")
	}
	l := endless{server: s, dir: dir}
	for range 8 {
		l.working.Go(func() { l.work(t, time.Now().Add(lasts)) })
	}
	var tenths []tenth
	for range 10 {
		tenths = append(tenths, l.watch(t, lasts/10))
	}
	l.working.Wait()
	early, late := peak(tenths[2:5]), peak(tenths[7:])
	if late.disk > early.disk*3/2+slack {
		t.Errorf("on disk it took %d bytes early, and %d late", early.disk, late.disk)
	}
	if late.records > early.records*3/2 {
		t.Errorf("it had %d records early, and %d late", early.records, late.records)
	}
	s.stop(t)
}

// endless is a load that goes on.
type endless struct {
	server  *serverProcess
	dir     string
	working sync.WaitGroup

	mu    sync.Mutex
	times []time.Duration // that runs took, since watch last looked
}

// work carries out one run after the other.
func (l *endless) work(t *testing.T, until time.Time) {
	for noise := make([]byte, 800); time.Now().Before(until); {
		for i := range noise {
			noise[i] = byte(rand.Uint32())
		}
		text, _ := json.Marshal(fmt.Sprintf("name: endless\ntasks:\n- {name: a, method: echo/echo, parameters: {text: %x}}\n"+
			"- {name: b, method: echo/echo, parameters: {text: \"${a.text}\"}}\noutputs: {said: \"${b.text}\"}\n", noise))
		var run struct {
			Status  string
			Outputs map[string]string
		}
		began := time.Now()
		_, _, err := l.server.rpc("workflow/run", fmt.Sprintf(`{"workflow":%s}`, text), &run)
		if err != nil || run.Status != "completed" || run.Outputs["said"] != hex.EncodeToString(noise) {
			t.Errorf("a run: %v, %s %.40s", err, run.Status, run.Outputs["said"])
			return
		}
		l.mu.Lock()
		l.times = append(l.times, time.Since(began))
		l.mu.Unlock()
	}
}

// tenth is how things stood in a tenth of the time: the most that was taken.
type tenth struct {
	disk, records int64
}

// watch looks every second, and prints what it saw.
func (l *endless) watch(t *testing.T, d time.Duration) (most tenth) {
	for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(min(time.Second, d/10)) {
		most = peak([]tenth{most, {treeBytes(l.dir), l.records(t)}})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.times)
	n := len(l.times)
	if n == 0 {
		t.Error("nothing happens")
		return most
	}
	t.Logf("| %d | %.0f | %.1f | %.1f | %.1f | %d |", n, float64(n)/d.Seconds(),
		l.times[n/2].Seconds()*1000, l.times[n*99/100].Seconds()*1000, float64(most.disk)/(1<<20), most.records)
	l.times = l.times[:0]
	return most
}

func peak(of []tenth) (most tenth) {
	for _, one := range of {
		most.disk, most.records = max(most.disk, one.disk), max(most.records, one.records)
	}
	return most
}

// records asks the server how many it has.
func (l *endless) records(t *testing.T) int64 {
	var said struct{ Records int64 }
	if _, _, err := l.server.rpc("system/status", "{}", &said); err != nil {
		t.Error(err)
	}
	return said.Records
}

// treeBytes is what the files of a folder take.
func treeBytes(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // files come and go
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}
