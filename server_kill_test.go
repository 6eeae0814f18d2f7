//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/cli/worker"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// killYAML is a run of three tasks that workers carry out, one after the other.
// A worker may have any of them lost, and tried again, four times.
const killYAML = `name: far
tasks:
- {name: a, method: sum/add, parameters: {n: 1}, on_crash: retry, retry: {max_attempts: 5}}
- {name: b, method: sum/add, parameters: {n: "${a}"}, on_crash: retry, retry: {max_attempts: 5}}
- {name: c, method: sum/add, parameters: {n: "${b}"}, on_crash: retry, retry: {max_attempts: 5}}
outputs: {sum: "${c}"}
`

// TestServerKilled kills a server again and again while workers carry out the
// tasks of many runs: every run that was acknowledged ends once, no task begins
// more often than it may, and who follows has every event once and in order.
//
// GLEITZEIT_SERVER_KILLS says how often (.ci/soak); then 1,000 runs are under way
// and 8 workers connected, else 60 and 3.
func TestServerKilled(t *testing.T) {
	kills, runs, workers := 3, 60, 3
	if n, err := strconv.Atoi(os.Getenv("GLEITZEIT_SERVER_KILLS")); err == nil {
		kills, runs, workers = n, 1000, 8
	}
	k := startKilled(t)
	var called atomic.Int64
	for i := range workers {
		k.work(fmt.Sprint("worker", i), &called)
	}
	var followers []*killFollower
	for range 3 {
		followers = append(followers, k.follow())
	}
	began := time.Now()
	for i := range kills {
		k.fill(runs)
		time.Sleep(time.Duration(rand.N(2000)) * time.Millisecond)
		k.kill()
		k.start()
		t.Logf("%6.1fs: killed %d times; %d runs acknowledged, %d calls", time.Since(began).Seconds(), i+1, len(k.acknowledged), called.Load())
	}
	k.drain()
	k.check(followers)
	t.Logf("%d kills, %d runs of 3 tasks acknowledged, %d calls of workers, %.0f s", kills, len(k.acknowledged), called.Load(), time.Since(began).Seconds())
}

// killed is a server that is killed and started again.
type killed struct {
	t      *testing.T
	dir    string
	port   int
	cmd    *exec.Cmd
	client http.Client
	ctx    context.Context

	acknowledged map[string]string // run by key
}

func startKilled(t *testing.T) *killed {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &killed{t: t, dir: t.TempDir(), port: free.Addr().(*net.TCPAddr).Port, client: http.Client{Timeout: 10 * time.Second}, acknowledged: map[string]string{}}
	free.Close()
	var stop context.CancelFunc
	k.ctx, stop = context.WithCancel(t.Context())
	config := "crash_limit: 0\nproviders:\n  sums: {kind: remote, protocols: [sum/v1], grace: 30s}\n"
	if err := os.WriteFile(filepath.Join(k.dir, "gleitzeit.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		k.kill()
	})
	k.start()
	return k
}

