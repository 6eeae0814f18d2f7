package scheduler

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// generator writes random documents that use the whole language. It writes
// text, as people do, so that what runs has gone through Parse and Compile.
type generator struct {
	rng  *rand.Rand
	tick time.Duration // what times are made of
	now  time.Time     // about which the times to wait for are

	hides bool // the document has secrets
	asks  bool // it may ask language models
}

// doc is a map of the language.
type doc = map[string]any

// chance is true once in n times.
func (g *generator) chance(n int) bool { return g.rng.IntN(n) == 0 }

func pick[T any](g *generator, of ...T) T { return of[g.rng.IntN(len(of))] }

// span is a duration of up to n ticks, as a file has it.
func (g *generator) span(n int) string { return (time.Duration(1+g.rng.IntN(n)) * g.tick).String() }

// workflow makes a submission: a document of up to a dozen tasks, and the
// documents that it runs, depth deep at most.
func (g *generator) workflow(name string, depth int) (Submission, error) {
	files := []string{}
	if depth > 0 {
		files = []string{"a.yaml", "b.yaml"}
	}
	w, err := g.compiled(name, files)
	if err != nil {
		return Submission{}, err
	}
	sub := Submission{Workflow: w, Children: map[string]Child{}, Names: map[string]string{}, Env: g.environment(w)}
	if sub.Inputs, err = g.inputs(w); err != nil {
		return Submission{}, err
	}
	for _, file := range w.Children {
		child, err := g.workflow(file, depth-1)
		if err != nil {
			return Submission{}, err
		}
		place := file + "@" + name
		sub.Names[file] = place
		sub.Children[place] = Child{Workflow: child.Workflow, Names: child.Names}
		for at, c := range child.Children {
			sub.Children[at] = c
		}
	}
	return sub, nil
}

// inputs are sometimes given and sometimes the defaults.
func (g *generator) inputs(w *protocols.Workflow) (map[string]json.RawMessage, error) {
	given := map[string]json.RawMessage{}
	if g.chance(2) {
		given["n"] = json.RawMessage(fmt.Sprint(g.rng.IntN(6)))
	}
	inputs, refused := w.CheckInputs(given)
	if refused != nil {
		return nil, refused
	}
	return inputs, nil
}

// environment holds the variables that the document names, most of them.
func (g *generator) environment(w *protocols.Workflow) map[string]string {
	env := map[string]string{}
	for _, name := range w.EnvRefs {
		if !g.chance(4) {
			env[name] = "here"
		}
	}
	return env
}

// compiled makes a document and compiles its text.
func (g *generator) compiled(name string, files []string) (*protocols.Workflow, error) {
	text, err := json.Marshal(g.document(name, files))
	if err != nil {
		return nil, err
	}
	parsed, problems := protocols.Parse(name+".json", text)
	if len(problems.Errors()) > 0 {
		return nil, fmt.Errorf("%w\n%s", problems, text)
	}
	w, problems := testRegistry.Compile(parsed)
	if len(problems.Errors()) > 0 {
		return nil, fmt.Errorf("%w\n%s", problems, text)
	}
	return w, nil
}

var testRegistry = protocols.NewRegistry()

// document is a workflow.
func (g *generator) document(name string, files []string) doc {
	d := doc{"name": name, "inputs": doc{
		"n":    doc{"type": "integer", "default": 3, "enum": []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, "description": "a number"},
		"list": doc{"type": "array", "required": false, "default": []int{1, 2, 3}},
		"pin":  doc{"secret": true, "default": "env:PIN"}}}
	if g.hides = g.chance(2); g.hides {
		d["secrets"] = doc{"S": "env:S", "T": "file:/t"}
	}
	maybe := func(n int, key string, value any) {
		if g.chance(n) {
			d[key] = value
		}
	}
	maybe(5, "timeout", g.span(30))
	maybe(3, "max_parallel", 1+g.rng.IntN(3))
	maybe(2, "error_strategy", pick(g, "stop", "continue"))
	maybe(6, "priority", pick(g, "low", "normal", "high", "urgent"))
	maybe(6, "env", g.variables())
	maybe(6, "tags", []string{"random"})
	maybe(6, "description", "made by a generator")
	maybe(6, "metadata", doc{"by": "generator"})
	maybe(6, "id", "random")
	maybe(5, "limits", g.limits())
	maybe(4, "budget", g.budget())
	tasks := g.tasks("t", 1+g.rng.IntN(9), files)
	d["tasks"] = tasks
	for _, hook := range []string{"on_success", "on_failure", "finally"} {
		if g.chance(4) {
			d[hook] = g.tasks(hook[:4]+"_", 1+g.rng.IntN(2), files)
		}
	}
	if g.chance(3) {
		d["outputs"] = doc{"x": g.reference(echoes(tasks)), "n": "${inputs.n}"}
	}
	return d
}

