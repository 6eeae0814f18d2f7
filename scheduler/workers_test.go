package scheduler

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// TestEmployTooMuch: offers that no record of the log holds are refused, not
// applied.
func TestEmployTooMuch(t *testing.T) {
	var offers []replay.Offer
	for i := range 500 {
		offers = append(offers, replay.Offer{Provider: fmt.Sprint(strings.Repeat("p", 100), i), Protocol: "echo/v1", Slots: 1, Workers: 1})
	}
	for n, fits := range map[int]bool{100: true, len(offers): false} {
		facts, err := Decide(replay.NewState(), Policy{}, time.Now(), Employ{offers[:n]})
		e, _ := errors.AsType[*protocols.Error](err)
		if fits != (len(facts) == 1) || fits != (err == nil) || !fits && (e == nil || e.Code != protocols.ResourceExhausted) {
			t.Errorf("%d offers: %d facts, %v", n, len(facts), err)
		}
	}
}
