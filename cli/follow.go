package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// This file follows runs until they have ended, a person is needed, or we are
// asked to leave.

// view shows what happens to the runs that are followed.
type view interface {
	entry(t *track, e replay.Entry) error
	tick()            // called ten times a second, for what moves by itself
	note(text string) // shows a line that is not of a run
	close()
}

// following is one go at following runs. Everything happens in the goroutine
// that calls follow; the followers only bring news.
type following struct {
	s      *session
	store  *client.Client
	view   view
	tracks []*track
	grace  time.Duration // how long what runs may go on when we are asked to leave
	waits  bool          // stay when a person is needed

	news   chan news        // never closed
	doubts bool             // a run looks stuck and is to be looked at closely
	heard  time.Time        // the last event
	again  time.Time        // no look before then
	asked  int              // how often we were asked to leave
	expiry <-chan time.Time // of the grace period
}

// news is what a follower brings. Without entry and progress it is its end.
type news struct {
	track    *track
	entry    *replay.Entry
	progress *scheduler.Progress
	err      error
}

// errAsked says that the command leaves because it was asked to.
var errAsked = &exit{code: exitInterrupted}

// follow follows each run from its place in the log on. It returns errAsked
// if it was asked to leave before all had ended.
func (f *following) follow(from map[string]eventlog.Seq, wishes <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(context.Background())
	f.news, f.doubts = make(chan news), true
	var followers sync.WaitGroup
	for _, t := range f.tracks {
		followers.Go(func() { f.report(ctx, t, from[t.id]) })
	}
	err := f.loop(wishes)
	cancel()
	followers.Wait()
	f.view.close()
	return err
}

// report brings what happens to one run.
func (f *following) report(ctx context.Context, t *track, from eventlog.Seq) {
	bring := func(n news) {
		n.track = t
		select {
		case f.news <- n:
		case <-ctx.Done():
		}
	}
	err := f.store.Follow(ctx, t.id, client.Follower{
		From:     from,
		Entry:    func(e replay.Entry) { bring(news{entry: &e}) },
		Progress: func(p scheduler.Progress) { bring(news{progress: &p}) },
	})
	bring(news{err: err})
}

func (f *following) loop(wishes <-chan os.Signal) (err error) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for err == nil && f.unsettled() > 0 {
		select {
		case n := <-f.news:
			err = f.take(n)
		case <-ticker.C:
			f.view.tick()
			err = f.resolveDoubts()
		case <-wishes:
			err = f.leave()
		case <-f.expiry:
			f.expiry = nil
			f.view.note("The grace period is over: stopping what still runs.")
			err = f.interrupt(true)
		}
	}
	if err == nil && f.asked > 0 && f.unended() > 0 {
		return errAsked
	}
	return err
}

// take takes what a follower brought.
func (f *following) take(n news) error {
	switch {
	case n.entry != nil:
		if err := f.apply(n.track, *n.entry); err != nil {
			return err
		}
		f.doubts, f.heard = f.doubts || n.track.stuck(), time.Now()
		if err := f.view.entry(n.track, *n.entry); err != nil {
			return err
		}
		f.tellQuestion(*n.entry)
	case n.progress != nil:
		n.track.progress(*n.progress)
	case n.err != nil:
		return fmt.Errorf("follow %s: %w", n.track.id, n.err)
	default:
		n.track.settled = true
	}
	return nil
}

// tellQuestion says how to answer what a running task asks.
func (f *following) tellQuestion(e replay.Entry) {
	if q, asks := e.Event.(*replay.QuestionAsked); asks {
		f.view.note(fmt.Sprintf("task %s: %s: %s", line(e.Task, 200), f.s.print.errInk.yellow(line(e.Text, 1000)),
			strings.TrimPrefix(f.s.withStore(": "+replay.ApproveCommand(e.Run, e.Task, q.Fields)), ": ")))
	}
}

// apply makes an entry part of what is known of a run. One that has ended and
// goes on is looked at anew: its tasks stand elsewhere now.
func (f *following) apply(t *track, e replay.Entry) error {
	if _, again := e.Event.(*replay.WorkflowRetried); again {
		v, err := getRun(context.Background(), f.store, t.id, false)
		if err != nil {
			return err
		}
		t.take(v)
	}
	t.apply(e)
	return nil
}

