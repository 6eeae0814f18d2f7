package replay

import "github.com/google/btree"

// This file keeps who uses the named queues.

// QueueUse is who uses a named queue.
type QueueUse struct {
	Running int // attempts

	pending *btree.BTreeG[uint64] // runs of which nothing has started yet
}

// queue returns the queue of a run.
func (s *State) queue(r *Run) *QueueUse { return s.Queue(r.Submitted.Queue) }

// Queue returns who uses the queue of that name. It must not be changed.
func (s *State) Queue(name string) *QueueUse {
	q := s.queues[name]
	if q == nil {
		q = &QueueUse{pending: btree.NewOrderedG[uint64](btreeDegree)}
		s.queues[name] = q
	}
	return q
}

// EachQueue calls f for every queue that was used, in no order.
func (s *State) EachQueue(f func(name string, q *QueueUse)) {
	for name, q := range s.queues {
		f(name, q)
	}
}

// line keeps the run among those that wait for their first start, or not.
func (s *State) line(r *Run) {
	want := r.Active() && !r.went && r.Cancel == "" && r.Submitted.Parent == nil && s.runs[r.Number] == r
	if want == r.inLine {
		return
	}
	r.inLine = want
	q := s.queue(r)
	if want {
		q.pending.ReplaceOrInsert(r.Number)
	} else {
		q.pending.Delete(r.Number)
	}
}

// Pending returns how many runs there are of which nothing has started yet.
func (q *QueueUse) Pending() int { return q.pending.Len() }

// OldestPending returns the one of those runs that was submitted first, or nil.
func (s *State) OldestPending(queue string) *Run {
	n, _ := s.Queue(queue).pending.Min()
	return s.runs[n]
}
