package scheduler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// TestCore runs the scripts of testdata/core: a command in, the events out.
// After every command the state must equal what the log replays to, and its
// indexes must equal a recount. `go test ./scheduler -rewrite` writes what came out into
// the scripts; read the difference before keeping it.
func TestCore(t *testing.T) {
	datadriven.Walk(t, "../testdata/core", func(t *testing.T, path string) {
		c := newCore(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out := c.run(t, d)
			c.laws(t)
			return out
		})
	})
}

// core is the pure core with a log in memory and a clock set by hand.
type core struct {
	log    *eventlog.Log
	state  *replay.State
	policy Policy
	setup  replay.Setup
	now    time.Time
	docs   map[string]*protocols.Workflow
}

var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func newCore(t *testing.T) *core {
	log := eventlog.OpenMemory(eventlog.Options{})
	t.Cleanup(func() { log.Close() })
	return &core{log: log, state: replay.NewState(), now: epoch, docs: map[string]*protocols.Workflow{},
		policy: Policy{Slots: 10, CrashLimit: DefaultCrashLimit},
		setup:  replay.Setup{Providers: []replay.ProviderSlots{{Name: "echo", Protocol: "echo/v1", Slots: 10}}}}
}

func (c *core) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "policy":
		c.setPolicy(t, d)
		return ""
	case "workflow":
		return c.define(t, d)
	case "start":
		return c.do(Start{PID: 1})
	case "submit":
		return c.submit(t, d)
	case "complete":
		return c.finish(t, d, nil)
	case "fail":
		return c.finish(t, d, failureOf(t, d))
	case "interrupted":
		return c.interrupted(t, d)
	case "outputs":
		return c.outputs(t, d)
	case "advance":
		by, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			t.Fatal(err)
		}
		c.now = c.now.Add(by)
		return c.do()
	case "cancel":
		return c.do(Cancel{Run: c.number(t, d), By: "anna"})
	case "interrupt":
		return c.do(Interrupt{Run: c.number(t, d)})
	case "resume":
		return c.resume(t, d)
	case "await":
		return c.await(t, d)
	case "lacks", "offer":
		return c.secrets(t, d)
	case "answer":
		return c.answer(t, d)
	case "call":
		return c.call(t, d)
	case "evaluate":
		return c.evaluate(t, d)
	case "about":
		return c.about(t, d)
	case "spawn":
		return c.spawn(t, d)
	case "signal":
		var data string
		d.MaybeScanArgs(t, "data", &data)
		return c.do(Signal{Run: c.number(t, d), Name: d.CmdArgs[1].Key, Data: replay.NewValue(json.RawMessage(data)), By: "anna"})
	case "say":
		return c.do(Say{c.number(t, d), c.text(t, d)})
	case "history":
		return c.history(t, d)
	case "ask", "withdraw":
		return c.ask(t, d)
	case "approve", "reject":
		return c.approve(t, d)
	case "pause":
		return c.do(Pause{Run: c.number(t, d), By: "anna"})
	case "unpause":
		return c.unpause(t, d)
	case "provider":
		return c.provide(t, d)
	case "permits":
		return c.permits(t, d)
	case "wanted":
		return c.wanted()
	case "hear":
		return c.hear(t, d)
	case "queue":
		return c.queue(t, d)
	case "workers":
		return c.employ(t, d)
	case "lost":
		run := c.number(t, d)
		task := c.task(t, run, d.CmdArgs[1].Key)
		return c.do(Finish{Run: run, Task: task, Attempt: c.attempt(run, task), Lost: "anna's", Called: true, Duration: protocols.Duration(time.Second)})
	case "stand":
		return c.stand(t, d)
	case "retry":
		return c.retry(t, d)
	case "crash":
		return c.crash(t)
	case "import":
		return c.bring(t, d)
	case "delete":
		if err := c.log.Delete(replay.Stream(c.number(t, d))); err != nil {
			t.Fatal(err)
		}
		return c.crash(t) // so that the state knows of it
	case "close":
		c.policy.Closed = true
		return c.do()
	case "status":
		return c.status(t, d)
	}
	if out, known := c.runSchedule(t, d); known {
		return out
	}
	t.Fatalf("unknown command %q", d.Cmd)
	return ""
}

