package replay

import (
	"fmt"
	"maps"
	"slices"

	"gleitzeit/eventlog"
)

// CheckIndexes recounts everything that Apply keeps beside the runs and
// returns what doesn't agree: the law of design.md, rule 6. It is for tests
// and for `system verify`.
func (s *State) CheckIndexes() error {
	c := recount{ready: map[Ready]bool{}, timers: map[Timer]bool{}, groups: map[*Group]int{}, keys: map[string]bool{},
		pending: map[string]int{}}
	for _, n := range slices.Sorted(maps.Keys(s.runs)) {
		if err := c.run(s, s.runs[n]); err != nil {
			return err
		}
	}
	return c.compare(s)
}

// recount is what the indexes should be.
type recount struct {
	ready     map[Ready]bool
	timers    map[Timer]bool
	groups    map[*Group]int
	pending   map[string]int
	unsettled []uint64
	running   int
	keys      map[string]bool
}

func (c *recount) run(s *State, r *Run) error {
	fresh := Run{Plan: r.Plan, Hook: r.Hook, Tasks: recounted(r.Tasks)}
	for i := range r.Tasks {
		fresh.count(i, 1)
	}
	if fresh.Open != r.Open || fresh.Running != r.Running || fresh.Idle != r.Idle {
		return fmt.Errorf("run %d: %d open, %d running and %d idle, the counts say %d, %d and %d",
			r.Number, fresh.Open, fresh.Running, fresh.Idle, r.Open, r.Running, r.Idle)
	}
	asking := 0
	for i := range r.Tasks {
		asking += r.Tasks[i].Talk.open()
	}
	if asking != r.Asking {
		return fmt.Errorf("run %d: %d tasks ask a person, the count says %d", r.Number, asking, r.Asking)
	}
	for _, key := range r.Submitted.keys() {
		c.keys[key] = true
	}
	if r.Active() && !r.Deadline.IsZero() && r.Cancel == "" {
		c.timers[Timer{r.Deadline, r.Number, -1}] = true
	}
	doomed := 0
	for i := range r.Tasks {
		t := &r.Tasks[i]
		switch t.Status {
		case TaskRunning:
			if !r.Doubt {
				c.running++
				c.groups[s.OnProvider(r, i)]++
			}
		case TaskReady:
			if r.Active() {
				c.ready[r.item(i)] = true
			}
		case TaskWaitsToRetry, TaskWaits:
			if r.Active() && t.timed() {
				c.timers[Timer{t.Due, r.Number, i}] = true
			}
		case TaskExpandedInto:
			if err := r.checkInto(i, &fresh); err != nil {
				return err
			}
		case TaskPending:
			bad, err := r.checkPending(i)
			if err != nil {
				return err
			}
			if bad {
				doomed++
			}
		}
	}
	if doomed != len(r.doomed) {
		return fmt.Errorf("run %d: %d doomed tasks, the index says %d", r.Number, doomed, len(r.doomed))
	}
	if r.Active() && !r.started() && r.Cancel == "" && r.Submitted.Parent == nil {
		c.pending[r.Submitted.Queue]++
	}
	if err := r.checkBounds(s); err != nil {
		return err
	}
	if r.needsDecision() {
		c.unsettled = append(c.unsettled, r.Number)
	}
	return nil
}

// recounted copies tasks, with the counts of their instances at zero.
func recounted(tasks []Task) []Task {
	tasks = slices.Clone(tasks)
	for i, t := range tasks {
		if t.Each != nil {
			e := *t.Each
			e.running = 0
			tasks[i].Each = &e
		}
	}
	return tasks
}

// checkPending holds a pending task against its dependencies: something must
// hold it back.
func (r *Run) checkPending(i int) (doomed bool, err error) {
	t := &r.Tasks[i]
	if r.agent(i) && r.undecided[i] == AskAgent {
		return false, nil
	}
	if t.Step != nil {
		most := r.Task(t.Of - 1).Agent.MaxParallel
		if a := r.Tasks[t.Of-1].Agent; r.Tasks[t.Of-1].Status == TaskExpandedInto && r.letGoOf(t.Of-1) && !(r.Stopping() && !r.Spared(i)) && (most == 0 || a.live < most) {
			return false, fmt.Errorf("run %d: step %d could be let go and is pending", r.Number, i)
		}
		return false, nil
	}
	if t.Of > 0 {
		e := r.Tasks[t.Of-1].Each
		if i-e.First < e.next && r.undecided[i] == "" {
			return false, fmt.Errorf("run %d: instance %d was let go and is pending", r.Number, i)
		}
		return false, nil
	}
	waiting, bad := r.dependencies(i)
	if waiting != t.waiting {
		return false, fmt.Errorf("run %d task %d waits for %d tasks, the count says %d", r.Number, i, waiting, t.waiting)
	}
	bad = bad && !r.Spared(i)
	free := waiting == 0 && !bad && r.begun(r.Task(i).Hook) && !(r.Stopping() && r.Task(i).If == nil)
	if free && r.undecided[i] == "" {
		return false, fmt.Errorf("run %d task %d is pending though nothing holds it", r.Number, i)
	}
	return bad, nil
}