// start returns when the server is ready.
func (k *killed) start() {
	k.t.Helper()
	cmd := exec.Command("gleitzeit", "server", "start", "--port", strconv.Itoa(k.port))
	cmd.Dir = k.dir
	cmd.Env = []string{"HOME=" + k.dir, "PATH=" + os.Getenv("PATH")}
	log, err := os.OpenFile(filepath.Join(k.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		k.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.cmd = cmd
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if r, err := k.client.Get(k.url() + "/readyz"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(filepath.Join(k.dir, "log"))
			k.t.Fatalf("the server isn't ready:\n%s", said)
		}
	}
}

// kill is SIGKILL.
func (k *killed) kill() {
	_ = k.cmd.Process.Kill()
	_ = k.cmd.Wait()
}

func (k *killed) url() string { return fmt.Sprintf("http://127.0.0.1:%d", k.port) }

// call makes a call over HTTP.
func (k *killed) call(method string, params, result any) error {
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	r, err := k.client.Post(k.url()+"/rpc", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	var answer struct {
		Result json.RawMessage
		Error  *protocols.Error
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Error != nil {
		return answer.Error
	}
	return json.Unmarshal(answer.Result, result)
}

// live is how many runs have not ended.
func (k *killed) live() (n int) {
	var status server.StatusResult
	if err := k.call(server.SystemStatus, map[string]any{}, &status); err != nil {
		k.t.Fatal(err)
	}
	for _, count := range status.Runs {
		n += count
	}
	return n
}

// fill submits until so many runs are under way. Whatever isn't acknowledged is
// submitted again under its key.
func (k *killed) fill(runs int) {
	var mu sync.Mutex
	var submitting sync.WaitGroup
	missing := max(0, runs-k.live())
	next := make(chan string, missing)
	for i := range missing {
		next <- fmt.Sprintf("key-%d-%d", len(k.acknowledged), i)
	}
	close(next)
	for range 8 {
		submitting.Go(func() {
			for key := range next {
				var made server.SubmitResult
				if err := k.call(server.WorkflowSubmit, map[string]any{"workflow": killYAML, "key": key}, &made); err != nil {
					k.t.Error(err)
					return
				}
				mu.Lock()
				k.acknowledged[key] = made.ID
				mu.Unlock()
			}
		})
	}
	submitting.Wait()
}

// work connects a worker, for as long as the test lasts.
func (k *killed) work(name string, called *atomic.Int64) {
	over := make(chan error, 1)
	go func() {
		over <- worker.Run(k.ctx, worker.Options{Server: k.url(), Name: name, Slots: 16,
			Offers: []providers.WorkerOffer{{Protocol: "sum/v1", Methods: []*protocols.Method{{Name: "sum/add", Parameters: json.RawMessage(`{"type":"object"}`)}}}},
			Do: func(ctx context.Context, c worker.Call) (json.RawMessage, error) {
				called.Add(1)
				var p struct{ N int }
				if err := json.Unmarshal(c.Parameters, &p); err != nil {
					return nil, err
				}
				time.Sleep(time.Duration(5+rand.N(45)) * time.Millisecond)
				return json.Marshal(p.N + 1)
			}})
	}()
	k.t.Cleanup(func() {
		if err := <-over; err != nil {
			k.t.Errorf("%s: %v", name, err)
		}
	})
}

// killFollower follows all runs, over all the server's lives.
type killFollower struct {
	mu    sync.Mutex
	seqs  []uint64
	ends  map[string]int // by run
	began map[string]int // attempts by run and task, the highest number
	twice []string
}

func (k *killed) follow() *killFollower {
	store, err := client.Open(k.ctx, client.Options{Server: k.url(), Patience: time.Minute})
	if err != nil {
		k.t.Fatal(err)
	}
	f := &killFollower{ends: map[string]int{}, began: map[string]int{}}
	over := make(chan error, 1)
	go func() { over <- store.Follow(k.ctx, "", client.Follower{Watch: true, Entry: f.take}) }()
	k.t.Cleanup(func() {
		if err := <-over; err != nil && !errors.Is(err, context.Canceled) {
			k.t.Errorf("a follower: %v", err)
		}
		_ = store.Close(context.Background())
	})
	return f
}

func (f *killFollower) take(e replay.Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seqs = append(f.seqs, uint64(e.Seq))
	switch v := e.Event.(type) {
	case *replay.WorkflowEnded:
		f.ends[e.Run]++
		if v.Status != replay.Completed {
			f.twice = append(f.twice, fmt.Sprintf("run %s is %s", e.Run, v.Status))
		}
	case *replay.TaskStarted:
		task := e.Run + " " + e.Task
		if v.Attempt != f.began[task]+1 {
			f.twice = append(f.twice, fmt.Sprintf("%s: attempt %d follows %d", task, v.Attempt, f.began[task]))
		}
		f.began[task] = v.Attempt
	}
}

// drain waits until all runs have ended.
func (k *killed) drain() {
	for deadline := time.Now().Add(5 * time.Minute); k.live() > 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			k.t.Fatalf("%d runs don't end", k.live())
		}
	}
}

// check holds what happened against what must be.
func (k *killed) check(followers []*killFollower) {
	var want []uint64
	for key, id := range k.acknowledged {
		var again server.SubmitResult
		if err := k.call(server.WorkflowSubmit, map[string]any{"workflow": killYAML, "key": key}, &again); err != nil || again.ID != id {
			k.t.Fatalf("%s was run %s, and is %s now (%v)", key, id, again.ID, err)
		}
		var h server.HistoryResult
		if err := k.call(server.WorkflowHistory, map[string]any{"id": id}, &h); err != nil {
			k.t.Fatal(err)
		}
		for _, e := range h.Entries {
			want = append(want, uint64(e.Seq))
		}
		var v replay.RunView
		if err := k.call(server.WorkflowGet, map[string]any{"id": id}, &v); err != nil || string(v.Outputs) != `{"sum":4}` {
			k.t.Errorf("run %s came to %s (%v)", id, v.Outputs, err)
		}
	}
	slices.Sort(want)
	for i, f := range followers {
		k.until(fmt.Sprintf("follower %d has heard of the last event", i), func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return len(f.seqs) >= len(want)
		})
		f.mu.Lock()
		if !slices.Equal(f.seqs, want) {
			k.t.Errorf("follower %d: %d events, in order: %v; the histories have %d", i, len(f.seqs), slices.IsSorted(f.seqs), len(want))
		}
		for _, what := range f.twice {
			k.t.Error(what)
		}
		for _, id := range k.acknowledged {
			if f.ends[id] != 1 {
				k.t.Errorf("run %s has ended %d times", id, f.ends[id])
			}
		}
		for task, attempts := range f.began {
			if attempts > 5 {
				k.t.Errorf("%s was begun %d times", task, attempts)
			}
		}
		f.mu.Unlock()
	}
}

func (k *killed) until(what string, is func() bool) {
	k.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			k.t.Fatalf("it never comes: %s", what)
		}
	}
}
