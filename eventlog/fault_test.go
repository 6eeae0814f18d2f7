package eventlog

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestFailingDisk lets every single call that writes fail, one after the other:
// only that one, or that one and all after it. The program must get an error
// that tells, or Fatal; and on a healthy disk everything acknowledged is there.
func TestFailingDisk(t *testing.T) {
	states := lifeStates(t)
	for _, kind := range []struct {
		name string
		hit  func(call, index int64) bool
	}{
		{"once", func(call, index int64) bool { return call == index }},
		{"for good", func(call, index int64) bool { return call >= index }},
	} {
		t.Run(kind.name, func(t *testing.T) {
			var told, tolerated int
			for index := int64(0); ; index++ {
				f := failing{hit: func(call int64) bool { return kind.hit(call, index) }}
				err := f.live(t)
				if f.calls.Load() <= index {
					if err != nil {
						t.Errorf("nothing failed, but: %v", err)
					}
					break
				}
				switch {
				case err == nil:
					tolerated++
				case errors.Is(err, errorfs.ErrInjected):
					told++
				default:
					t.Errorf("call %d: the error does not tell its cause: %v", index, err)
				}
				for _, percent := range []int{0, 100} {
					done := f.done.Load()
					cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(index), 1))}
					if err := survived(f.mem.CrashClone(cfg), states, done); err != nil {
						t.Errorf("call %d failed (%v), %d %% of unsynced data kept: %v", index, err, percent, err)
					}
				}
			}
			t.Logf("%d failures were told, %d tolerated", told, tolerated)
			if told < 50 {
				t.Error("that is too few")
			}
		})
	}
}

// failing is a life on a disk that fails.
type failing struct {
	hit   func(call int64) bool
	mem   *vfs.MemFS
	calls atomic.Int64
	done  atomic.Int64
}

// live returns how that life ended. After a Fatal the goroutines stay behind,
// as a process does that is about to exit.
func (f *failing) live(t *testing.T) error {
	f.mem = vfs.NewCrashableMem()
	fs := errorfs.Wrap(f.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && f.hit(f.calls.Add(1)-1) {
			return errorfs.ErrInjected
		}
		return nil
	}))
	end := make(chan error, 10)
	fatal := func(err error) {
		end <- err
		select {}
	}
	go func() { end <- liveIn(fs, fatal, &f.done) }()
	select {
	case err := <-end:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the log hangs")
		return nil
	}
}
