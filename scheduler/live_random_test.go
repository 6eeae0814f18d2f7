package scheduler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// TestRandomLives runs whole schedulers, some lives on one log after the
// other, with callers that do what they like and a provider that does what it
// shouldn't. Time is that of a bubble, in which a deadlock or a goroutine left
// behind is a failure by itself.
func TestRandomLives(t *testing.T) {
	seeds(t, 30, func(t *testing.T, seed uint64) (records int) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed, time.Second)
			log := eventlog.OpenMemory(eventlog.Options{})
			for range 3 {
				if w.rng.IntN(2) == 0 {
					log = w.die(log)
				} else {
					w.live(log, w.mischief)
				}
			}
			w.live(log, w.finish)
			records = w.check(log)
			log.Close()
		})
		return records
	})
}

// TestRandomCrashes does so on Pebble and in real time, and goes on from what a
// crash at a random moment leaves of the disk.
func TestRandomCrashes(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	seeds(t, 6, func(t *testing.T, seed uint64) int {
		w := newWorld(t, seed, 50*time.Microsecond)
		fs := vfs.NewCrashableMem()
		for range 3 {
			log := openOn(t, fs)
			w.live(log, func(s *Scheduler) {
				var crash sync.WaitGroup
				crash.Go(func() { fs = w.crash(fs) })
				w.mischief(s)
				crash.Wait()
			})
			w.accepted = w.accepted[:w.safe]
			close(w.provider.release)
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
		}
		log := openOn(t, fs)
		w.live(log, w.finish)
		close(w.provider.release)
		defer log.Close()
		return w.check(log)
	})
}

// crash returns the disk as a crash at some moment of a life leaves it. What
// was acknowledged before must be there.
func (w *world) crash(fs *vfs.MemFS) *vfs.MemFS {
	time.Sleep(time.Duration(w.roll(500)) * w.tick)
	w.lock.Lock()
	defer w.lock.Unlock()
	w.safe = len(w.accepted)
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: w.rng.IntN(3) * 50, RNG: w.rng})
}

// die lives one life that a crash ends at some moment, and returns the log as it
// was then.
func (w *world) die(log *eventlog.Log) *eventlog.Log {
	var left *eventlog.Log
	var keys map[string]bool
	w.live(log, func(s *Scheduler) {
		var crash sync.WaitGroup
		crash.Go(func() {
			time.Sleep(time.Duration(w.roll(100)) * w.tick)
			w.lock.Lock()
			defer w.lock.Unlock()
			left, keys, w.safe = copyLog(w.t, log), maps.Clone(w.keys), len(w.accepted)
		})
		w.mischief(s)
		crash.Wait()
	})
	w.accepted, w.keys = w.accepted[:w.safe], keys
	log.Close()
	return left
}

// world is what schedulers live in.
type world struct {
	t        *testing.T
	seed     uint64
	lock     sync.Mutex // of all below
	rng      *rand.Rand
	tick     time.Duration
	docs     generator
	provider *unruly
	accepted []string // ids of the runs that were acknowledged
	made     int      // documents
	safe     int      // how many of them a crash may not lose
	policy   Policy
	// In a bubble alone, where no crash lets anything happen a second time:
	keys map[string]bool // run, task, attempt and idempotency key of each call
}

func newWorld(t *testing.T, seed uint64, tick time.Duration) *world {
	w := &world{t: t, seed: seed, tick: tick, rng: rand.New(rand.NewPCG(seed, 2)), keys: map[string]bool{}}
	w.docs = generator{rng: w.rng, tick: tick}
	w.policy = Policy{Slots: 1 + w.rng.IntN(8), CrashLimit: w.rng.IntN(4)}
	return w
}

func (w *world) roll(n int) int {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.rng.IntN(n)
}

// live runs one scheduler on the log, from New to Close.
func (w *world) live(log *eventlog.Log, what func(*Scheduler)) {
	w.provider = &unruly{rng: rand.New(rand.NewPCG(w.seed, w.rng.Uint64())), tick: w.tick, release: make(chan struct{})}
	s, err := New(log, Options{Policy: w.policy, Open: provide(w.noted(w.provider)), Grace: 10 * w.tick, CheckpointEvery: 1 + w.rng.IntN(20)})
	if err != nil {
		w.t.Fatalf("seed %d: %v", w.seed, err)
	}
	what(s)
	if err := s.Close(); err != nil {
		w.t.Errorf("seed %d: close: %v", w.seed, err)
	}
	if _, err := s.Submit(context.Background(), w.workflow()); !errors.Is(err, ErrClosed) {
		w.t.Errorf("seed %d: after Close: %v", w.seed, err)
	}
	if w.bubble() {
		close(w.provider.release)
		synctest.Wait()
	}
}

