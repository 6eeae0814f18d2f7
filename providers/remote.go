package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// remote stands for a provider that workers carry out: processes elsewhere that
// have connected to this one. Workers (workers.go) knows them.
type remote struct {
	name      string
	workers   *Workers
	protocols []string
	grace     time.Duration
}

// defaultGrace is how long a worker may be away, unless told otherwise, before
// what it had is lost.
const defaultGrace = 30 * time.Second

func newRemote(name string, c ProviderConfig, d deps) (Provider, error) {
	if d.workers == nil {
		return nil, protocols.Errorf(protocols.ProviderNotFound, "provider %q is remote, and workers can't connect to this process", name)
	}
	return &remote{name: name, workers: d.workers, protocols: c.Protocols, grace: patienceOf(c)}, nil
}

// patienceOf is how long a worker of the provider may be away.
func patienceOf(c ProviderConfig) time.Duration {
	if d, err := time.ParseDuration(c.Grace); err == nil {
		return d
	}
	return defaultGrace
}

// Call has a worker carry it out.
func (r *remote) Call(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	name, _, _ := strings.Cut(call.Method, "/")
	i := slices.IndexFunc(r.protocols, func(p string) bool { return strings.HasPrefix(p, name+"/") })
	if i < 0 {
		return nil, protocols.Errorf(protocols.MethodNotSupported, "the workers of %q have no method %s", r.name, call.Method)
	}
	return r.workers.call(ctx, job{provider: r.name, protocol: r.protocols[i], grace: r.grace, Call: call, host: host})
}

// Check tells whether workers are connected.
func (r *remote) Check(context.Context) Health {
	var there []WorkerInfo
	for _, w := range r.workers.List() {
		if w.serves(r.name, r.protocols) {
			there = append(there, w)
		}
	}
	if len(there) == 0 {
		return Health{Status: "unhealthy", Message: "no worker is connected"}
	}
	return Health{Status: "healthy", Message: fmt.Sprintf("%d workers", len(there)), Details: map[string]any{"workers": there}}
}

// Close has nothing to stop: the workers stay.
func (*remote) Close() error { return nil }

// checkRemote says what is wrong with a configuration of kind remote.
func checkRemote(_ string, p ProviderConfig) (problems []string) {
	if len(p.Protocols) == 0 {
		problems = append(problems, "protocols: missing: what its workers speak, such as [images/v1]")
	}
	for _, name := range p.Protocols {
		if !protocols.IsProtocol(name) {
			problems = append(problems, fmt.Sprintf("protocols: %q: must be of the form name/v1", name))
		} else if name == "wait/v1" || name == "workflow/v1" {
			problems = append(problems, fmt.Sprintf("protocols: %s needs no provider", name))
		}
	}
	if p.Pool != nil {
		problems = append(problems, "pool: it has as many slots as its workers offer")
	}
	if d, err := time.ParseDuration(p.Grace); p.Grace != "" && (err != nil || d < 0) {
		problems = append(problems, fmt.Sprintf("grace: %q: must be a duration such as 30s", p.Grace))
	}
	return problems
}

// Lost is the error of a call whose worker was lost: nobody knows how far it
// got.
type Lost struct{ Worker string } // its name

// Error says so.
func (l *Lost) Error() string { return "the worker " + l.Worker + " was lost" }
