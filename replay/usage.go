package replay

import "math"

// This file counts what calls cost.

// Usage is what calls have cost.
type Usage struct {
	Tokens   int64 `json:"tokens,omitempty"`
	MicroUSD int64 `json:"micro_usd,omitempty"` // millionths of a US dollar
}

// maxUsage bounds what is counted, so that no sum of what people and servers
// say overflows.
const maxUsage = 1 << 60

// Plus is the sum of two.
func (u Usage) Plus(v Usage) Usage {
	return Usage{plus(u.Tokens, v.Tokens), plus(u.MicroUSD, v.MicroUSD)}
}

func plus(a, b int64) int64 { return min(min(a, maxUsage)+min(b, maxUsage), maxUsage) }

// USD is the cost in US dollars.
func (u Usage) USD() float64 { return float64(u.MicroUSD) / 1e6 }

// MicroUSD turns US dollars into what Usage counts.
func MicroUSD(usd float64) int64 { return int64(math.Round(min(max(usd*1e6, -maxUsage), maxUsage))) }

// spend counts what an attempt has cost.
func (r *Run) spend(task int, u Usage) {
	r.Spent = r.Spent.Plus(u)
	t := &r.Tasks[r.Def(task)]
	t.Spent = t.Spent.Plus(u)
}