// do carries out a command, or lets time pass without one, and tells what came
// of it.
func (c *core) do(cmds ...Command) string {
	fresh, err := c.step(cmds...)
	switch {
	case err != nil:
		return "error: " + err.Error() + "\n"
	case len(fresh) == 0:
		return "nothing\n"
	}
	var out strings.Builder
	for _, f := range fresh {
		out.WriteString(c.describe(f))
	}
	return out.String()
}

// step does what the loop does in one turn: it decides and applies the commands
// one after the other, lets all follow that does, and logs it. It returns the
// error of the last command that was refused.
func (c *core) step(cmds ...Command) (fresh []replay.Fact, refused error) {
	if c.now.Before(c.state.Time) {
		c.now = c.state.Time
	}
	accept := func(facts []replay.Fact) {
		for _, f := range facts {
			f.Seq = c.state.Seq + 1
			c.state.Apply(f)
			fresh = append(fresh, f)
			if key, _, took := took(c.state, f); took && c.policy.Permits != nil {
				c.policy.Permits[key]--
			}
		}
	}
	for _, cmd := range cmds {
		facts, err := Decide(c.state, c.policy, c.now, cmd)
		if err != nil {
			refused = err
		}
		accept(facts)
	}
	for {
		facts := Tick(c.state, c.policy, c.now)
		if len(facts) == 0 {
			break
		}
		accept(facts)
	}
	c.append(fresh)
	return fresh, refused
}

func (c *core) append(fresh []replay.Fact) {
	if len(fresh) == 0 {
		return
	}
	var b eventlog.Batch
	for _, f := range fresh {
		if err := replay.Encode(f, &b); err != nil {
			panic(err)
		}
	}
	if _, err := c.log.Append(&b); err != nil {
		panic(err)
	}
}

func (c *core) describe(f replay.Fact) string {
	switch e := f.Event.(type) {
	case *replay.BreakerChanged:
		return fmt.Sprintf("%s %s\n", e.Type(), replay.NewNarrator("", nil).Describe(f).Text)
	case *replay.WorkersChanged:
		return fmt.Sprintf("%s %s\n", e.Type(), replay.NewNarrator("", nil).Describe(f).Text)
	case *replay.PoolScaled:
		return fmt.Sprintf("%s %s\n", e.Type(), replay.NewNarrator("", nil).Describe(f).Text)
	case *replay.RateTaken:
		return fmt.Sprintf("%s %s %s\n", e.Type(), moment(e.Calls), moment(e.Tokens))
	case replay.ScheduleEvent:
		return fmt.Sprintf("%s %s %s\n", e.Of(), f.Event.Type(), replay.DescribeSchedule(f).Text)
	}
	if f.Run == 0 {
		return fmt.Sprintf("%s\n", f.Event.Type())
	}
	h, err := replay.LoadHistory(c.log, f.Run)
	if err != nil {
		panic(err)
	}
	var e replay.Entry
	for _, one := range h.Timeline() {
		if one.Seq == f.Seq {
			e = one
		}
	}
	line := fmt.Sprintf("%s %s", e.Run, e.Type)
	if e.Task != "" {
		line += " [" + e.Task + "]"
	}
	return line + " " + e.Text + "\n"
}

// moment is a time of the scripts' day, "-" for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("15:04:05.999")
}

func (c *core) setPolicy(t *testing.T, d *datadriven.TestData) {
	for _, a := range d.CmdArgs {
		if a.Key == "key_life" {
			life, err := time.ParseDuration(a.Vals[0])
			if err != nil {
				t.Fatal(err)
			}
			c.policy.KeyLife = life
			continue
		}
		n, err := strconv.Atoi(a.Vals[0])
		if err != nil {
			t.Fatal(err)
		}
		switch a.Key {
		case "slots":
			c.policy.Slots = n
		case "crash_limit":
			c.policy.CrashLimit = n
		case "queue_size":
			c.policy.QueueSize = n
		case "signals":
			c.policy.MaxSignals = n
		case "schedules":
			c.policy.Schedules = n > 0
		case "echo":
			c.setup.Providers[0].Slots = n
		case "slow": // a second provider
			c.setup.Providers = append(c.setup.Providers, replay.ProviderSlots{Name: "slow", Protocol: "echo/v1", Slots: n})
		default:
			t.Fatalf("unknown policy %q", a.Key)
		}
	}
}

