package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
)

// partition is one that is ours.
type partition struct {
	number int
	log    *eventlog.Log
	server *server.Server
	ctx    context.Context // until we give it up, or have lost it
	stop   context.CancelFunc
	inbox  sync.WaitGroup // who reads it, and what is carried out

	mu    sync.Mutex
	calls map[string]*inCall // by id
}

// owns returns the partition if it is ours.
func (n *Node) owns(number int) *partition {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.owned[number]
}

// share is a part of a number, rounded up, and 0 of 0.
func share(whole, parts int) int { return (whole + parts - 1) / parts }

// take makes us the owner of a partition, unless somebody is.
func (n *Node) take(number int) error {
	n.taking.Lock()
	defer n.taking.Unlock()
	n.mu.Lock()
	leaving, has := n.leaving, n.owned[number] != nil
	n.mu.Unlock()
	if leaving || has {
		return nil
	}
	p := &partition{number: number, calls: map[string]*inCall{}}
	log, err := n.store.Take(number, n.private.PublicKey().Bytes(), func(why error) { n.lose(p, why) })
	if err != nil {
		return err
	}
	o := n.o.Server
	o.Part, o.Scheduler.Partition = true, number
	count := n.store.Count()
	o.Retention.Runs, o.Retention.Bytes = share(o.Retention.Runs, count), int64(share(int(o.Retention.Bytes), count))
	p.log, p.server = log, server.New(log, o)
	p.ctx, p.stop = context.WithCancel(n.ctx)
	n.mu.Lock()
	n.owned[number] = p
	n.mu.Unlock()
	n.logger.Info("took a partition", "partition", number, "epoch", log.Epoch())
	p.inbox.Go(func() { n.store.Inbox(p.ctx, log, func(l eventlog.Letter) { n.receive(p, l) }) })
	if n.o.Serve {
		p.server.Count()
		p.inbox.Go(func() { n.begin(p) })
	}
	return nil
}

// begin carries on what is left in a partition that we have taken.
func (n *Node) begin(p *partition) {
	call := func(ctx context.Context, method string, params, result any) error {
		m := n.methods[method]
		r, err := p.server.Do(ctx, &server.Call{Peer: server.NewPeer(ctx, server.Identity{Trusted: true})}, m, params)
		if err != nil || result == nil {
			return err
		}
		raw, err := server.Encode(r)
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, result)
	}
	if n.o.Begin == nil {
		return
	}
	if err := n.o.Begin(p.ctx, call); err != nil && p.ctx.Err() == nil {
		n.logger.Warn("carry on what is left in a partition", "partition", p.number, "error", err)
	}
}

// forget takes a partition out of those that are ours. It returns false if it
// isn't among them any more.
func (n *Node) forget(p *partition) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.owned[p.number] != p {
		return false
	}
	delete(n.owned, p.number)
	return true
}

// lose stops what runs in a partition that another node has taken over.
func (n *Node) lose(p *partition, why error) {
	n.taking.Lock() // it may have been lost before all of it was there
	defer n.taking.Unlock()
	if !n.forget(p) {
		return // given up
	}
	n.logger.Warn("lost a partition", "partition", p.number, "epoch", p.log.Epoch(), "error", why)
	now, cancel := context.WithCancel(context.Background())
	cancel()
	n.working.Go(func() {
		if err := p.close(now); err != nil {
			n.logger.Info("close a partition that is lost", "partition", p.number, "error", err)
		}
	})
}

// give gives a partition up: nothing new starts there, and what runs is let
// finish until ctx ends.
func (n *Node) give(ctx context.Context, number int) error {
	p := n.owns(number)
	if p == nil || !n.forget(p) {
		return nil
	}
	n.logger.Info("give a partition up", "partition", number, "epoch", p.log.Epoch())
	return p.close(ctx)
}

// close ends the carrying out of calls after that of runs, so that who waits
// for a run's end learns of it.
func (p *partition) close(ctx context.Context) error {
	err := p.server.Close(ctx)
	p.stop()
	p.inbox.Wait()
	return err
}

// lookPause is the time between two looks at who has what; it is changed in tests
// only.
var lookPause = time.Second / 2

