package protocols

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestItems(t *testing.T) {
	tests := []struct{ foreach, want string }{
		{`[1, two, "${list.x}", {a: "${inputs.n + 1}"}]`, `0:0=1 1:1="two" 2:2=[1,2] 3:3={"a":8}`},
		{`[]`, ``}, {`"${list.x}"`, `0:0=1 1:1=2`}, {`"${list.result.m}"`, `0:b={"key":"b","value":1} 1:a={"key":"a","value":{"x":"y"}}`},
		{`{items: {z: 1, "$${y}": null}}`, `0:z={"key":"z","value":1} 1:${y}={"key":"${y}","value":null}`},
		{`{items: "${map(list.x, # * 10)}"}`, `0:0=10 1:1=20`},
		{`"${list.none ?? []}"`, ``}, {`"${list.none}"`, `! task u: items: ${list.none}: no key none; there are x, m, s and rows`},
		{`"${list.s}"`, `! task u: items must be a list or a map, not the text "text"`}, {`"${list.n ?? null}"`, `! task u: items must be a list or a map, not null`},
		{`{items: "${list.rows}", key: "${item.id}"}`, `0:7={"id":7} 1:8={"id":8}`},
		{`{items: "${list.rows}", as: row, key: "row ${row.id}/${item_index + 1} ${list.s}"}`, `0:row 7/1 text={"id":7} 1:row 8/2 text={"id":8}`},
		{`{items: "${list.m}", key: "x-${item.key}"}`, `0:x-b={"key":"b","value":1} 1:x-a={"key":"a","value":{"x":"y"}}`},
		{`{items: [1, 2, 1], key: "${item}"}`, `! task u: items 0 and 2 have the same key 1`},
		{`{items: [[1]], key: "${item}"}`, `! task u: the key of item 0 must be text, not a list`},
		{`{items: [null], key: "${item}"}`, `! task u: the key of item 0 must be text, not null`},
		{`{items: [""], key: "${item}"}`, `! task u: the key of item 0 must be one line of at most 200 bytes, not ""`},
		{`{items: ["a\nb"], key: "${item}"}`, `! task u: the key of item 0 must be one line of at most 200 bytes, not "a b"`},
		{`{items: [{a: 1}], key: "${item.b}"}`, `! task u: key: ${item.b}: no key b; there is only a`},
	}
	for _, test := range tests {
		w := compileText(t, "inputs: {n: {type: integer, required: true}}\ntasks:\n- {name: list, method: echo/echo}\n- {name: u, method: echo/echo, foreach: "+test.foreach+"}\n")
		s := &Scope{Workflow: w, Inputs: map[string]json.RawMessage{"n": raw("7")},
			Tasks: map[int]TaskValue{0: completed(`{"x":[1,2],"m":{"b":1,"a":{"x":"y"}},"s":"text","rows":[{"id":7},{"id":8}]}`)}}
		items, err := w.Items(1, s)
		var got []string
		for _, it := range items {
			got = append(got, fmt.Sprintf("%d:%s=%s", it.Index, it.Key, it.Value))
		}
		if err != nil {
			got = []string{"! " + err.Message}
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s\n got  %s\n want %s", test.foreach, text, test.want)
		}
		if s.Item != nil {
			t.Error("the caller's scope has changed")
		}
	}
}

func TestParametersOfItems(t *testing.T) {
	w := compileText(t, `
tasks:
  - name: each
    method: python/execute
    foreach: {items: [1], as: file, collect: result.text}
    params: {code: "x = ${file.path}", args: ["${item}", "${file.path}", "${item_index}", "${item_index + 1}/${upper(file.path)}"]}
  - {name: all, method: echo/echo, params: {x: "${each}", y: "${each.result[1]}", z: "${len(each.result)}", s: "${each.status}"}}
`)
	s := &Scope{Workflow: w, Item: &ItemValue{Value: raw(`{"path":"a.txt"}`), Index: 3}}
	got, err := Substitute(w, 0, s, registry)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"code":"x = __gz_ref_0__","args":[{"path":"a.txt"},"a.txt",3,"4/A.TXT"],"context":{}}`; string(got.Parameters) != want || string(got.Bindings["__gz_ref_0__"]) != `"a.txt"` {
		t.Errorf("got %s %s", got.Parameters, got.Bindings)
	}
	s.Item = nil
	if _, err := Substitute(w, 0, s, registry); err == nil || err.Message != "task each: ${file.path}: there is no item here" {
		t.Errorf("got %v", err)
	}
	if got, err := Collect(w, 0, raw(`{"result":{"text":"one"},"output":""}`)); err != nil || string(got) != `"one"` {
		t.Errorf("got %s %v", got, err)
	}
	if _, err := Collect(w, 0, raw(`{"result":{"txt":"one"}}`)); err == nil || err.Message != "task each: collect: result.text: no key text after .result; there is only txt" {
		t.Errorf("got %v", err)
	}
	if got, err := Collect(w, 1, raw(`{"x":1}`)); err != nil || string(got) != `{"x":1}` {
		t.Errorf("got %s %v", got, err)
	}
	got, err = Substitute(w, 1, &Scope{Workflow: w, Tasks: map[int]TaskValue{0: completed(`["one",null]`)}}, registry)
	if want := `{"x":["one",null],"y":null,"z":2,"s":"completed"}`; err != nil || string(got.Parameters) != want {
		t.Errorf("got %v %v", got, err)
	}
}

func TestUntil(t *testing.T) {
	w := compileText(t, `