func (w *world) bubble() bool { return w.tick == time.Second }

// noted calls the provider and notes the call's key.
func (w *world) noted(u *unruly) func(context.Context, providers.Call) (json.RawMessage, error) {
	return func(ctx context.Context, c providers.Call) (json.RawMessage, error) {
		w.lock.Lock()
		_, key, _ := strings.Cut(c.Key, "-") // without the store's own
		w.keys[fmt.Sprintf("%s %s %d %s", c.Run, c.Task, c.Attempt, key)] = true
		w.lock.Unlock()
		if got := hidden(c.Parameters); got != "" && !strings.Contains(got, "s3cret") || got == "" && bytes.Contains(c.Parameters, []byte("s3cret")) {
			w.t.Errorf("seed %d: a call with %s", w.seed, c.Parameters)
		}
		return u.call(ctx, c)
	}
}

// hidden is the parameter with a secret, if there is one.
func hidden(parameters json.RawMessage) string {
	var p struct{ Hidden string }
	_ = json.Unmarshal(parameters, &p)
	return p.Hidden
}

var lifeSetup = replay.Setup{Providers: []replay.ProviderSlots{
	{Name: "fast", Protocol: "echo/v1", Slots: 4}, {Name: "slow", Protocol: "echo/v1", Slots: 1}}}

// mischief lets callers come and go; at the end some are still there.
func (w *world) mischief(s *Scheduler) {
	if err := s.Query(context.Background(), func(*replay.State) {}); err != nil {
		w.t.Errorf("seed %d: %v", w.seed, err)
	}
	var callers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		callers.Go(func() {
			for range 10 + w.roll(20) {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(w.roll(30)) * w.tick / 4):
				}
				w.call(s)
			}
		})
	}
	switch w.roll(3) {
	case 0:
		callers.Wait()
	case 1:
		w.drain(s)
	default:
		time.Sleep(time.Duration(w.roll(60)) * w.tick)
		s.Close()
	}
	close(stop)
	callers.Wait()
}

// drain waits until nothing runs; no attempt starts any more.
func (w *world) drain(s *Scheduler) {
	time.Sleep(time.Duration(w.roll(60)) * w.tick)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(w.roll(1000))*w.tick)
	defer cancel()
	switch err := s.Drain(ctx); {
	case errors.Is(err, context.DeadlineExceeded): // something hangs
	case err != nil:
		w.t.Errorf("seed %d: drain: %v", w.seed, err)
	default:
		s.Query(ctx, func(state *replay.State) {
			if s.started && state.Running > 0 {
				w.t.Errorf("seed %d: drained, and %d attempts run", w.seed, state.Running)
			}
		})
	}
}

// call asks the scheduler for something.
func (w *world) call(s *Scheduler) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if w.roll(10) == 0 {
		cancel()
	}
	run := uint64(1 + w.roll(30))
	var err error
	switch w.roll(19) {
	case 0, 1, 2, 3:
		err = w.submit(ctx, s)
	case 4:
		err = s.Cancel(ctx, run, "anna")
	case 5:
		err = s.Interrupt(ctx, run, "anna", w.roll(2) == 0)
	case 6:
		err = s.Resume(ctx, Resume{Run: run, Explicit: w.roll(2) == 0})
	case 7:
		_, err = s.ResumeAll(ctx, w.roll(2) == 0, "")
		if errors.As(err, new(*protocols.Error)) && !errors.Is(err, ErrClosed) {
			w.t.Errorf("seed %d: resume all: %v", w.seed, err)
		}
	case 8:
		_, cancel := s.Watch("")
		cancel()
	case 9:
		err = s.Pause(ctx, run, "anna")
	case 10:
		err = s.Unpause(ctx, Unpause{Run: run, By: "anna"})
	case 11, 12:
		err = s.Signal(ctx, Signal{Run: run, Name: []string{"x", "y"}[w.roll(2)], Data: replay.NewValue(json.RawMessage(`{"ok":true}`)), By: "anna"})
	case 13, 14:
		c := Approve{Run: run, Task: w.roll(8) - 1, Approved: w.roll(3) > 0, By: "anna"}
		if w.roll(2) == 0 {
			c.Data, c.Fields = json.RawMessage(`{"more":"than asked"}`), map[string]string{"said": "no"}
		}
		err = s.Approve(ctx, c)
	case 15:
		w.answer(ctx, s, run)
	case 16:
		err = s.Offer(ctx, run, someSecrets(w.roll))
	case 17:
		err = s.Retry(ctx, Again{Run: run})
	default:
		err = s.Query(ctx, func(state *replay.State) {
			if err := state.CheckIndexes(); err != nil {
				w.t.Errorf("seed %d: %v", w.seed, err)
			}
		})
	}
	w.expected(err)
}

