package eventlog

import (
	"errors"
	"fmt"
	"sync"
)

// This file is the way into the log. Whoever finds nobody at work leads: it
// commits everything that waits with one sync, hands the lead on, and the
// others find their answer there. So a log that is written to by many syncs
// no more often than the disk can.

// Append makes a batch durable and returns the Seq of its first record; the
// others follow without a gap. When it returns without an error, all of the
// batch is on disk; if it returns an error, none of it is. Batches stand in the
// log in the order of the calls. A batch that can't be taken (empty, too large,
// a name that isn't one, a ref to a value that does not exist) is refused
// before anything is written. Should the disk fail, Options.Fatal is called and
// Append does not return.
func (l *Log) Append(b *Batch) (Seq, error) {
	if err := b.check(); err != nil {
		return 0, err
	}
	return l.submit(&request{batch: b})
}

// request is one call that waits to become part of a commit: a batch to append,
// streams to delete or marks to fold. Whoever leads fills in first and err.
type request struct {
	batch  *Batch
	delete []string
	fold   []Mark
	first  Seq
	err    error
	lead   chan bool // true: lead now; false: your request is answered
}

// queue holds the requests that no leader has taken yet.
type queue struct {
	mu      sync.Mutex
	waiting []*request
	spare   []*request // memory for the next waiting
	busy    bool       // somebody leads
}

// submit waits until r is part of a durable commit or refused.
func (l *Log) submit(r *request) (Seq, error) {
	if l.readOnly != nil {
		return 0, l.readOnly
	}
	if err := l.enter(); err != nil {
		return 0, err
	}
	defer l.leave()
	if l.queue.join(r) || <-r.lead {
		l.lead()
	}
	return r.first, r.err
}

// join puts r into the queue and tells whether the caller has to lead.
func (q *queue) join(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, r)
	if q.busy {
		r.lead = make(chan bool, 1)
	}
	lead := !q.busy
	q.busy = true
	return lead
}

// take returns the requests of the next commit, the leader's own first. A
// deletion is a commit of its own.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.waiting) && size < groupBytes && q.waiting[n].batch != nil {
		size += q.waiting[n].batch.size()
		n++
	}
	n = max(n, 1)
	group := append(q.spare[:0], q.waiting[:n]...)
	left := copy(q.waiting, q.waiting[n:])
	clear(q.waiting[left:])
	q.waiting = q.waiting[:left]
	return group
}

// groupBytes is how much data of different callers one commit may join.
const groupBytes = 4 << 20

// handOver answers the group but for the leader itself, which is the first of
// it, and makes the next in the queue lead.
func (q *queue) handOver(group []*request) {
	for _, r := range group[1:] {
		r.lead <- false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(group)
	q.spare = group
	if q.busy = len(q.waiting) > 0; q.busy {
		q.waiting[0].lead <- true
	}
}

// lead commits one group.
func (l *Log) lead() {
	group := l.queue.take()
	defer l.queue.handOver(group)
	if l.isFenced() {
		for _, r := range group {
			r.err = ErrFenced
		}
		return
	}
	w := &l.writer
	w.begin()
	for _, r := range group {
		switch {
		case r.batch != nil:
			r.first, r.err = w.append(r.batch)
		case r.fold != nil:
			r.err = w.fold(r.fold)
		default:
			r.err = w.delete(r.delete)
		}
	}
	if len(w.change.records) == 0 {
		return // all refused
	}
	err := l.store.commit(w.finish(), true)
	if l.whenFenced != nil && errors.Is(err, ErrFenced) {
		l.fence(err)
		for _, r := range group {
			r.err = err
		}
		return
	}
	if err != nil {
		l.doom.fail(fmt.Errorf("append records %d to %d: %w", w.sums.last-Seq(len(w.change.records))+1, w.sums.last, err))
	}
	l.counts.commit(group, w.change.bytes())
	l.last.Store(uint64(w.sums.last))
	l.bells.ring(w.change.touched)
}

// size returns about how many bytes the batch brings.
func (b *Batch) size() (n int) {
	for i := range b.records {
		n += len(b.records[i].Data)
	}
	for _, v := range b.values {
		n += len(v)
	}
	return n
}
