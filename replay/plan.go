package replay

import (
	"encoding/json"
	"fmt"

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

// ProviderSlots is a provider as the core knows it.
type ProviderSlots struct {
	Name     string   `json:"name"`
	Protocol string   `json:"protocol"`
	Aliases  []string `json:"aliases,omitempty"` // other names that tasks may give, for example of MCP servers
	Slots    int      `json:"slots"`             // calls at once, at least 1
	Secrets  []string `json:"secrets,omitempty"` // that its configuration names, see Setup.Secrets
}

// Plan is a document made ready to run under one setup. Runs of the same
// document and setup share it; it never changes.
type Plan struct {
	Document   eventlog.Hash
	SetupHash  eventlog.Hash
	Workflow   *protocols.Workflow
	Setup      *Setup
	dependents [][]int32 // by task: the tasks that wait for it
	provider   []int     // by task: index in Setup.Providers
	outputs    bool      // whether the run's result needs an evaluation
}

// NewPlan makes a plan. It fails with PROVIDER_NOT_FOUND when a task has no
// provider under the setup.
func NewPlan(doc eventlog.Hash, w *protocols.Workflow, setupHash eventlog.Hash, setup *Setup) (*Plan, error) {
	p := &Plan{Document: doc, SetupHash: setupHash, Workflow: w, Setup: setup, outputs: len(w.Outputs) > 0}
	p.dependents = make([][]int32, len(w.Tasks))
	p.provider = make([]int, len(w.Tasks))
	for i, t := range w.Tasks {
		for _, d := range t.Dependencies {
			if d < 0 || d >= len(w.Tasks) || d == i {
				return nil, fmt.Errorf("task %q: dependency %d of %d tasks", t.ID, d, len(w.Tasks))
			}
			p.dependents[d] = append(p.dependents[d], int32(i))
		}
		n := builtIn
		if t.Protocol != WaitProtocol && t.Protocol != WorkflowProtocol {
			if n = setup.route(t.Protocol, t.Provider); n < 0 {
				return nil, noProvider(t)
			}
		}
		p.provider[i] = n
	}
	return p, nil
}

func noProvider(t *protocols.Task) error {
	if t.Provider != "" {
		return protocols.Errorf(protocols.ProviderNotFound,
			"task %q: no provider %q speaks %s (see: gleitzeit provider list)", t.ID, t.Provider, t.Protocol)
	}
	return protocols.Errorf(protocols.ProviderNotFound,
		"task %q: no provider speaks %s (see: gleitzeit provider list)", t.ID, t.Protocol)
}

// route finds the first provider that speaks the protocol and, if a name is
// wanted, bears it. It returns -1 when there is none.
func (s *Setup) route(protocol, wanted string) int {
	for i, p := range s.Providers {
		if p.Protocol == protocol && (wanted == "" || p.named(wanted)) {
			return i
		}
	}
	return -1
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

// The protocols whose tasks need no provider: they wait, or run a workflow.
const (
	WaitProtocol     = "wait/v1"
	WorkflowProtocol = "workflow/v1"
)

// builtIn is the place of the provider that we are ourselves.
const builtIn = -1

// ourselves does what needs no provider: it starts waits.
var ourselves = ProviderSlots{Name: "gleitzeit", Slots: 1 << 30}

// Provider returns the provider of a task.
func (p *Plan) Provider(task int) *ProviderSlots {
	if p.provider[task] == builtIn {
		return &ourselves
	}
	return &p.Setup.Providers[p.provider[task]]
}

// Task returns a task of the document.
func (p *Plan) Task(i int) *protocols.Task { return p.Workflow.Tasks[i] }

// Dependents returns the tasks that wait for the given one. The slice is
// shared and must not be changed.
func (p *Plan) Dependents(task int) []int32 { return p.dependents[task] }

// MayNeedSecrets tells whether runs of the plan, or of those that they start,
// may need secrets.
func (p *Plan) MayNeedSecrets() bool {
	return len(p.Workflow.SecretRefs)+len(p.Workflow.Children)+len(p.Setup.Secrets) > 0
}

// HasOutputs tells whether the run's result has to be made from references.
func (p *Plan) HasOutputs() bool { return p.outputs }