func ids(tasks []doc) (all []string) {
	for _, t := range tasks {
		id, ok := t["id"].(string)
		if !ok {
			id = t["name"].(string)
		}
		all = append(all, id)
	}
	return all
}

// echoes are the ids of the tasks whose results may have any key.
func echoes(tasks []doc) []string {
	return ids(slices.DeleteFunc(slices.Clone(tasks), func(t doc) bool { return t["method"] == "llm/chat" || t["method"] == "llm/agent" }))
}

// reference is one to an earlier task, or to a root.
func (g *generator) reference(earlier []string) string {
	if len(earlier) == 0 || g.chance(4) {
		return pick(g, "${inputs.n}", "n is ${inputs.n + 1}", "${run.id}", "${workflow.name}", "${env.WHERE ?? 'nowhere'}", "$${literal}")
	}
	t := pick(g, earlier...)
	return "${" + pick(g, t+".ok ?? 1", t+".ok", t, t+".status", t+".error.name ?? \"none\"", t+".attempts",
		"tasks['"+t+"'].n ?? 0") + "}"
}

// tasks makes n tasks, of which the later ones depend on some earlier ones.
func (g *generator) tasks(prefix string, n int, files []string) []doc {
	var tasks []doc
	density := g.rng.IntN(5)
	for i := range n {
		t := g.task(echoes(tasks), files)
		if label := fmt.Sprintf("%s%d", prefix, i); g.chance(3) {
			t["name"] = "Task " + label
		} else {
			t["id"] = label
		}
		var needs []string
		for _, id := range ids(tasks) {
			if g.rng.IntN(10) < density {
				needs = append(needs, id)
			}
		}
		if len(needs) > 0 {
			t["dependencies"] = needs
		}
		tasks = append(tasks, t)
	}
	return tasks
}

// task is one task, whose references may be to earlier ones.
func (g *generator) task(earlier, files []string) doc {
	t := doc{}
	maybe := func(n int, key string, value any) {
		if g.chance(n) {
			t[key] = value
		}
	}
	item := ""
	if g.chance(4) {
		t["foreach"], item = g.foreach(earlier)
	}
	g.work(t, earlier, files, item)
	maybe(4, "if", g.condition(earlier))
	maybe(5, "repeat", g.repeat())
	maybe(2, "retry", g.retry())
	maybe(5, "timeout", g.span(20))
	maybe(4, "continue_on_error", true)
	maybe(2, "on_crash", pick(g, "retry", "fail", "skip", "ask"))
	maybe(4, "priority", pick[any](g, "low", "normal", "high", "urgent", 1, 2, 3))
	maybe(9, "env", g.variables())
	maybe(9, "tags", []string{"random"})
	maybe(9, "description", "made by a generator")
	maybe(9, "metadata", doc{"by": "generator"})
	maybe(9, "limits", g.limits())
	maybe(9, "budget", g.budget())
	return t
}

// limits are those of a workflow or a task.
func (g *generator) limits() doc {
	l := doc{"per_provider": 1 + g.rng.IntN(3)}
	if g.chance(2) {
		l["rate"] = fmt.Sprintf("%d/%s", 1+g.rng.IntN(4), g.tick)
	}
	return l
}

// budget is one that a few calls use up.
func (g *generator) budget() doc {
	b := doc{"tokens": 20 + g.rng.IntN(200)}
	if g.chance(3) {
		b["usd"] = 0.001 * float64(1+g.rng.IntN(5))
	}
	if g.chance(2) {
		b["on_exceed"] = pick(g, "fail", "pause")
	}
	return b
}

// chat asks a language model.
func (g *generator) chat(t doc, earlier []string) {
	p := doc{"prompt": "what of " + g.reference(earlier)}
	if g.chance(2) {
		p["model"] = pick(g, "small", "big")
	}
	if g.chance(2) {
		p["max_tokens"] = 1 + g.rng.IntN(60)
	}
	t["method"], t["parameters"] = "llm/chat", p
	if g.chance(3) {
		t["provider"] = pick[any](g, "near", "far", []string{"near", "far"}, []string{"far", "near"})
	}
}

