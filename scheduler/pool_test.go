package scheduler

import (
	"slices"
	"testing"
)

// A pool runs no more at once than it may, in the order in which they came,
// and forgets none.
func TestPool(t *testing.T) {
	var ran []int
	p := pool{most: 3, start: func(f func()) { f() }}
	for i := range 10 {
		p.add(func() { ran = append(ran, i) })
	}
	for done := 0; p.len() > 0; done++ {
		if want := min(3+done, 10); len(ran) != want || p.running > 3 {
			t.Fatalf("%d have run after %d were done, want %d; %d run", len(ran), done, want, p.running)
		}
		p.done()
	}
	if !slices.IsSorted(ran) || len(ran) != 10 {
		t.Errorf("ran %v", ran)
	}
}
