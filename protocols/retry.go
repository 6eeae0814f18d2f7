package protocols

import (
	"math"
	"slices"
	"time"
)

// DefaultRetry returns what `retry: {}` means.
func DefaultRetry() *Retry {
	return &Retry{MaxAttempts: 3, Backoff: Exponential, BaseDelay: Duration(time.Second),
		MaxDelay: Duration(300 * time.Second), Jitter: true}
}

// Delay returns how long to wait before the next attempt when attempt
// attempts, counted from 1, have been made. jitter is a random number in
// [0, 1) of the caller's; with r.Jitter it makes the delay 10 to 30 % longer.
// No delay is longer than MaxDelay, unless that is zero.
func (r *Retry) Delay(attempt int, jitter float64) time.Duration {
	n := float64(max(attempt, 1))
	d := float64(r.BaseDelay)
	switch r.Backoff {
	case Linear:
		d *= n
	case Fixed:
	default:
		d *= math.Exp2(n - 1)
	}
	if r.Jitter {
		d *= 1.1 + 0.2*jitter
	}
	most := float64(r.MaxDelay)
	if most <= 0 {
		most = math.MaxInt64 / 2
	}
	if !(d < most) { // also when BaseDelay is 0 and the power infinite
		if r.BaseDelay == 0 {
			return 0
		}
		return time.Duration(most)
	}
	return time.Duration(d)
}

// Retries tells whether a failure of the class is tried again. A nil Retry
// tries nothing again.
func (r *Retry) Retries(class Class) bool {
	if r == nil {
		return false
	}
	if len(r.On) == 0 {
		return !class.Hopeless()
	}
	return slices.Contains(r.On, class)
}
