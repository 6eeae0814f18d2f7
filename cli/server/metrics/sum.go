package metrics

// Sum returns families of the same name as one, whose figures are the sums of
// theirs. What it returns has nothing in common with what it was given.
func Sum(all ...[]*Family) (sums []*Family) {
	places := map[string]*Family{}
	for _, families := range all {
		for _, f := range families {
			sum := places[f.Name]
			if sum == nil {
				own := *f
				own.series = nil
				sum = &own
				places[f.Name] = sum
				sums = append(sums, sum)
			}
			for _, s := range f.series {
				sum.at(s.Labels).add(s)
			}
		}
	}
	return sums
}

func (s *series) add(other *series) {
	s.Value += other.Value
	if s.Counts == nil && other.Counts != nil {
		s.Counts = make([]uint64, len(other.Counts))
	}
	for i, n := range other.Counts {
		s.Counts[i] += n
	}
}
