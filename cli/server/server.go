package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"gleitzeit/cli/server/metrics"
	"gleitzeit/cli/server/traces"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// Options say how a server works. The zero value looks but can't run anything.
type Options struct {
	// Dir is the store's folder, "" in memory.
	Dir string
	// Scheduler is how things run; see scheduler.Options.
	Scheduler scheduler.Options
	// Logger takes what an operator should know; nil means nothing.
	Logger *slog.Logger
	// Local is what only the program around the server knows; the zero value
	// knows nothing.
	Local Local
	// Retention says which runs are kept, while runs are carried out here.
	Retention Retention
	// Workers are those that may connect; nil: none can.
	Workers *providers.Workers
	// Part makes the server of a part of a store, behind a front: the workers are
	// the front's.
	Part bool
	// Traces says whom to tell what happens to runs that are carried out here.
	Traces traces.Options
	// Passive lets nothing be run here. Somebody else's wish rings Wanted.
	Passive bool
}

// Local is what the program around a server knows of its configuration. A
// function that is nil isn't offered.
type Local struct {
	// Compile turns the text of a submission into a document with this
	// server's setup. Of the machine it uses nothing but the configuration. Its
	// error is one of whoever wrote the text.
	Compile func(*SubmitParams) error
	// Providers lists those of the configuration, and Check asks them how they
	// are.
	Providers func() []providers.Info
	// Setup is what runs are submitted with.
	Setup func() replay.Setup
	Check func(ctx context.Context, names []string, patience time.Duration) ([]ProviderHealth, error)
	// Settings is the configuration without its secrets.
	Settings func() []Setting
}

// Server answers for one store, whose lock this process holds.
type Server struct {
	o       Options
	log     *eventlog.Log // nil of a front
	router  Router        // of a front
	opened  eventlog.Seq  // the end of the log when we came
	since   time.Time
	methods map[string]Method
	names   []string // of the methods
	figures *figures
	keeper  *metrics.Keeper // nil of a front

	making    sync.Mutex // held while a scheduler is made, which may take a while; before mu
	mu        sync.Mutex
	scheduler *scheduler.Scheduler // nil until the first wish
	leaving   bool                 // no wishes any more
	closed    bool                 // no callers any more
	door      *door                // where others come in, if they do
	served    sync.WaitGroup       // callers and the door; added to under mu, and not once closed

	born   chan struct{} // closed when there is a scheduler
	wanted chan struct{} // see Wanted; closed under wantOnce
	quit   chan struct{} // closed by Close, once

	wantOnce  sync.Once
	closeOnce sync.Once
	closeErr  error
}

func newServer(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, since: time.Now().UTC(), methods: map[string]Method{}, figures: newFigures(),
		born: make(chan struct{}), wanted: make(chan struct{}), quit: make(chan struct{})}
	for _, m := range Methods() {
		s.methods[m.Name] = m
		s.names = append(s.names, m.Name)
	}
	return s
}

// New makes the server of a store. It owns the log from then on. Nothing is
// read, and nothing starts, before somebody asks.
func New(log *eventlog.Log, o Options) *Server {
	s := newServer(o)
	s.log, s.opened, s.keeper = log, log.Last(), metrics.NewKeeper(log, s.o.Logger)
	return s
}

// ReadOnly returns why the store can't be written, nil if it can.
func (s *Server) ReadOnly() error {
	if s.log == nil {
		return nil
	}
	return s.log.ReadOnly()
}

// Pipe returns a connection of this process's own. After Close it is at its
// end at once.
func (s *Server) Pipe() net.Conn {
	ours, theirs := net.Pipe()
	if !s.welcome(func() { s.serveLines(ours, &Peer{local: true, trusted: true}, "") }) {
		ours.Close()
	}
	return theirs
}

// serveLines talks to a client over a connection of lines.
func (s *Server) serveLines(conn net.Conn, p *Peer, token string) {
	l := newLines(conn)
	if token != "" {
		l.limit = maxStranger
	}
	s.serve(l, p, token)
}

// welcome runs f in a goroutine that Close waits for, unless we are closed.
func (s *Server) welcome(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.served.Go(f)
	return true
}

