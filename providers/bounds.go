package providers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// This file reads what a configuration says about how much a provider may be
// asked. Nothing here keeps the bounds: whoever calls a provider does.

// Bounds is how much a provider may be asked.
type Bounds struct {
	ModelSlots map[string]int  `json:"model_slots,omitempty"` // calls at once of single models
	Rate       *protocols.Rate `json:"rate,omitempty"`        // calls that may begin; nil: no bound
	Burst      int             `json:"burst,omitempty"`       // of those, how many at once
	TokenRate  *protocols.Rate `json:"token_rate,omitempty"`  // tokens that may be used; nil: no bound
	Breaker    *Breaker        `json:"breaker,omitempty"`     // nil: none
	Pool       *Pool           `json:"pool,omitempty"`        // nil: always as many as Slots
	// Cluster tells that the bounds are those of all partitions together.
	Cluster bool `json:"cluster,omitempty"`
}

// The scopes of a provider's bounds.
const (
	ScopeCluster   = "cluster"   // all partitions of the store share them
	ScopePartition = "partition" // each has them for itself
)

// Pool says how many calls at once a provider may have, and when that changes.
type Pool struct {
	Min      int                `json:"min"`
	Max      int                `json:"max"`
	Up       float64            `json:"scale_up"`   // it grows when this share of its slots is in use
	Down     float64            `json:"scale_down"` // it shrinks when no more than this is
	Cooldown protocols.Duration `json:"cooldown"`   // between two changes
}

// PoolConfig is a Pool as a file has it; what is zero is 2, 10, 0.8, 0.2 and 30s.
type PoolConfig struct {
	Min      int     `json:"min,omitempty" yaml:"min"`
	Max      int     `json:"max,omitempty" yaml:"max"`
	Up       float64 `json:"scale_up,omitempty" yaml:"scale_up"`
	Down     float64 `json:"scale_down,omitempty" yaml:"scale_down"`
	Cooldown string  `json:"cooldown,omitempty" yaml:"cooldown"`
}

// Breaker says when a provider that fails is left alone, and when it is tried
// again.
type Breaker struct {
	Failures  int                `json:"failures"`  // in a row
	Open      protocols.Duration `json:"open"`      // how long it is left alone
	Successes int                `json:"successes"` // in a row, that end the trial
}

// DefaultBreaker is what servers have unless told otherwise.
var DefaultBreaker = Breaker{Failures: 5, Open: protocols.Duration(time.Minute), Successes: 3}

// BreakerConfig changes DefaultBreaker; what is zero stays.
type BreakerConfig struct {
	Off       bool   `json:"off,omitempty" yaml:"off"`
	Failures  int    `json:"failures,omitempty" yaml:"failures"`
	Open      string `json:"open,omitempty" yaml:"open"`
	Successes int    `json:"successes,omitempty" yaml:"successes"`
}

// boundKeys are the keys that every kind understands, beside kind.
var boundKeys = []string{"slots", "rate", "burst", "breaker", "pool", "scope"}

// bounds reads the bounds of a provider; server tells that it has a breaker
// unless told otherwise. The problems name their keys.
func (p ProviderConfig) bounds(server bool) (b Bounds, problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	rate := func(key, text, example string) *protocols.Rate {
		if text == "" {
			return nil
		}
		r, err := protocols.ParseRate(text)
		if err != nil {
			report("%s: %q: must be a number in a time, such as %q", key, text, example)
		}
		return r
	}
	b.Rate, b.TokenRate = rate("rate", p.Rate, "60/m"), rate("token_rate", p.TokenRate, "100000/m")
	if b.Burst = p.Burst; p.Burst < 0 || p.Burst > 0 && p.Rate == "" {
		report("burst: %d: must be at least 1, and goes with rate", p.Burst)
	}
	b.ModelSlots = p.ModelSlots
	for _, model := range slices.Sorted(maps.Keys(p.ModelSlots)) {
		if n := p.ModelSlots[model]; n < 1 {
			report("model_slots.%s: %d: must be at least 1", model, n)
		}
	}
	var more []string
	b.Breaker, more = p.breaker(server)
	problems = append(problems, more...)
	b.Pool, more = p.pool()
	problems = append(problems, more...)
	switch b.Cluster = p.Scope == ScopeCluster; {
	case b.Cluster && p.Pool != nil:
		report("scope: cluster doesn't go with a pool: give slots")
	case !b.Cluster && p.Scope != "" && p.Scope != ScopePartition:
		report("scope: %q: must be cluster or partition", p.Scope)
	}
	return b, problems
}

// pool reads the pool of a provider.
func (p ProviderConfig) pool() (*Pool, []string) {
	c := p.Pool
	if c == nil {
		return nil, nil
	}
	var problems []string
	b := Pool{Min: orElse(c.Min, 2), Max: orElse(c.Max, max(10, c.Min)), Up: c.Up, Down: c.Down, Cooldown: protocols.Duration(30 * time.Second)}
	if b.Up == 0 {
		b.Up = 0.8
	}
	if b.Down == 0 {
		b.Down = min(0.2, b.Up/2)
	}
	if c.Cooldown != "" {
		d, err := time.ParseDuration(strings.TrimSpace(c.Cooldown))
		if err != nil || d <= 0 {
			problems = append(problems, fmt.Sprintf("pool.cooldown: %q: must be a duration such as 30s", c.Cooldown))
		}
		b.Cooldown = protocols.Duration(d)
	}
	if b.Min < 1 || b.Max < b.Min {
		problems = append(problems, fmt.Sprintf("pool: min %d and max %d: must be at least 1, and max no less than min", b.Min, b.Max))
	}
	if !(b.Down > 0 && b.Down < b.Up && b.Up <= 1) {
		problems = append(problems, fmt.Sprintf("pool: scale_down %g and scale_up %g: must be shares between 0 and 1, scale_down the smaller", b.Down, b.Up))
	}
	if p.Slots > 0 {
		problems = append(problems, "pool: min and max take the place of slots")
	}
	return &b, problems
}

// breaker reads the breaker of a provider.
func (p ProviderConfig) breaker(server bool) (*Breaker, []string) {
	c := p.Breaker
	switch {
	case c == nil && !server:
		return nil, nil
	case c == nil:
		b := DefaultBreaker
		return &b, nil
	case c.Off:
		return nil, nil
	}
	var problems []string
	b := DefaultBreaker
	if c.Failures < 0 || c.Successes < 0 {
		problems = append(problems, "breaker: failures and successes must be at least 1")
	}
	b.Failures, b.Successes = orElse(c.Failures, b.Failures), orElse(c.Successes, b.Successes)
	if c.Open != "" {
		d, err := time.ParseDuration(strings.TrimSpace(c.Open))
		if err != nil || d <= 0 {
			problems = append(problems, fmt.Sprintf("breaker.open: %q: must be a duration such as 60s or 2m", c.Open))
		}
		b.Open = protocols.Duration(d)
	}
	return &b, problems
}

func orElse(n, other int) int {
	if n == 0 {
		return other
	}
	return n
}
