package scheduler

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// crashCase is what TestCrashAtEveryEvent cuts off at every append.
type crashCase struct {
	text     string
	children map[string]string // the workflow files that it runs
	policy   Policy
	setup    *replay.Setup // nil: echoSetup
	// attend does what somebody does to a live run; it is called for every run
	// after every record, in every life. nil gives a run what it waits for.
	attend func(ctx context.Context, s *Scheduler, r situation)
	// sees are events that there are when nothing is cut off.
	sees []string
	// never are tasks that no provider may be asked to do.
	never []string
}

// situation is how a run stands.
type situation struct {
	run    uint64
	status replay.Status
	kind   string // what it waits for
	asking int    // the task that waits, -1: none
}

// crashCases are the workflows of TestCrashAtEveryEvent.
var crashCases = map[string]crashCase{
	"chain":   {text: chainYAML(6)},
	"diamond": {text: "name: diamond\ntasks:\n- {id: a, method: echo/echo, parameters: {n: 1}}\n- {id: b, method: echo/echo, parameters: {n: '${a.n}'}}\n- {id: c, method: echo/echo, parameters: {n: '${a.n}'}}\n- {id: d, method: echo/echo, parameters: {b: '${b.n}', c: '${c.n}'}}\noutputs: {d: '${d}'}\n"},
	"fan-out": {text: fanYAML(20)},
	"retrying": {text: "name: retrying\ntasks:\n- {id: a, method: echo/fail, parameters: {times: 2, message: not yet}, retry: {max_attempts: 3, base_delay: 0.001, jitter: false}}\n" +
		"- {id: b, method: echo/echo, dependencies: [a], parameters: {done: true}}\n- {id: c, method: echo/fail, parameters: {message: never}, continue_on_error: true}\n"},
	"foreach": {text: "name: foreach\ntasks:\n- {id: list, method: echo/echo, parameters: {items: [" + numbers(50) + "]}}\n" +
		"- {id: each, method: echo/echo, foreach: {items: '${list.items}', max_parallel: 7}, parameters: {n: '${item}', at: '${item_index}'}}\n" +
		"- {id: sum, method: echo/echo, parameters: {all: '${each.result}'}}\noutputs: {all: '${sum.all}'}\n"},
	"repeat": {text: "name: repeat\ntasks:\n- {id: again, method: echo/echo, parameters: {n: 3}, repeat: {until: '${again.n > 5}', max_iterations: 4}, continue_on_error: true}\n" +
		"- {id: once, method: echo/echo, parameters: {n: 3}, repeat: {until: '${once.n == 3}', max_iterations: 4, interval: 0.001}}\n"},
	"flow": {text: "name: flow\ntasks:\n- {id: a, method: echo/echo, parameters: {n: 1}}\n- {id: yes, method: echo/echo, if: '${a.n == 1}'}\n- {id: no, method: echo/echo, if: '${a.n == 2}'}\n" +
		"- {id: nap, method: wait/timer, parameters: {seconds: 0.002}}\n- {id: last, method: echo/echo, dependencies: [no, nap], if: always()}\n" +
		"on_success:\n- {id: s, method: echo/echo}\non_failure:\n- {id: f, method: echo/echo}\nfinally:\n- {id: x, method: echo/fail, parameters: {message: a hook breaks}}\n"},
	"failing": {text: "name: failing\nerror_strategy: continue\ntasks:\n- {id: a, method: echo/fail, parameters: {message: never}}\n- {id: b, method: echo/echo, dependencies: [a]}\n- {id: c, method: echo/echo}\n"},
	"retried": {text: "name: " + retriedUntilDone + "\nerror_strategy: continue\ntasks:\n- {id: a, method: echo/echo, parameters: {n: 1}}\n" +
		"- {id: b, method: echo/fail, dependencies: [a], parameters: {times: 1, message: not yet}}\n- {id: c, method: echo/echo, dependencies: [b]}\n" +
		"- {id: each, method: echo/fail, foreach: {items: [1, 2, 3]}, parameters: {times: 1, message: no}}\n- {id: all, method: echo/echo, foreach: {items: [1, 2, 3]}, parameters: {n: '${item}'}}\n" +
		"finally:\n- {id: x, method: echo/echo}\noutputs: {b: '${b.ok}', each: '${each.result}', all: '${all.result}'}\n"},
	"batch": {text: "name: batch\ntype: batch\nprotocol: echo/v1\nbatch: {directory: in, pattern: '*.txt'}\ntemplate: {method: echo/echo, big: '" + string(bytes.Repeat([]byte("x"), 3000)) + "'}\n"},
	"waiting": {text: "name: waiting\ntasks:\n- {id: a, method: echo/echo, parameters: {n: 1}}\n" +
		"- {id: paid, method: wait/signal, dependencies: [a], parameters: {name: paid, timeout: 1h}}\n" +
		"- {id: nap, method: wait/timer, dependencies: [a], parameters: {duration: 1ms}}\n" +
		"- {id: yes, method: wait/approval, dependencies: [paid, nap], parameters: {message: '${paid.amount}?', timeout: 1h}}\n" +
		"- {id: default, method: wait/approval, dependencies: [a], parameters: {timeout: 1ms, default: approve}}\n" +
		"- {id: last, method: echo/echo, dependencies: [default], parameters: {ok: '${yes.approved}', amount: '${paid.amount}'}}\noutputs: {last: '${last}'}\n"},
	"rejected": {text: "name: rejected\ntasks:\n- {id: a, method: echo/echo}\n- {id: no, method: wait/approval, dependencies: [a]}\n" +
		"- {id: b, method: echo/echo, dependencies: [no]}\non_failure:\n- {id: f, method: echo/echo, parameters: {why: '${no.status}'}}\n",
		attend: func(ctx context.Context, s *Scheduler, r situation) {
			if r.kind == "approval" {
				s.Approve(ctx, Approve{Run: r.run, Task: r.asking, By: "anna"})
			}
		}, never: []string{"b"}},
	"children": {text: "name: children\ntasks:\n- {id: list, method: echo/echo, parameters: {items: [1, 2, 3]}}\n" +
		"- {id: each, method: workflow/run, foreach: {items: '${list.items}', max_parallel: 2}, parameters: {file: square.yaml, inputs: {n: '${item}'}}}\n" +
		"- {id: one, method: workflow/run, dependencies: [list], parameters: {file: outer.yaml}}\n" +
		"- {id: bad, method: workflow/run, dependencies: [list], parameters: {file: broken.yaml}, continue_on_error: true}\n" +
		"- {id: all, method: echo/echo, dependencies: [bad], parameters: {each: '${each}', one: '${one.got}'}}\noutputs: {all: '${all}'}\n",
		children: map[string]string{
			"square.yaml": "name: square\ninputs: {n: {type: integer, required: true}}\ntasks: [{id: sq, method: echo/echo, parameters: {n: '${inputs.n * inputs.n}'}}]\noutputs: {n: '${sq.n}'}\n",
			"outer.yaml":  "name: outer\ntasks: [{id: in, method: workflow/run, parameters: {file: inner.yaml}}]\noutputs: {got: '${in.got}'}\n",
			"inner.yaml":  "name: inner\ntasks: [{id: told, method: wait/signal, parameters: {name: go}}]\noutputs: {got: '${told.amount}'}\n",
			"broken.yaml": "name: broken\ntasks: [{id: no, method: echo/fail, parameters: {message: never}}]\n",
		}},
	"asking": {sees: []string{"question.asked", "question.answered"}, text: "name: asking\ntasks:\n- {id: a, method: echo/echo}\n" +
		"- {id: ask, method: echo/ask, dependencies: [a], parameters: {message: x}}\n- {id: too, method: echo/ask, dependencies: [a], parameters: {message: x}}\n" +
		"- {id: b, method: echo/echo, parameters: {n: '${ask.answers}'}}\noutputs: {b: '${b.n}'}\n"},
	"cache": {text: "name: cache\ntasks:\n- {id: a, method: echo/echo, parameters: {n: 1}, cache: true}\n" +
		"- {id: b, method: echo/echo, dependencies: [a], parameters: {n: 1}, cache: true}\n" +
		"- {id: c, method: echo/echo, parameters: {n: 2}, cache: {key: 'k${b.n}'}}\n- {id: d, method: echo/echo, dependencies: [c], parameters: {n: 3}, cache: {key: k1}}\n" +
		"outputs: {b: '${b.n}', d: '${d.n}'}\n", never: []string{"b", "d"}},
	"cancelled": {text: "name: cancelled\ntasks:\n- {id: a, method: echo/echo}\n- {id: stuck, method: wait/signal, dependencies: [a], parameters: {name: never}}\n" +
		"- {id: under, method: workflow/run, dependencies: [a], parameters: {file: stuck.yaml}}\n" +
		"- {id: b, method: echo/echo, dependencies: [stuck]}\n- {id: even, method: echo/echo, dependencies: [stuck], if: always()}\n" +
		"on_failure:\n- {id: f, method: echo/echo}\nfinally:\n- {id: tidy, method: echo/echo, parameters: {was: '${stuck.status}'}}\n- {id: tidier, method: echo/echo, dependencies: [tidy]}\n",
		children: map[string]string{"stuck.yaml": "name: stuck\ntasks: [{id: inside, method: wait/signal, parameters: {name: never}}]\nfinally: [{id: sweep, method: echo/echo}]\n"},
		attend:   cancelWhenStuck, never: []string{"b", "f"}},
	"secret": {text: "name: secret\nsecrets: {S: 'env:S', P: 'file:/p'}\ntasks:\n- {id: a, method: echo/echo, parameters: {n: 1}}\n" +
		"- {id: s, method: echo/echo, dependencies: [a], parameters: {text: 'Bearer ${secrets.S}', p: '${secrets.P}'}}\n" +
		"- {id: each, method: echo/echo, foreach: [1, 2, 3], parameters: {n: '${item}', p: '${secrets.P}'}}\n" +
		"- {id: in, method: workflow/run, dependencies: [a], parameters: {file: inner.yaml, inputs: {key: '${secrets.S}'}}}\n" +
		"outputs: {text: '${s.text}', each: '${each}', in: '${in.got}'}\n",
		children: map[string]string{"inner.yaml": "name: inner\ninputs: {key: {secret: true, required: true}}\ntasks: [{id: k, method: echo/echo, parameters: {k: '<${inputs.key}>'}}]\noutputs: {got: '${k.k}'}\n"}},
	"breaker": {setup: &modelSetup, sees: []string{"breaker.opened", "breaker.half_opened", "breaker.closed", "provider.rate_taken"}, text: "name: breaker\nerror_strategy: continue\ntasks:\n" +
		"- {id: a, method: llm/chat, parameters: {prompt: fail 3 times}, retry: {max_attempts: 5, base_delay: 0.001, jitter: false}}\n" +
		"- {id: b, method: llm/chat, dependencies: [a], parameters: {prompt: hello}}\n" +
		"- {id: c, method: llm/chat, dependencies: [a], foreach: [1, 2, 3], parameters: {prompt: '${item}'}, retry: {max_attempts: 9, base_delay: 0.001}}\n" +
		"outputs: {b: '${b.content}', c: '${c.content}'}\n"},
	"agent": {setup: &agentSetup, sees: []string{"agent.stepped"}, text: "name: agent\ntasks:\n- {id: a, method: echo/echo, parameters: {n: 1}}\n" +
		"- {id: ask, method: llm/agent, retry: {max_attempts: 2, base_delay: 0.001, jitter: false}, parameters: {prompt: 'with ${a.n}', tools: [{name: say, method: echo/echo, arguments: {n: integer}, parameters: {n: '${args.n}', a: '${a.n}'}}]}}\n" +
		"- {id: each, method: llm/agent, foreach: {items: [1, 2], max_parallel: 1}, parameters: {prompt: '${item}', tools: [{name: say, method: echo/fail, arguments: {n: integer}, parameters: {times: 1, message: 'no ${item}'}}]}}\n" +
		"outputs: {told: '${ask}', turns: '${ask.turns}', usage: '${ask.usage.total_tokens}', each: '${each}'}\n"},
	"talking": {setup: &modelSetup, sees: []string{"task.text"}, text: "name: talking\ntasks:\n" +
		"- {id: a, method: llm/chat, parameters: {prompt: talk}}\n- {id: b, method: llm/chat, dependencies: [a], parameters: {prompt: 'talk of ${a.usage.total_tokens}'}}\noutputs: {b: '${b.content}'}\n"},
	"budget": {setup: &modelSetup, sees: []string{"workflow.paused"}, text: "name: budget\nbudget: {tokens: 50, on_exceed: pause}\ntasks:\n" +
		"- {id: a, method: llm/chat, parameters: {prompt: hello}}\n- {id: b, method: llm/chat, dependencies: [a], parameters: {prompt: fail 1 times}, retry: {max_attempts: 3, base_delay: 0.001}}\n" +
		"- {id: c, method: llm/chat, dependencies: [b], parameters: {prompt: hello}}\n- {id: d, method: llm/chat, dependencies: [b], parameters: {prompt: hello, max_tokens: 10}}\n" +
		"outputs: {c: '${c.content}', d: '${d.content}'}\n",
		attend: func(ctx context.Context, s *Scheduler, r situation) {
			if r.status == replay.Paused {
				s.Unpause(ctx, Unpause{Run: r.run, By: "anna", Granted: replay.Usage{Tokens: 40}})
			}
		}},
	"paused": {text: "name: paused\ntasks:\n- {id: a, method: echo/echo}\n- {id: told, method: wait/signal, dependencies: [a], parameters: {name: go}}\n" +
		"- {id: b, method: echo/echo, dependencies: [told], parameters: {n: '${told.amount}'}}\n",
		attend: func(ctx context.Context, s *Scheduler, r situation) {
			if r.kind == "signal" {
				s.Pause(ctx, r.run, "anna")
				s.Signal(ctx, Signal{Run: r.run, Name: "go", Data: paid})
			} else if r.status == replay.Paused {
				s.Unpause(ctx, Unpause{Run: r.run, By: "anna"})
			}
		}},
}

