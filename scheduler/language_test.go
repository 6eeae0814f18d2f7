package scheduler

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// TestRandomLanguage is TestRandomCommands for the whole language: conditions,
// foreach, repeat, hooks, waits, pauses and child runs. Workers and evaluations
// are those that events have asked for, and a crash loses them, so that
// whatever nobody asks for again leaves a run that never ends.
func TestRandomLanguage(t *testing.T) {
	seeds(t, 60, func(t *testing.T, seed uint64) int {
		p := newGame(t, seed)
		for range 20 + p.play.rng.IntN(150) {
			p.move()
		}
		p.finishAll()
		p.over()
		return p.moves
	})
}

// game is a random game with the whole language.
type game struct {
	*play
	generator
	works   map[attempt]int // attempts whose worker lives
	asked   []Answer        // evaluations that go on
	answers []Answer        // those that were answered
	kept    []replay.Value  // results that the cache has
}

func newGame(t *testing.T, seed uint64) *game {
	p := &game{play: newPlay(t, seed), works: map[attempt]int{}}
	p.generator = generator{rng: p.play.rng, tick: time.Second, asks: true}
	u := newUmpire(p.log.Value)
	u.seq, u.at = uint64(p.state.Seq), p.state.Time
	p.referee = u
	p.policy.Schedules, p.policy.ScheduleGrace = true, 3*time.Second
	p.policy.Queues = map[string]Queue{"": {}, "q": {Slots: 1 + p.play.rng.IntN(3), Size: 1 + p.play.rng.IntN(20)}}
	shared := models(p.play.rng)
	for i := range p.setups {
		p.setups[i].Providers = append(slices.Clone(p.setups[i].Providers), shared...)
	}
	return p
}

func (p *game) move() {
	if p.chance(12) {
		p.scheduleSomething()
		return
	}
	switch n := p.play.rng.IntN(100); {
	case n < 8:
		p.submitNew()
	case n < 11:
		p.goOn()
	case n < 40:
		p.work()
	case n < 60:
		p.answerOne()
	case n < 70:
		p.advanceTime()
	case n < 73:
		p.do(Cancel{Run: p.anyRun(), By: "anna"})
	case n < 76:
		p.do(Interrupt{Run: p.anyRun()})
	case n < 80:
		c := Resume{Run: p.anyRun(), Explicit: p.play.rng.IntN(2) == 0}
		if r := p.state.Run(c.Run); r != nil && p.play.rng.IntN(2) == 0 {
			c.Answers = p.play.answers(r)
		}
		p.do(c)
	case n < 84:
		p.crashAll()
	case n < 86:
		p.save()
	case n < 89:
		p.do(Pause{Run: p.anyRun()})
	case n < 92:
		p.do(Unpause{Run: p.anyRun(), Granted: replay.Usage{Tokens: p.play.rng.Int64N(100), MicroUSD: p.play.rng.Int64N(2000)}})
	case n < 95:
		p.do(Signal{Run: p.anyRun(), Name: []string{"x", "y", "z"}[p.play.rng.IntN(3)], Data: replay.NewValue(p.result())})
	case n < 96:
		p.do(Offer{Run: p.anyRun(), Secrets: slices.Sorted(maps.Keys(someSecrets(p.play.rng.IntN)))})
	case n < 98:
		p.do(Approve{Run: p.anyRun(), Task: p.play.rng.IntN(8) - 1, Approved: p.play.rng.IntN(3) > 0, Content: replay.NewValue(p.result()),
			Question: pick(&p.generator, "", "", "what", "when")})
	case n < 99 && p.play.rng.IntN(3) == 0:
		p.policy.Closed = !p.policy.Closed
		p.do()
	case n < 99:
		p.goOn()
	default:
		p.stale()
	}
}

// do carries out a command and does the effects of what came of it.
func (p *game) do(cmds ...Command) []replay.Fact {
	fresh := p.command(cmds...)
	for _, f := range fresh {
		switch e := f.Event.(type) {
		case *replay.TaskStarted:
			p.works[attempt{f.Run, e.Task}] = e.Attempt
		case *replay.EvaluationRequested:
			if e.What == replay.AskOutputs {
				p.asked = append(p.asked, Answer{Run: f.Run, What: e.What, Retries: p.retries(f.Run)})
			}
			for _, i := range e.Tasks {
				a := Answer{Run: f.Run, What: e.What, Task: i, Retries: p.retries(f.Run)}
				if r := p.state.Run(f.Run); r != nil {
					a.Attempt = stage(r, i, e.What)
				}
				p.asked = append(p.asked, a)
			}
		}
	}
	return fresh
}

