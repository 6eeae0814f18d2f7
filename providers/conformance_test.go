//go:build unix

package providers

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gleitzeit/protocols"
)

// This file holds every kind of provider to the contract of Provider. What the
// kinds are asked is in conformers_test.go.

func TestConformance(t *testing.T) {
	needPython(t)
	all := conformers(t)
	for kind := range kindTable() {
		if _, tested := all[kind]; !tested {
			t.Errorf("kind %s is not held to the contract: give it a row in conformers_test.go", kind)
		}
	}
	for kind, c := range all {
		t.Run(kind, func(t *testing.T) {
			conform(t, c)
			conformDown(t, c)
		})
	}
}

// conform makes every promise be kept, and looks at what is left behind.
func conform(t *testing.T, c conformer) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	before, routines := leftovers(t), goleak.IgnoreCurrent()
	s, err := Open(c.config, Options{Env: conformEnvironment, Self: filterRole(), Workers: c.workers})
	if err != nil {
		t.Fatal(err)
	}
	if c.shrink != nil {
		c.shrink(t, s)
	}
	promises(t, s, c)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	before.wantSame(t)
	if err := goleak.Find(routines, goleak.IgnoreTopFunction("net/http.(*conn).serve")); err != nil {
		t.Errorf("after Close: %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("temporary files after Close: %v %v", left, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	_, err = s.Call(context.Background(), c.name, c.works, nil)
	wantError(t, err, protocols.SystemShutdown)
}

func promises(t *testing.T, s *Set, c conformer) {
	t.Run("works", func(t *testing.T) { conformWorks(t, s, c) })
	t.Run("health", func(t *testing.T) {
		if h := s.Check(patience(t, tooLong), c.name); h.Status != "healthy" {
			t.Errorf("%+v", h)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		conformEnd(t, s, c, ctx, cancel)
	})
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		conformEnd(t, s, c, ctx, func() { <-ctx.Done(); cancel() })
	})
	t.Run("ended before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		conformEnd(t, s, c, ctx, cancel)
	})
	t.Run("garbage", func(t *testing.T) { conformGarbage(t, s, c) })
	t.Run("failure", func(t *testing.T) { wantAnyError(t, s, c.name, c.fails) })
	t.Run("unknown method", func(t *testing.T) {
		_, err := s.Call(patience(t, 30*time.Second), c.name, Call{Method: "nosuch/method"}, nil)
		wantError(t, err, protocols.MethodNotSupported)
	})
	t.Run("huge", func(t *testing.T) { conformWrong(t, s, c, "huge", c.huge) })
	t.Run("nonsense", func(t *testing.T) { conformWrong(t, s, c, "nonsense", c.nonsense) })
	t.Run("quotes", func(t *testing.T) {
		if c.quotes == nil {
			c.excused(t, "quotes")
		} else if e := wantAnyError(t, s, c.name, *c.quotes); strings.Contains(e.Message+string(e.Data), conformSecret) {
			t.Errorf("the secret is in the error: %s %s", e.Message, e.Data)
		}
	})
	t.Run("keyed", func(t *testing.T) {
		if c.keyed == nil {
			c.excused(t, "keyed")
		} else if !c.keyed(t, s) {
			t.Error("the other side wasn't told the idempotency key")
		}
	})
	t.Run("works afterwards", func(t *testing.T) { conformWorks(t, s, c) })
}

// excused fails the test unless there is a reason for not keeping a promise.
func (c conformer) excused(t *testing.T, promise string) {
	t.Helper()
	if c.why[promise] == "" {
		t.Errorf("nothing is asked, and nobody says why not")
	}
}

func wantAnyError(t *testing.T, s *Set, name string, call Call) *protocols.Error {
	t.Helper()
	_, err := s.Call(patience(t, 30*time.Second), name, call, nil)
	e, is := err.(*protocols.Error)
	if !is {
		t.Fatalf("error %T %v", err, err)
	}
	return e
}