// paid is what signals bring.
var paid = replay.NewValue(json.RawMessage(`{"amount":42}`))

// obliging gives a run what it waits for.
func obliging(ctx context.Context, s *Scheduler, r situation) {
	switch r.kind {
	case "signal":
		for _, name := range []string{"paid", "go"} {
			s.Signal(ctx, Signal{Run: r.run, Name: name, Data: paid, By: "anna"})
		}
	case "secret", "run":
		s.Offer(ctx, r.run, map[string]string{"env:S": "s3cret of S", "file:/p": "s3cret of P"})
	case "approval":
		s.Approve(ctx, Approve{Run: r.run, Task: r.asking, Approved: true, By: "anna"})
	}
}

// cancelWhenStuck cancels the first run once it and its child wait.
func cancelWhenStuck(ctx context.Context, s *Scheduler, _ situation) {
	stuck := 0
	s.Query(ctx, func(state *replay.State) {
		state.Each(func(r *replay.Run) {
			for _, t := range r.Tasks {
				if t.Status == replay.TaskWaits {
					stuck++
				}
			}
		})
	})
	if stuck == 3 {
		s.Cancel(ctx, 1, "anna")
	}
}

// retriedUntilDone is the name of a workflow whose run is retried until it completes.
const retriedUntilDone = "goes on"