tasks:
  - {name: least, method: echo/echo}
  - name: ask
    method: llm/chat
    foreach: [5]
    params: {prompt: x}
    repeat: {until: "result.content == 'yes' && ask.response == result && least.n <= item && run.attempt == 2", max_iterations: 3}
`)
	e := &w.Tasks[1].Repeat.Until
	if diff := cmp.Diff([]int{0}, e.References); diff != "" {
		t.Error(diff)
	}
	s := &Scope{Workflow: w, Run: RunValue{Attempt: 2}, Item: &ItemValue{Value: raw("5")},
		Tasks: map[int]TaskValue{0: completed(`{"n":5}`), 1: completed(`{"content":"yes","response":"yes"}`)}}
	if ok, err := w.Evaluate(e, 1, s); err != nil || !ok {
		t.Errorf("%v %v", ok, err)
	}
	s.Tasks[1] = completed(`{"content":"no","response":"no"}`)
	if ok, err := w.Evaluate(e, 1, s); err != nil || ok {
		t.Errorf("%v %v", ok, err)
	}
	s.Tasks[1] = completed(`{"x":1}`)
	if _, err := w.Evaluate(e, 1, s); err == nil || err.Message != "task ask: until: ${result.content}: no key content; there is only x" {
		t.Errorf("got %v", err)
	}
	again, err := Decode(w.Encode())
	if err != nil {
		t.Fatal(err)
	}
	s.Workflow, s.Tasks[1] = again, completed(`{"content":"yes","response":"yes"}`)
	if ok, err := again.Evaluate(&again.Tasks[1].Repeat.Until, 1, s); err != nil || !ok {
		t.Errorf("decoded: %v %v", ok, err)
	}
}

func TestSecretsGoOnlyIntoCalls(t *testing.T) {
	w := compileText(t, `
secrets: {KEY: env:MY_KEY}
inputs: {token: {secret: true, required: true}, plain: {}}
env: {A: a, B: "<${secrets.KEY}>"}
tasks:
  - name: t
    method: echo/echo
    env: {A: "${inputs.token}!", C: c}
    cache: {key: "${inputs.plain}"}
    params: {x: "Bearer ${secrets.KEY}", y: "${inputs.token}", all: "${inputs}", z: "<${secrets.OTHER}>"}
outputs: {all: "${inputs}"}
`)
	if diff := cmp.Diff([]string{"KEY", "OTHER", "inputs.token"}, w.SecretRefs); diff != "" {
		t.Error(diff)
	}
	inputs, refused := w.CheckInputs(map[string]json.RawMessage{"token": raw(`"file:/run/token"`), "plain": raw(`"p"`)})
	if refused != nil {
		t.Fatal(refused)
	}
	for name, want := range map[string]string{"KEY": "env:MY_KEY true", "OTHER": " false", "inputs.token": "file:/run/token true"} {
		source, ok := w.SecretSource(name, inputs)
		if got := fmt.Sprint(source, " ", ok); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	s := &Scope{Workflow: w, Inputs: inputs, Secrets: map[string]string{"KEY": "k\"1", "OTHER": "other", "inputs.token": "${secrets.KEY}"}}
	got, err := Substitute(w, 0, s, registry)
	if want := `{"x":"Bearer k\"1","y":"${secrets.KEY}","all":{"plain":"p","token":"file:/run/token"},"z":"<other>"}`; err != nil || string(got.Parameters) != want {
		t.Errorf("got %v %v", got, err)
	}
	env, err := Environment(w, 0, s)
	if diff := cmp.Diff(map[string]string{"A": "${secrets.KEY}!", "B": `<k"1>`, "C": "c"}, env); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if out, err := SubstituteOutputs(w, s); err != nil || string(out) != `{"all":{"plain":"p","token":"file:/run/token"}}` {
		t.Errorf("got %s %v", out, err)
	}
	if key, err := w.CacheKey(0, s); err != nil || key != "p" {
		t.Errorf("got %s %v", key, err)
	}
	s.Secrets = nil
	if _, err := Substitute(w, 0, s, registry); err == nil || err.Message != "task t: ${secrets.KEY}: the secret is not there" {
		t.Errorf("got %v", err)
	}
	if _, err := Environment(w, 0, s); err == nil || err.Message != "task t: env.B: ${secrets.KEY}: the secret is not there" {
		t.Errorf("got %v", err)
	}
	for _, value := range []string{`"hunter2"`, `5`, `{"env":"X"}`, `"env:"`} {
		_, err := w.CheckInputs(map[string]json.RawMessage{"token": raw(value)})
		if want := "inputs: token is a secret and must be given as a reference, never itself (name where it is: env:NAME, file:PATH or age:PATH)"; err == nil || err.Message != want {
			t.Errorf("%s: got %v", value, err)
		}
	}
	if _, err := w.ParseInput("token", "hunter2"); err == nil || strings.Contains(err.Error()+string(err.Data), "hunter2") {
		t.Errorf("got %v", err)
	}
	if v, err := w.ParseInput("token", "env:X"); err != nil || string(v) != `"env:X"` {
		t.Errorf("got %s %v", v, err)
	}
}

