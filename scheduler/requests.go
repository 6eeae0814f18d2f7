package scheduler

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// Submission is all that a run needs from outside.
type Submission struct {
	Workflow *protocols.Workflow // compiled and expanded
	Setup    replay.Setup
	Inputs   map[string]json.RawMessage
	Env      map[string]string // the variables that the document names
	Files    map[string][]byte // the files that it names
	Dir      string            // the workflow's folder
	Cwd      string            // where the command was called
	Roots    []string
	Source   string // the workflow's file, for people
	Priority protocols.Priority
	Queue    string // a named queue of the policy; "" is the default one
	// Children are the workflows that tasks of it, or of its children, run, by
	// where they were found; Names are the names that it has for them.
	Children map[string]Child
	Names    map[string]string
	// ID is the run's id, "" for one of ours. No two runs of a store have the same.
	ID string
	// By is who submits it, for the history; "" says nothing.
	By string
	// Trace is the place in a trace that the run is below, as traceparent has
	// it, "" for none.
	Trace string
	// Key makes submitting safe to repeat: the same key gives the same run,
	// also after the run has ended.
	Key string
	// Secrets are those that the run needs, by their references (see
	// References). They are kept in memory alone.
	Secrets map[string]string
}

// Child is a workflow that tasks may run, with what it needs from outside.
type Child struct {
	Workflow *protocols.Workflow
	Files    map[string][]byte
	Dir      string
	Names    map[string]string
}

// Accepted is what became of a submission.
type Accepted struct {
	ID     string // of the run
	Before bool   // the key had the run already
}

// Submit accepts a run and returns its id once that is durable.
func (s *Scheduler) Submit(ctx context.Context, sub Submission) (string, error) {
	a, err := s.Accept(ctx, sub)
	return a.ID, err
}

// Accept is Submit that also tells whether the key had the run already.
func (s *Scheduler) Accept(ctx context.Context, sub Submission) (Accepted, error) {
	cmd, err := s.submit(sub)
	if err != nil {
		return Accepted{}, err
	}
	re, err := s.request(ctx, request{command: *cmd, secrets: sub.Secrets})
	return re.Accepted, err
}

// submit makes the command, with the values that go into the log.
func (s *Scheduler) submit(sub Submission) (*Submit, error) {
	if s.opts.Setup != nil {
		if err := s.opts.Setup(&sub.Setup); err != nil {
			return nil, err
		}
	}
	if _, ok := replay.ParseTrace(sub.Trace); !ok && sub.Trace != "" {
		return nil, protocols.Errorf(protocols.InvalidParams, "traceparent: %.80q is none; it has the form 00-TRACE-SPAN-01", sub.Trace)
	}
	document := sub.Workflow.Encode()
	setup, err := json.Marshal(sub.Setup)
	if err != nil {
		return nil, fmt.Errorf("write the setup: %w", err)
	}
	plan, err := replay.NewPlan(eventlog.Sum(document), sub.Workflow, eventlog.Sum(setup), &sub.Setup)
	if err != nil {
		return nil, err
	}
	cmd := &Submit{Plan: plan, Values: [][]byte{document, setup}, Source: sub.Source,
		Priority: sub.Priority, Queue: sub.Queue, Key: sub.Key, ID: sub.ID, By: sub.By, Trace: sub.Trace}
	c := replay.Context{Inputs: sub.Inputs, Env: sub.Env, Dir: sub.Dir, Cwd: sub.Cwd, Roots: sub.Roots, Names: sub.Names}
	c.Files = cmd.keep(sub.Files)
	for _, place := range slices.Sorted(maps.Keys(sub.Children)) {
		if c.Children == nil {
			c.Children = map[string]replay.Child{}
		}
		child := sub.Children[place]
		document := map[string][]byte{place: child.Workflow.Encode()}
		c.Children[place] = replay.Child{Document: cmd.keep(document)[place], Files: cmd.keep(child.Files), Dir: child.Dir, Names: child.Names}
	}
	if err := checkSecrets(sub, plan, c); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write the context: %w", err)
	}
	if string(raw) != "{}" {
		cmd.Context = replay.NewValue(raw)
	}
	if cmd.Inputs, err = inputsHash(sub.Inputs); err != nil {
		return nil, fmt.Errorf("write the inputs: %w", err)
	}
	return cmd, nil
}

