package replay

import (
	"slices"
)

// This file counts which plans and setups live runs use, and keeps no more.

// use counts one more run of the plan and returns the one that all of them
// share.
func (s *State) use(p *Plan) *Plan {
	key := planKey{p.Document, p.SetupHash}
	u := s.plans[key]
	if u == nil {
		u = &planUse{plan: p}
		s.plans[key] = u
		s.know(p)
	}
	u.runs++
	return u.plan
}

// unuse counts one run of the plan less. What nobody uses goes: the plan, and
// with the last plan of a setup the groups of its providers.
func (s *State) unuse(p *Plan) {
	key := planKey{p.Document, p.SetupHash}
	u := s.plans[key]
	if u.runs--; u.runs > 0 {
		return
	}
	delete(s.plans, key)
	use := s.setups[p.SetupHash]
	if use.plans--; use.plans > 0 {
		return
	}
	delete(s.setups, p.SetupHash)
	for _, g := range use.groups {
		if g.setups--; g.setups == 0 {
			delete(s.groups, g.key)
			s.pools = slices.DeleteFunc(s.pools, func(one *Group) bool { return one == g })
			if *g.Health == (Health{}) {
				delete(s.health, g.key)
			}
		}
	}
	s.routes = slices.DeleteFunc(s.routes, func(q *Route) bool {
		gone := q.key.setup == p.SetupHash
		if gone {
			delete(s.byKey, q.key)
		}
		return gone
	})
}

// know counts one more plan of a setup, whose providers come with the first.
func (s *State) know(p *Plan) {
	use := s.setups[p.SetupHash]
	if use == nil {
		use = &setupUse{}
		s.setups[p.SetupHash] = use
		for i := range p.Setup.Providers {
			key := p.Setup.Providers[i].key(p.SetupHash)
			g := s.groups[key]
			if g == nil {
				g = &Group{Provider: &p.Setup.Providers[i], Health: s.healthOf(key), key: key, workers: &s.workers}
				s.groups[key] = g
				if g.Provider.Pool != nil {
					s.pools = append(s.pools, g)
				}
			}
			g.setups++
			use.groups = append(use.groups, g)
		}
	}
	use.plans++
}
