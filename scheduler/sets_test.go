package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"gleitzeit/eventlog"
	"gleitzeit/providers"
)

// closing counts how often it was closed.
type closing struct{ closed int }

func (*closing) Call(context.Context, string, providers.Call, providers.Host) (json.RawMessage, error) {
	return nil, nil
}

func (c *closing) Close() error {
	c.closed++
	return nil
}

func hash(i int) eventlog.Hash { return eventlog.Sum(fmt.Append(nil, i)) }

// TestSetOpensAgain: what couldn't be opened is tried again by the next call.
func TestSetOpensAgain(t *testing.T) {
	opened := 0
	s := sets{open: func([]byte) (Providers, error) {
		switch opened++; opened {
		case 1:
			return nil, errors.New("not yet")
		case 2:
			panic("nor now")
		}
		return &closing{}, nil
	}}
	for range 2 {
		if _, err := s.get(hash(1), nil); err == nil {
			t.Fatal("it opened")
		}
	}
	one, err := s.get(hash(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.put(one)
	if err := s.close(); err != nil || one.providers.(*closing).closed != 1 {
		t.Errorf("%v, closed %d times", err, one.providers.(*closing).closed)
	}
}

// TestSetsThatAreIdle: only few stay open with nothing to do, and none that has
// a call is closed.
func TestSetsThatAreIdle(t *testing.T) {
	var all []*closing
	s := sets{open: func([]byte) (Providers, error) {
		all = append(all, &closing{})
		return all[len(all)-1], nil
	}}
	busy, err := s.get(hash(0), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxIdleSets {
		one, err := s.get(hash(i+1), nil)
		if err != nil {
			t.Fatal(err)
		}
		s.put(one)
	}
	open := 0
	for _, c := range all {
		open += 1 - c.closed
	}
	if open > maxIdleSets+1 || all[0].closed > 0 {
		t.Errorf("%d are open, the busy one was closed %d times", open, all[0].closed)
	}
	s.close()
	if all[0].closed > 0 {
		t.Error("closed under a call")
	}
	s.put(busy)
	for i, c := range all {
		if c.closed != 1 {
			t.Errorf("set %d was closed %d times", i, c.closed)
		}
	}
	if _, err := s.get(hash(0), nil); err == nil {
		t.Error("opened after close")
	}
}