// The other times of balancing.
const (
	handOver     = 30 * time.Second // how long what runs may go on in a partition that is given away
	idlePatience = 30 * time.Second // how long a partition is looked for where nothing runs
	orphanLooks  = 3                // how many of our looks those have whose share a partition is
)

// balancing is what a node that stays remembers between two looks.
type balancing struct {
	tooMany time.Time         // since when we have more than our share
	orphans map[int]time.Time // since when nobody has a partition
	well    bool              // the last look went well
}

// balance sees to it that this node has its share of the partitions, until we
// leave: it takes those that nobody has, and gives away what is too much.
func (n *Node) balance() {
	b := balancing{orphans: map[int]time.Time{}, well: true}
	for {
		nodes, err := n.join()
		if err == nil {
			err = n.look(nodes, &b)
		}
		if err != nil && b.well && n.serving.Err() == nil { // once is enough
			n.logger.Warn("look for partitions", "error", err)
		}
		b.well = err == nil
		select {
		case <-n.serving.Done():
			return
		case <-n.poked:
		case <-time.After(lookPause):
		}
	}
}

// poke has a node that stays look at once.
func (n *Node) poke() {
	select {
	case n.poked <- struct{}{}:
	default:
	}
}

// look takes what nobody has: our share of it, and what those whose share it is
// don't take. Then it gives away what is too much.
func (n *Node) look(nodes []string, b *balancing) error {
	owners, err := n.owners(n.serving)
	if err != nil {
		return err
	}
	has := map[string]int{}
	for _, o := range owners {
		has[o.Node]++
	}
	took := false
	var failed []error
	for _, i := range rand.Perm(len(owners)) { // else all nodes want the same one
		if !b.orphaned(i+1, owners[i]) && (owners[i].Node != "" || len(n.Servers()) >= n.may(nodes, has)) {
			continue
		}
		took = true
		if err := n.take(i + 1); err != nil && !errors.As(err, new(*eventlog.LockedError)) {
			failed = append(failed, fmt.Errorf("partition %d: %w", i+1, err)) // others may be well
		}
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	if took || len(n.Servers()) <= n.may(nodes, has) { // what others took meanwhile isn't known here
		b.tooMany = time.Time{}
		return nil
	}
	if b.tooMany.IsZero() {
		b.tooMany = time.Now()
	}
	n.giveOne(time.Since(b.tooMany) > idlePatience)
	return nil
}

// orphaned tells whether a partition has had nobody for so long that those whose
// share it is can't be well.
func (b *balancing) orphaned(number int, o eventlog.Owner) bool {
	since, known := b.orphans[number]
	switch {
	case o.Node != "":
		delete(b.orphans, number)
	case !known:
		b.orphans[number] = time.Now()
	default:
		return time.Since(since) > orphanLooks*lookPause
	}
	return false
}

// may is how many partitions we may have: our share, rounded up unless a node
// has less than its share rounded down.
func (n *Node) may(nodes []string, has map[string]int) int {
	all := max(1, len(nodes))
	least := n.store.Count() / all
	for _, node := range nodes {
		if node != n.store.Node() && has[node] < least {
			return max(1, least)
		}
	}
	return share(n.store.Count(), all)
}

// owners are those of all partitions.
func (n *Node) owners(ctx context.Context) ([]eventlog.Owner, error) {
	numbers := make([]int, n.store.Count())
	for i := range numbers {
		numbers[i] = i + 1
	}
	return n.store.Owners(ctx, numbers...)
}

// giveOne begins to give the least busy partition away, if nothing runs there or
// it must be.
func (n *Node) giveOne(must bool) {
	least, found := -1, 0
	for number, s := range n.Servers() {
		if running := s.RunningAttempts(); least < 0 || running < least {
			least, found = running, number
		}
	}
	if least < 0 || least > 0 && !must {
		return
	}
	if !n.giving.CompareAndSwap(false, true) {
		return
	}
	n.working.Go(func() {
		defer n.giving.Store(false)
		ctx, cancel := context.WithTimeout(n.ctx, handOver)
		defer cancel()
		if err := n.give(ctx, found); err != nil && ctx.Err() == nil {
			n.logger.Warn("give a partition away", "partition", found, "error", err)
		}
	})
}