func chainYAML(n int) string {
	b := "name: chain\ntasks:\n- {id: t0, method: echo/echo, parameters: {n: 0}}\n"
	for i := 1; i < n; i++ {
		b += fmt.Sprintf("- {id: t%d, method: echo/echo, parameters: {n: %d, before: '${t%d.n}'}}\n", i, i, i-1)
	}
	return b
}

// numbers lists the first n of them.
func numbers(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(i)
	}
	return strings.Join(all, ", ")
}

func fanYAML(n int) string {
	b := "name: fan-out\ntasks:\n- {id: root, method: echo/echo}\n"
	for i := range n {
		b += fmt.Sprintf("- {id: leaf%d, method: echo/echo, dependencies: [root]}\n", i)
	}
	return b
}

// compile makes a document of YAML; batches get two files.
func compile(t testing.TB, text string) *protocols.Workflow {
	t.Helper()
	r := protocols.NewRegistry()
	doc, problems := protocols.Parse("w.yaml", []byte(text))
	if len(problems.Errors()) > 0 {
		t.Fatal(problems)
	}
	w, problems := r.Compile(doc)
	if len(problems.Errors()) > 0 {
		t.Fatal(problems)
	}
	if w.Batch != nil {
		if w, problems = w.Expand(r, []string{"in/a.txt", "in/b.txt"}); len(problems.Errors()) > 0 {
			t.Fatal(problems)
		}
	}
	return w
}

