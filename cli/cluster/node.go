package cluster

import (
	"context"
	"crypto/hpke"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
)

// Options say how a node works.
type Options struct {
	// Store is what the nodes share. The node owns it from then on.
	Store *eventlog.Partitions
	// Server says how the servers of partitions work. What it says of how much is
	// kept is for all partitions together.
	Server server.Options
	// Serve makes a node that stays: it takes its share of the partitions and
	// carries on what is left there. Any other takes one only if nobody has it and
	// something is wished of it.
	Serve bool
	// Begin is called for each partition that a node that stays has taken, before
	// anything runs there, with a way to make calls to it. nil does nothing.
	Begin func(ctx context.Context, call func(ctx context.Context, method string, params, result any) error) error
}

// Node is this process as one of those that share a store. It is the
// server.Router of its front.
type Node struct {
	o       Options
	store   *eventlog.Partitions
	logger  *slog.Logger
	private hpke.PrivateKey
	methods map[string]server.Method
	since   time.Time

	ctx     context.Context // until Close
	stop    context.CancelFunc
	working sync.WaitGroup
	serving context.Context // until Drain
	retire  context.CancelFunc
	joining sync.Mutex // held while we tell the others that we serve, or no more

	poked  chan struct{} // see poke
	giving atomic.Bool   // a partition is being given away

	taking sync.Mutex // held while a partition is taken

	mu      sync.Mutex
	leaving bool
	owned   map[int]*partition
	mirrors map[int]*server.Server
	asked   map[string]chan eventlog.Answer // who waits for an answer
}

// New makes a node and lets it begin.
func New(o Options) (*Node, error) {
	private, err := kem.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	if o.Server.Logger == nil {
		o.Server.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Node{o: o, store: o.Store, logger: o.Server.Logger, private: private, methods: map[string]server.Method{}, since: time.Now().UTC(), poked: make(chan struct{}, 1),
		owned: map[int]*partition{}, mirrors: map[int]*server.Server{}, asked: map[string]chan eventlog.Answer{}}
	for _, m := range server.Methods() {
		n.methods[m.Name] = m
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.serving, n.retire = context.WithCancel(n.ctx)
	n.working.Go(func() { n.store.Answers(n.ctx, n.answered) })
	if o.Serve {
		n.working.Go(n.balance)
	}
	return n, nil
}

// ID is the name of the store.
func (n *Node) ID() string { return n.store.ID() }

// Trouble tells why nothing can be written just now, nil if it can.
func (n *Node) Trouble() error { return n.store.Trouble() }

// Served tells whether there are servers, which carry out what is wished.
func (n *Node) Served(ctx context.Context) bool {
	served, err := n.store.Served(ctx)
	return err == nil && served
}

// Servers are those of the partitions that are ours now.
func (n *Node) Servers() map[int]*server.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make(map[int]*server.Server, len(n.owned))
	for i, p := range n.owned {
		all[i] = p.server
	}
	return all
}

// Drain gives up all partitions: nothing new starts, and what runs is let
// finish until ctx ends.
func (n *Node) Drain(ctx context.Context) error {
	n.mu.Lock()
	n.leaving = true
	n.mu.Unlock()
	n.retire()
	if n.o.Serve {
		n.resign(ctx)
	}
	n.taking.Lock() // what is being taken is ours by then
	defer n.taking.Unlock()
	var errs []error
	var mu sync.Mutex
	var giving sync.WaitGroup
	for number := range n.Servers() {
		giving.Go(func() {
			err := n.give(ctx, number)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	giving.Wait()
	return errors.Join(errs...)
}

// resign tells the others that we are no server any more, or else they wait for a
// lease.
func (n *Node) resign(ctx context.Context) {
	n.joining.Lock()
	defer n.joining.Unlock()
	_ = n.store.Leave(ctx)
}

// join tells the others that we are a server, unless we are about to leave, and
// returns who is.
func (n *Node) join() (nodes []string, err error) {
	n.joining.Lock()
	defer n.joining.Unlock()
	if n.serving.Err() != nil {
		return nil, n.serving.Err()
	}
	return n.store.Join(n.serving)
}

// Close ends the use of the store. Drain must have come before.
func (n *Node) Close() error {
	n.stop()
	n.working.Wait()
	return n.store.Close()
}

// mirror is a server that only looks at a partition, whoever owns it.
func (n *Node) mirror(number int) (*server.Server, error) {
	s, log := n.openMirror(number)
	return s, log.Refresh() // which waits while the Redis is away
}

func (n *Node) openMirror(number int) (*server.Server, *eventlog.Log) {
	n.mu.Lock()
	defer n.mu.Unlock()
	log := n.store.OpenMirror(number)
	s := n.mirrors[number]
	if s == nil {
		o := n.o.Server
		o.Passive, o.Scheduler.Partition = true, number
		s = server.New(log, o)
		n.mirrors[number] = s
		n.working.Go(func() { log.Watch(n.ctx) })
	}
	return s, log
}