// TestExpressionsAreSeen: what an expression looks at is found as if it were a path.
func TestExpressionsAreSeen(t *testing.T) {
	w := compileText(t, `
tasks:
  - {name: a, method: echo/echo}
  - {name: b, method: echo/echo}
  - {name: c, method: echo/echo, params: {x: "${len(a.x) + b.x}"}, cache: {key: "${a.y + env.X}"}}
outputs: {x: "${len(c.x) + tasks['b'].y}", y: "${env.Y + 'x'}"}
`)
	if diff := cmp.Diff([]int{0, 1}, w.Tasks[2].References); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int{1, 2}, w.OutputReferences()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"X", "Y"}, w.EnvRefs); diff != "" {
		t.Error(diff)
	}
}

func TestGraphOfHooks(t *testing.T) {
	w := compileText(t, `
name: hooks
tasks: [{name: a, method: echo/echo}, {name: b, method: echo/echo, needs: a}]
on_failure: [{name: alarm, method: echo/echo, params: {x: "${b.error}"}}, {name: call, method: echo/ping, needs: alarm}]
finally: [{name: clean, method: echo/echo}]
`)
	want := `hooks
   1  a      echo/echo
   2  b      echo/echo  ← a
   3  alarm  echo/echo  (on_failure)  ← b
   4  call   echo/ping  (on_failure)  ← alarm
   5  clean  echo/echo  (finally)
`
	if got := w.Graph().Text(); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestRates(t *testing.T) {
	for text, want := range map[string]string{
		"10/s": "10 1s", "5": "5 1s", "600/h": "600 1h0m0s", "1/minute": "1 1m0s", "3 / 30s": "3 30s", "7/day": "7 24h0m0s", "2/90": "2 1m30s",
		"": "", "0": "", "1.5/s": "", "10/": "", "10/0s": "", "10/-1s": "", "10/week": "", "99999999999/s": "",
	} {
		r, err := ParseRate(text)
		got := ""
		if err == nil {
			got = fmt.Sprint(r.Calls, " ", r.Per)
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestCron(t *testing.T) {
	for text, right := range map[string]bool{
		"* * * * *": true, "0 0 1 1 0": true, "0 0 1 1 7": true, "*/15 9-17 * * mon-fri": true, "0,30 * 1,15 jan,JUL *": true, "5/10 * * * *": true,
		"@hourly": true, "@every 90m": true, "@midnight": true, "0 0 29 2 *": true, "0 0 31 2 mon": true, "0 0 30 2 *": false, "0 0 0 * *": false, "* * * 13 *": false,
		"* * * * 8": false, "* * * * *  *": false, "": false, "a * * * *": false, "1- * * * *": false, "*-5 * * * *": false, ", * * * *": false, "@": false, "+1 * * * *": false,
		"@every 0s": false, "* * * * fr": false, "1/99 * * * *": false,
	} {
		if text, _ := cronFault(text); (text == "") != right {
			t.Errorf("%q", text)
		}
	}
}

// A task needs the secrets of its parameters and environment, and those of
// the workflow's environment; one that waits or runs a workflow needs none.
func TestTaskSecrets(t *testing.T) {
	w := compileText(t, `
secrets: {KEY: env:MY_KEY, TOKEN: file:token}
inputs: {pin: {secret: true, default: env:PIN}}
tasks:
  - {name: none, method: echo/echo, params: {all: "${inputs}"}}
  - {name: some, method: echo/echo, params: {x: ["<${secrets.KEY}>", {y: "${inputs.pin}"}]}}
  - {name: code, method: python/execute, params: {code: "print(${secrets.TOKEN}, ${secrets.KEY})"}}
  - {name: var, method: echo/echo, env: {T: "a ${secrets.TOKEN} b"}, params: {x: 1}}
  - {name: child, method: workflow/run, params: {file: c.yaml, inputs: {x: "${secrets.KEY}"}}}
`)
	for i, want := range [][]string{nil, {"KEY", "inputs.pin"}, {"KEY", "TOKEN"}, {"TOKEN"}, nil} {
		got, err := w.TaskSecrets(i, registry)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v %v", w.Tasks[i].ID, got, err)
		}
	}
}