// provide adds a provider to the setup: replay.ProviderSlots as JSON. The first
// takes the place of echo.
func (c *core) provide(t *testing.T, d *datadriven.TestData) string {
	var p replay.ProviderSlots
	if err := json.Unmarshal([]byte(d.Input), &p); err != nil {
		d.Fatalf(t, "%v", err)
	}
	if c.setup.Providers[0].Name == "echo" {
		c.setup.Providers = nil
	}
	c.setup.Providers = append(c.setup.Providers, p)
	return ""
}

// permits brings permits for a provider, by its key: permits far-1 1 model=m.
func (c *core) permits(t *testing.T, d *datadriven.TestData) string {
	key := replay.PermitKey{Provider: d.CmdArgs[0].Key}
	d.MaybeScanArgs(t, "model", &key.Model)
	n, err := strconv.Atoi(d.CmdArgs[1].Key)
	if err != nil {
		t.Fatal(err)
	}
	if c.policy.Permits == nil {
		c.policy.Permits = replay.Permits{}
	}
	c.policy.Permits[key] = n
	return c.do()
}

// wanted lists the permits with which something could start.
func (c *core) wanted() string {
	var lines []string
	for key := range c.state.Wanted(c.now, c.policy.room(c.state)) {
		lines = append(lines, strings.TrimSpace(key.Provider+" "+key.Model)+"\n")
	}
	slices.Sort(lines)
	if len(lines) == 0 {
		return "nothing\n"
	}
	return strings.Join(lines, "")
}

// hear tells of a shared breaker: hear far-1 far open 10s.
func (c *core) hear(t *testing.T, d *datadriven.TestData) string {
	b := replay.BreakerChanged{Provider: d.CmdArgs[0].Key, Name: d.CmdArgs[1].Key}
	if state := d.CmdArgs[2].Key; state != "closed" {
		b.State, b.Since = replay.BreakerState(state), c.now
	}
	if b.State == replay.BreakerOpen {
		open, err := time.ParseDuration(d.CmdArgs[3].Key)
		if err != nil {
			t.Fatal(err)
		}
		b.Until, b.Error = c.now.Add(open), protocols.Errorf(protocols.ProviderNotAvailable, "it is down")
	}
	return c.do(Hear{Breaker: b})
}

// employ says what workers offer: replay.Offer as JSON, one a line.
func (c *core) employ(t *testing.T, d *datadriven.TestData) string {
	offers := []replay.Offer{}
	for _, line := range strings.Fields(d.Input) {
		var o replay.Offer
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			d.Fatalf(t, "%v", err)
		}
		offers = append(offers, o)
	}
	return c.do(Employ{offers})
}

// queue gives the policy a named queue.
func (c *core) queue(t *testing.T, d *datadriven.TestData) string {
	var q Queue
	d.MaybeScanArgs(t, "slots", &q.Slots)
	d.MaybeScanArgs(t, "size", &q.Size)
	if c.policy.Queues == nil {
		c.policy.Queues = map[string]Queue{}
	}
	c.policy.Queues[d.CmdArgs[0].Key] = q
	return ""
}

// stand tells where a run stands as the scheduler knows it.
func (c *core) stand(t *testing.T, d *datadriven.TestData) string {
	v := c.state.Summary(c.state.Run(c.number(t, d)), c.now, c.policy.bounds())
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", v.Status, v.WaitsFor, v.Reason)) + "\n"
}

func (c *core) unpause(t *testing.T, d *datadriven.TestData) string {
	cmd := Unpause{Run: c.number(t, d), By: "anna"}
	tokens, micro := 0, 0
	d.MaybeScanArgs(t, "tokens", &tokens)
	d.MaybeScanArgs(t, "micro_usd", &micro)
	cmd.Granted = replay.Usage{Tokens: int64(tokens), MicroUSD: int64(micro)}
	return c.do(cmd)
}

