package protocols

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// This file compiles what bounds a run or a task: cache, budget, limits.

// DefaultTTL is how long a cached result stands.
const DefaultTTL = Duration(24 * time.Hour)

// cacheDraft is a cache whose references have not been looked up yet.
type cacheDraft struct {
	*Cache
	at, key *node
}

func cacheKeys() []key[*cacheDraft] {
	return []key[*cacheDraft]{
		{spelling{name: "ttl", doc: "How long a result stands; a day unless said otherwise.", schema: schemaDuration},
			func(c *compiler, d *cacheDraft, k string, v *node) {
				if ttl, ok := c.duration("cache."+k, v, 1); ok {
					d.TTL = ttl
				}
			}},
		{spelling{name: "key", doc: "What makes two calls the same; else method, parameters and model.", schema: schemaText},
			func(c *compiler, d *cacheDraft, k string, v *node) {
				if s, ok := c.text("cache."+k, v); ok {
					if strings.TrimSpace(s) == "" {
						c.problem(v, "cache."+k+" is empty", "")
					}
					d.Key, d.key = s, v
				}
			}},
	}
}

// cache reads a cache: a map of its keys, or true for the defaults.
func (c *compiler) cache(d *draft, v *node) {
	x := &cacheDraft{Cache: &Cache{TTL: DefaultTTL}, at: v}
	switch v.kind {
	case boolKind:
		if v.text == "false" {
			return
		}
	case mapKind:
		readMap(c, v, c.lang.cache, x)
	default:
		c.mismatch("cache", v, "true, or a map with ttl and key")
		return
	}
	d.cache, d.Cache = x, x.Cache
}

// CacheKey returns the text of a task's cache key with its references filled
// in, "" if it has none. It fails as Substitute does.
func (w *Workflow) CacheKey(task int, s *Scope) (string, *Error) {
	t := w.Tasks[task]
	if t.Cache == nil || t.Cache.Key == "" {
		return "", nil
	}
	f := w.filler(s, t)
	f.what = "cache.key"
	raw, err := w.fillText(f, appendString(nil, t.Cache.Key), task)
	if err != nil {
		return "", err
	}
	if kindOf(raw) == stringKind {
		return rawText(raw), nil
	}
	return string(raw), nil
}

func budgetKeys() []key[*Budget] {
	return []key[*Budget]{
		{spelling{name: "tokens", doc: "How many tokens may be used.", schema: schemaCount},
			func(c *compiler, b *Budget, k string, v *node) {
				n, err := strconv.ParseInt(v.text, 10, 64)
				if v.kind != numberKind || err != nil || n < 1 {
					c.mismatch("budget."+k, v, "a whole number of at least 1")
					return
				}
				b.Tokens = n
			}},
		{spelling{name: "usd", doc: "How many US dollars may be spent.", schema: `{"type":"number","exclusiveMinimum":0}`},
			func(c *compiler, b *Budget, k string, v *node) {
				f, err := strconv.ParseFloat(v.text, 64)
				if v.kind != numberKind || err != nil || !(f > 0) || math.IsInf(f, 0) {
					c.mismatch("budget."+k, v, "a number of more than 0")
					return
				}
				b.USD = f
			}},
		{spelling{name: "on_exceed", doc: "What happens then: fail or pause.", schema: `{"enum":["fail","pause"]}`},
			func(c *compiler, b *Budget, k string, v *node) {
				if s, ok := c.choice("budget."+k, v, "fail", "pause"); ok {
					b.OnExceed = s
				}
			}},
	}
}

// budget reads a budget.
func (c *compiler) budget(v *node) *Budget {
	b := &Budget{OnExceed: "fail"}
	if readMap(c, v, c.lang.budget, b) && v.get("tokens") == nil && v.get("usd") == nil {
		c.problem(v, "budget needs tokens or usd", "")
	}
	return b
}

const schemaRate = `{"type":["string","number"],"description":"Calls in a time: 10/s, 600/h, 5/30s; a number is calls a second."}`

func limitsKeys() []key[*Limits] {
	return []key[*Limits]{
		{spelling{name: "per_provider", doc: "Calls at once on one provider.", schema: schemaCount},
			func(c *compiler, l *Limits, k string, v *node) { l.PerProvider, _ = c.count("limits."+k, v) }},
		{spelling{name: "rate", doc: "How many calls may begin in a time.", schema: schemaRate},
			func(c *compiler, l *Limits, k string, v *node) {
				r, err := ParseRate(v.text)
				if v.kind != numberKind && v.kind != stringKind || err != nil {
					c.mismatch("limits."+k, v, `a number of calls in a time, such as "10/s" or "100/1m"`)
					return
				}
				l.Rate = r
			}},
	}
}

// limits reads limits.
func (c *compiler) limits(v *node) *Limits {
	l := &Limits{}
	if readMap(c, v, c.lang.limits, l) && *l == (Limits{}) && v.get("per_provider") == nil && v.get("rate") == nil {
		c.problem(v, "limits needs per_provider or rate", "")
	}
	return l
}

// ParseRate reads a rate: "10/s", "600/h", "5/30s", or calls a second.
func ParseRate(s string) (*Rate, error) {
	calls, per, given := strings.Cut(strings.ReplaceAll(s, " ", ""), "/")
	n, err := strconv.Atoi(calls)
	if err != nil || n < 1 || n > math.MaxInt32 {
		return nil, fmt.Errorf("%q is not a number of calls", calls)
	}
	switch {
	case !given, per == "s", per == "sec", per == "second":
		return &Rate{n, Duration(time.Second)}, nil
	case per == "m", per == "min", per == "minute":
		return &Rate{n, Duration(time.Minute)}, nil
	case per == "h", per == "hour":
		return &Rate{n, Duration(time.Hour)}, nil
	case per == "d", per == "day":
		return &Rate{n, Duration(24 * time.Hour)}, nil
	}
	d, err := parseDuration(per)
	if err != nil || d <= 0 {
		return nil, fmt.Errorf("%q is not a time", per)
	}
	return &Rate{n, Duration(d)}, nil
}
