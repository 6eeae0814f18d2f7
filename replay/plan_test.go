package replay

import (
	"fmt"
	"testing"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// A task finds the provider that it names among any number of them, and all
// that would do if it names none: the first 64.
func TestManyProviders(t *testing.T) {
	setup := &Setup{}
	for i := range 200 {
		setup.Providers = append(setup.Providers, ProviderSlots{Name: fmt.Sprint("p", i), Protocol: "echo/v1", Slots: 1})
	}
	w := &protocols.Workflow{Tasks: []*protocols.Task{
		{ID: "named", Protocol: "echo/v1", Provider: "p199", Fallbacks: []string{"p150", "p199"}},
		{ID: "any", Protocol: "echo/v1"},
	}}
	p, err := NewPlan(eventlog.Hash{}, w, eventlog.Hash{}, setup)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.paths[0].tiers); got != "[[199] [150]]" {
		t.Errorf("the named ones are %s", got)
	}
	if n := p.Choices(1); n != 64 {
		t.Errorf("%d would do", n)
	}
	if a, b, none := p.paths[0].bit(199), p.paths[0].bit(150), p.paths[0].bit(3); a != 1 || b != 2 || none != 0 || p.paths[1].all() != 1<<64-1 {
		t.Errorf("bits %b %b %b %b", a, b, none, p.paths[1].all())
	}
}