// checkSecrets refuses a submission whose secrets are declared nowhere, or
// can't be secrets.
func checkSecrets(sub Submission, plan *replay.Plan, c replay.Context) error {
	documents := make(map[eventlog.Hash]*protocols.Workflow, len(sub.Children))
	for place, child := range c.Children {
		documents[child.Document] = sub.Children[place].Workflow
	}
	if plan.MayNeedSecrets() {
		_, err := References(plan, c, func(child replay.Child) (*protocols.Workflow, error) { return documents[child.Document], nil })
		if err != nil {
			return asError(err)
		}
	}
	if err := checkOffered(sub.Secrets); err != nil {
		return err
	}
	return checkRecorded(sub)
}

// checkRecorded refuses inputs and variables in which there is a secret: they
// are kept in the log.
func checkRecorded(sub Submission) error {
	for ref, value := range sub.Secrets {
		for _, name := range slices.Sorted(maps.Keys(sub.Env)) {
			if strings.Contains(sub.Env[name], value) {
				return plainly("the variable "+name, ref)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(sub.Inputs)) {
			if bytes.Contains(sub.Inputs[name], []byte(quotedJSON(value))) {
				return plainly("the input "+name, ref)
			}
		}
	}
	return nil
}

func plainly(what, reference string) error {
	return protocols.Errorf(protocols.InvalidParams, "%s holds the secret %s itself, and would be kept in the store: refer to the secret instead", what, reference)
}

func checkOffered(secrets map[string]string) error {
	for ref, value := range secrets {
		if err := CheckSecret(value); err != nil {
			return protocols.Errorf(protocols.InvalidParams, "the secret %s: %v", ref, err)
		}
	}
	return nil
}

// Offer gives a live run secrets, by their references. They are kept in memory
// alone. Tasks of it, and of the runs that it has started, that wait for
// nothing else go on, once somebody runs it.
func (s *Scheduler) Offer(ctx context.Context, run uint64, secrets map[string]string) error {
	if err := checkOffered(secrets); err != nil {
		return err
	}
	// What a call offers it offers again, should it come again.
	err := s.ask(Called(ctx, ""), request{command: Offer{Run: run, Secrets: s.vault.offer(run, secrets)}})
	if ended(err) {
		s.vault.forget(run)
	}
	return err
}

// OfferAll gives secrets to all live runs that may need some; of them each
// uses those that it names.
func (s *Scheduler) OfferAll(ctx context.Context, secrets map[string]string) error {
	var runs []uint64
	err := s.Query(ctx, func(state *replay.State) {
		state.Each(func(r *replay.Run) {
			if r.Submitted.Parent == nil && r.Plan.MayNeedSecrets() {
				runs = append(runs, r.Number)
			}
		})
	})
	for _, run := range runs {
		if err == nil {
			err = s.Offer(ctx, run, secrets)
		}
		if ended(err) {
			err = nil
		}
	}
	return err
}

// keep notes values that go into the log with the submission, and returns their
// names there.
func (c *Submit) keep(values map[string][]byte) (hashes map[string]eventlog.Hash) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if hashes == nil {
			hashes = map[string]eventlog.Hash{}
		}
		h := eventlog.Sum(values[name])
		hashes[name] = h
		if !slices.Contains(c.Files, h) {
			c.Files = append(c.Files, h)
			c.Values = append(c.Values, values[name])
		}
	}
	return hashes
}