// checkInto counts what a task runs in again.
func (r *Run) checkInto(i int, fresh *Run) error {
	if r.Tasks[i].Agent != nil {
		return r.checkAgent(i)
	}
	return r.checkEach(i, fresh.Tasks[i].Each.running)
}

// checkEach counts the instances of a foreach again.
func (r *Run) checkEach(parent, running int) error {
	e := r.Tasks[parent].Each
	left, live := 0, 0
	for k := range e.Count {
		if !r.Tasks[e.First+k].Status.Ended() {
			left++
			if k < e.next {
				live++
			}
		}
	}
	if left != e.left || live != e.live || running != e.running {
		return fmt.Errorf("run %d task %d: %d instances left, %d let go and %d running, the counts say %d, %d and %d",
			r.Number, parent, left, live, running, e.left, e.live, e.running)
	}
	return nil
}

// dependencies counts the task's open dependencies, and tells whether one
// ended badly.
func (r *Run) dependencies(task int) (waiting int, bad bool) {
	for _, d := range r.Plan.Task(task).Dependencies {
		if !r.Tasks[d].Status.Ended() {
			waiting++
		} else if !r.Good(d) {
			bad = true
		}
	}
	return waiting, bad
}

func (c *recount) compare(s *State) error {
	if c.running != s.Running {
		return fmt.Errorf("%d attempts run, the count says %d", c.running, s.Running)
	}
	if err := c.compareKeys(s); err != nil {
		return err
	}
	if err := c.comparePlans(s); err != nil {
		return err
	}
	if err := s.checkAlarms(); err != nil {
		return err
	}
	if err := c.compareGroups(s); err != nil {
		return err
	}
	queued := 0
	for _, q := range s.routes {
		for _, item := range items(q) {
			if !c.ready[item] {
				return fmt.Errorf("run %d task %d queues and isn't ready", item.Run, item.Task)
			}
			queued++
		}
	}
	for _, r := range s.runs {
		for _, l := range r.lanes {
			if err := l.check(r); err != nil {
				return err
			}
			queued += l.ready.Len()
			if l.offered {
				queued-- // it was counted where it queues
			}
		}
	}
	if queued != len(c.ready) {
		return fmt.Errorf("%d ready tasks, %d queue", len(c.ready), queued)
	}
	return c.compareTimers(s)
}

// compareKeys makes sure that each key leads to a live run that has it. One
// that a run got after its key had expired with another may be missing for
// that other once the younger has ended: the log knows better.
func (c *recount) compareKeys(s *State) error {
	for key, n := range s.keys {
		r := s.runs[n]
		if r == nil || !slices.Contains(r.Submitted.keys(), key) {
			return fmt.Errorf("the key %q leads to run %d, which has it not", key, n)
		}
	}
	for _, r := range s.runs {
		if r.Submitted.Named && s.keys[IDKey(r.ID())] != r.Number {
			return fmt.Errorf("the id %q doesn't lead to its run", r.ID())
		}
	}
	if len(s.keys) > len(c.keys) {
		return fmt.Errorf("%d keys, the index has %d", len(c.keys), len(s.keys))
	}
	return nil
}

// check holds what a lane lets queue against what it should.
func (l *lane) check(r *Run) error {
	best, any := l.best(r)
	if any != l.offered || any && best != l.queues {
		return fmt.Errorf("run %d: %v (%t) should queue, %v (%t) does", r.Number, best, any, l.queues, l.offered)
	}
	return nil
}

// comparePlans makes sure that no more is kept than live runs use.
func (c *recount) comparePlans(s *State) error {
	plans, setups := map[planKey]int{}, map[eventlog.Hash]bool{}
	for _, r := range s.runs {
		plans[planKey{r.Plan.Document, r.Plan.SetupHash}]++
		setups[r.Plan.SetupHash] = true
	}
	for key, u := range s.plans {
		if plans[key] != u.runs {
			return fmt.Errorf("%d runs use the plan %s, the count says %d", plans[key], key.document, u.runs)
		}
	}
	known := map[*Group]bool{}
	for setup := range setups {
		if s.setups[setup] == nil {
			return fmt.Errorf("the setup %s is not known", setup)
		}
		for _, g := range s.setups[setup].groups {
			known[g] = true
		}
	}
	for _, q := range s.routes {
		if !q.key.setup.IsZero() && !setups[q.key.setup] {
			return fmt.Errorf("a queue is kept for a setup that no run has")
		}
	}
	if len(plans) != len(s.plans) || len(setups) != len(s.setups) || len(known) != len(s.groups) || len(s.routes) != len(s.byKey) {
		return fmt.Errorf("%d plans, %d setups, %d providers, %d queues; the indexes have %d, %d, %d, %d",
			len(plans), len(setups), len(known), len(s.routes), len(s.plans), len(s.setups), len(s.groups), len(s.byKey))
	}
	return nil
}

