package scheduler

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// warden holds facts against the laws about what may be used: slots of models,
// rates, breakers, queues, the limits and budgets of runs and tasks. It has a
// model of its own, as plain as can be, and takes nothing from State.
type warden struct {
	policy    Policy
	at        time.Time
	runs      map[uint64]*ward
	breakers  map[string]*replay.BreakerChanged // by the provider's key
	providers map[string]replay.ProviderSlots
	starts    map[string][]time.Time // calls by provider; of runs and tasks by their names
	pools     map[string]*poolSize
}

// poolSize is how many slots a provider has, and since when.
type poolSize struct {
	size int
	at   time.Time
}

// ward is a run as the warden knows it.
type ward struct {
	plan    *replay.Plan
	queue   string
	budget  *protocols.Budget
	granted replay.Usage
	of      []int                   // of each task: its foreach or agent, or itself
	forms   map[int]*protocols.Task // of the steps of agents
	running map[int]call
	spent   map[int]replay.Usage // by task of the document; -1: all
}

// call is an attempt that holds a slot.
type call struct {
	provider string // its key
	model    string
	began    time.Time
	lost     bool // its process has died
}

func newWarden() *warden {
	return &warden{runs: map[uint64]*ward{}, breakers: map[string]*replay.BreakerChanged{},
		providers: map[string]replay.ProviderSlots{}, starts: map[string][]time.Time{}, pools: map[string]*poolSize{}}
}

// fact is told the umpire's tasks of the run, who knows which are instances.
func (l *warden) fact(f replay.Fact, m *match) error {
	l.at = f.At
	switch e := f.Event.(type) {
	case *replay.SystemStarted:
		for _, r := range l.runs {
			for i, c := range r.running {
				c.lost = true
				r.running[i] = c
			}
		}
	case *replay.BreakerChanged:
		return l.breaker(f.At, e)
	case *replay.PoolScaled:
		return l.scaled(f.At, e)
	case *replay.WorkflowSubmitted:
		l.submitted(f.Run, e)
	case *replay.WorkflowRetried:
		r := l.runs[f.Run]
		r.granted = r.granted.Plus(e.Granted)
		r.forms = map[int]*protocols.Task{}
		for i, t := range m.tasks {
			r.of = append(r.of[:i], m.def(i))
			if t.step != nil {
				r.forms[i] = t.form
			}
		}
	}
	if r := l.runs[f.Run]; r != nil {
		return l.event(f, r)
	}
	return nil
}

func (l *warden) submitted(number uint64, e *replay.WorkflowSubmitted) {
	r := &ward{plan: e.Plan(), queue: e.Queue, budget: e.Budget, forms: map[int]*protocols.Task{}, running: map[int]call{}, spent: map[int]replay.Usage{}}
	for i := range r.plan.Workflow.Tasks {
		r.of = append(r.of, i)
	}
	l.runs[number] = r
}

// event is the table of what each event of a run does to what it uses.
func (l *warden) event(f replay.Fact, r *ward) error {
	switch e := f.Event.(type) {
	case *replay.TaskStarted:
		return l.started(f, r, e)
	case *replay.TaskExpanded:
		for range e.Count {
			r.of = append(r.of, e.Task)
		}
	case *replay.AgentStepped:
		forms := r.plan.Task(r.of[e.Task]).AgentForms()
		for _, s := range e.Steps {
			r.forms[len(r.of)] = forms[s.Form]
			r.of = append(r.of, r.of[e.Task])
		}
	case *replay.TaskCompleted:
		r.ends(e.Task, e.Usage)
	case *replay.TaskIterated:
		r.ends(e.Task, e.Usage)
	case *replay.TaskRetrying:
		r.ends(e.Task, e.Usage)
	case *replay.TaskFailed:
		r.ends(e.Task, e.Usage)
	case *replay.TaskCancelled:
		r.ends(e.Task, e.Usage)
	case *replay.TaskInterrupted:
		r.ends(e.Task, replay.Usage{})
	case *replay.TaskInDoubt:
		r.ends(e.Task, replay.Usage{})
	case *replay.TaskWaiting:
		r.ends(e.Task, replay.Usage{})
	case *replay.TaskSkipped:
		for _, i := range e.Tasks {
			r.ends(i, replay.Usage{})
		}
	case *replay.WorkflowUnpaused:
		r.granted = r.granted.Plus(e.Granted)
	}
	return nil
}

// ends takes an attempt's slot and counts what it has cost.
func (r *ward) ends(task int, u replay.Usage) {
	delete(r.running, task)
	r.spent[-1] = r.spent[-1].Plus(u)
	r.spent[r.of[task]] = r.spent[r.of[task]].Plus(u)
}

// task is what the document says of a task, or what a step of an agent is.
func (r *ward) task(task int) *protocols.Task {
	if form := r.forms[task]; form != nil {
		return form
	}
	return r.plan.Task(r.of[task])
}

// slots finds the provider of that name.
func (r *ward) slots(task int, name string) (p replay.ProviderSlots, found bool) {
	for _, p := range r.plan.Setup.Providers {
		if p.Name == name && p.Protocol == r.task(task).Protocol {
			return p, true
		}
	}
	return p, false
}

