package replay

import (
	"slices"
	"time"

	"gleitzeit/protocols"
)

// This file holds pools: providers whose slots grow and shrink with what is
// asked of them.

// Pool says how many calls at once a provider may have, and when that changes.
type Pool struct {
	Min      int                `json:"min"`
	Max      int                `json:"max"`
	Up       float64            `json:"up"`       // it grows when this share of its slots is in use
	Down     float64            `json:"down"`     // it shrinks when no more than this is
	Cooldown protocols.Duration `json:"cooldown"` // between two changes
}

// grows is by how many slots a pool grows at once; it shrinks by one.
const grows = 2

// PoolScaled: a provider has more slots from now on, or fewer.
type PoolScaled struct {
	Provider string `json:"provider"` // its key
	Name     string `json:"name"`
	Size     int    `json:"size"`
	Running  int    `json:"running,omitempty"` // calls that it had then
	Queued   int    `json:"queued,omitempty"`  // tasks that waited for it
}

// Type is the event's name on disk.
func (*PoolScaled) Type() string { return "pool.scaled" }

// poolStream ends the name of the stream of a provider's pool.
const poolStream = "/pool"

// Slots returns how many calls at once the provider may have now.
func (g *Group) Slots() int {
	p := g.Provider.Pool
	if g.Provider.Remote && g.workers != nil {
		offered, _ := g.workers.of(g.Provider)
		return min(offered, g.Provider.Slots)
	}
	if p == nil {
		return g.Provider.Slots
	}
	return min(max(g.Health.Size, p.Min), p.Max)
}

// scales applies a change of a pool's size.
func (s *State) scales(f Fact, e *PoolScaled) {
	if h := s.healthOf(e.Provider); f.Seq > h.poolSeq {
		h.poolSeq, h.Size, h.Scaled = f.Seq, e.Size, f.At
	}
}

// Scale returns the pool that should grow or shrink now; nil: none. Then at is
// the moment at which time alone will let one; zero: none.
func (s *State) Scale(now time.Time) (e *PoolScaled, at time.Time) {
	for _, g := range s.pools {
		queued := s.queuedFor(g)
		size := g.wants(queued)
		if size == g.Slots() {
			continue
		}
		if free := g.Health.Scaled.Add(time.Duration(g.Provider.Pool.Cooldown)); free.After(now) && !g.Health.Scaled.IsZero() {
			at = earlier(at, free)
			continue
		}
		return &PoolScaled{Provider: g.key, Name: g.Provider.Name, Size: size, Running: g.Running, Queued: queued}, at
	}
	return nil, at
}

// wants returns the size that the pool should have with so many tasks waiting.
func (g *Group) wants(queued int) int {
	p, size := g.Provider.Pool, g.Slots()
	switch used := float64(g.Running) / float64(size); {
	case used >= p.Up || queued > size:
		return min(size+grows, p.Max)
	case used <= p.Down && queued == 0:
		return max(size-1, p.Min)
	}
	return size
}

// queuedFor counts the ready tasks that the provider would do for first.
func (s *State) queuedFor(g *Group) (n int) {
	for _, q := range s.routes {
		if slices.Contains(q.tiers[0], g) {
			n += q.ready.Len()
		}
	}
	return n
}