// retries is how often the run has gone on after an end.
func (p *game) retries(run uint64) int {
	if r := p.state.Run(run); r != nil {
		return r.Retries
	}
	return 0
}

// work lets a worker report.
func (p *game) work() bool {
	if len(p.works) == 0 {
		return false
	}
	all := make([]attempt, 0, len(p.works))
	for a := range p.works {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b attempt) int {
		if a.run != b.run {
			return int(a.run) - int(b.run)
		}
		return a.task - b.task
	})
	a := all[p.play.rng.IntN(len(all))]
	n := p.works[a]
	if p.chance(4) {
		p.asks(a, n)
		return true
	}
	delete(p.works, a)
	p.report(a.run, a.task, n)
	return true
}

// asks lets a worker ask a person, or not want to know any more. It asks the
// same as others of its task have, perhaps twice at once.
func (p *game) asks(a attempt, n int) {
	id := pick(&p.generator, "what", "when", "who")
	if p.chance(3) {
		p.do(Say{a.run, &replay.TextStreamed{Task: a.task, Attempt: n, Text: replay.NewValue(p.result()), Bytes: 2}})
		return
	}
	if p.chance(4) {
		p.do(Withdraw{Run: a.run, Task: a.task, Attempt: n, ID: id})
		return
	}
	p.do(Ask{Run: a.run, Task: a.task, Attempt: n, Ask: replay.Ask{ID: id, Message: id + "?", Schema: replay.NewValue(json.RawMessage(`{"type":"object"}`))}})
}

// report says what became of an attempt.
func (p *game) report(run uint64, task, attempt int) {
	f := Finish{Run: run, Task: task, Attempt: attempt, Called: true, Duration: protocols.Duration(p.play.rng.IntN(1e9)), Jitter: p.play.rng.Float64()}
	r := p.state.Run(run)
	if r == nil {
		p.fatal("run %d ended before its worker reported", run)
	}
	def := r.Task(task)
	if def.Protocol == "llm/v1" {
		f.Usage = replay.Usage{Tokens: p.play.rng.Int64N(60), MicroUSD: p.play.rng.Int64N(2000)}
	}
	if names, err := r.Plan.Workflow.TaskSecrets(r.Def(task), testRegistry); err != nil {
		p.fatal("%v", err)
	} else if len(names) > 0 && p.chance(3) {
		p.do(lacking(job{run: run, task: task, attempt: attempt}, pick(&p.generator, []string{"env:S"}, []string{"env:PIN", "file:/t"})))
		return
	}
	switch n := p.play.rng.IntN(10); {
	case n == 0:
		f.Interrupted = true
	case n < 3:
		f.Error, f.Text = p.failure(), &replay.TextStreamed{Task: task, Attempt: attempt, Text: replay.NewValue(p.result()), Bytes: 4}
	case def.Protocol == replay.WaitProtocol:
		c := Await{Run: run, Task: task, Attempt: attempt}
		if p.play.rng.IntN(2) == 0 {
			c.For = time.Duration(1+p.play.rng.IntN(20)) * time.Second
		}
		switch def.Method {
		case "wait/timer":
			c.Wait.Kind, c.For = replay.WaitTimer, max(c.For, time.Second)
		case "wait/signal":
			c.Wait.Kind, c.Wait.Signal = replay.WaitSignal, []string{"x", "y"}[p.play.rng.IntN(2)]
		default:
			c.Wait.Kind, c.Wait.Default = replay.WaitApproval, []string{"", "approve", "reject"}[p.play.rng.IntN(3)]
		}
		p.do(c)
		return
	case def.Protocol == replay.WorkflowProtocol:
		depth := 1
		if r.Submitted.Parent != nil {
			depth += r.Submitted.Parent.Depth
		}
		c := p.submission(depth)
		c.Parent = &replay.Parent{Run: run, Task: task, Depth: depth}
		p.do(Spawn{Run: run, Task: task, Attempt: attempt, Child: *c})
		return
	case def.Cache != nil && len(p.kept) > 0 && p.chance(2):
		f.Result, f.Cached = p.kept[p.play.rng.IntN(len(p.kept))], true
	default:
		f.Result = replay.NewValue(p.result())
		if def.Cache != nil {
			f.Call = eventlog.Sum(f.Result.Inline)
			p.kept = append(p.kept, f.Result)
		}
	}
	p.past = append(p.past, f)
	p.do(f)
}

