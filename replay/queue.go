package replay

import (
	"time"

	"github.com/google/btree"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// This file holds who waits for a slot, and says who gets one next.
//
//	ready task ─► lane (runs with bounds: one at a time queues)
//	                └─► route (path × queue) ─► provider with room ─► started

// Ageing is how long a task has to wait to be worth as much as one of the next
// higher priority that has not waited. It keeps anything from starving.
const Ageing = 5 * time.Minute

// Ready is a task that could start.
type Ready struct {
	// Rank orders: the moment since which the task counts as waiting, made
	// earlier by Ageing for each step of priority, in nanoseconds.
	Rank int64
	Run  uint64
	Task int
}

// Before is the order of starting: priority and age first, then the older run,
// then the order of the file.
func (a Ready) Before(b Ready) bool {
	if a.Rank != b.Rank {
		return a.Rank < b.Rank
	}
	if a.Run != b.Run {
		return a.Run < b.Run
	}
	return a.Task < b.Task
}

// item is a ready task as it queues. The age of a task is that of its run, but
// for what is more than Ageing before the task became ready: so runs are worked
// off one after the other, and one that waited a week for a person doesn't
// come before all others.
func (r *Run) item(task int) Ready {
	p := r.Task(task).Priority
	if p == protocols.Normal {
		p = r.Submitted.Priority
	}
	since := r.At
	if t := r.Tasks[task].ReadyAt.Add(-Ageing); t.After(since) {
		since = t
	}
	return Ready{since.UnixNano() - int64(p)*int64(Ageing), r.Number, task}
}

// Group is a provider at work: the calls that it carries out now, for the runs
// of all setups that know it.
type Group struct {
	Provider *ProviderSlots
	Running  int
	Health   *Health

	key     string
	workers *workforce     // of the state
	setups  int            // that know it
	models  map[string]int // calls of the models that have slots of their own
	probing int            // calls begun since the breaker opened
	freed   time.Time      // when a slot was last given back of all that were taken
}

// setupUse is a setup that live runs use.
type setupUse struct {
	plans  int
	groups []*Group // by the provider's place in the setup
}

// routeKey names a route.
type routeKey struct {
	setup eventlog.Hash
	path  string
	avoid uint64
	queue string
}

// Route is a queue of the ready tasks that the same providers would do for.
type Route struct {
	key   routeKey
	tiers [][]*Group
	model string
	ready *btree.BTreeG[Ready]
}

// Start is a task that may start, and on which provider.
type Start struct {
	Ready
	Provider *Group
	Over     bool // it may not: its budget is used up
}

// NextStart returns the task that should start next, of the queues that have
// room, with the permits that are at hand. If there is none, wake is the moment
// at which there may be one though nothing happens until then; zero: none.
func (s *State) NextStart(now time.Time, room func(queue string) bool, at Permits) (next Start, wake time.Time, found bool) {
	for _, q := range s.routes {
		if q.ready.Len() == 0 || !room(q.key.queue) {
			continue
		}
		if g, soon := s.choose(q, nil, 0, now, at); g == nil {
			wake = earlier(wake, soon)
			continue
		}
		q.ready.Ascend(func(item Ready) bool {
			if found && next.Before(item) {
				return false
			}
			r := s.runs[item.Run]
			if r.over(item.Task) {
				next, found = Start{item, nil, true}, true
				return false
			}
			g, soon := s.choose(q, r, item.Task, now, at)
			if g != nil {
				next, found = Start{item, g, false}, true
				return false
			}
			wake = earlier(wake, soon)
			return true // a bound of its run holds it back; at most one of each lane is here
		})
	}
	return next, wake, found
}

// earlier is the earlier of two moments, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// choose picks the provider for a task of the route: of the first tier with one
// that is fit, the one with room and the fewest calls. Without a run it looks
// at the providers alone.
func (s *State) choose(q *Route, r *Run, task int, now time.Time, permits Permits) (best *Group, wake time.Time) {
	for _, tier := range q.tiers {
		fit := false
		for _, g := range tier {
			if until := g.shut(now); !until.IsZero() {
				if !until.Equal(farAway) { // else time alone brings nothing
					wake = earlier(wake, until)
				}
				continue
			}
			if g.unmanned() {
				continue
			}
			fit = true
			at, ok := g.room(q.model, now)
			if ok && r != nil {
				at, ok = r.admits(task, g, now)
			}
			if !ok {
				wake = earlier(wake, at)
			} else if permits.lack(g, q.model) {
				continue // getting one is an event
			} else if best == nil || g.Running < best.Running {
				best = g
			}
		}
		if fit {
			break
		}
	}
	return best, wake
}

// shut returns until when the breaker keeps calls away: zero if it doesn't.
// One that is tried again lets one call at a time through.
func (g *Group) shut(now time.Time) time.Time {
	h := g.Health
	switch {
	case g.Provider.Breaker == nil || h.Breaker == BreakerClosed:
		return time.Time{}
	case h.Breaker == BreakerOpen && now.Before(h.Until):
		return h.Until
	case g.probing > 0:
		return farAway
	}
	return time.Time{}
}

// farAway is the moment of what only an event can bring.
var farAway = time.Unix(1<<40, 0)

// room tells whether the provider can take one more call for the model, and if
// not when time alone will have changed that; zero: it won't.
func (g *Group) room(model string, now time.Time) (at time.Time, ok bool) {
	if g.Running >= g.Slots() {
		return at, false
	}
	if name, most := g.Provider.modelSlots(model); name != "" && g.models[name] >= most {
		return at, false
	}
	if at := g.allowed(); at.After(now) {
		return at, false
	}
	return at, true
}

// allowed returns when the provider's rates let the next call begin.
func (g *Group) allowed() (at time.Time) {
	if r := g.Provider.Rate; r != nil {
		at = r.ready(g.Health.Calls)
	}
	if r := g.Provider.TokenRate; r != nil {
		if t := r.ready(g.Health.Tokens); t.After(at) {
			at = t
		}
	}
	return at
}

// route returns the queue for a task as it stands.
func (s *State) route(r *Run, task int) *Route {
	p := &r.Plan.paths[r.Form(task)]
	key := routeKey{queue: r.Submitted.Queue}
	if len(p.tiers) > 0 {
		key.setup, key.path, key.avoid = r.Plan.SetupHash, p.key, r.Tasks[task].Tried
		if key.avoid == p.all() {
			key.avoid = 0
		}
	}
	q := s.byKey[key]
	if q == nil {
		q = &Route{key: key, model: p.model, ready: btree.NewG(btreeDegree, Ready.Before), tiers: s.tiers(r, p, key.avoid)}
		s.byKey[key] = q
		s.routes = append(s.routes, q)
	}
	return q
}

// tiers returns the providers of a path; those to avoid come last.
func (s *State) tiers(r *Run, p *path, avoid uint64) (tiers [][]*Group) {
	if len(p.tiers) == 0 {
		return [][]*Group{{s.self}}
	}
	groups := s.setups[r.Plan.SetupHash].groups
	var last []*Group
	for _, tier := range p.tiers {
		var first []*Group
		for _, n := range tier {
			if avoid&p.bit(n) != 0 {
				last = append(last, groups[n])
			} else {
				first = append(first, groups[n])
			}
		}
		if len(first) > 0 {
			tiers = append(tiers, first)
		}
	}
	if len(last) > 0 {
		tiers = append(tiers, last)
	}
	return tiers
}

// OnProvider returns the provider that a started task runs on.
func (s *State) OnProvider(r *Run, task int) *Group {
	if n := r.Tasks[task].Provider; n > 0 {
		return s.setups[r.Plan.SetupHash].groups[n-1]
	}
	return s.self
}

// ReadyTasks returns how many tasks wait for nothing but a slot. Of a run with
// bounds of its own that is at most one for each queue.
func (s *State) ReadyTasks() int {
	n := 0
	for _, q := range s.routes {
		n += q.ready.Len()
	}
	return n
}

// lane holds the ready tasks of a run with bounds that queue in the same
// place. At most one of them queues, the others are held back.
type lane struct {
	route   *Route
	ready   *btree.BTreeG[Ready]
	queues  Ready
	offered bool // queues is a task that queues
}

// laneKey names a lane: a task with bounds of its own has one for itself.
type laneKey struct {
	route *Route
	task  int // in the document, or -1
}

// lane returns the lane of a task.
func (s *State) lane(r *Run, task int) *lane {
	key := laneKey{s.route(r, task), -1}
	if t := r.Task(task); t.Limits != nil || t.Budget != nil {
		key.task = r.Def(task)
	}
	if r.lanes == nil {
		r.lanes = map[laneKey]*lane{}
	}
	l := r.lanes[key]
	if l == nil {
		l = &lane{route: key.route, ready: btree.NewG(btreeDegree, Ready.Before)}
		r.lanes[key] = l
	}
	return l
}

func (s *State) enqueue(r *Run, task int) {
	if !r.bounded() {
		s.route(r, task).ready.ReplaceOrInsert(r.item(task))
		return
	}
	l := s.lane(r, task)
	l.ready.ReplaceOrInsert(r.item(task))
	l.offer(r)
}

// unready takes a task out of wherever it queues.
func (s *State) unready(r *Run, task int) {
	if r.Tasks[task].Status != TaskReady || !r.Active() {
		return
	}
	if !r.bounded() {
		s.route(r, task).ready.Delete(r.item(task))
		return
	}
	l := s.lane(r, task)
	l.ready.Delete(r.item(task))
	l.offer(r)
}

// best returns the task of the lane that should queue.
func (l *lane) best(r *Run) (Ready, bool) {
	most := r.Plan.Workflow.MaxParallel
	if most > 0 && r.Running >= most {
		return Ready{}, false
	}
	return l.ready.Min()
}

// offer lets the best task of a lane queue, and no other: one is enough, as
// tasks start one after the other.
func (l *lane) offer(r *Run) {
	best, any := l.best(r)
	if any == l.offered && (!any || best == l.queues) {
		return
	}
	if l.offered {
		l.route.ready.Delete(l.queues)
	}
	if any {
		l.route.ready.ReplaceOrInsert(best)
	}
	l.queues, l.offered = best, any
}

// offerAll does so for all lanes, after the number of running attempts has
// changed.
func (r *Run) offerAll() {
	for _, l := range r.lanes {
		l.offer(r)
	}
}