// agent lets a model call tools.
func (g *generator) agent(t doc, earlier []string) {
	g.chat(t, earlier)
	p := t["parameters"].(doc)
	t["method"] = "llm/agent"
	tool := doc{"name": "say", "method": "echo/echo", "arguments": doc{"x": "string"}, "parameters": doc{"x": "${args.x} " + g.reference(earlier)}}
	tools := []any{tool}
	if g.chance(3) {
		tools = append(tools, doc{"name": "ask", "method": "wait/signal", "parameters": doc{"name": pick(g, "x", "y")}})
	}
	if g.chance(2) {
		tools = append(tools, pick[any](g, doc{"mcp": "tools"}, "mcp/tool.add"))
	}
	p["tools"] = tools
	if g.chance(2) {
		p["max_turns"] = 1 + g.rng.IntN(3)
	}
	if g.chance(3) {
		p["max_parallel"] = 1 + g.rng.IntN(2)
	}
	if g.chance(3) {
		p["on_tool_error"] = pick(g, "tell", "fail")
	}
}

// work says what a task does, and with which item if it has one.
func (g *generator) work(t doc, earlier, files []string, item string) {
	switch k := g.rng.IntN(10); {
	case k == 0:
		t["method"], t["parameters"] = g.wait(earlier)
	case k == 1 && len(files) > 0:
		t["method"], t["parameters"] = "workflow/run", doc{"file": pick(g, files...), "inputs": doc{"n": g.rng.IntN(9)}}
		if g.hides && g.chance(2) {
			t["parameters"].(doc)["inputs"].(doc)["pin"] = pick(g, "${secrets.S}", "${inputs.pin}", "env:S")
		}
	case k < 3 && g.asks:
		g.agent(t, earlier)
	case k < 5 && g.asks:
		g.chat(t, earlier)
	default:
		t["method"] = pick(g, "echo/echo", "echo/echo", "echo/ping", "echo/delay", "echo/ask")
		p := doc{}
		switch t["method"] {
		case "echo/ping", "echo/ask":
			p["message"] = "at " + g.reference(earlier)
		case "echo/delay":
			p["seconds"] = float64(g.rng.IntN(5)) * g.tick.Seconds()
		default:
			p["text"], p["deep"] = g.reference(earlier), doc{"list": []any{g.reference(earlier), true}}
		}
		if item != "" {
			p["message"] = "item ${" + item + "} at ${item_index}"
		}
		if g.hides && g.chance(3) {
			p["hidden"] = pick(g, "Bearer ${secrets.S}", "${secrets.T}", "pin ${inputs.pin}")
		}
		t["parameters"] = p
		if g.chance(3) {
			t["provider"] = pick(g, "fast", "slow")
		}
		if g.chance(6) {
			t["protocol"] = "echo/v1"
		}
		if g.chance(5) {
			t["cache"] = pick[any](g, true, doc{"ttl": g.span(50)}, doc{"key": "the same ${inputs.n}"}, doc{"ttl": g.span(50), "key": "k${inputs.n}"})
		}
	}
}

// wait is a method of wait/v1 with its parameters.
func (g *generator) wait(earlier []string) (string, doc) {
	p := doc{}
	switch g.rng.IntN(3) {
	case 0:
		switch g.rng.IntN(4) {
		case 0:
			p["seconds"] = float64(g.rng.IntN(20)) * g.tick.Seconds()
		case 1:
			p["until"] = g.now.Add(time.Duration(g.rng.IntN(60)-20) * g.tick).Format(time.RFC3339)
		default:
			p["duration"] = g.span(20)
		}
		return "wait/timer", p
	case 1:
		p["name"] = pick(g, "x", "y")
		if g.chance(2) {
			p["timeout"] = g.span(30)
		}
		return "wait/signal", p
	}
	if g.chance(2) {
		p["message"] = "all right? " + g.reference(earlier)
	}
	if g.chance(2) {
		p["timeout"] = g.span(30)
	}
	if g.chance(2) {
		p["default"] = pick(g, "approve", "reject")
	}
	return "wait/approval", p
}

// variables are an environment, perhaps with a secret.
func (g *generator) variables() doc {
	env := doc{"WHERE": pick(g, "here", "nearer")}
	if g.hides && g.chance(2) {
		env["KEY"] = "<${secrets.S}>"
	}
	return env
}

// testSecrets are what the secrets of random documents are.
var testSecrets = map[string]string{"env:S": `s3cret/"of"+S`, "file:/t": "s3cret of a file", "env:PIN": "s3cret-pin"}

// someSecrets are some of them.
func someSecrets(roll func(int) int) map[string]string {
	some := map[string]string{}
	for ref, value := range testSecrets {
		if roll(3) > 0 {
			some[ref] = value
		}
	}
	return some
}

// condition is one that holds or not, with and without status functions.
func (g *generator) condition(earlier []string) any {
	if len(earlier) > 0 && g.chance(2) {
		t := "tasks['" + pick(g, earlier...) + "']"
		return pick(g, "("+t+".ok ?? true) == true", t+".ok == true", t+".status == 'completed' || failure()")
	}
	return pick[any](g, true, false, "always()", "failure()", "success()", "cancelled() || success()", "inputs.n > 2", "!failure() && inputs.n < 9")
}