// cut is the disk as a crash at some moment may leave it.
type cut struct {
	mode string
	fs   *vfs.MemFS
	last eventlog.Seq // what had been acknowledged
}

// cutter takes cuts before every sync of a file.
type cutter struct {
	mem  *vfs.MemFS
	log  atomic.Pointer[eventlog.Log]
	mu   sync.Mutex
	cuts []cut
	rng  *rand.Rand
}

func (c *cutter) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		c.cut()
	}
	return nil
}

func (c *cutter) String() string { return "cutter" }

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var last eventlog.Seq
	if log := c.log.Load(); log != nil {
		last = log.Last()
	}
	for mode, percent := range map[string]int{"unsynced data lost": 0, "half of it kept": 50, "killed": 100} {
		c.cuts = append(c.cuts, cut{mode, c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.rng}), last})
	}
}

// points counts after how many different appends there is a cut.
func (c *cutter) points() int {
	lasts := map[eventlog.Seq]bool{}
	for _, cut := range c.cuts {
		lasts[cut.last] = true
	}
	return len(lasts)
}

// TestCrashAtEveryEvent cuts each workflow off at every append, in three ways,
// and lets another process finish it: the result is the same as uncut, no
// finished task runs again, and no acknowledged fact is missing.
func TestCrashAtEveryEvent(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for name, what := range crashCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := what.submission(t)
			c := &cutter{mem: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 0))}
			log := openOn(t, errorfs.Wrap(c.mem, c))
			c.log.Store(log)
			calls := &calls{}
			want := what.finish(t, log, w, calls)
			c.cut()
			records, appends := allRecords(t, log), int(log.Stats().Appends)
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			for _, kind := range what.sees {
				if !slices.ContainsFunc(records, func(r eventlog.Record) bool { return r.Type == kind }) {
					t.Fatalf("there is no %s", kind)
				}
			}
			if n := c.points(); n < appends {
				t.Fatalf("cut off after %d of %d appends", n, appends)
			}
			for i, cut := range c.cuts {
				what.after(t, fmt.Sprintf("cut %d of %d, %s, after record %d", i, len(c.cuts), cut.mode, cut.last), cut, w, records, want)
			}
		})
	}
}