// compareGroups holds the counts of providers and named queues.
func (c *recount) compareGroups(s *State) error {
	queues := map[string]int{}
	for _, g := range append(slices.Collect(maps.Values(s.groups)), s.self) {
		if g.Running != c.groups[g] {
			return fmt.Errorf("provider %s: %d attempts run, the count says %d", g.Provider.Name, c.groups[g], g.Running)
		}
		if err := g.check(s); err != nil {
			return err
		}
	}
	for _, r := range s.runs {
		if !r.Doubt {
			queues[r.Submitted.Queue] += r.Running
		}
	}
	for name, q := range s.queues {
		if q.Running != queues[name] || q.Pending() != c.pending[name] {
			return fmt.Errorf("queue %q: %d attempts and %d runs that wait, the counts say %d and %d",
				name, queues[name], c.pending[name], q.Running, q.Pending())
		}
	}
	return nil
}

// check counts the calls of single models and the probes again.
func (g *Group) check(s *State) error {
	models, probing := map[string]int{}, 0
	for _, r := range s.runs {
		for i := range r.Tasks {
			if t := &r.Tasks[i]; t.Status == TaskRunning && !r.Doubt && s.OnProvider(r, i) == g {
				if g.Probe(t) {
					probing++
				}
				if name, _ := g.Provider.modelSlots(r.Plan.paths[r.Form(i)].model); name != "" {
					models[name]++
				}
			}
		}
	}
	for name, n := range g.models {
		if models[name] != n {
			return fmt.Errorf("provider %s: %d calls of %s, the count says %d", g.Provider.Name, models[name], name, n)
		}
	}
	if g.Health.Breaker != BreakerClosed && g.probing != probing {
		return fmt.Errorf("provider %s: %d probes, the count says %d", g.Provider.Name, probing, g.probing)
	}
	return nil
}

// started tells whether a task has ever started.
func (r *Run) started() bool {
	return slices.ContainsFunc(r.Tasks, func(t Task) bool { return t.Attempts > 0 })
}

// checkBounds counts again what the run's attempts hold.
func (r *Run) checkBounds(s *State) error {
	fresh := Run{Plan: r.Plan, Submitted: r.Submitted, Tasks: slices.Clone(r.Tasks)}
	for i := range fresh.Tasks {
		fresh.Tasks[i].reserved = 0
	}
	for i := range r.Tasks {
		if r.Tasks[i].Status == TaskRunning && !r.Doubt {
			fresh.hold(s.OnProvider(r, i), i, 1)
		}
	}
	if fresh.reserved != r.reserved || !maps.Equal(fresh.using, r.using) {
		return fmt.Errorf("run %d: its attempts hold %v and %d tokens, the counts say %v and %d",
			r.Number, fresh.using, fresh.reserved, r.using, r.reserved)
	}
	for i := range fresh.Tasks {
		if fresh.Tasks[i].reserved != r.Tasks[i].reserved {
			return fmt.Errorf("run %d task %d: %d tokens are reserved, the count says %d", r.Number, i, fresh.Tasks[i].reserved, r.Tasks[i].reserved)
		}
	}
	return nil
}

func items(q *Route) (all []Ready) {
	q.ready.Ascend(func(r Ready) bool {
		all = append(all, r)
		return true
	})
	return all
}

func (c *recount) compareTimers(s *State) (err error) {
	s.timers.Ascend(func(t Timer) bool {
		if !c.timers[t] {
			err = fmt.Errorf("a timer at %s for run %d task %d that nothing needs", t.At, t.Run, t.Task)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	deadlines := 0
	for t := range c.timers {
		if t.Task < 0 {
			deadlines++
		}
	}
	if deadlines != s.deadlines {
		return fmt.Errorf("%d deadlines, the count says %d", deadlines, s.deadlines)
	}
	if s.timers.Len() != len(c.timers) {
		return fmt.Errorf("%d timers, %d are needed", s.timers.Len(), len(c.timers))
	}
	var unsettled []uint64
	s.unsettled.Ascend(func(n uint64) bool {
		unsettled = append(unsettled, n)
		return true
	})
	if !slices.Equal(unsettled, c.unsettled) {
		return fmt.Errorf("runs %v need a decision, the index says %v", c.unsettled, unsettled)
	}
	return nil
}

// Dump writes the run as its checkpoint would, for comparison.
func (r *Run) Dump() (string, error) {
	b, err := encodeRun(r)
	return fmt.Sprintf("run %d seq %d %s", r.Number, r.Seq, b), err
}

// letGoOf tells whether a task, if it is an instance, has been let go.
func (r *Run) letGoOf(task int) bool {
	of := r.Tasks[task].Of
	return of == 0 || task-r.Tasks[of-1].Each.First < r.Tasks[of-1].Each.next
}
