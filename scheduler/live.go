package scheduler

import (
	"sync"

	"gleitzeit/providers"
)

// Progress is a provisional sign of life of an attempt. It is not a fact: it
// may be lost, and nothing is decided by it (design.md, rule 9).
type Progress struct {
	Run     string `json:"run"`
	Task    string `json:"task"`
	Attempt int    `json:"attempt"`
	providers.Progress
}

// liveBuffer is how many signs of life a slow watcher may be behind.
const liveBuffer = 256

// watchers hands signs of life to whoever watches.
type watchers struct {
	mu   sync.Mutex
	next int
	all  map[int]watch
}

type watch struct {
	run string
	to  chan Progress
}

// Watch returns the signs of life of one run, or of all runs for "", until
// cancel is called, which closes the channel. What a slow reader doesn't take
// is dropped.
func (s *Scheduler) Watch(run string) (progress <-chan Progress, cancel func()) {
	w := &s.live
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[int]watch{}
	}
	id, to := w.next, make(chan Progress, liveBuffer)
	w.next++
	w.all[id] = watch{run, to}
	return to, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, there := w.all[id]; there {
			delete(w.all, id)
			close(to)
		}
	}
}

func (w *watchers) publish(p Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.all {
		if one.run != "" && one.run != p.Run {
			continue
		}
		select {
		case one.to <- p:
		default:
		}
	}
}
