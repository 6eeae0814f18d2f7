package scheduler

import (
	"errors"
	"sync"

	"gleitzeit/eventlog"
)

// maxIdleSets is how many sets of providers stay open with nothing to do.
const maxIdleSets = 8

// sets keeps the opened providers of each setup.
type sets struct {
	open func(config []byte) (Providers, error)
	mu   sync.Mutex
	all  map[eventlog.Hash]*set
}

type set struct {
	once      sync.Once
	providers Providers
	err       error
	calls     int
}

// get returns the providers of a setup, opened once; each get needs a put.
func (s *sets) get(setup eventlog.Hash, config []byte) (Providers, error) {
	s.mu.Lock()
	if s.all == nil {
		s.all = map[eventlog.Hash]*set{}
	}
	one := s.all[setup]
	if one == nil {
		one = &set{}
		s.all[setup] = one
	}
	one.calls++
	s.mu.Unlock()
	one.once.Do(func() { one.providers, one.err = s.open(config) })
	if one.err != nil {
		s.put(setup)
		return nil, one.err
	}
	return one.providers, nil
}

// put says that a call has ended. When many sets are idle, it closes one.
func (s *sets) put(setup eventlog.Hash) {
	s.mu.Lock()
	s.all[setup].calls--
	idle := s.idle()
	if idle != nil && idle.providers != nil {
		defer idle.providers.Close()
	}
	s.mu.Unlock()
}

// idle takes out a set that nobody uses, when there are too many of them.
func (s *sets) idle() *set {
	if len(s.all) <= maxIdleSets {
		return nil
	}
	for setup, one := range s.all {
		if one.calls == 0 {
			delete(s.all, setup)
			return one
		}
	}
	return nil
}

// close closes all providers, but for those that don't return from a call.
func (s *sets) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, one := range s.all {
		if one.providers != nil && one.calls == 0 {
			errs = append(errs, one.providers.Close())
		}
	}
	return errors.Join(errs...)
}