// after restarts on what a cut left, finishes the run and checks the laws.
func (cc crashCase) after(t *testing.T, what string, c cut, w Submission, before []eventlog.Record, want string) {
	t.Helper()
	log := openOn(t, c.fs)
	defer log.Close()
	kept := allRecords(t, log)
	if len(kept) < int(c.last) {
		t.Fatalf("%s: %d records are left of %d acknowledged ones", what, len(kept), c.last)
	}
	for i := range int(c.last) {
		if kept[i].Type != before[i].Type || !bytes.Equal(kept[i].Data, before[i].Data) {
			t.Fatalf("%s: record %d has changed", what, i+1)
		}
	}
	done := completed(t, log)
	calls := &calls{}
	if got := cc.finish(t, log, w, calls); got != want {
		t.Fatalf("%s: result\n%s\nuncut it is\n%s", what, got, want)
	}
	for task := range calls.runs() {
		if done[task] {
			t.Fatalf("%s: task %s had finished and ran again", what, task)
		}
	}
	askedOnce(t, log)
	report, err := log.Verify(context.Background())
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("%s: verify: %v %v", what, err, report.Problems)
	}
}

// askedOnce fails when a task asks what a person has answered it.
func askedOnce(t *testing.T, log *eventlog.Log) {
	t.Helper()
	answered := map[string]bool{}
	codec := replay.NewCodec(log.Value)
	for _, rec := range allRecords(t, log) {
		f, err := decode(codec, rec)
		if err != nil {
			t.Fatal(err)
		}
		switch e := f.Event.(type) {
		case *replay.QuestionAnswered:
			answered[fmt.Sprint(f.Run, e.Task, e.ID)] = true
		case *replay.QuestionAsked:
			if answered[fmt.Sprint(f.Run, e.Task, e.ID)] {
				t.Fatalf("record %d asks a second time: %s", rec.Seq, rec.Data)
			}
		}
	}
}

