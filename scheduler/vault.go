package scheduler

import (
	"maps"
	"slices"
	"sync"
)

// vault holds the secrets that clients have offered, by run, in memory alone.
//
//	Submit, Offer ──► offer ──► find, by workers ──► the call
//	                    │
//	                    └─────► scrubber ──► results, errors, signs of life
//
// A run's secrets are forgotten when it ends, and so is what a process knew
// when it dies: then somebody has to offer them again. What was a secret goes
// on being taken out of texts for a while: a server that runs for several runs
// may quote it later.
type vault struct {
	mu      sync.Mutex
	runs    map[uint64]map[string]string // values by reference, of each run
	uses    map[string]int               // how often each value is in runs
	retired []string                     // values that were, the newest last
	current *scrubber
	stale   bool // current doesn't know all
}

// maxRetired is how many secrets of ended runs go on being taken out.
const maxRetired = 256

// offer gives a run secrets, and returns the references of all that it has.
func (v *vault) offer(run uint64, secrets map[string]string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.runs == nil {
		v.runs, v.uses = map[uint64]map[string]string{}, map[string]int{}
	}
	has := v.runs[run]
	if has == nil {
		has = make(map[string]string, len(secrets))
		v.runs[run] = has
	}
	for ref, value := range secrets {
		if old, known := has[ref]; known {
			v.drop(old)
		}
		has[ref] = value
		v.uses[value]++
		v.stale = v.stale || v.uses[value] == 1
	}
	return slices.Sorted(maps.Keys(has))
}

// forget lets go of what a run had.
func (v *vault) forget(run uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, value := range v.runs[run] {
		v.drop(value)
	}
	delete(v.runs, run)
}

// drop counts one use of a value less; the last one retires it.
func (v *vault) drop(value string) {
	if v.uses[value]--; v.uses[value] > 0 {
		return
	}
	delete(v.uses, value)
	if slices.Contains(v.retired, value) {
		return
	}
	v.retired = append(v.retired, value)
	if len(v.retired) > maxRetired {
		v.retired = slices.Delete(v.retired, 0, 1)
	}
}

// find returns the secret that one of the runs has, the first that has it.
func (v *vault) find(runs []uint64, reference string) (string, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, run := range runs {
		if value, ok := v.runs[run][reference]; ok {
			return value, true
		}
	}
	return "", false
}

// scrubber takes out all secrets that are known, whosever they are.
func (v *vault) scrubber() *scrubber {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.stale {
		return v.current
	}
	v.current, v.stale = newScrubber(slices.AppendSeq(slices.Clone(v.retired), maps.Keys(v.uses))), false
	return v.current
}