// Resume takes a run on; see the command Resume.
func (s *Scheduler) Resume(ctx context.Context, r Resume) error {
	err := s.ask(ctx, request{command: r})
	return err
}

// ResumeAll takes on every live run that nobody holds, and of those that are
// parked none unless explicit. It returns their numbers, oldest first. By is who asked, "" if nobody did.
func (s *Scheduler) ResumeAll(ctx context.Context, explicit bool, by string) ([]uint64, error) {
	var runs []uint64
	err := s.Query(ctx, func(state *replay.State) {
		state.Each(func(r *replay.Run) {
			if (!r.Held || !s.started) && (explicit || r.Parked == nil) {
				runs = append(runs, r.Number)
			}
		})
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(runs)
	for i, run := range runs {
		r := request{command: Resume{Run: run, Explicit: explicit, By: by}}
		if i < len(runs)-1 {
			err = s.send(ctx, r)
		} else {
			err = s.ask(ctx, r) // all before it are durable then, too
		}
		if err != nil && !ended(err) {
			return nil, err
		}
	}
	return runs, nil
}

// ended tells whether a command came too late: its run has ended meanwhile.
func ended(err error) bool {
	var e *protocols.Error
	return errors.As(err, &e) && e.Code == protocols.WorkflowNotFound
}

// Interrupt lets nothing new of a run start until it is resumed. With force
// its running attempts are stopped too; they will be tried again.
func (s *Scheduler) Interrupt(ctx context.Context, run uint64, by string, force bool) error {
	r := request{command: Interrupt{Run: run, By: by}}
	if force {
		r.act = func() { s.stopWorkers(run, errInterrupted) }
	}
	err := s.ask(ctx, r)
	return err
}

// Again says how a run that has ended is to go on.
type Again struct {
	Run uint64
	// Tasks and From name tasks by id or name: see Retry.
	Tasks, From []string
	// End is the place in the log of the end that is taken back; 0: the last.
	// When the run has gone on since, nothing happens, so that the call may be
	// repeated.
	End     eventlog.Seq
	By      string
	Granted replay.Usage // beyond its budgets
	// Secrets are those that the run needs, as in Submission.
	Secrets map[string]string
}

// Retry lets a run go on that has ended; see the command Retry.
func (s *Scheduler) Retry(ctx context.Context, a Again) error {
	if err := checkOffered(a.Secrets); err != nil {
		return err
	}
	for {
		h, err := replay.LoadHistory(s.log, a.Run)
		switch {
		case err != nil:
			return err
		case h == nil:
			return protocols.Errorf(protocols.WorkflowNotFound, "run %d does not exist", a.Run)
		case a.End > 0 && h.RetriedAfter(a.End):
			return nil
		case !h.Ended():
			return unended(h.Run())
		}
		r := request{secrets: a.Secrets}
		how, at := h.End()
		cmd := Retry{Run: h.Run(), How: how.Status, By: a.By, Granted: a.Granted}
		if cmd.Tasks, err = placed(h.Run(), a.Tasks); err == nil {
			cmd.From, err = placed(h.Run(), a.From)
		}
		if err != nil {
			return err
		}
		r.command, r.end = cmd, at
		if err = s.ask(ctx, r); err != errGoneOn {
			return err
		}
	}
}

// errGoneOn says that the log had more of a run than whoever asked knew.
var errGoneOn = errors.New("the run has gone on meanwhile")

// placed finds tasks of the document.
func placed(r *replay.Run, names []string) (places []int, err error) {
	for _, name := range names {
		i := r.Place(name)
		switch {
		case i < 0:
			return nil, protocols.Errorf(protocols.TaskNotFound, "run %s has no task %q", r.ID(), name)
		case i >= len(r.Plan.Workflow.Tasks):
			return nil, protocols.Errorf(protocols.InvalidParams, "%q is an item: name its task, %q, whose failed items are tried again", name, r.Task(i).ID)
		}
		places = append(places, i)
	}
	return places, nil
}

// Cancel asks for a run's end; the run has ended when its last attempt has
// reported.
func (s *Scheduler) Cancel(ctx context.Context, run uint64, by string) error {
	err := s.ask(ctx, request{command: Cancel{Run: run, By: by}})
	return err
}

// Signal sends a run a signal, with any JSON as data. A task that waits for it
// takes it; else it is kept for the first that will.
func (s *Scheduler) Signal(ctx context.Context, c Signal) error {
	err := s.ask(ctx, request{command: c})
	return err
}

// Pause lets nothing new of a run start until it is unpaused; what runs is
// let finish. Pausing twice is fine.
func (s *Scheduler) Pause(ctx context.Context, run uint64, by string) error {
	err := s.ask(ctx, request{command: Pause{Run: run, By: by}})
	return err
}

// Unpause lets a paused run go on.
func (s *Scheduler) Unpause(ctx context.Context, c Unpause) error {
	return s.ask(ctx, request{command: c})
}

// Note writes down what somebody did beside the runs, for the audit.
func (s *Scheduler) Note(ctx context.Context, n Note) error {
	return s.ask(ctx, request{command: n})
}

// Employ says what workers offer from now on; see the command Employ.
func (s *Scheduler) Employ(ctx context.Context, offers []replay.Offer) error {
	return s.ask(ctx, request{command: Employ{offers}})
}

// Query runs f inside the loop, where it sees only what is durable. f must be
// quick and must not keep or change what it sees.
func (s *Scheduler) Query(ctx context.Context, f func(*replay.State)) error {
	var mu sync.Mutex
	left := false // the caller has gone, and f may touch what is its own no more
	err := s.ask(ctx, request{query: func(state *replay.State) {
		mu.Lock()
		defer mu.Unlock()
		if !left {
			f(state)
		}
	}})
	mu.Lock()
	defer mu.Unlock()
	left = true
	return err
}

// Bounds are those of this scheduler of which the log knows nothing. It is for what
// Query calls.
func (s *Scheduler) Bounds() replay.Bounds { return s.policy.bounds() }

// errForeign says that somebody else writes to the log: nobody may.
var errForeign = errors.New("somebody else wrote to the log")

// Tidy lets something be removed from the log, in the loop: that leaves a
// record, and what anybody else writes than the loop ends the process.
func (s *Scheduler) Tidy(ctx context.Context, remove func(*replay.State) error) error {
	var failed error
	err := s.Query(ctx, func(state *replay.State) {
		if s.log.Last() != state.Seq {
			failed = errForeign
			return
		}
		failed = remove(state)
		state.Passed(s.log.Last())
	})
	return cmp.Or(err, failed)
}

// Drain lets nothing new start and waits until what runs has ended.
func (s *Scheduler) Drain(ctx context.Context) error {
	return s.idle(ctx, func() { s.policy.Closed = true })
}

// idle does something inside the loop and then waits until no attempt runs.
func (s *Scheduler) idle(ctx context.Context, first func()) error {
	idle := make(chan struct{})
	err := s.ask(ctx, request{act: func() {
		first()
		s.idlers = append(s.idlers, idle)
	}})
	if err != nil {
		return err
	}
	select {
	case <-idle:
		return nil
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close stops every running attempt, notes each as interrupted, writes
// checkpoints and ends the loop. It waits for all that the scheduler started.
// Closing twice is fine.
func (s *Scheduler) Close() error {
	var err error
	s.quitOnce.Do(func() {
		s.idle(context.Background(), func() {
			s.policy.Closed = true
			s.stop(errInterrupted)
		})
		close(s.quit)
		<-s.done
		s.stop(errInterrupted) // if the loop was gone already
		s.working.Wait()
		if s.started && !s.broken && s.saver.Behind() > 0 {
			s.save()
		}
		err = s.sets.close()
	})
	<-s.done
	return err
}
