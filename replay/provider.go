package replay

import (
	"encoding/json"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// Setup is the configuration that a run was submitted with, as the log keeps
// it: what the core needs to know of the providers, and the whole of it as
// whoever opens the providers understands it.
type Setup struct {
	Providers []ProviderSlots `json:"providers"`
	Config    json.RawMessage `json:"config,omitempty"`
	// Secrets says where the configuration's secrets are, by the names that
	// Config and documents have for them: env:NAME, file:PATH or age:PATH.
	Secrets map[string]string `json:"secrets,omitempty"`
}

// ProviderSlots is a provider as the core knows it: what it may be asked, and
// how much of it.
type ProviderSlots struct {
	Name     string   `json:"name"`
	Protocol string   `json:"protocol"`
	Aliases  []string `json:"aliases,omitempty"` // other names that tasks may give, for example of MCP servers
	Slots    int      `json:"slots"`             // calls at once, at least 1
	// ID tells providers of different configurations apart: the same ID is the
	// same server, whose slots, rates and breaker all runs share. Without one
	// a provider is that of its setup alone.
	ID string `json:"id,omitempty"`
	// ByName tells that only tasks that name it use it.
	ByName bool `json:"by_name,omitempty"`
	// Spare tells that it stands in when no other provider speaks its protocol.
	Spare bool `json:"spare,omitempty"`
	// Models are those that it has; none: any.
	Models []string `json:"models,omitempty"`
	// Model is what a task that names none gets.
	Model string `json:"model,omitempty"`
	// ModelSlots bounds the calls at once of single models.
	ModelSlots map[string]int `json:"model_slots,omitempty"`
	Rate       *Rate          `json:"rate,omitempty"`       // of calls begun
	TokenRate  *Rate          `json:"token_rate,omitempty"` // of tokens used
	Breaker    *Breaker       `json:"breaker,omitempty"`    // nil: none
	Pool       *Pool          `json:"pool,omitempty"`       // how its slots change; nil: there are always Slots
	Cluster    bool           `json:"cluster,omitempty"`    // all partitions of the store share the bounds, if it has any
	Secrets    []string       `json:"secrets,omitempty"`    // that its configuration names, see Setup.Secrets
	Mock       string         `json:"mock,omitempty"`       // what makes its answers up; "": they are real
	// Remote tells that workers carry out its calls: it has the slots that they
	// offer, and no more than Slots.
	Remote bool `json:"remote,omitempty"`
}

// Breaker says when a provider that fails is left alone.
type Breaker struct {
	Failures  int                `json:"failures"`  // in a row, that open it
	Open      protocols.Duration `json:"open"`      // how long it is left alone
	Successes int                `json:"successes"` // of probes in a row, that close it again
}

// Rate is a token bucket as golang.org/x/time/rate has it, in whole
// nanoseconds so that it replays the same everywhere: N in every Per, of which
// up to Burst may come at once.
type Rate struct {
	N     int64              `json:"n"`
	Per   protocols.Duration `json:"per"`
	Burst int64              `json:"burst"`
}

// longest bounds how far ahead a bucket can be, so that it stays a moment that
// can be written, whatever numbers a configuration has.
const longest = 100 * 365 * 24 * time.Hour

// interval is the time that one takes.
func (r *Rate) interval() time.Duration {
	return min(max(time.Duration(int64(r.Per)/max(r.N, 1)), 1), longest)
}

// span is the time that n take.
func (r *Rate) span(n int64) time.Duration {
	most := int64(longest / r.interval())
	return time.Duration(min(max(n, -most), most)) * r.interval()
}

// ready returns when the next may begin, of a bucket that is empty until then.
// The Generic Cell Rate Algorithm (ITU-T I.371, annex A): a bucket is the
// moment at which it will be full again.
func (r *Rate) ready(full time.Time) time.Time {
	return full.Add(-r.span(max(r.Burst, 1) - 1))
}

// Pace says the rate as the time that each takes, and how far ahead of its time
// one may begin.
func (r *Rate) Pace() (each, ahead time.Duration) {
	return r.interval(), r.span(max(r.Burst, 1) - 1)
}

// take returns the bucket after n have been taken, or given back.
func (r *Rate) take(full, now time.Time, n int64) time.Time {
	if full.Before(now) {
		full = now
	}
	full = full.Add(r.span(n))
	if last := now.Add(longest); full.After(last) {
		return last
	}
	return full
}

func (p *ProviderSlots) named(name string) bool {
	if p.Name == name {
		return true
	}
	for _, a := range p.Aliases {
		if a == name {
			return true
		}
	}
	return false
}

// has tells whether the provider has the model; "" is the one of its own.
func (p *ProviderSlots) has(model string) bool {
	if model == "" || len(p.Models) == 0 || model == p.Model {
		return true
	}
	for _, m := range p.Models {
		if m == model {
			return true
		}
	}
	return false
}

// modelSlots returns the model that a call for the given one is counted under,
// and how many of its calls there may be; "" when they aren't counted.
func (p *ProviderSlots) modelSlots(model string) (string, int) {
	if model == "" {
		model = p.Model
	}
	if n := p.ModelSlots[model]; n > 0 {
		return model, n
	}
	return "", 0
}

// key names the provider among those of all setups.
func (p *ProviderSlots) key(setup eventlog.Hash) string {
	if p.ID != "" {
		return p.ID
	}
	return p.Name + "@" + setup.String()[:16]
}

// ourselves does what needs no provider: it starts waits.
var ourselves = ProviderSlots{Name: Ourselves, Slots: 1 << 30}

// Ourselves is the name of what needs no provider, in events.
const Ourselves = "gleitzeit"