func (c *core) define(t *testing.T, d *datadriven.TestData) string {
	doc, problems := protocols.Parse("w.yaml", []byte(d.Input))
	if len(problems.Errors()) > 0 {
		d.Fatalf(t, "%v", problems)
	}
	w, problems := protocols.NewRegistry().Compile(doc)
	if len(problems.Errors()) > 0 {
		d.Fatalf(t, "%v", problems)
	}
	c.docs[w.Name] = expand(t, d, w)
	return ""
}

func (c *core) submit(t *testing.T, d *datadriven.TestData) string {
	var name, key, id, priority, inputs, queue string
	d.MaybeScanArgs(t, "queue", &queue)
	d.MaybeScanArgs(t, "inputs", &inputs)
	d.MaybeScanArgs(t, "id", &id)
	d.ScanArgs(t, "name", &name)
	d.MaybeScanArgs(t, "key", &key)
	d.MaybeScanArgs(t, "priority", &priority)
	var p protocols.Priority
	if priority != "" {
		if err := json.Unmarshal([]byte(`"`+priority+`"`), &p); err != nil {
			t.Fatal(err)
		}
	}
	sub := Submission{Workflow: c.docs[name], Setup: c.setup, Key: key, ID: id, Priority: p, Queue: queue}
	if inputs != "" {
		if err := json.Unmarshal([]byte(inputs), &sub.Inputs); err != nil {
			t.Fatal(err)
		}
	}
	var refused *protocols.Error
	if sub.Inputs, refused = sub.Workflow.CheckInputs(sub.Inputs); refused != nil {
		return "error: " + refused.Error() + "\n"
	}
	cmd, err := (&Scheduler{}).submit(sub)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	if err := lookBack(c.log, cmd); err != nil {
		t.Fatal(err)
	}
	return c.do(*cmd)
}

