package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// faultWorkflow has all that writes: retries, outputs, a big value.
const faultWorkflow = `name: fault
tasks:
- {id: a, method: echo/fail, parameters: {times: 1, message: not yet}, retry: {max_attempts: 2, base_delay: 0.001, jitter: false}}
- {id: b, method: echo/echo, parameters: {n: '${a.ok}'}}
- {id: c, method: echo/echo, parameters: {n: 1}, dependencies: [a]}
- {id: d, method: echo/echo, dependencies: [b, c]}
outputs: {b: '${b.n}'}
`

// TestFailingDisk lets every single call that writes fail while a workflow
// runs: only that one, or that one and all after it. Either nobody notices, or
// Fatal is told why; and from what is on the disk then the run is finished on a
// healthy one, with nothing lost that was acknowledged.
func TestFailingDisk(t *testing.T) {
	w := compile(t, faultWorkflow)
	want := finish(t, openOn(t, vfs.NewMem()), w, &calls{})
	for name, hit := range map[string]func(call, index int64) bool{
		"once":     func(call, index int64) bool { return call == index },
		"for good": func(call, index int64) bool { return call >= index },
	} {
		t.Run(name, func(t *testing.T) {
			told, tolerated := 0, 0
			for index := int64(0); ; index++ {
				d := &failingDisk{mem: vfs.NewCrashableMem(), hit: func(call int64) bool { return hit(call, index) }}
				err := d.live(t, w)
				switch {
				case err == nil:
					tolerated++
				case errors.Is(err, errorfs.ErrInjected):
					told++
				default:
					t.Errorf("call %d: the error doesn't tell its cause: %v", index, err)
				}
				d.survived(t, index, w, want)
				if d.calls.Load() <= index {
					break
				}
			}
			t.Logf("%d failures were told, %d tolerated", told, tolerated)
			if told < 20 {
				t.Error("that is too few")
			}
		})
	}
}

// failingDisk is a life on a disk that fails.
type failingDisk struct {
	mem   *vfs.MemFS
	hit   func(call int64) bool
	calls atomic.Int64
	id    atomic.Pointer[string] // of the run, once it was acknowledged
	last  atomic.Uint64          // the last record that was acknowledged
}

// live runs the workflow and returns how that ended. After a Fatal what ran
// stays behind, as in a process that is about to exit.
func (d *failingDisk) live(t *testing.T, w *protocols.Workflow) error {
	end := make(chan error, 10)
	fatal := func(err error) {
		end <- err
		select {}
	}
	go func() { end <- d.run(w, fatal) }()
	select {
	case err := <-end:
		return err
	case <-time.After(time.Minute):
		t.Fatal("it hangs")
		return nil
	}
}

func (d *failingDisk) run(w *protocols.Workflow, fatal func(error)) error {
	fs := errorfs.Wrap(d.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && d.hit(d.calls.Add(1)-1) {
			return errorfs.ErrInjected
		}
		return nil
	}))
	log, err := eventlog.Open("store", eventlog.Options{FS: fs, Fatal: fatal})
	if err != nil {
		return err
	}
	c := &calls{workflow: w}
	s, err := New(log, Options{Open: c.open, Fatal: fatal, CheckpointEvery: 3})
	if err != nil {
		return err
	}
	if err := d.drive(s, log, w); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	return log.Close()
}

// drive submits the workflow and waits for its end, noting what it is told.
func (d *failingDisk) drive(s *Scheduler, log *eventlog.Log, w *protocols.Workflow) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	id, err := s.Submit(ctx, Submission{Workflow: w, Setup: echoSetup, Key: "the-run"})
	if err != nil {
		return err
	}
	d.id.Store(&id)
	for rec, err := range log.Follow(ctx, 1) {
		if err != nil {
			return err
		}
		d.last.Store(uint64(rec.Seq))
		if replay.IsEnd(rec.Type) {
			return nil
		}
	}
	return ctx.Err()
}

// survived goes on from what the failing disk holds, whether or not what was
// never synced is there.
func (d *failingDisk) survived(t *testing.T, index int64, w *protocols.Workflow, want string) {
	t.Helper()
	id, last := d.id.Load(), eventlog.Seq(d.last.Load())
	for _, percent := range []int{0, 100} {
		log := openOn(t, d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(index), 1))}))
		if log.Last() < last {
			t.Fatalf("call %d failed, %d %% kept: %d records of %d acknowledged ones are left", index, percent, log.Last(), last)
		}
		if _, found, err := log.Lookup("the-run"); err != nil || id != nil && !found {
			t.Fatalf("call %d failed, %d %% kept: the run that was acknowledged is lost (%v)", index, percent, err)
		}
		if got := finish(t, log, w, &calls{}); got != want {
			t.Fatalf("call %d failed, %d %% kept: result\n%s\non a healthy disk it is\n%s", index, percent, got, want)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNothingIsSeenBeforeItIsDurable holds up the sync of an append: until it
// is done nobody is answered, no query sees the run and no worker starts.
func TestNothingIsSeenBeforeItIsDurable(t *testing.T) {
	var armed atomic.Bool
	reached, goOn := make(chan struct{}), make(chan struct{})
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if armed.CompareAndSwap(true, false) {
				close(reached)
				<-goOn
			}
		}
		return nil
	}))
	log := openOn(t, fs)
	defer log.Close()
	var called atomic.Int64
	s, err := New(log, Options{Open: provide(func(context.Context, providers.Call) (json.RawMessage, error) {
		called.Add(1)
		return json.RawMessage("1"), nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	waitEnd(t, soon(t), log, submit(t, s, Submission{Workflow: compile(t, oneTask)}))
	cmd, err := s.submit(Submission{Workflow: compile(t, oneTask), Setup: echoSetup})
	if err != nil {
		t.Fatal(err)
	}
	var seen atomic.Int64
	look := func(state *replay.State) { seen.Store(int64(state.Runs())) }
	r := request{command: *cmd, query: look, reply: make(chan reply, 1)}
	armed.Store(true)
	s.inbox <- r
	<-reached
	if len(r.reply) > 0 || seen.Load() > 0 || called.Load() > 1 {
		t.Errorf("before the sync: %d answers, %d runs seen, %d calls", len(r.reply), seen.Load(), called.Load())
	}
	close(goOn)
	if re := <-r.reply; re.err != nil || seen.Load() != 1 {
		t.Errorf("after it: %v, %d runs seen", re.err, seen.Load())
	}
}
