package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// Plan is a document made ready to run under one setup. Runs of the same
// document and setup share it; it never changes.
type Plan struct {
	Document   eventlog.Hash
	SetupHash  eventlog.Hash
	Workflow   *protocols.Workflow
	Setup      *Setup
	dependents [][]int32         // by task: the tasks that wait for it
	paths      []path            // by task
	agents     map[int]int       // where the forms of the steps of agents begin, by task
	forms      []*protocols.Task // those, after the document's tasks
	outputs    bool              // whether the run's result needs an evaluation
	bounded    bool              // something of it bounds what may run at once: tasks go through lanes
}

// path is what a task needs of providers.
type path struct {
	// tiers are providers in the order of preference, by their places in the
	// setup; those of one tier are as good as each other. None: ourselves.
	tiers   [][]int
	choices []int  // the providers of all tiers
	model   string // the model that the task names; "" if it names none, or a computed one
	metered bool   // its calls use tokens
	reserve int64  // tokens that a call may use, as far as is known before
	key     string // tells paths of one setup apart
}

// The protocols whose tasks need no provider: they wait, or run a workflow.
const (
	WaitProtocol     = "wait/v1"
	WorkflowProtocol = "workflow/v1"
)

// meteredProtocol is the protocol whose calls use tokens.
const meteredProtocol = "llm/v1"

// maxReserve is the most that a call reserves: more than any call uses.
const maxReserve = 1e9

// maxChoices is among how many providers a task's is chosen: the first ones.
const maxChoices = 64

// bit is the provider as a bit among those that would do; 0: it is none.
func (p *path) bit(provider int) uint64 {
	if i := slices.Index(p.choices, provider); i >= 0 {
		return 1 << i
	}
	return 0
}

// all has the bits of all that would do.
func (p *path) all() uint64 { return 1<<len(p.choices) - 1 }

// NewPlan makes a plan. It fails with PROVIDER_NOT_FOUND when a task has no
// provider under the setup.
func NewPlan(doc eventlog.Hash, w *protocols.Workflow, setupHash eventlog.Hash, setup *Setup) (*Plan, error) {
	p := &Plan{Document: doc, SetupHash: setupHash, Workflow: w, Setup: setup, outputs: len(w.Outputs) > 0,
		bounded: w.MaxParallel > 0 || w.Limits != nil || w.Budget != nil}
	p.dependents = make([][]int32, len(w.Tasks))
	p.paths = make([]path, len(w.Tasks))
	for i, t := range w.Tasks {
		for _, d := range t.Dependencies {
			if d < 0 || d >= len(w.Tasks) || d == i {
				return nil, fmt.Errorf("task %q: dependency %d of %d tasks", t.ID, d, len(w.Tasks))
			}
			p.dependents[d] = append(p.dependents[d], int32(i))
		}
		var err error
		if p.paths[i], err = setup.path(t); err != nil {
			return nil, protocols.Errorf(protocols.ProviderNotFound, "task %q: %v (see: gleitzeit provider list)", t.ID, err)
		}
		p.bounded = p.bounded || t.Limits != nil || t.Budget != nil
	}
	return p, p.addForms()
}

// addForms adds what the steps of agents are.
func (p *Plan) addForms() error {
	for i, t := range p.Workflow.Tasks {
		if t.Agent == nil {
			continue
		}
		if p.agents == nil {
			p.agents = map[int]int{}
		}
		p.agents[i] = len(p.paths)
		for _, form := range t.AgentForms() {
			var way path
			var err error
			if form != nil {
				way, err = p.Setup.path(form)
			}
			if err != nil {
				return protocols.Errorf(protocols.ProviderNotFound, "task %q: %v (see: gleitzeit provider list)", t.ID, err)
			}
			p.paths, p.forms = append(p.paths, way), append(p.forms, form)
		}
	}
	return nil
}

// Check tells whether a provider of the setup would do for the task.
func (s *Setup) Check(t *protocols.Task) error {
	if t.Agent != nil {
		for _, form := range t.AgentForms() {
			if form != nil {
				if err := s.Check(form); err != nil {
					return err
				}
			}
		}
	}
	_, err := s.path(t)
	return err
}

// path finds the providers that would do for a task.
func (s *Setup) path(t *protocols.Task) (p path, err error) {
	if t.Protocol == WaitProtocol || t.Protocol == WorkflowProtocol || t.Agent != nil {
		return p, nil
	}
	if t.Protocol == meteredProtocol {
		p.metered = true
		p.model, p.reserve = asks(t.Parameters)
	}
	if t.Provider == "" {
		p.add(s.candidates(t.Protocol, p.model))
	}
	for _, name := range append([]string{t.Provider}, t.Fallbacks...) {
		if name == "" {
			continue
		}
		n := s.called(t.Protocol, name)
		if n < 0 {
			return p, fmt.Errorf("no provider %q speaks %s", name, t.Protocol)
		}
		if s.Providers[n].has(p.model) {
			p.add([]int{n})
		}
	}
	if len(p.tiers) == 0 {
		if p.model == "" {
			return p, fmt.Errorf("no provider speaks %s", t.Protocol)
		}
		return p, fmt.Errorf("no provider speaks %s and has the model %q", t.Protocol, p.model)
	}
	p.key = fmt.Sprint(p.tiers) + p.model
	return p, nil
}

