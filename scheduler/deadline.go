package scheduler

import (
	"time"

	"gleitzeit/replay"
)

// This file sees to it that the time while nobody runs a run doesn't count
// toward its timeout, and that the time while somebody did counts, also after
// a crash.

// aliveEvery is how long a process may be silent that holds runs with a
// deadline: so exact is what is known of the moment of its death.
const aliveEvery = time.Minute

// extended is the deadline moved by the time that nobody ran the run. Of a
// paused run the end of the pause sees to that.
func extended(s *replay.State, r *replay.Run, now time.Time) time.Time {
	if r.Deadline.IsZero() || r.Paused {
		return r.Deadline
	}
	return r.Deadline.Add(now.Sub(s.HeldUntil(r)))
}

// nextSign is when the process has to say that it lives, if it has to.
func nextSign(s *replay.State) (time.Time, bool) {
	return s.Time.Add(aliveEvery), s.Deadlines() > 0
}

// sign says so if the time has come.
func sign(s *replay.State, now time.Time) []replay.Fact {
	if at, ok := nextSign(s); ok && !now.Before(at) {
		return []replay.Fact{{At: now, Event: &replay.SystemAlive{}}}
	}
	return nil
}
