//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// chaos is three servers on one Redis, a provider that counts, people who submit
// runs to any of the servers, and somebody who hurts these:
//
//	submitters ──HTTP──► servers (chaosnode_test.go) ──► proxies (chaosproxy_test.go) ──► Redis
//	                        │                                                              │
//	                        └──► provider of two slots, scope: cluster                    watcher
//	                             (counts what is with it)                     (chaoswatch_test.go)
type chaos struct {
	t        *testing.T
	rng      *rand.Rand // of the one who hurts
	nodes    []*chaosNode
	provider chaosProvider
	watch    *chaosWatch
	lease    time.Duration
	lasts    time.Duration
	runs     int
	ends     time.Time // of what hurts

	mu     sync.Mutex
	acked  map[string]string // key → run
	sent   int               // keys that were ever sent
	again  int               // submissions that were repeated at another server
	failed int               // calls that were not answered well
	done   map[string]int    // what was done to servers, and how often
}

// chaosSlots is what the provider is configured with.
const chaosSlots = 2

// TestChaos hurts three servers on one store of 16 partitions for as long as
// GLEITZEIT_CHAOS says: they are killed, stopped for longer than their lease and
// woken up, and cut off from Redis by a proxy that drops, holds, delays and
// reorders. What must hold all the same:
//
//   - every run that was acknowledged ends, once, and completes;
//   - a key, sent again to another server, is the same run, and no run is there
//     that nobody sent;
//   - in each partition the records follow one another, each is written in the
//     newest epoch that there was, and `system verify` finds nothing;
//   - the provider never has more calls than two;
//   - what a dead server had is taken over within its lease and 2 s: measured and
//     told; only hanging is an error.
//
// GLEITZEIT_CHAOS_RUNS is how many runs are submitted (2,000), GLEITZEIT_SEED what
// the injuries are drawn from.
func TestChaos(t *testing.T) {
	lasts, err := time.ParseDuration(os.Getenv("GLEITZEIT_CHAOS"))
	if err != nil {
		t.Skip("GLEITZEIT_CHAOS says for how long: .ci/run and .ci/soak do")
	}
	c := newChaos(t, lasts)
	for _, n := range c.nodes {
		n.start()
	}
	for _, n := range c.nodes {
		n.await()
	}
	c.ends = time.Now().Add(lasts)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { c.submitter(i, 8) })
	}
	c.hurt()
	c.heal()
	all.Wait()
	c.settle()
	c.check()
	c.tell()
}