// answerOne answers one of the evaluations that go on.
func (p *game) answerOne() bool {
	if len(p.asked) == 0 {
		return false
	}
	i := p.play.rng.IntN(len(p.asked))
	a := p.asked[i]
	p.asked = slices.Delete(p.asked, i, i+1)
	a.Yes = p.play.rng.IntN(3) > 0
	switch {
	case p.play.rng.IntN(12) == 0:
		a.Error = protocols.Errorf(protocols.TaskParameterError, "no such thing")
	case a.What == replay.AskItems:
		p.items(&a, p.play.rng.IntN(7))
	case a.What == replay.AskAgent:
		p.wants(&a)
	case a.What != replay.AskCondition && a.What != replay.AskUntil:
		a.Value = replay.NewValue(p.result())
	}
	p.answers = append(p.answers, a)
	p.do(a)
	return true
}

// wants says what a turn of an agent leads to: calls, another turn or the end.
func (p *game) wants(a *Answer) {
	r := p.state.Run(a.Run)
	if r == nil || a.Task >= len(r.Tasks) {
		return
	}
	if agent := r.Plan.Task(r.Def(a.Task)).Agent; agent != nil && len(agent.Tools) > 0 {
		for i := range p.play.rng.IntN(4) {
			a.Calls = append(a.Calls, protocols.AgentCall{Call: i, Form: protocols.CallForm(p.play.rng.IntN(len(agent.Tools))), Tool: "tool"})
		}
	}
	if len(a.Calls) == 0 && p.play.rng.IntN(4) > 0 {
		a.Value = replay.NewValue(p.result())
	}
}

func (p *game) items(a *Answer, n int) {
	items := make([]protocols.ItemValue, n)
	for i := range items {
		items[i] = protocols.ItemValue{Value: json.RawMessage(strconv.Itoa(i)), Index: i}
	}
	var err error
	if a.Count = n; n > 0 {
		a.Items, a.Size, err = chunks(items)
	}
	if err != nil {
		p.fatal("%v", err)
	}
}

// stale reports again what was reported before: nothing may come of it, unless
// it was asked a second time.
func (p *game) stale() {
	if len(p.past) > 0 {
		f := p.past[p.play.rng.IntN(len(p.past))]
		if p.works[attempt{f.Run, f.Task}] != f.Attempt {
			if fresh := p.do(f); len(fresh) > 0 {
				p.fatal("a late outcome changed something")
			}
		}
	}
	if len(p.answers) == 0 {
		return
	}
	a := p.answers[p.play.rng.IntN(len(p.answers))]
	again := slices.ContainsFunc(p.asked, func(b Answer) bool {
		return a.Run == b.Run && a.What == b.What && a.Task == b.Task && a.Attempt == b.Attempt && a.Retries == b.Retries
	})
	if r := p.state.Run(a.Run); r != nil && !r.Held {
		return // what the dead process asked may be answered once more
	}
	if fresh := p.do(a); len(fresh) > 0 && !again {
		p.fatal("a late answer changed something: %+v", a)
	}
}

// goOn lets a run go on that has ended, or not.
func (p *game) goOn() {
	h, err := replay.LoadHistory(p.log, 1+p.play.rng.Uint64N(p.state.NextRun))
	if err != nil {
		p.fatal("%v", err)
	}
	if h == nil {
		return
	}
	c := Retry{Run: h.Run(), By: "anna", Granted: replay.Usage{Tokens: p.play.rng.Int64N(100)}}
	if end, _ := h.End(); end != nil {
		c.How = end.Status
	}
	own := len(h.Run().Plan.Workflow.Tasks)
	for p.play.rng.IntN(3) == 0 {
		c.Tasks = append(c.Tasks, p.play.rng.IntN(own))
	}
	for p.play.rng.IntN(4) == 0 {
		c.From = append(c.From, p.play.rng.IntN(own))
	}
	p.referee.(*umpire).picked = len(c.Tasks)+len(c.From) > 0
	p.do(c)
}

func (p *game) advanceTime() {
	if at, ok := Wake(p.state, p.policy, p.play.now); ok && p.play.rng.IntN(3) > 0 {
		p.play.now = at
	} else {
		p.play.now = p.play.now.Add(time.Duration(p.play.rng.Int64N(int64(5 * time.Second))))
	}
	p.do()
}

// crashAll loses all that isn't in the log.
func (p *game) crashAll() {
	p.works, p.asked = map[attempt]int{}, nil
	p.lose()
	p.do(Start{PID: 2})
}

