package replay

import (
	"slices"
	"time"

	"gleitzeit/eventlog"
)

// This file knows until when a run was held that nobody holds.

// aliveStream is the stream of SystemAlive. That of SystemStarted has nothing
// else, so that its end tells who has the store.
const aliveStream = "alive"

// life is a process that took the store.
type life struct {
	Seq eventlog.Seq `json:"seq"` // of its SystemStarted
	// Before is the time of the last fact before it: the last that is known of
	// the process that had the store.
	Before time.Time `json:"before"`
}

// maxLives is how many lives are remembered.
const maxLives = 1000

// begins notes a life; before is the time of the last fact before it.
func begins(lives []life, seq eventlog.Seq, before time.Time) []life {
	lives = append(lives, life{seq, before})
	return lives[max(0, len(lives)-maxLives):]
}

// HeldUntil returns the moment up to which somebody surely held the run that
// nobody holds: when it was released, or when the process that held it wrote
// for the last time, about whatever. Of one that was left very many lives ago it
// is the run's last fact.
func (s *State) HeldUntil(r *Run) time.Time {
	if !r.released.IsZero() {
		return r.released
	}
	i, _ := slices.BinarySearchFunc(s.lives, r.heldAt, func(l life, seq eventlog.Seq) int {
		if l.Seq <= seq {
			return -1
		}
		return 1
	})
	if i == len(s.lives) || i == 0 && len(s.lives) == maxLives {
		return r.Last
	}
	return s.lives[i].Before
}

// Deadlines returns how many held runs have one.
func (s *State) Deadlines() int { return s.deadlines }
