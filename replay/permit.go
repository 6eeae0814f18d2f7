package replay

import "time"

// This file knows of permits: a call of a provider whose bounds all partitions
// of a store share (ProviderSlots.Cluster) starts only when this one holds a
// permit for it. Who has which is no fact of this log; it comes with the policy.

// PermitKey names what a permit is for: a provider, by its key, and the model
// that the call is counted under; "" if it isn't.
type PermitKey struct{ Provider, Model string }

// Permits are those that are at hand and not used yet; nil: none are needed,
// since nobody else shares the store's engine.
type Permits map[PermitKey]int

// permit is what a call of the provider needs; false: nothing.
func (g *Group) permit(model string) (PermitKey, bool) {
	name, _ := g.Provider.modelSlots(model)
	return PermitKey{g.key, name}, g.Provider.Cluster
}

// lack tells whether a call needs a permit that isn't there.
func (p Permits) lack(g *Group, model string) bool {
	key, needed := g.permit(model)
	return p != nil && needed && p[key] == 0
}

// PermitOf returns the permit that a started task took; false: none.
func (s *State) PermitOf(r *Run, task int) (PermitKey, bool) {
	return s.OnProvider(r, task).permit(r.Plan.paths[r.Form(task)].model)
}

// Wanted returns the permits with which a task could start, and what they are
// for.
func (s *State) Wanted(now time.Time, room func(queue string) bool) map[PermitKey]*ProviderSlots {
	wanted := map[PermitKey]*ProviderSlots{}
	for _, q := range s.routes {
		if q.ready.Len() == 0 || !room(q.key.queue) || len(s.lacking(q, nil, 0, now)) == 0 {
			continue
		}
		q.ready.Ascend(func(item Ready) bool {
			r := s.runs[item.Run]
			if r.over(item.Task) {
				return true
			}
			lacking := s.lacking(q, r, item.Task, now)
			for _, g := range lacking {
				key, _ := g.permit(q.model)
				wanted[key] = g.Provider
			}
			return len(lacking) == 0 // what the first may have is enough
		})
	}
	return wanted
}

// lacking returns the providers that would do for a task of the route with a
// permit. Without a run it looks at the providers alone.
func (s *State) lacking(q *Route, r *Run, task int, now time.Time) (lacking []*Group) {
	for _, tier := range q.tiers {
		fit := false
		for _, g := range tier {
			if !g.shut(now).IsZero() || g.unmanned() {
				continue
			}
			fit = true
			_, ok := g.room(q.model, now)
			if ok && r != nil {
				_, ok = r.admits(task, g, now)
			}
			if ok && g.Provider.Cluster {
				lacking = append(lacking, g)
			}
		}
		if fit {
			break
		}
	}
	return lacking
}

// HealthOf returns how the provider with that key is, as far as this log knows.
func (s *State) HealthOf(key string) Health {
	if h := s.health[key]; h != nil {
		return *h
	}
	return Health{}
}