// number finds the run that the first argument names.
func (c *core) number(t *testing.T, d *datadriven.TestData) uint64 {
	n, err := strconv.ParseUint(d.CmdArgs[0].Key, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// task finds the task that the second argument names.
func (c *core) task(t *testing.T, run uint64, id string) int {
	h, err := replay.LoadHistory(c.log, run)
	if err != nil || h == nil {
		t.Fatalf("run %d: %v", run, err)
	}
	for i := range h.Run().Tasks {
		if h.Run().TaskID(i) == id {
			return i
		}
	}
	t.Fatalf("no task %q", id)
	return 0
}

func (c *core) finish(t *testing.T, d *datadriven.TestData, failure *protocols.Error) string {
	run := c.number(t, d)
	task := c.task(t, run, d.CmdArgs[1].Key)
	f := Finish{Run: run, Task: task, Attempt: c.attempt(run, task), Error: failure, Duration: protocols.Duration(time.Second), Called: true}
	tokens, micro := 0, 0
	d.MaybeScanArgs(t, "tokens", &tokens)
	d.MaybeScanArgs(t, "micro_usd", &micro)
	f.Usage = replay.Usage{Tokens: int64(tokens), MicroUSD: int64(micro)}
	d.MaybeScanArgs(t, "attempt", &f.Attempt)
	if failure == nil {
		result := "null"
		d.MaybeScanArgs(t, "result", &result)
		if d.Input != "" {
			result = d.Input
		}
		f.Result = replay.NewValue(json.RawMessage(result))
	}
	if d.HasArg("jitter") {
		var j string
		d.ScanArgs(t, "jitter", &j)
		f.Jitter, _ = strconv.ParseFloat(j, 64)
	}
	kept(d, &f)
	if d.HasArg("text") {
		f.Text = c.text(t, d)
	}
	return c.do(f)
}

// text is what a running attempt has said.
func (c *core) text(t *testing.T, d *datadriven.TestData) *replay.TextStreamed {
	run := c.number(t, d)
	e := &replay.TextStreamed{Task: c.task(t, run, d.CmdArgs[1].Key)}
	e.Attempt = c.attempt(run, e.Task)
	d.ScanArgs(t, "text", &e.Tail)
	d.ScanArgs(t, "bytes", &e.Bytes)
	e.Text = replay.NewValue(json.RawMessage(`"` + e.Tail + `"`))
	return e
}

// history tells what the attempts have said that came to no result, line by
// line and as the run is shown.
func (c *core) history(t *testing.T, d *datadriven.TestData) string {
	h, err := replay.LoadHistory(c.log, c.number(t, d))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, e := range h.Timeline() {
		if e.Type == "task.text" {
			fmt.Fprintf(&out, "%s %s\n", e.Task, e.Text)
		}
	}
	v, err := h.View(c.log.Value)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range v.Tasks {
		if p := task.Partial; p != nil {
			fmt.Fprintf(&out, "  %s %d: %s (%d)\n", task.ID, p.Attempt, p.Text, p.Bytes)
		}
	}
	return out.String()
}

func (c *core) attempt(run uint64, task int) int {
	if r := c.state.Run(run); r != nil {
		return r.Tasks[task].Attempts
	}
	return 1
}

func failureOf(t *testing.T, d *datadriven.TestData) *protocols.Error {
	code := int(protocols.TaskExecutionFailed)
	message := "it broke"
	d.MaybeScanArgs(t, "code", &code)
	d.MaybeScanArgs(t, "message", &message)
	e := protocols.Errorf(protocols.Code(code), "%s", message)
	if d.HasArg("retry_after") {
		var after int
		d.ScanArgs(t, "retry_after", &after)
		e = e.With(map[string]int{"retry_after": after})
	}
	return e
}

func (c *core) interrupted(t *testing.T, d *datadriven.TestData) string {
	run := c.number(t, d)
	task := c.task(t, run, d.CmdArgs[1].Key)
	return c.do(Finish{Run: run, Task: task, Attempt: c.attempt(run, task), Interrupted: true})
}

func (c *core) outputs(t *testing.T, d *datadriven.TestData) string {
	o := Answer{Run: c.number(t, d), What: replay.AskOutputs}
	if r := c.state.Run(o.Run); r != nil {
		o.Retries = r.Retries
	}
	d.MaybeScanArgs(t, "retries", &o.Retries)
	if d.HasArg("error") {
		o.Error = protocols.Errorf(protocols.TaskParameterError, "no such thing")
	} else {
		o.Value = replay.NewValue(json.RawMessage(`{"x":1}`))
	}
	return c.do(o)
}

func (c *core) resume(t *testing.T, d *datadriven.TestData) string {
	r := Resume{Run: c.number(t, d), Explicit: d.HasArg("explicit"), Answers: map[int]protocols.OnCrash{}}
	for _, a := range d.CmdArgs[1:] {
		if len(a.Vals) == 1 {
			r.Answers[c.task(t, r.Run, a.Vals[0])] = protocols.OnCrash(a.Key)
		}
	}
	return c.do(r)
}

// retry lets a run go on that has ended.
func (c *core) retry(t *testing.T, d *datadriven.TestData) string {
	h, err := replay.LoadHistory(c.log, c.number(t, d))
	if err != nil {
		t.Fatal(err)
	}
	cmd := Retry{Run: h.Run(), By: "anna"}
	if end, _ := h.End(); end != nil {
		cmd.How = end.Status
	}
	for _, a := range d.CmdArgs[1:] {
		for _, name := range a.Vals {
			at, err := placed(h.Run(), []string{name})
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			if a.Key == "from" {
				cmd.From = append(cmd.From, at...)
			} else {
				cmd.Tasks = append(cmd.Tasks, at...)
			}
		}
	}
	return c.do(cmd)
}

// answer is what an evaluation found out.
func (c *core) answer(t *testing.T, d *datadriven.TestData) string {
	a := Answer{Run: c.number(t, d), What: replay.Question(d.CmdArgs[1].Key), Yes: d.HasArg("yes")}
	a.Task = c.task(t, a.Run, d.CmdArgs[2].Key)
	d.MaybeScanArgs(t, "count", &a.Count)
	a.Attempt = c.attempt(a.Run, a.Task)
	if r := c.state.Run(a.Run); r != nil {
		a.Attempt = stage(r, a.Task, a.What)
		a.Retries = r.Retries
	}
	d.MaybeScanArgs(t, "retries", &a.Retries)
	d.MaybeScanArgs(t, "attempt", &a.Attempt)
	if d.HasArg("error") {
		a.Error = protocols.Errorf(protocols.TaskParameterError, "no such thing")
	}
	if a.Count > 0 {
		items := make([]protocols.ItemValue, a.Count)
		for i := range items {
			items[i] = protocols.ItemValue{Value: json.RawMessage(strconv.Itoa(i)), Index: i}
		}
		var err error
		if a.Items, a.Size, err = chunks(items); err != nil {
			t.Fatal(err)
		}
	}
	calls := 0
	if d.MaybeScanArgs(t, "calls", &calls); calls > 0 {
		form := c.state.Run(a.Run).Task(a.Task).Agent.Tools
		for i := range calls {
			a.Calls = append(a.Calls, protocols.AgentCall{Call: i, Form: protocols.CallForm(i % len(form)), Tool: fmt.Sprintf("tool%d", i)})
		}
	}
	if a.What == replay.AskAgent && d.HasArg("done") {
		a.Value = replay.NewValue(json.RawMessage(`{"content":"done"}`))
	}
	if a.What == replay.AskCollect {
		a.Value = replay.NewValue(json.RawMessage(`["collected"]`))
	}
	return c.do(a)
}

// spawn is what a worker sends when it knows what workflow the task runs.
func (c *core) spawn(t *testing.T, d *datadriven.TestData) string {
	run := c.number(t, d)
	task := c.task(t, run, d.CmdArgs[1].Key)
	var name string
	d.ScanArgs(t, "name", &name)
	cmd, err := (&Scheduler{}).submit(Submission{Workflow: c.docs[name], Setup: c.setup})
	if err != nil {
		t.Fatal(err)
	}
	cmd.Parent = &replay.Parent{Run: run, Task: task, Depth: 1}
	return c.do(Spawn{Run: run, Task: task, Attempt: c.attempt(run, task), Child: *cmd})
}

// await is what a worker sends when it knows what the task waits for.
func (c *core) await(t *testing.T, d *datadriven.TestData) string {
	run := c.number(t, d)
	task := c.task(t, run, d.CmdArgs[1].Key)
	h, err := replay.LoadHistory(c.log, run)
	if err != nil {
		t.Fatal(err)
	}
	var p waitParams
	if err := json.Unmarshal(h.Run().Task(task).Parameters, &p); err != nil {
		t.Fatal(err)
	}
	cmd, err := p.command(job{run: run, plan: h.Run().Plan, task: task, def: h.Run().Def(task), form: h.Run().Form(task), attempt: c.attempt(run, task)})
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return c.do(cmd)
}

// secrets has a worker find that it lacks secrets, or a client offer some.
func (c *core) secrets(t *testing.T, d *datadriven.TestData) string {
	run := c.number(t, d)
	var references []string
	d.MaybeScanArgs(t, "secrets", &references)
	if d.Cmd == "offer" {
		return c.do(Offer{Run: run, Secrets: references})
	}
	task := c.task(t, run, d.CmdArgs[1].Key)
	return c.do(lacking(job{run: run, task: task, attempt: c.attempt(run, task)}, references))
}

func (c *core) approve(t *testing.T, d *datadriven.TestData) string {
	cmd := Approve{Run: c.number(t, d), Task: -1, Approved: d.Cmd == "approve", By: "anna"}
	d.MaybeScanArgs(t, "comment", &cmd.Comment)
	d.MaybeScanArgs(t, "question", &cmd.Question)
	if d.HasArg("content") {
		cmd.Content = replay.NewValue(json.RawMessage(d.Input))
	}
	if len(d.CmdArgs) > 1 && len(d.CmdArgs[1].Vals) == 0 {
		cmd.Task = c.task(t, cmd.Run, d.CmdArgs[1].Key)
	}
	return c.do(cmd)
}

// ask has a running attempt ask a person something, or not wait for the answer.
func (c *core) ask(t *testing.T, d *datadriven.TestData) string {
	run := c.number(t, d)
	cmd := Ask{Run: run, Task: c.task(t, run, d.CmdArgs[1].Key)}
	cmd.Attempt = c.attempt(run, cmd.Task)
	d.ScanArgs(t, "id", &cmd.ID)
	d.MaybeScanArgs(t, "message", &cmd.Message)
	d.MaybeScanArgs(t, "from", &cmd.From)
	d.MaybeScanArgs(t, "fields", &cmd.Fields)
	d.MaybeScanArgs(t, "attempt", &cmd.Attempt)
	if d.Cmd == "withdraw" {
		return c.do(Withdraw{Run: run, Task: cmd.Task, Attempt: cmd.Attempt, ID: cmd.ID})
	}
	cmd.Schema = replay.NewValue(json.RawMessage(d.Input))
	return c.do(cmd)
}

// bring takes a run out, with those that it started, and in again beside them.
func (c *core) bring(t *testing.T, d *datadriven.TestData) string {
	streams, err := replay.Family(c.log, []uint64{c.number(t, d)}, c.log.Last())
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if _, err := c.log.Export(t.Context(), &archive, streams, c.log.Last()); err != nil {
		t.Fatal(err)
	}
	arrivals, err := replay.ReadRuns(func(item func(eventlog.ArchiveHeader, eventlog.ArchiveItem) error) error {
		_, err := eventlog.ReadArchive(&archive, item)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	before := c.log.Last()
	if _, err := c.state.Import(c.log, arrivals, c.now); err != nil {
		return "error: " + err.Error() + "\n"
	}
	var out strings.Builder
	codec := replay.NewCodec(c.log.Value)
	for rec, err := range c.log.Read(before + 1) {
		if err != nil {
			t.Fatal(err)
		}
		f, _, err := codec.Decode(rec)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(c.describe(f))
	}
	return out.String() + "then " + c.do()
}

// crash forgets the state, as a dead process does, and starts again from the
// log.
func (c *core) crash(t *testing.T) string {
	s, err := replay.Load(c.log)
	if err != nil {
		t.Fatal(err)
	}
	c.state = s
	return c.do(Start{PID: 2})
}

func (c *core) status(t *testing.T, d *datadriven.TestData) string {
	h, err := replay.LoadHistory(c.log, c.number(t, d))
	if err != nil {
		t.Fatal(err)
	}
	v, err := h.View(nil)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s %s %s\n", v.ID, v.Status, v.Reason)
	for _, task := range v.Tasks {
		fmt.Fprintf(&out, "  %s %s attempts=%d %s\n", task.ID, task.Status, task.Attempts, task.Reason)
	}
	return out.String()
}

// laws holds the state against the log and against itself.
func (c *core) laws(t *testing.T) {
	t.Helper()
	again, err := replay.Load(c.log)
	if err != nil {
		t.Fatal(err)
	}
	sameState(t, again, c.state, "a replay of the log")
	if err := c.state.CheckIndexes(); err != nil {
		t.Fatal(err)
	}
	if c.state.Running > c.policy.Slots {
		t.Fatalf("%d attempts run, there are %d slots", c.state.Running, c.policy.Slots)
	}
}

// sameState fails the test when two states differ in what they know of the
// runs.
func sameState(t *testing.T, got, want *replay.State, what string) {
	t.Helper()
	g, w := dump(t, got), dump(t, want)
	if g != w {
		t.Fatalf("%s differs from the live state:\n--- replayed\n%s\n--- live\n%s", what, g, w)
	}
}

func dump(t *testing.T, s *replay.State) string {
	t.Helper()
	var runs []string
	s.Each(func(r *replay.Run) {
		text, err := r.Dump()
		if err != nil {
			t.Fatal(err)
		}
		// Dump writes what a checkpoint has: what that forgets is seen here.
		tasks, err := json.Marshal(r.Tasks)
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, text, string(tasks))
	})
	sort.Strings(runs)
	schedules, err := s.DumpSchedules()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("seq %d time %s next %d running %d ready %d life %d\n%s%s", s.Seq, s.Time.Format(time.RFC3339Nano), s.NextRun,
		s.Running, s.ReadyTasks(), s.Life, schedules, strings.Join(runs, "\n"))
}