func newChaos(t *testing.T, lasts time.Duration) *chaos {
	seed, err := strconv.ParseUint(os.Getenv("GLEITZEIT_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("GLEITZEIT_SEED=%d", seed)
	c := &chaos{t: t, rng: rand.New(rand.NewPCG(seed, 0)), lasts: lasts, lease: 4 * time.Second, runs: 2000,
		acked: map[string]string{}, done: map[string]int{}}
	if n, err := strconv.Atoi(os.Getenv("GLEITZEIT_CHAOS_RUNS")); err == nil {
		c.runs = n
	}
	redis := newRedis(t, "--appendfsync", "everysec")
	c.watch = newChaosWatch(t, redis.socket())
	url := serve(t, &c.provider)
	for i := range 3 {
		c.nodes = append(c.nodes, newChaosNode(t, i, newChaosProxy(t, redis.socket()), c.lease, url))
	}
	return c
}

// chaosYAML is what is submitted.
const chaosYAML = `
name: Chaos
inputs: {key: {type: string, required: true}}
tasks:
  - {id: first, method: echo/echo, parameters: {key: "${inputs.key}"}}
  - {id: call, method: llm/chat, parameters: {model: m, prompt: "${first.key}"}, retry: {max_attempts: 20, base_delay: 0.1, max_delay: 2}}
  - {id: last, method: echo/echo, parameters: {said: "${call.response}"}}
outputs: {said: "${last.said}"}
`

// submitter submits every step-th run, spread over the time there is.
func (c *chaos) submitter(first, step int) {
	rng := rand.New(rand.NewPCG(uint64(first), 1))
	began := time.Now()
	for i := first; i < c.runs; i += step {
		time.Sleep(time.Until(began.Add(c.lasts * time.Duration(i) / time.Duration(c.runs))))
		key := fmt.Sprintf("key-%d", i)
		c.count(func() { c.sent++ })
		id := c.submit(rng, key)
		c.count(func() {
			if other := slices.Index(mapValues(c.acked), id); other >= 0 {
				c.t.Errorf("%s has the run of another key, %s", key, id)
			}
			c.acked[key] = id
		})
		if rng.IntN(10) == 0 {
			if again := c.submit(rng, key); again != id {
				c.t.Errorf("%s had run %s, and has %s now", key, id, again)
			}
			c.count(func() { c.again++ })
		}
	}
}

func mapValues(m map[string]string) (all []string) {
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

func (c *chaos) count(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// chaosPatience bounds what has to happen in spite of everything.
const chaosPatience = 4 * time.Minute

// submit sends a run to one server after the other until one says that it has it.
func (c *chaos) submit(rng *rand.Rand, key string) string {
	params := map[string]any{"workflow": chaosYAML, "inputs": map[string]string{"key": key}, "key": key}
	var last error
	for deadline := time.Now().Add(chaosPatience); time.Now().Before(deadline); {
		var said struct{ ID string }
		last = c.nodes[rng.IntN(len(c.nodes))].call("workflow/submit", params, &said)
		var refused *chaosError
		switch {
		case last == nil && said.ID != "":
			return said.ID
		case errors.As(last, &refused) && refused.Code <= -32600 && refused.Code >= -32699:
			c.t.Errorf("submit %s: %v", key, last)
			return ""
		}
		c.count(func() { c.failed++ })
		time.Sleep(time.Duration(50+rng.IntN(200)) * time.Millisecond)
	}
	c.t.Errorf("nobody takes %s: %v", key, last)
	return ""
}

// chaosProvider is a model that has to think, and counts who is with it.
type chaosProvider struct {
	busy, most, calls atomic.Int64
	mu                sync.Mutex
	excess            []string
}

func (p *chaosProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/chat/completions") {
		http.NotFound(w, r)
		return
	}
	var asked struct{ Messages []struct{ Content any } }
	_ = json.NewDecoder(r.Body).Decode(&asked)
	n := p.busy.Add(1)
	defer p.busy.Add(-1)
	if n > chaosSlots {
		p.mu.Lock()
		p.excess = append(p.excess, fmt.Sprintf("%s: %d at once, %v", time.Now().Format(time.TimeOnly+".000"), n, asked.Messages))
		p.mu.Unlock()
	}
	for most := p.most.Load(); n > most && !p.most.CompareAndSwap(most, n); most = p.most.Load() {
	}
	think := time.Duration(1+rand.IntN(30)) * time.Millisecond
	if p.calls.Add(1)%200 == 0 {
		think = 5 * time.Second // its permit has to be kept
	}
	select {
	case <-time.After(think):
	case <-r.Context().Done():
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"model":"m","choices":[{"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`)
}

// hurt hurts servers until the time is over; at least one of them is well.
func (c *chaos) hurt() {
	kinds := []func(*chaosNode){c.kill, c.stop, c.cut, c.hold, c.slow, c.blink}
	var hurting sync.WaitGroup
	defer hurting.Wait()
	room := make(chan struct{}, len(c.nodes)-1)
	for i := 0; time.Now().Before(c.ends); i++ {
		if i%len(kinds) == 0 {
			c.rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
			hurting.Wait() // one dies while all others are well
			c.kill(c.nodes[c.rng.IntN(len(c.nodes))])
		}
		room <- struct{}{}
		n := c.nodes[c.rng.IntN(len(c.nodes))]
		for !n.hurt.CompareAndSwap(false, true) {
			n = c.nodes[c.rng.IntN(len(c.nodes))]
		}
		do := kinds[i%len(kinds)]
		c.watch.another()
		hurting.Go(func() {
			do(n)
			n.hurt.Store(false)
			<-room
		})
		time.Sleep(time.Duration(500+c.rng.IntN(4000)) * time.Millisecond)
	}
}

// did notes what was done, and returns how long, drawn between two times.
func (c *chaos) did(what string, least, most time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done[what]++
	return least + time.Duration(rand.Int64N(int64(most-least)))
}

func (c *chaos) kill(n *chaosNode) {
	away := c.did("killed", 0, 3*c.lease)
	c.watch.dies(n.pid(), c.alone())
	n.kill()
	time.Sleep(away)
	n.start()
	n.await()
}

// stop lets a server wake up when others have its partitions, and now and then
// its permits.
func (c *chaos) stop(n *chaosNode) {
	away := c.did("stopped", c.lease+time.Second, 4*c.lease)
	c.watch.dies(n.pid(), c.alone())
	n.stopFor(away)
}

func (c *chaos) cut(n *chaosNode) { n.proxy.be(proxyCut, c.did("cut off", time.Second, 4*c.lease)) }

func (c *chaos) hold(n *chaosNode) {
	n.proxy.be(proxyHold, c.did("held off", time.Second, 4*c.lease))
}

func (c *chaos) slow(n *chaosNode) { n.proxy.be(proxySlow, c.did("slowed down", c.lease, 4*c.lease)) }

// blink drops all connections once.
func (c *chaos) blink(n *chaosNode) {
	n.proxy.be(proxyCut, c.did("dropped", time.Millisecond, 50*time.Millisecond))
}

// heal lets all servers be well.
func (c *chaos) heal() {
	for _, n := range c.nodes {
		n.await()
	}
}

// settle waits until every acknowledged run has ended.
func (c *chaos) settle() {
	deadline := time.Now().Add(chaosPatience)
	var all sync.WaitGroup
	keys := make(chan string)
	for range 4 {
		all.Go(func() {
			for key := range keys {
				c.ended(key, deadline)
			}
		})
	}
	for key := range c.acked {
		keys <- key
	}
	close(keys)
	all.Wait()
}

// ended waits for the end of a run, and looks at all that happened to it.
func (c *chaos) ended(key string, deadline time.Time) {
	id := c.acked[key]
	var run struct {
		Status, Reason string
		Outputs        map[string]any
	}
	for ; ; time.Sleep(300 * time.Millisecond) {
		err := c.ask("workflow/get", id, &run)
		if err == nil && slices.Contains([]string{"completed", "failed", "cancelled", "timed_out"}, run.Status) {
			break
		}
		if time.Now().After(deadline) {
			c.t.Errorf("%s, run %s, hasn't ended: %s %s (%v)", key, id, run.Status, run.Reason, err)
			return
		}
	}
	if run.Status != "completed" || run.Outputs["said"] != "yes" {
		c.t.Errorf("%s, run %s: %s with %v", key, id, run.Status, run.Outputs)
	}
	var history struct {
		Entries []struct {
			Seq  uint64
			Type string
			Run  string
		}
	}
	if err := c.ask("workflow/history", id, &history); err != nil {
		c.t.Errorf("history of %s: %v", id, err)
		return
	}
	ends, last := 0, uint64(0)
	for _, e := range history.Entries {
		if e.Seq < last {
			c.t.Errorf("history of %s: record %d comes after %d", id, e.Seq, last)
		}
		last = e.Seq
		if e.Type == "workflow.completed" || e.Type == "workflow.failed" || e.Type == "workflow.cancelled" || e.Type == "workflow.timed_out" {
			ends++
		}
	}
	if ends != 1 {
		c.t.Errorf("%s, run %s, has ended %d times", key, id, ends)
	}
}

// ask asks any server that answers.
func (c *chaos) ask(method, id string, result any) (err error) {
	for range 20 {
		if err = c.nodes[rand.IntN(len(c.nodes))].call(method, map[string]string{"id": id}, result); err == nil {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return err
}

// check holds the whole against what must be.
func (c *chaos) check() {
	if n := c.provider.most.Load(); n > chaosSlots {
		c.t.Errorf("the provider had %d calls at once, its slots are %d: %v", n, chaosSlots, c.provider.excess)
	}
	if n := c.listed(); n < len(c.acked) || n > c.sent {
		c.t.Errorf("there are %d runs, %d were acknowledged and %d sent", n, len(c.acked), c.sent)
	}
	for _, problem := range c.watch.problems() {
		c.t.Error(problem)
	}
	for _, took := range c.watch.takeovers(false) {
		if took > c.lease+time.Minute {
			c.t.Errorf("a partition was without an owner for %s", took)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), chaosPatience)
	defer cancel()
	cmd := c.nodes[0].command(ctx, "system", "verify")
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Errorf("gleitzeit system verify: %v\n%s", err, out)
	}
	for _, n := range c.nodes {
		if err := n.end(); err != nil {
			c.t.Error(err)
		}
	}
}

// listed counts the runs of the store.
func (c *chaos) listed() (n int) {
	seen := map[string]bool{}
	params := map[string]any{"limit": 500}
	for {
		var page struct {
			Runs   []struct{ ID string }
			Next   uint64
			Cursor string
		}
		if err := c.nodes[0].call("workflow/list", params, &page); err != nil {
			c.t.Errorf("workflow/list: %v", err)
			return -1
		}
		for _, r := range page.Runs {
			if seen[r.ID] {
				c.t.Errorf("run %s is listed twice", r.ID)
			}
			seen[r.ID] = true
		}
		if page.Next == 0 && page.Cursor == "" || len(page.Runs) == 0 {
			return len(seen)
		}
		params["before"], params["cursor"] = page.Next, page.Cursor
		if page.Cursor == "" {
			delete(params, "cursor")
		}
		if page.Next == 0 {
			delete(params, "before")
		}
	}
}

// tell prints the figures.
func (c *chaos) tell() {
	var what []string
	for name, n := range c.done {
		what = append(what, fmt.Sprintf("%s %d times", name, n))
	}
	slices.Sort(what)
	restarts := 0
	for _, n := range c.nodes {
		restarts += int(n.ended.Load())
	}
	c.t.Logf("%s: servers were %s, and ended by themselves %d times; %d runs acknowledged, %d sent again elsewhere, %d calls refused or lost; "+
		"%d calls at the provider, at most %d at once; %d records in %d partitions, newest epoch %d; lease %s; "+
		"what dead and stopped servers had was taken over: %s; while no other server was hurt: %s",
		c.lasts, strings.Join(what, ", "), restarts, len(c.acked), c.again, c.failed, c.provider.calls.Load(), c.provider.most.Load(),
		c.watch.records(), c.watch.partitions(), c.watch.newest(), c.lease, c.spread(c.watch.takeovers(false)), c.spread(c.watch.takeovers(true)))
}

// spread tells how long takeovers took.
func (c *chaos) spread(took []time.Duration) string {
	if len(took) == 0 {
		return "never"
	}
	slices.Sort(took)
	at := func(share float64) time.Duration {
		return took[int(share*float64(len(took)-1))].Round(10 * time.Millisecond)
	}
	within, _ := slices.BinarySearch(took, c.lease+2*time.Second)
	return fmt.Sprintf("%d partitions, half within %s, 95%% within %s, all within %s, %d within the lease and 2s",
		len(took), at(0.5), at(0.95), at(1), within)
}

// alone tells whether one server at most is hurt.
func (c *chaos) alone() bool {
	hurt := 0
	for _, n := range c.nodes {
		if n.hurt.Load() {
			hurt++
		}
	}
	return hurt <= 1
}