// add adds a tier of providers that are in none yet.
func (p *path) add(tier []int) {
	var fresh []int
	for _, n := range tier {
		if len(p.choices) < maxChoices && !slices.Contains(p.choices, n) {
			p.choices = append(p.choices, n)
			fresh = append(fresh, n)
		}
	}
	if len(fresh) > 0 {
		p.tiers = append(p.tiers, fresh)
	}
}

// asks reads from a call's parameters which model it is for, and how many
// tokens it may use. What is computed during the run isn't known.
func asks(parameters json.RawMessage) (model string, tokens int64) {
	var p struct {
		Model     json.RawMessage `json:"model"`
		MaxTokens json.RawMessage `json:"max_tokens"`
	}
	if json.Unmarshal(parameters, &p) != nil {
		return "", 0
	}
	if json.Unmarshal(p.Model, &model) != nil || bytes.Contains(p.Model, []byte("${")) {
		model = ""
	}
	if json.Unmarshal(p.MaxTokens, &tokens) != nil {
		tokens = 0
	}
	return model, min(max(tokens, 0), maxReserve)
}

// candidates are the providers that do for a task that names none: those that
// speak the protocol and have the model, or else the spare ones.
func (s *Setup) candidates(protocol, model string) []int {
	var fit, spare []int
	for i := range s.Providers {
		switch p := &s.Providers[i]; {
		case p.Protocol != protocol || p.ByName:
		case p.Spare:
			spare = append(spare, i)
		case p.has(model):
			fit = append(fit, i)
		}
	}
	if len(fit) == 0 {
		return spare
	}
	return fit
}

// called finds the provider of that name, or returns -1.
func (s *Setup) called(protocol, name string) int {
	for i := range s.Providers {
		if p := &s.Providers[i]; p.Protocol == protocol && p.named(name) {
			return i
		}
	}
	return -1
}

// Task returns a task of the document, or a form of an agent's steps.
func (p *Plan) Task(i int) *protocols.Task {
	if own := len(p.Workflow.Tasks); i >= own {
		return p.forms[i-own]
	}
	return p.Workflow.Tasks[i]
}

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

// Choices returns how many providers would do for a task.
func (p *Plan) Choices(task int) int { return len(p.paths[task].choices) }

// NameFor returns the name under which a provider is to be called for a task:
// its own, or the one that the task gives it.
func (p *Plan) NameFor(task int, provider string) string {
	t := p.Task(task)
	n := p.Setup.called(t.Protocol, provider)
	for _, name := range append([]string{t.Provider}, t.Fallbacks...) {
		if n >= 0 && name != "" && p.Setup.Providers[n].named(name) {
			return name
		}
	}
	return provider
}

// provider returns the place of the provider that a task of the document runs
// on, plus 1; 0 is ourselves.
func (p *Plan) provider(task int, name string) int {
	t := p.Task(task)
	if len(p.paths[task].tiers) == 0 {
		return 0
	}
	if n := p.Setup.called(t.Protocol, name); n >= 0 {
		return n + 1
	}
	return p.paths[task].tiers[0][0] + 1
}

// Serves names the providers that would do for a task, with the models that
// are theirs: calls that it may take to different ones are the same call. What a
// mock answers is none that anything real would give.
func (p *Plan) Serves(task int) string {
	var names []string
	for _, tier := range p.paths[task].tiers {
		for _, n := range tier {
			one := &p.Setup.Providers[n]
			name := one.Name + " " + one.Model
			if one.Mock != "" {
				name += " mocked " + one.ID
			}
			names = append(names, name)
		}
	}
	return strings.Join(names, "\n")
}

// Mocked says what makes up answers for the plan's tasks, "" if all that they do
// is real. Of a plan that runs other workflows, whose tasks aren't known here,
// it may say so without need.
func (p *Plan) Mocked() string {
	var all []string
	for i := range p.Setup.Providers {
		mock := p.Setup.Providers[i].Mock
		if mock != "" && !slices.Contains(all, mock) && (len(p.Workflow.Children) > 0 || p.uses(i)) {
			all = append(all, mock)
		}
	}
	return strings.Join(all, ", ")
}

// Secrets returns the names of the secrets that the configuration of the
// provider names, or of all that would do for the task when provider is "".
func (p *Plan) Secrets(task int, provider string) (names []string) {
	for _, tier := range p.paths[task].tiers {
		for _, n := range tier {
			if one := &p.Setup.Providers[n]; provider == "" || provider == one.Name {
				names = append(names, one.Secrets...)
			}
		}
	}
	return names
}

// Metered tells whether the calls of a task use tokens.
func (p *Plan) Metered(task int) bool { return p.paths[task].metered }