func (p *game) submitNew() {
	c := p.submission(0)
	c.Priority = protocols.Priority(p.play.rng.IntN(4) - 1)
	if p.chance(3) {
		c.Queue = "q"
	}
	if p.chance(4) {
		c.Key = fmt.Sprintf("key%d", p.play.rng.IntN(9))
	}
	if p.chance(6) {
		c.ID = fmt.Sprintf("mine.%d", p.play.rng.IntN(20))
	}
	if err := lookBack(p.log, c); err != nil {
		p.fatal("%v", err)
	}
	p.do(*c)
}

// submission is that of a run, depth runs deep.
func (p *game) submission(depth int) *Submit {
	p.generator.now = p.play.now
	var files []string
	if depth < 2 {
		files = []string{"child.yaml"} // what that is decides the worker
	}
	w, err := p.compiled(fmt.Sprintf("w%d", len(p.plans)), files)
	if err != nil {
		p.fatal("%v", err)
	}
	c, err := (&Scheduler{}).submit(Submission{Workflow: w, Setup: p.setups[p.play.rng.IntN(len(p.setups))]})
	if err != nil {
		p.fatal("submit: %v", err)
	}
	p.plans = append(p.plans, c)
	return c
}

// finishAll lets everything report: what rests then says for what, and ends
// when it gets that.
func (p *game) finishAll() {
	p.policy.Closed, p.policy.Schedules = false, false
	p.do()
	for range 200 {
		p.toRest()
		live := p.live()
		if len(live) == 0 {
			p.acknowledged()
			return
		}
		for _, n := range live {
			p.named(n)
		}
		for _, n := range live {
			p.unblock(n)
		}
	}
	for _, n := range p.live() {
		status, kind, why := p.state.Run(n).Stand()
		p.note(fmt.Sprintf("run %d: %s %s %s", n, status, kind, why))
	}
	p.fatal("runs %v don't end", p.live())
}

// unblock gives a run what it says it waits for.
func (p *game) unblock(n uint64) {
	r := p.state.Run(n)
	if r == nil {
		return
	}
	status, kind, _ := r.Stand()
	switch {
	case status == replay.Paused:
		p.do(Unpause{Run: n, Granted: replay.Usage{Tokens: 1e6, MicroUSD: 1e9}})
	case status == replay.Parked, kind == "process":
		p.do(Resume{Run: n, Explicit: true})
	case kind == "answer":
		answers := map[int]protocols.OnCrash{}
		for i, t := range r.Tasks {
			if t.Status == replay.TaskDoubtful {
				answers[i] = []protocols.OnCrash{protocols.CrashRetry, protocols.CrashFail, protocols.CrashSkip}[p.play.rng.IntN(3)]
			}
		}
		p.do(Resume{Run: n, Explicit: true, Answers: answers})
	case kind == "secret":
		p.do(Offer{Run: n, Secrets: slices.Sorted(maps.Keys(testSecrets))})
	case kind == "signal":
		p.do(Signal{Run: n, Name: []string{"x", "y"}[p.play.rng.IntN(2)]})
	case kind == "approval":
		for i, t := range r.Tasks {
			if t.Status == replay.TaskWaits && t.Wait.Kind == replay.WaitApproval {
				p.do(Approve{Run: n, Task: i, Approved: p.play.rng.IntN(2) == 0})
				return
			}
		}
		if r.Asking == 0 { // else an attempt asks, while others run
			p.fatal("run %d has no task that waits for an approval", n)
		}
	}
}

// named checks that a run at rest says what it waits for.
func (p *game) named(n uint64) {
	r := p.state.Run(n)
	status, kind, why := r.Stand()
	known := []string{"process", "answer", "signal", "approval", "secret", "run"}
	if why == "" || status != replay.Paused && status != replay.Parked && !slices.Contains(known, kind) {
		d, _ := r.Dump()
		p.fatal("run %d rests, and is said to be %q %s (%s): %s", n, status, kind, why, d)
	}
}

// toRest lets everything report until nothing runs and no clock goes.
func (p *game) toRest() {
	for range 20_000 {
		if p.play.rng.IntN(2) == 0 && p.answerOne() || p.work() || p.answerOne() {
			continue
		}
		at, ok := Wake(p.state, p.policy, p.play.now)
		if !ok {
			return
		}
		p.play.now = at
		p.do()
	}
	p.fatal("it doesn't come to rest")
}
