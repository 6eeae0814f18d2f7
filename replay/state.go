package replay

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/btree"

	"gleitzeit/eventlog"
)

// Fact is an event with its place: what happened, to which run, when.
type Fact struct {
	Seq   eventlog.Seq
	At    time.Time
	Run   uint64 // the run's number, 0 for the store as a whole
	Event Event
	// Call names the call that it is the first fact of, see CallKey. Only Encode
	// looks at it: a fact that was read has none.
	Call string
}

// SystemStream is the stream of the events that concern the whole store.
const SystemStream = "system"

// runPrefix begins the name of every run's stream.
const runPrefix = "run/"

// Stream returns the name of a run's stream; names sort by number.
func Stream(run uint64) string { return fmt.Sprintf("%s%010d", runPrefix, run) }

// RunOf returns the number of the run whose stream it is.
func RunOf(stream string) (uint64, bool) {
	digits, ok := strings.CutPrefix(stream, runPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0
}

// NumberOf returns the run's number that an id such as dependent-tasks-7 or
// dependent-tasks-3x7 ends with.
func NumberOf(id string) (uint64, bool) {
	_, n, ok := PlaceOf(id)
	return n, ok
}

// PlaceOf returns what an id such as dependent-tasks-3x7 ends with: the
// partition of the store, 0 for none, and the run's number there.
func PlaceOf(id string) (partition int, number uint64, ok bool) {
	end := id[strings.LastIndexByte(id, '-')+1:]
	place, rest, divided := strings.Cut(end, "x")
	if divided {
		p, err := strconv.ParseUint(place, 10, 16)
		if err != nil || p == 0 {
			return 0, 0, false
		}
		partition, end = int(p), rest
	}
	n, err := strconv.ParseUint(end, 10, 64)
	return partition, n, err == nil && n > 0
}

// MayGive tells whether the state may give a coming run this id by itself.
func (s *State) MayGive(id string) bool {
	partition, n, ok := PlaceOf(id)
	return ok && partition == s.Partition && n >= s.NextRun
}

// State is what the log amounts to: the runs that live, and indexes over
// them. Only Apply changes it. A run leaves it when it ends.
type State struct {
	// Seq and Time are those of the last fact applied.
	Seq  eventlog.Seq
	Time time.Time
	// Life is the place of the last SystemStarted: runs that were taken before
	// it are held by nobody.
	Life eventlog.Seq
	// NextRun is the number that the next run gets; none is used twice.
	NextRun uint64
	// Running is the number of attempts that hold a slot.
	Running int
	// Partition is which part of a divided store the log is, 0 for the whole of
	// one. It is no fact: whoever loads the state says it.
	Partition int

	runs      map[uint64]*Run
	keys      map[string]uint64 // idempotency keys of the live runs
	plans     map[planKey]*planUse
	setups    map[eventlog.Hash]*setupUse
	groups    map[string]*Group // by the provider's key
	self      *Group            // for what needs no provider
	pools     []*Group          // those whose slots change
	workers   workforce         // that carry out calls elsewhere
	health    map[string]*Health
	routes    []*Route
	byKey     map[routeKey]*Route
	queues    map[string]*QueueUse
	timers    *btree.BTreeG[Timer]
	unsettled *btree.BTreeG[uint64]
	deadlines int    // timers that are a run's deadline
	lives     []life // the last of the processes that took the store, oldest first
	schedules map[string]*Schedule
	alarms    *btree.BTreeG[Alarm] // of the schedules
}

type planKey struct{ document, setup eventlog.Hash }

type planUse struct {
	plan *Plan
	runs int
}

const btreeDegree = 16

// NewState returns the state of an empty log.
func NewState() *State {
	return &State{
		NextRun:   1,
		runs:      map[uint64]*Run{},
		keys:      map[string]uint64{},
		plans:     map[planKey]*planUse{},
		setups:    map[eventlog.Hash]*setupUse{},
		groups:    map[string]*Group{},
		self:      &Group{Provider: &ourselves, Health: &Health{}},
		health:    map[string]*Health{},
		byKey:     map[routeKey]*Route{},
		queues:    map[string]*QueueUse{},
		timers:    btree.NewG(btreeDegree, Timer.before),
		unsettled: btree.NewG(btreeDegree, func(a, b uint64) bool { return a < b }),
		schedules: map[string]*Schedule{},
		alarms:    btree.NewG(btreeDegree, Alarm.before),
	}
}

// Passed says that the log has records up to there, of which those that were
// not applied are no facts: they stand for what was deleted.
func (s *State) Passed(seq eventlog.Seq) { s.Seq = max(s.Seq, seq) }

// Run returns a live run, or nil. It must not be changed.
func (s *State) Run(number uint64) *Run { return s.runs[number] }

// Runs returns the number of live runs.
func (s *State) Runs() int { return len(s.runs) }

// Each calls f for every live run, in no particular order.
func (s *State) Each(f func(*Run)) {
	for _, r := range s.runs {
		f(r)
	}
}

// ByKey returns the live run that was submitted under the idempotency key.
func (s *State) ByKey(key string) *Run { return s.runs[s.keys[key]] }

// Plan returns the plan that a live run uses for the document and setup.
func (s *State) Plan(document, setup eventlog.Hash) *Plan {
	if u := s.plans[planKey{document, setup}]; u != nil {
		return u.plan
	}
	return nil
}

// NextTimer returns the earliest timer.
func (s *State) NextTimer() (Timer, bool) { return s.timers.Min() }

// NextUnsettled returns a run about which something is to be decided that
// follows from what has happened to it.
func (s *State) NextUnsettled() *Run {
	n, ok := s.unsettled.Min()
	if !ok {
		return nil
	}
	return s.runs[n]
}