func (l *warden) started(f replay.Fact, r *ward, e *replay.TaskStarted) error {
	p, found := r.slots(e.Task, e.Provider)
	if !found {
		r.running[e.Task] = call{provider: "ourselves"}
		return l.queues(r)
	}
	key := p.ID
	if key == "" {
		key = p.Name + r.plan.SetupHash.String()
	}
	l.providers[key] = p
	def := r.task(e.Task)
	model, reserve := meter(def)
	if model == "" {
		model = p.Model
	}
	if err := r.affords(def, r.of[e.Task], reserve); err != nil {
		return err
	}
	r.running[e.Task] = call{provider: key, model: model, began: f.At}
	for _, check := range []func() error{
		func() error { return l.calls(key, model, p) },
		func() error { return l.shut(key, f.At, p) },
		func() error { return l.queues(r) },
		func() error { return l.rate(key, p.Rate) },
		func() error {
			return l.tighter(fmt.Sprint("run ", f.Run), r, -1, key, r.plan.Workflow.Limits)
		},
		func() error {
			return l.tighter(fmt.Sprint("task ", f.Run, " ", r.of[e.Task]), r, r.of[e.Task], key, def.Limits)
		},
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// meter reads what a call of a model asks for.
func meter(t *protocols.Task) (model string, reserve int64) {
	if t.Protocol != "llm/v1" {
		return "", 0
	}
	var p struct {
		Model     string `json:"model"`
		MaxTokens int64  `json:"max_tokens"`
	}
	if err := json.Unmarshal(t.Parameters, &p); err != nil {
		panic(err)
	}
	return p.Model, p.MaxTokens
}

// calls counts what runs on a provider.
func (l *warden) calls(key, model string, p replay.ProviderSlots) error {
	all, same := 0, 0
	for _, r := range l.runs {
		for _, c := range r.running {
			if c.provider == key && !c.lost {
				all++
				if c.model == model {
					same++
				}
			}
		}
	}
	slots := p.Slots
	if p.Pool != nil {
		slots = l.pool(key).size
	}
	if most := p.ModelSlots[model]; all > slots || most > 0 && same > most {
		return fmt.Errorf("%d calls of %s, %d of them of %q", all, key, same, model)
	}
	return nil
}

// pool is the provider's pool; all begin with one slot.
func (l *warden) pool(key string) *poolSize {
	if l.pools[key] == nil {
		l.pools[key] = &poolSize{size: 1}
	}
	return l.pools[key]
}

// scaled holds a change against what the pool was.
func (l *warden) scaled(now time.Time, e *replay.PoolScaled) error {
	p, policy := l.pool(e.Provider), testPool
	step := e.Size - p.size
	if step == 0 || step < -1 || step > 2 || e.Size < policy.Min || e.Size > policy.Max ||
		!p.at.IsZero() && now.Before(p.at.Add(time.Duration(policy.Cooldown))) ||
		step < 0 && e.Queued > 0 || step > 0 && e.Running == 0 && e.Queued == 0 {
		return fmt.Errorf("after %+v comes %+v", *p, *e)
	}
	p.size, p.at = e.Size, now
	return nil
}

// testPool is the pool of the games' providers that have one.
var testPool = replay.Pool{Min: 1, Max: 4, Up: 0.8, Down: 0.3, Cooldown: protocols.Duration(4 * time.Second)}

// shut wants nothing to start behind an open breaker, and one call at a time
// while the provider is being tried.
func (l *warden) shut(key string, now time.Time, p replay.ProviderSlots) error {
	b := l.breakers[key]
	if p.Breaker == nil || b == nil || b.State == replay.BreakerClosed {
		return nil
	}
	if b.State == replay.BreakerOpen {
		return fmt.Errorf("the breaker of %s is open until %s", key, b.Until)
	}
	probes := 0
	for _, r := range l.runs {
		for _, c := range r.running {
			if c.provider == key && !c.lost && c.began.After(b.Since) {
				probes++
			}
		}
	}
	if probes > 1 {
		return fmt.Errorf("%s is tried by %d calls at once", key, probes)
	}
	return nil
}

// breaker holds a change against what the breaker was.
func (l *warden) breaker(now time.Time, e *replay.BreakerChanged) error {
	was := l.breakers[e.Provider]
	if was == nil {
		was = &replay.BreakerChanged{}
	}
	policy := l.providers[e.Provider].Breaker
	ok := false
	switch {
	case policy == nil:
	case was.State == replay.BreakerClosed && e.State == replay.BreakerClosed:
		ok = e.Failures == was.Failures+1 && e.Failures < policy.Failures || e.Failures == 0 && was.Failures > 0
	case e.State == replay.BreakerOpen:
		ok = (was.State == replay.BreakerHalfOpen || was.State == replay.BreakerClosed && was.Failures+1 == policy.Failures) &&
			e.Since.Equal(now) && e.Until.Equal(now.Add(time.Duration(policy.Open)))
	case was.State == replay.BreakerOpen:
		ok = e.State == replay.BreakerHalfOpen && e.Successes == 0 && !now.Before(was.Until)
	case was.State == replay.BreakerHalfOpen && e.State == replay.BreakerHalfOpen:
		ok = e.Successes == was.Successes+1 && e.Successes < policy.Successes
	default:
		ok = was.State == replay.BreakerHalfOpen && was.Successes+1 == policy.Successes
	}
	l.breakers[e.Provider] = e
	if !ok {
		return fmt.Errorf("after %+v comes %+v", *was, *e)
	}
	return nil
}

func (l *warden) queues(of *ward) error {
	n := 0
	for _, r := range l.runs {
		for _, c := range r.running {
			if r.queue == of.queue && !c.lost {
				n++
			}
		}
	}
	if most := l.policy.Queues[of.queue].Slots; most > 0 && n > most {
		return fmt.Errorf("%d attempts of the queue %q", n, of.queue)
	}
	return nil
}

// rate wants that of any calls in a row no more began than the bucket had and
// was given meanwhile.
func (l *warden) rate(name string, r *replay.Rate) error {
	if r == nil {
		return nil
	}
	all := append(l.starts[name], l.at)
	l.starts[name] = all
	each := time.Duration(r.Per) / time.Duration(r.N)
	for i := range all {
		n := int64(len(all) - i)
		if most := r.Burst + int64(l.at.Sub(all[i])/each); n > most {
			return fmt.Errorf("%d calls of %s since %s, at most %d", n, name, all[i], most)
		}
	}
	return nil
}

// tighter holds a call against the limits of its run (task -1), or of its task.
func (l *warden) tighter(name string, r *ward, task int, key string, limits *protocols.Limits) error {
	if limits == nil {
		return nil
	}
	n := 0
	for i, c := range r.running {
		if c.provider == key && !c.lost && (task < 0 || r.of[i] == task) {
			n++
		}
	}
	if most := limits.PerProvider; most > 0 && n > most {
		return fmt.Errorf("%d calls of the %s on %s", n, name, key)
	}
	if limits.Rate == nil {
		return nil
	}
	return l.rate(name, &replay.Rate{N: int64(limits.Rate.Calls), Per: limits.Rate.Per, Burst: 1})
}

// affords holds a call against the budgets.
func (r *ward) affords(def *protocols.Task, task int, more int64) error {
	if def.Protocol != "llm/v1" {
		return nil
	}
	for _, b := range []struct {
		budget *protocols.Budget
		task   int
	}{{r.plan.Workflow.Budget, -1}, {r.budget, -1}, {def.Budget, task}} {
		if b.budget == nil {
			continue
		}
		var reserved int64
		for i, c := range r.running {
			if !c.lost && (b.task < 0 || r.of[i] == b.task) {
				_, n := meter(r.task(i))
				reserved += n
			}
		}
		spent, most := r.spent[b.task], b.budget.Tokens+r.granted.Tokens
		if b.budget.Tokens > 0 && (spent.Tokens+reserved >= most || spent.Tokens+reserved+more > most) {
			return fmt.Errorf("%d tokens are spent and %d reserved of %d, and it wants %d", spent.Tokens, reserved, most, more)
		}
		if usd := replay.MicroUSD(b.budget.USD) + r.granted.MicroUSD; b.budget.USD > 0 && spent.MicroUSD >= usd {
			return fmt.Errorf("%d of %d are spent", spent.MicroUSD, usd)
		}
	}
	return nil
}

// models are the providers of language models of a game, which all its setups
// share.
func models(rng *rand.Rand) (all []replay.ProviderSlots) {
	for _, name := range []string{"near", "far"} {
		p := replay.ProviderSlots{Name: name, Protocol: "llm/v1", Slots: 1 + rng.IntN(3), ID: name + "-1", Model: "small"}
		if rng.IntN(2) == 0 {
			p.Breaker = &replay.Breaker{Failures: 1 + rng.IntN(3), Open: protocols.Duration(1+rng.IntN(20)) * protocols.Duration(time.Second), Successes: 1 + rng.IntN(2)}
		}
		if rng.IntN(3) == 0 {
			p.Rate = &replay.Rate{N: int64(1 + rng.IntN(5)), Per: protocols.Duration(10 * time.Second), Burst: int64(1 + rng.IntN(3))}
		}
		if rng.IntN(3) == 0 {
			p.TokenRate = &replay.Rate{N: 100, Per: protocols.Duration(10 * time.Second), Burst: int64(1 + rng.IntN(30))}
		}
		if rng.IntN(3) == 0 {
			p.Pool = &testPool
		}
		if rng.IntN(3) == 0 {
			p.ModelSlots = map[string]int{"small": 1}
		}
		all = append(all, p)
	}
	return append(all, replay.ProviderSlots{Name: "mcp", Protocol: "mcp/v1", Slots: 2},
		replay.ProviderSlots{Name: "tools", Protocol: "mcp/v1", Slots: 1, ByName: true})
}
