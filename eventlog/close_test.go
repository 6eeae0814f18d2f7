package eventlog

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
)

func TestClose(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		add(t, l, rec("a", "1"))
		for range 2 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		var b Batch
		b.Add(rec("a", "2"))
		_, appendErr := l.Append(&b)
		_, valueErr := l.Value(Hash{})
		_, _, headErr := l.Head("a")
		_, _, lookErr := l.Lookup("a")
		_, _, checkErr := l.Checkpoint("a")
		_, verifyErr := l.Verify(t.Context())
		errs := []error{
			appendErr, valueErr, headErr, lookErr, checkErr, verifyErr,
			l.Delete("a"), l.SaveCheckpoints(nil, nil),
		}
		for _, err := range l.Read(0) {
			errs = append(errs, err)
		}
		for _, err := range l.Follow(t.Context(), 0) {
			errs = append(errs, err)
		}
		for _, err := range l.Streams("", false, "") {
			errs = append(errs, err)
		}
		for _, err := range l.Checkpoints("") {
			errs = append(errs, err)
		}
		for i, err := range errs {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("call %d: %v", i, err)
			}
		}
		if len(errs) != 12 {
			t.Errorf("%d answers", len(errs))
		}
		_ = l.Stats()
	})
}

// Nothing of a closed log runs on: no follower, no goroutine of Pebble's.
func TestCloseLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l, err := Open("store", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, rec("a", "1"))
	go func() {
		for range l.Follow(context.Background(), 0) {
		}
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}

// Close does not wait until Verify is through, and Verify says so.
func TestCloseUnderVerify(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		add(t, l, rec("a", "1"))
		hold := &slowView{store: l.store, inside: make(chan struct{}), goOn: make(chan struct{})}
		l.store = hold
		verified := make(chan error)
		go func() {
			_, err := l.Verify(context.Background())
			verified <- err
		}()
		<-hold.inside
		closed := make(chan error)
		go func() { closed <- l.Close() }()
		<-l.ended
		select {
		case <-closed:
			t.Error("Close does not wait for Verify's view")
		default:
		}
		close(hold.goOn)
		if err := <-verified; !errors.Is(err, ErrClosed) {
			t.Errorf("Verify: %v", err)
		}
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// slowView takes its time to make a view.
type slowView struct {
	store
	inside, goOn chan struct{}
}

func (s *slowView) view() (store, error) {
	close(s.inside)
	<-s.goOn
	return s.store.view()
}

// Verify looks at one moment, whatever is appended and deleted meanwhile.
func TestVerifyUnderLoad(t *testing.T) {
	onEach(t, func(t *testing.T, l *Log, _ func() *Log) {
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				var b Batch
				r := rec(string(rune('a'+i%5)), "x")
				r.Refs = []Hash{b.Put([]byte{byte(i % 3)})}
				r.Keys = []string{string(rune('a' + i%4))}
				b.Add(r)
				if _, err := l.Append(&b); err != nil {
					t.Error(err)
				}
				if i%7 == 0 {
					if err := l.Delete(r.Stream); err != nil {
						t.Error(err)
					}
				}
			}
		}()
		func() {
			defer func() { close(stop); <-done }()
			for l.Last() < 200 {
				sound(t, l)
			}
		}()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Verify(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Verify with a context that has ended: %v", err)
		}
	})
}
