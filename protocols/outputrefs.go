package protocols

import (
	"maps"
	"slices"
)

// OutputReferences returns the indexes of the tasks whose values the outputs
// use, sorted: a Scope for SubstituteOutputs need hold no others.
func (w *Workflow) OutputReferences() []int {
	tmpl, err := w.outputTemplate()
	if err != nil {
		return nil // SubstituteOutputs says so
	}
	used := map[int]bool{}
	for _, p := range tmpl.parts {
		if p.ref != nil {
			p.ref.each(func(ref *reference) {
				if ref.root == taskRoot {
					used[ref.task] = true
				}
			})
		}
	}
	return slices.Sorted(maps.Keys(used))
}