// Wanted is closed when a passive server got a wish that it may not carry out:
// its owner should Close it, so that whoever wished can have the store.
func (s *Server) Wanted() <-chan struct{} { return s.wanted }

// Close gives the store up. Nothing new starts; what runs is let finish, while
// everybody may still look, until ctx ends: then it is stopped, and will be
// tried again by whoever has the store next. Then the callers get what is left
// for them and are sent away, and the log is closed. A second Close waits for
// the first and returns the same.
func (s *Server) Close(ctx context.Context) error {
	s.closeOnce.Do(func() { s.closeErr = s.close(ctx) })
	return s.closeErr
}

func (s *Server) close(ctx context.Context) error {
	var errs []error
	running := s.refuse()
	if s.router != nil {
		if s.o.Workers != nil {
			s.o.Workers.Leave()
		}
		errs = append(errs, s.router.Drain(ctx))
	}
	if running != nil {
		err := running.Drain(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, scheduler.ErrClosed) { // one that was fenced has ended already
			errs = append(errs, err)
		}
		if s.o.Workers != nil && !s.o.Part {
			s.o.Workers.Leave()
		}
		errs = append(errs, running.Close())
	}
	s.mu.Lock()
	s.closed = true
	if s.door != nil {
		s.door.close()
	}
	s.mu.Unlock()
	close(s.quit)
	if s.o.Workers != nil && !s.o.Part {
		s.o.Workers.Close()
	}
	s.served.Wait()
	return errors.Join(append(errs, s.closeLog())...)
}

func (s *Server) closeLog() error {
	if s.router != nil {
		return s.router.Close()
	}
	return s.log.Close()
}

// refuse lets nobody wish any more, and returns the scheduler if there is one.
func (s *Server) refuse() *scheduler.Scheduler {
	s.making.Lock()
	defer s.making.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	return s.scheduler
}

// wish returns the scheduler, made if need be, for a peer that wants
// something to happen.
func (s *Server) wish(p *Peer) (*scheduler.Scheduler, error) {
	s.making.Lock()
	defer s.making.Unlock()
	made, err := s.allowed(p)
	if made != nil || err != nil {
		return made, err
	}
	s.o.Scheduler.Traces = s.o.Traces.URL != ""
	if made, err = scheduler.New(s.log, s.o.Scheduler); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scheduler = made
	close(s.born)
	if s.o.Workers != nil && !s.closed {
		s.served.Go(func() { s.employ(made) })
	}
	if keep := s.o.Retention; !keep.IsZero() && !s.closed {
		s.served.Go(func() { s.retain(keep) })
	}
	if !s.closed {
		s.trace()
	}
	return made, nil
}

// trace tells what happens to whoever wants to know. mu is held.
func (s *Server) trace() {
	if s.o.Traces.URL == "" {
		if err := traces.Forget(s.log); err != nil {
			s.o.Logger.Warn("forget what was told", "error", err)
		}
		return
	}
	tracer := traces.New(s.log, s.opened, s.o.Traces, s.o.Logger)
	s.served.Go(func() { tracer.Keep(s.quit) })
}

// allowed returns the scheduler for a wish, or nil if one has to be made, or
// says why the peer can't wish anything here.
func (s *Server) allowed(p *Peer) (*scheduler.Scheduler, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.leaving:
		return nil, errLeaving
	case s.o.Passive && p.local:
		return nil, protocols.Errorf(protocols.SchedulerNotRunning, "this command only looks: it can't run anything")
	case s.o.Passive:
		s.wantOnce.Do(func() { close(s.wanted) })
		return nil, errLeaving
	}
	return s.scheduler, nil
}

// current returns the scheduler if there is one. It may be on its way out.
func (s *Server) current() *scheduler.Scheduler {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scheduler
}

// started tells whether this process has begun to run things. If not, nobody
// does: whatever the log says of a run that was held is of a process that is
// gone.
func (s *Server) started() (bool, error) {
	if s.current() == nil {
		return false, nil
	}
	head, found, err := s.log.Head(replay.SystemStream)
	return found && head.Seq > s.opened, err
}