// expected fails on errors that are nobody's fault.
func (w *world) expected(err error) {
	var e *protocols.Error
	switch {
	case err == nil, errors.Is(err, ErrClosed), errors.Is(err, context.Canceled):
	case errors.As(err, &e) && (e.Code == protocols.WorkflowNotFound || e.Code == protocols.WorkflowInvalidState ||
		e.Code == protocols.InvalidRequest || e.Code == protocols.InvalidParams):
	default:
		w.t.Errorf("seed %d: %v", w.seed, err)
	}
}

// workflow makes a submission of any document.
func (w *world) workflow() Submission {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.made++
	w.docs.now = time.Now()
	sub, err := w.docs.workflow(fmt.Sprintf("w%d", w.made), w.rng.IntN(3))
	if err != nil {
		w.t.Errorf("seed %d: %v", w.seed, err)
	}
	sub.Setup = lifeSetup
	return sub
}

func (w *world) submit(ctx context.Context, s *Scheduler) error {
	sub := w.workflow()
	sub.Secrets = someSecrets(w.roll)
	if w.roll(4) == 0 {
		sub.Key = fmt.Sprintf("key%d", w.roll(4))
	}
	id, err := s.Submit(ctx, sub)
	if err == nil {
		w.lock.Lock()
		w.accepted = append(w.accepted, id)
		w.lock.Unlock()
	}
	return err
}

// finish takes all runs on until they have ended.
func (w *world) finish(s *Scheduler) {
	w.provider.mu.Lock()
	w.provider.calm = true
	w.provider.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second+10_000*w.tick)
	defer cancel()
	for {
		runs, err := s.ResumeAll(ctx, true, "")
		if err != nil {
			w.t.Fatalf("seed %d: %v", w.seed, err)
		}
		live := 0
		err = s.Query(ctx, func(state *replay.State) {
			live = state.Runs()
			state.Each(func(r *replay.Run) { runs = append(runs, r.Number) })
		})
		if err != nil {
			w.t.Fatalf("seed %d: %v", w.seed, err)
		}
		if live == 0 {
			return
		}
		for _, n := range runs {
			w.unblock(ctx, s, n)
		}
		time.Sleep(w.tick)
	}
}

// unblock gives a run what it says it waits for.
func (w *world) unblock(ctx context.Context, s *Scheduler, run uint64) {
	var status replay.Status
	var kind string
	approvals := []int{}
	w.expected(s.Query(ctx, func(state *replay.State) {
		r := state.Run(run)
		if r == nil {
			return
		}
		status, kind, _ = r.Stand()
		for i, t := range r.Tasks {
			if t.Status == replay.TaskWaits && t.Wait.Kind == replay.WaitApproval || len(r.Asks(i)) > 0 {
				approvals = append(approvals, i)
			}
		}
	}))
	switch {
	case status == replay.Paused:
		w.expected(s.Unpause(ctx, Unpause{Run: run, By: "anna"}))
	case kind == "secret":
		w.expected(s.Offer(ctx, run, testSecrets))
	case kind == "signal":
		for _, name := range []string{"x", "y"} {
			w.expected(s.Signal(ctx, Signal{Run: run, Name: name}))
		}
	case kind == "approval":
		for _, task := range approvals {
			w.expected(s.Approve(ctx, Approve{Run: run, Task: task, Approved: w.roll(2) == 0}))
		}
	case kind == "answer":
		w.answer(ctx, s, run)
	}
}