func openOn(t testing.TB, fs vfs.FS) *eventlog.Log {
	t.Helper()
	log, err := eventlog.Open("store", eventlog.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func allRecords(t testing.TB, log *eventlog.Log) []eventlog.Record {
	t.Helper()
	var all []eventlog.Record
	for r, err := range log.Read(1) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// completed names the tasks that have ended for ever, each after its run.
func completed(t testing.TB, log *eventlog.Log) map[string]bool {
	t.Helper()
	done := map[string]bool{}
	for number := uint64(1); ; number++ {
		h, err := replay.LoadHistory(log, number)
		if err != nil {
			t.Fatal(err)
		}
		if h == nil {
			return done
		}
		for i := range h.Run().Tasks {
			kept := h.Run().Plan.Workflow.Name != retriedUntilDone || h.Run().Tasks[i].Status == replay.TaskIsCompleted && h.Run().Task(i).Hook == ""
			if h.Run().Tasks[i].Status.Ended() && kept {
				done[h.Run().ID()+" "+h.Run().TaskID(i)] = true
			}
		}
	}
}

// submission makes one of the case's texts.
func (cc crashCase) submission(t testing.TB) Submission {
	t.Helper()
	sub := Submission{Workflow: compile(t, cc.text), Setup: echoSetup, Key: "the-run", Children: map[string]Child{}, Names: map[string]string{}}
	if cc.setup != nil {
		sub.Setup = *cc.setup
	}
	for file := range cc.children {
		sub.Names[file] = file
	}
	for file, text := range cc.children {
		sub.Children[file] = Child{Workflow: compile(t, text), Names: sub.Names}
	}
	return sub
}

// finish runs the workflow to its end, from wherever the log has it, and
// returns what came out.
func (cc crashCase) finish(t testing.TB, log *eventlog.Log, sub Submission, c *calls) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.workflow = sub.Workflow
	s, err := New(log, Options{Open: c.open, Policy: cc.policy})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id, err := s.Submit(ctx, sub)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ResumeAll(ctx, true, ""); err != nil {
		t.Fatal(err)
	}
	var attending sync.WaitGroup
	attending.Go(func() { cc.attends(ctx, log, s) })
	number := waitEnd(t, ctx, log, id)
	for sub.Workflow.Name == retriedUntilDone && status(t, log, number) == replay.Failed {
		if err := s.Retry(ctx, Again{Run: number}); err != nil {
			t.Fatal(err)
		}
		waitEnd(t, ctx, log, id)
	}
	out := result(t, log, number)
	cancel()
	attending.Wait()
	for _, task := range cc.never {
		if c.seen()[task] > 0 {
			t.Fatalf("task %s was done", task)
		}
	}
	return out
}

// status is how the run ended.
func status(t testing.TB, log *eventlog.Log, number uint64) replay.Status {
	t.Helper()
	h, err := replay.LoadHistory(log, number)
	if err != nil || !h.Ended() {
		t.Fatalf("run %d has not ended: %v", number, err)
	}
	how, _ := h.End()
	return how.Status
}

// finish does so with a workflow that needs nobody.
func finish(t testing.TB, log *eventlog.Log, w *protocols.Workflow, c *calls) string {
	t.Helper()
	return crashCase{}.finish(t, log, Submission{Workflow: w, Setup: echoSetup, Key: "the-run"}, c)
}

// attends looks after the live runs until the context ends.
func (cc crashCase) attends(ctx context.Context, log *eventlog.Log, s *Scheduler) {
	attend := cc.attend
	if attend == nil {
		attend = obliging
	}
	for range log.Follow(ctx, log.Last()) {
		var all []situation
		s.Query(ctx, func(state *replay.State) {
			state.Each(func(r *replay.Run) {
				w := situation{run: r.Number, asking: -1}
				w.status, w.kind, _ = r.Stand()
				for i, t := range r.Tasks {
					if t.Status == replay.TaskWaits && string(t.Wait.Kind) == w.kind || len(r.Asks(i)) > 0 {
						w.asking = i
					}
				}
				all = append(all, w)
			})
		})
		for _, w := range all {
			attend(ctx, s, w)
		}
	}
}

// waitEnd waits for the run's last event and returns its number.
func waitEnd(t testing.TB, ctx context.Context, log *eventlog.Log, id string) uint64 {
	t.Helper()
	number, ok := replay.NumberOf(id)
	if !ok {
		t.Fatalf("run id %q", id)
	}
	for rec, err := range log.FollowStream(ctx, replay.Stream(number), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if !replay.IsEnd(rec.Type) {
			continue
		}
		if head, _, err := log.Head(rec.Stream); err != nil || head.Seq == rec.Seq {
			return number
		}
	}
	t.Fatalf("run %s did not end: %v", id, ctx.Err())
	return 0
}

// result is all of a run's view that crashes may not change.
func result(t testing.TB, log *eventlog.Log, number uint64) string {
	t.Helper()
	h, err := replay.LoadHistory(log, number)
	if err != nil {
		t.Fatal(err)
	}
	v, err := h.View(log.Value)
	if err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintf("%s %s %v %s\n", v.ID, v.Status, v.Error, v.Outputs)
	// Which of two foreaches has its items first is a matter of luck.
	slices.SortStableFunc(v.Tasks, func(a, b replay.TaskView) int { return strings.Compare(a.ID, b.ID) })
	for _, task := range v.Tasks {
		if task.Method == "wait/timer" || task.Method == "wait/approval" {
			task.Result = nil // says when it was
		}
		out += fmt.Sprintf("%s %s %s %v %s\n", task.ID, task.Status, task.Reason, task.Error, task.Result)
	}
	return childID.ReplaceAllString(out, "${1}N")
}

// childID finds the names of child runs, whose numbers come as they come.
var childID = regexp.MustCompile(`(the run [a-z]+-)\d+`)
