package scheduler

import (
	"errors"
	"sync"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// maxIdleSets is how many sets of providers stay open with nothing to do.
const maxIdleSets = 8

// sets keeps the opened providers of each setup.
//
//	get ──► open, once ──► calls ──► put ──► idle ──► closed, when too many are
//	            │                                     idle, or at close
//	            └── fails: forgotten, so that the next get opens anew
//
// A set that still has calls at close (of providers that don't return) is
// closed by the last of them.
type sets struct {
	open   func(config []byte) (Providers, error)
	mu     sync.Mutex
	all    map[eventlog.Hash]*set
	closed bool
}

// set is the providers of one setup.
type set struct {
	setup     eventlog.Hash
	once      sync.Once
	providers Providers // nil if they couldn't be opened
	err       error
	calls     int  // guarded by sets.mu, like gone
	gone      bool // not in sets.all any more
}

// get returns the providers of a setup, opened once; each get needs a put.
func (s *sets) get(setup eventlog.Hash, config []byte) (*set, error) {
	one, err := s.take(setup)
	if err != nil {
		return nil, err
	}
	one.once.Do(func() { one.open(s.open, config) })
	if one.err != nil {
		s.forget(one)
		s.put(one)
		return nil, one.err
	}
	return one, nil
}

// take counts one more call of the setup's set.
func (s *sets) take(setup eventlog.Hash) (*set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.all == nil {
		s.all = map[eventlog.Hash]*set{}
	}
	one := s.all[setup]
	if one == nil {
		one = &set{setup: setup}
		s.all[setup] = one
	}
	one.calls++
	return one, nil
}

// open opens the providers; a panic is an error like any other.
func (one *set) open(open func([]byte) (Providers, error), config []byte) {
	defer func() {
		if p := recover(); p != nil {
			one.err = protocols.Errorf(protocols.ProviderInitializationFailed, "opening the providers panicked: %v", p)
		}
	}()
	one.providers, one.err = open(config)
}

// forget lets the next get of the setup open it anew.
func (s *sets) forget(one *set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !one.gone {
		one.gone = true
		delete(s.all, one.setup)
	}
}

// put says that a call has ended. It closes the set if that was the last call
// of one that is gone, or another set when too many are idle.
func (s *sets) put(one *set) {
	if idle := s.drop(one); idle != nil && idle.providers != nil {
		idle.providers.Close()
	}
}

// drop counts one call less and returns a set to close, if there is one.
func (s *sets) drop(one *set) *set {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.calls--
	if one.gone {
		if one.calls == 0 {
			return one
		}
		return nil
	}
	if len(s.all) <= maxIdleSets {
		return nil
	}
	for setup, other := range s.all {
		if other.calls == 0 {
			other.gone = true
			delete(s.all, setup)
			return other
		}
	}
	return nil
}

// close closes all providers; nothing is opened afterwards.
func (s *sets) close() error {
	var errs []error
	for _, one := range s.closeAll() {
		if one.providers != nil {
			errs = append(errs, one.providers.Close())
		}
	}
	return errors.Join(errs...)
}

// closeAll takes out all sets and returns those without calls.
func (s *sets) closeAll() (idle []*set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, one := range s.all {
		one.gone = true
		if one.calls == 0 {
			idle = append(idle, one)
		}
	}
	clear(s.all)
	return idle
}