// foreach is one in any of its forms, and what it calls its items.
func (g *generator) foreach(earlier []string) (each any, item string) {
	items := pick[any](g, []int{1, 2, 3}, []any{}, []any{"one"}, doc{"b": 1, "a": 2}, "${inputs.list}", []any{"${inputs.n}", 7})
	if len(earlier) > 0 && g.chance(2) {
		items = "${" + pick(g, earlier...) + ".items ?? [4,5]}"
	}
	if _, isMap := items.(doc); !isMap && g.chance(3) {
		return items, "item"
	}
	f, item := doc{"items": items}, "item"
	if g.chance(4) {
		f["as"], item = "thing", "thing"
	}
	if g.chance(4) {
		f["key"] = "k${" + item + "}"
	}
	if g.chance(2) {
		f["max_parallel"] = 1 + g.rng.IntN(3)
	}
	if g.chance(2) {
		f["fail_fast"] = g.chance(2)
	}
	if g.chance(4) {
		f["collect"] = pick(g, "ok", "nobody")
	}
	return f, item
}

func (g *generator) repeat() doc {
	r := doc{"until": pick[any](g, "(result.ok ?? false) == true", "run.attempt > 2", false, true), "max_iterations": 1 + g.rng.IntN(3)}
	if g.chance(2) {
		r["interval"] = g.span(3)
	}
	return r
}

func (g *generator) retry() doc {
	r := doc{}
	maybe := func(n int, key string, value any) {
		if g.chance(n) {
			r[key] = value
		}
	}
	maybe(2, "max_attempts", 1+g.rng.IntN(4))
	maybe(2, "backoff", pick(g, "exponential", "linear", "fixed"))
	r["base_delay"] = g.span(2)
	maybe(2, "max_delay", g.span(4))
	maybe(2, "jitter", g.chance(2))
	maybe(5, "deadline", g.span(9))
	maybe(3, "on", pick(g, []string{"timeout", "network"}, []string{"execution", "rate_limit"}, []string{"parameters", "execution"}))
	return r
}

// notGenerated are the keys of the language that no random document has, each
// with the reason.
var notGenerated = map[string]string{
	"type": "a batch is expanded into plain tasks before a run has it", "batch": "as type", "template": "as type",
	"version": "does nothing", "wait_for_completion": "does nothing", "providers": "does nothing",
	"schedule":      "is no part of a run",
	"output_schema": "providers see to it: to the core it is a failure like others", "idle_timeout": "as output_schema",
}

// TestGeneratorCovers sees that random documents use every key of the
// language, so that a key that comes to the language comes to the laws.
func TestGeneratorCovers(t *testing.T) {
	used := map[string]bool{}
	g := &generator{rng: rand.New(rand.NewPCG(1, 1)), tick: time.Second}
	for range 500 {
		d := g.document("w", []string{"a.yaml"})
		noteKeys(used, "", d)
		for _, in := range d["inputs"].(doc) {
			noteKeys(used, "input.", in.(doc))
		}
		for _, list := range []string{"tasks", "on_success", "on_failure", "finally"} {
			tasks, _ := d[list].([]doc)
			for _, task := range tasks {
				noteKeys(used, "", task)
				for _, level := range []string{"foreach", "repeat", "retry", "cache", "limits", "budget"} {
					if inner, ok := task[level].(doc); ok {
						noteKeys(used, level+".", inner)
					}
				}
			}
		}
	}
	for _, k := range languageKeys(t) {
		level, _, _ := strings.Cut(k, ".")
		if !used[k] && notGenerated[k] == "" && notGenerated[level] == "" {
			t.Errorf("no random document has the key %s: add it to generate_test.go", k)
		}
	}
}

func noteKeys(used map[string]bool, level string, d doc) {
	for k := range d {
		used[level+k] = true
	}
}

// languageKeys are the canonical keys of the language as the schema for editors
// has them: of a workflow and a task as they are, of the maps inside with the
// map's name.
func languageKeys(t *testing.T) (keys []string) {
	t.Helper()
	type object struct {
		Properties map[string]struct{ Description string }
	}
	var schema struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(protocols.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	add := func(level string, o object) {
		for k, v := range o.Properties {
			if !strings.HasPrefix(v.Description, "The same as ") {
				keys = append(keys, level+k)
			}
		}
	}
	add("", schema.object)
	for name, o := range schema.Defs {
		switch {
		case name == "task":
			add("", o)
		case !strings.Contains(name, "-v1-"): // not of a method
			add(name+".", o)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