// answer decides what is in doubt.
func (w *world) answer(ctx context.Context, s *Scheduler, run uint64) {
	answers := map[int]protocols.OnCrash{}
	s.Query(ctx, func(state *replay.State) {
		if r := state.Run(run); r != nil {
			for i, t := range r.Tasks {
				if t.Status == replay.TaskDoubtful {
					answers[i] = []protocols.OnCrash{protocols.CrashRetry, protocols.CrashFail, protocols.CrashSkip}[w.roll(3)]
				}
			}
		}
	})
	if len(answers) > 0 {
		w.expected(s.Resume(ctx, Resume{Run: run, Explicit: true, Answers: answers}))
	}
}

// check holds all that has happened against the laws, and returns how much
// that was.
func (w *world) check(log *eventlog.Log) (records int) {
	u := newUmpire(log.Value)
	u.allow(w.policy)
	if w.bubble() {
		u.grace = 10 * w.tick
	}
	codec := replay.NewCodec(log.Value)
	keys := map[string]bool{}
	state, then := replay.NewState(), map[eventlog.Seq]string{}
	for rec, err := range log.Read(1) {
		if err != nil {
			w.t.Fatal(err)
		}
		f, err := decode(codec, rec)
		if err != nil {
			w.t.Fatal(err)
		}
		if e, ok := f.Event.(*replay.TaskStarted); ok && u.runs[f.Run] != nil {
			keys[keyOf(u.runs[f.Run], f.Run, e)] = true
		}
		if err := u.fact(f); err != nil {
			w.t.Fatalf("seed %d: record %d: %v", w.seed, rec.Seq, err)
		}
		w.checkSecrets(log, rec)
		if state.Apply(f); w.rng.IntN(100) == 0 {
			then[rec.Seq] = dump(w.t, state)
		}
		records++
	}
	for key := range w.keys {
		if w.bubble() && !keys[key] {
			w.t.Errorf("seed %d: the wrong key, or none that was to be had: %s", w.seed, key)
		}
	}
	for _, id := range w.accepted {
		if number, _ := replay.NumberOf(id); u.ended[number] == nil {
			w.t.Errorf("seed %d: run %s was accepted: %+v", w.seed, id, u.runs[number])
		}
	}
	if loaded, err := replay.Load(log); err != nil || loaded.Runs() > 0 {
		w.t.Errorf("seed %d: %v, %d runs live", w.seed, err, loaded.Runs())
	}
	for seq, want := range then {
		past, err := replay.At(log, seq)
		if err != nil {
			w.t.Fatal(err)
		}
		if got := dump(w.t, past); got != want {
			w.t.Fatalf("seed %d: the state after record %d was\n%s\nthe log says\n%s", w.seed, seq, want, got)
		}
	}
	return records
}

// checkSecrets looks for secrets in a record and its values.
func (w *world) checkSecrets(log *eventlog.Log, rec eventlog.Record) {
	texts := [][]byte{rec.Data}
	for _, h := range rec.Refs {
		value, err := log.Value(h)
		if err != nil {
			w.t.Fatal(err)
		}
		texts = append(texts, value)
	}
	for _, text := range texts {
		if bytes.Contains(text, []byte("s3cret")) {
			w.t.Fatalf("seed %d: record %d has a secret: %s", w.seed, rec.Seq, text)
		}
	}
}

// decode reads a record, also one that is of no run.
func decode(c *replay.Codec, rec eventlog.Record) (replay.Fact, error) {
	f, found, err := c.Decode(rec)
	if err != nil || found {
		return f, err
	}
	f = replay.Fact{Seq: rec.Seq, At: rec.Time, Event: new(replay.CacheStored)}
	if rec.Type == (*replay.KeyTaken)(nil).Type() {
		f.Event = new(replay.KeyTaken)
	}
	return f, json.Unmarshal(rec.Data, f.Event)
}

// keyOf is the key that a provider should get for an attempt that is about to
// start: another one after a known outcome alone, and for each list of items.
func keyOf(m *match, run uint64, e *replay.TaskStarted) string {
	t := m.tasks[e.Task]
	task := strconv.Itoa(e.Task)
	if t.of > 0 {
		task = fmt.Sprintf("%d.%d.%d", t.of-1, m.tasks[t.of-1].round, e.Task-m.tasks[t.of-1].first)
	}
	return fmt.Sprintf("%s %s %d %d-%s-%d", m.id, m.name(e.Task), e.Attempt, run, task, t.attempts+1-t.uncounted)
}
