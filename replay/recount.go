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
	c := recount{ready: map[Ready]bool{}, timers: map[Timer]bool{}, groups: map[*Group]int{}}
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
	unsettled []uint64
	running   int
	keys      int
}

func (c *recount) run(s *State, r *Run) error {
	open, running := 0, 0
	if r.Submitted.Key != "" {
		c.keys++
	}
	if r.Held && !r.Deadline.IsZero() && r.Cancel == "" {
		c.timers[Timer{r.Deadline, r.Number, -1}] = true
	}
	doomed := map[int]bool{}
	for i := range r.Tasks {
		t := &r.Tasks[i]
		if !t.Status.Ended() {
			open++
		}
		switch t.Status {
		case TaskRunning:
			running++
			if !r.Doubt {
				c.running++
				c.groups[s.group(r.Plan, i)]++
			}
		case TaskReady:
			if r.Held {
				c.ready[r.item(i)] = true
			}
		case TaskWaitsToRetry:
			if r.Held {
				c.timers[Timer{t.Due, r.Number, i}] = true
			}
		case TaskPending:
			waiting, bad := r.dependencies(i)
			if waiting != t.waiting {
				return fmt.Errorf("run %d task %d waits for %d tasks, the count says %d", r.Number, i, waiting, t.waiting)
			}
			if bad {
				doomed[i] = true
			} else if waiting == 0 && !r.Stopping() {
				return fmt.Errorf("run %d task %d is pending though nothing holds it", r.Number, i)
			}
		}
	}
	if open != r.Open || running != r.Running {
		return fmt.Errorf("run %d: %d open and %d running, the counts say %d and %d", r.Number, open, running, r.Open, r.Running)
	}
	if len(doomed) != len(r.doomed) {
		return fmt.Errorf("run %d: %d doomed tasks, the index says %d", r.Number, len(doomed), len(r.doomed))
	}
	if r.needsDecision() {
		c.unsettled = append(c.unsettled, r.Number)
	}
	return nil
}

// dependencies counts the task's open dependencies, and tells whether one
// ended badly.
func (r *Run) dependencies(task int) (waiting int, bad bool) {
	for _, d := range r.Plan.Task(task).Dependencies {
		if !r.Tasks[d].Status.Ended() {
			waiting++
		} else if !r.good(d) {
			bad = true
		}
	}
	return waiting, bad
}

func (c *recount) compare(s *State) error {
	if c.running != s.Running {
		return fmt.Errorf("%d attempts run, the count says %d", c.running, s.Running)
	}
	if c.keys != len(s.keys) {
		return fmt.Errorf("%d keys, the index has %d", c.keys, len(s.keys))
	}
	if err := c.comparePlans(s); err != nil {
		return err
	}
	queued := 0
	for _, g := range s.order {
		if g.Running != c.groups[g] {
			return fmt.Errorf("provider %s: %d attempts run, the count says %d", g.Provider.Name, c.groups[g], g.Running)
		}
		for _, item := range items(g) {
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

// check holds what a lane lets queue against what it should.
func (l *lane) check(r *Run) error {
	best, any := l.ready.Min()
	if any = any && r.Running < r.Plan.Workflow.MaxParallel; any != l.offered || any && best != l.queues {
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
	for _, g := range s.order {
		if !setups[g.setup] {
			return fmt.Errorf("provider %s is kept for a setup that no run has", g.Provider.Name)
		}
	}
	if len(plans) != len(s.plans) || len(setups) != len(s.setups) || len(s.order) != len(s.groups) {
		return fmt.Errorf("%d plans, %d setups, %d groups; the indexes have %d, %d, %d",
			len(plans), len(setups), len(s.order), len(s.plans), len(s.setups), len(s.groups))
	}
	return nil
}

func items(g *Group) (all []Ready) {
	g.ready.Ascend(func(r Ready) bool {
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