// A look reads all that happened to a run, so it is made only when nothing has
// happened for a moment, and not again at once: it may cost a tenth of the time.
const (
	quietFor  = 100 * time.Millisecond
	lookAgain = 300 * time.Millisecond
	lookShare = 10
)

// resolveDoubts looks closely at the runs that seem to need a person: a task
// that is about to start is not an event yet.
func (f *following) resolveDoubts() error {
	now := time.Now()
	if !f.doubts || now.Before(f.again) || now.Sub(f.heard) < quietFor {
		return nil
	}
	f.doubts = false
	for _, t := range f.tracks {
		if t.settled || !t.stuck() {
			continue
		}
		if err := f.resolve(t); err != nil {
			return err
		}
	}
	f.again = time.Now().Add(max(lookAgain, lookShare*time.Since(now)))
	return nil
}

// resolve looks closely at one run.
func (f *following) resolve(t *track) error {
	load := loader(f.store)
	v, err := load(t.id)
	if err != nil {
		return err
	}
	needs, err := v.NeedsPerson(t.interrupted, load)
	switch {
	case err != nil:
		return err
	case !needs:
		f.doubts = true
	case f.waits && f.asked == 0 && !t.interrupted && v.Status != replay.Parked:
		return f.tellNeed(t, v)
	default:
		t.settled = true
	}
	return nil
}

// tellNeed says, once, what a run needs for which we wait.
func (f *following) tellNeed(t *track, v *replay.RunView) error {
	if err := explainChildren(f.store, v); err != nil {
		return err
	}
	if need := f.s.standing(v); need != t.need {
		t.need = need
		f.view.note(need)
	}
	return nil
}

// leave is called each time that we are asked to leave: the first time nothing
// new starts any more, the second time what runs is stopped, the third time
// we leave whatever happens.
func (f *following) leave() error {
	f.asked++
	if f.s.remote() != "" {
		return errAsked // the server goes on
	}
	switch f.asked {
	case 1:
		return f.firstLeave()
	case 2:
		f.view.note("Stopping what runs.")
		return f.interrupt(true)
	}
	return errAsked
}

func (f *following) firstLeave() error {
	if err := f.interrupt(false); err != nil {
		return err
	}
	running := 0
	for _, t := range f.tracks {
		running += t.counts["running"]
	}
	if running > 0 {
		f.view.note(fmt.Sprintf("Interrupted: nothing new starts. Waiting up to %s for %s to end; Ctrl-C again stops them.",
			short(f.grace), plural(running, "running task")))
	}
	f.expiry = time.After(f.grace)
	return nil
}

// interrupt asks that nothing new of our runs start, with force that what
// runs stop, too. A run that has just ended is fine.
func (f *following) interrupt(force bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, t := range f.tracks {
		if t.settled {
			continue
		}
		err := f.store.Call(ctx, server.WorkflowInterrupt, server.InterruptParams{ID: t.id, Force: force, By: f.s.env.user()}, nil)
		var failure *protocols.Error
		if err != nil && !(errors.As(err, &failure) && failure.Code == protocols.WorkflowNotFound) {
			return fmt.Errorf("interrupt %s: %w", t.id, err)
		}
	}
	return nil
}

// unsettled counts the runs that still have to be followed.
func (f *following) unsettled() (n int) {
	for _, t := range f.tracks {
		if !t.settled {
			n++
		}
	}
	return n
}

// unended counts the runs that have not ended.
func (f *following) unended() (n int) {
	for _, t := range f.tracks {
		if t.ended == "" {
			n++
		}
	}
	return n
}

// loader loads runs without their values.
func loader(store *client.Client) func(id string) (*replay.RunView, error) {
	return func(id string) (*replay.RunView, error) { return getRun(context.Background(), store, id, false) }
}

// getRun asks for a run; with values also for what it returned, in full.
func getRun(ctx context.Context, store *client.Client, id string, values bool) (*replay.RunView, error) {
	v := &replay.RunView{}
	return v, store.Call(ctx, server.WorkflowGet, server.GetParams{ID: id, Values: values}, v)
}