// conformWorks makes as many calls at once as the provider has slots, within
// reason.
func conformWorks(t *testing.T, s *Set, c conformer) {
	at := slices.IndexFunc(s.List(), func(i Info) bool { return i.Name == c.name })
	if at < 0 || s.List()[at].Slots < 1 {
		t.Fatalf("no slots: %+v", s.List())
	}
	var calls sync.WaitGroup
	for range min(s.List()[at].Slots, 8) {
		calls.Go(func() {
			if result, err := s.Call(patience(t, 30*time.Second), c.name, c.works, nil); err != nil || !json.Valid(result) {
				t.Errorf("%s, %v", result, err)
			}
		})
	}
	calls.Wait()
}

// conformWrong has the other side do something wrong.
func conformWrong(t *testing.T, s *Set, c conformer, promise string, w *wrong) {
	if w == nil {
		c.excused(t, promise)
		return
	}
	provider := c.name
	if bytesOf := string(w.call.Parameters); strings.Contains(bytesOf, `"server":"liar"`) {
		provider = "mcp"
	}
	result, err := s.Call(patience(t, 30*time.Second), provider, w.call, nil)
	if w.code == noJSON {
		if err != nil || json.Valid(result) {
			t.Errorf("%s, %v", result, err)
		}
		return
	}
	e, is := err.(*protocols.Error)
	if !is || w.code != anyCode && e.Code != w.code {
		t.Fatalf("error %T %v, want one of code %v", err, err, w.code)
	}
	if len(e.Message) > 4<<10 {
		t.Errorf("%d bytes of message", len(e.Message))
	}
}

// conformDown: a provider that can't work says so, when it is asked and when it
// is called.
func conformDown(t *testing.T, c conformer) {
	t.Run("down", func(t *testing.T) {
		if c.down == nil {
			c.excused(t, "down")
			return
		}
		s, err := Open(*c.down, Options{Env: conformEnvironment, Self: filterRole()})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if h := s.Check(patience(t, 30*time.Second), c.name); h.Status != "unhealthy" || h.Message == "" {
			t.Errorf("%+v", h)
		}
		if e := wantAnyError(t, s, c.name, c.works); e.Code.Class() != protocols.ClassNetwork && e.Code.Class() != protocols.ClassServer {
			t.Errorf("%s is of class %s: %s", e.Code, e.Code.Class(), e.Message)
		}
	})
}

// conformEnd ends a slow call, and wants it to be over soon.
func conformEnd(t *testing.T, s *Set, c conformer, ctx context.Context, end func()) {
	t.Helper()
	done := make(chan error, 1)
	host := newLines()
	go func() {
		_, err := s.Call(ctx, c.name, c.slow, host)
		done <- err
	}()
	select {
	case <-host.c: // it runs
	case <-time.After(200 * time.Millisecond):
	case <-ctx.Done():
	}
	end()
	select {
	case err := <-done:
		if _, is := err.(*protocols.Error); !is {
			t.Errorf("error %T %v", err, err)
		}
	case <-time.After(tooLong):
		t.Fatal("did not end")
	}
}

// conformGarbage: an error or a JSON value, and no panic.
func conformGarbage(t *testing.T, s *Set, c conformer) {
	for _, method := range c.methods {
		for _, raw := range garbage {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
			result, err := s.Call(ctx, c.name, Call{Method: method, Parameters: json.RawMessage(raw), Dir: t.TempDir()}, nil)
			cancel()
			if _, is := err.(*protocols.Error); err != nil && !is {
				t.Errorf("%s %s: error %T %v", method, raw, err, err)
			}
			if err == nil && json.Valid([]byte(raw)) && !json.Valid(result) {
				t.Errorf("%s %s: result %q is not JSON", method, raw, result)
			}
		}
	}
}

// held are the children and files that this process has.
type held struct{ children, files []string }

func leftovers(t *testing.T) held {
	t.Helper()
	h := held{children: ownChildren(t)}
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil {
			h.files = append(h.files, to)
		}
	}
	return h
}

// wantSame fails the test if there is more than there was. The other end of a
// connection, which is ours as well, may take a moment to go.
func (h held) wantSame(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(tooLong)
	for {
		now := leftovers(t)
		if len(now.children) <= len(h.children) && len(now.files) <= len(h.files) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("after Close: children %v, were %v; files %v, were %v", now.children, h.children, now.files, h.files)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
