package protocols

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Payloads as providers return them.
const (
	pythonPayload = `{"result":{"numbers":[1,2,3],"odd key":true,"big":9007199254740993},"output":"hi\n","success":true,"execution_time":0.1}`
	chatPayload   = `{"response":"a \"poem\"","content":"a \"poem\"","role":"assistant","model":"m","usage":{"total_tokens":7},"tokens_used":5}`
	addPayload    = `{"response":"3","result":3,"calculation":"1 + 2 = 3"}`
	listPayload   = `[{"a":1},{"a":2}]`
	nestedPayload = `{"result":{"result":5,"content":"inner"}}`
)

// TestReferenceForms is original.md's table of references and what they mean
// by language.md, with the forms of both.
func TestReferenceForms(t *testing.T) {
	tests := []struct {
		payload, ref, want string // want "" means: fails
	}{
		{pythonPayload, "${t}", `{"numbers":[1,2,3],"odd key":true,"big":9007199254740993}`},
		{pythonPayload, "${t.result}", `{"numbers":[1,2,3],"odd key":true,"big":9007199254740993}`},
		{pythonPayload, "${t.result.numbers}", `[1,2,3]`},
		{pythonPayload, "${t.result.result}", `{"numbers":[1,2,3],"odd key":true,"big":9007199254740993}`},
		{pythonPayload, "${t.result.result.numbers}", `[1,2,3]`},
		{pythonPayload, "${t.result.numbers[0]}", `1`},
		{pythonPayload, "${t.result.numbers[-1]}", `3`},
		{pythonPayload, "${t.result.numbers.1}", `2`},
		{pythonPayload, "${t.result.numbers.-3}", `1`},
		{pythonPayload, "${t.result.numbers[3]}", ``},
		{pythonPayload, "${t.result.numbers[-4]}", ``},
		{pythonPayload, "${t.result.numbers.x}", ``},
		{pythonPayload, `${t.result["odd key"]}`, `true`},
		{pythonPayload, `${t["result"]['odd key']}`, `true`},
		{pythonPayload, "${t.result.big}", `9007199254740993`},
		{pythonPayload, "${t.output}", `"hi\n"`},
		{pythonPayload, "${t.success}", `true`},
		{pythonPayload, "${t.keys}", ``},
		{pythonPayload, "${t.result.output}", `"hi\n"`},
		{chatPayload, "${t}", `"a \"poem\""`},
		{chatPayload, "${t.result}", `"a \"poem\""`},
		{chatPayload, "${t.response}", `"a \"poem\""`},
		{chatPayload, "${t.content}", `"a \"poem\""`},
		{chatPayload, "${t.result.content}", `"a \"poem\""`},
		{chatPayload, "${t.result.response}", `"a \"poem\""`},
		{chatPayload, "${t.usage}", `{"total_tokens":7}`},
		{chatPayload, "${t.usage.total_tokens}", `7`},
		{chatPayload, "${t.result.nothing}", ``},
		{addPayload, "${t.result}", `3`},
		{addPayload, "${t}", `3`},
		{addPayload, "${t.response}", `"3"`},
		{addPayload, "${t.result.response}", `"3"`},
		{addPayload, "${t.result.x}", ``},
		{listPayload, "${t}", `[{"a":1},{"a":2}]`},
		{listPayload, "${t.result}", `[{"a":1},{"a":2}]`},
		{listPayload, "${t[1].a}", `2`},
		{listPayload, "${t.result[-1].a}", `2`},
		{listPayload, "${t.0.a}", `1`},
		{nestedPayload, "${t.result.result}", `5`},
		{nestedPayload, "${t.result}", `{"result":5,"content":"inner"}`},
		{`"text"`, "${t}", `"text"`},
		{`"text"`, "${t.result}", `"text"`},
		{`"text"`, "${t.result.x}", ``},
		{`{"text":"only"}`, "${t}", `"only"`},
		{`{"response":{"a":1},"content":"c"}`, "${t}", `"c"`},
		{`{"a":1}`, "${t}", `{"a":1}`},
		{`{"result":null}`, "${t.result}", `null`},
		{`{"result":null}`, `${t.result ?? "none"}`, `"none"`},
		{`{"result":null}`, "${t.result.x}", ``},
		{`{"0":"zero","a":{"b.c":[[1]]}}`, "${t.0}", `"zero"`},
		{`{"0":"zero","a":{"b.c":[[1]]}}`, "${t[0]}", `"zero"`},
		{`{"0":"zero","a":{"b.c":[[1]]}}`, `${t.a["b.c"][0][0]}`, `1`},
		{`{"a":1,"a":2}`, "${t.a}", `2`},
		{`{"\u00e9":"x"}`, "${t.é}", `"x"`},
		{chatPayload, "${t.status}", `"completed"`},
		{chatPayload, "${t.attempts}", `2`},
		{chatPayload, "${t.duration}", `1.5`},
		{chatPayload, "${t.duration_seconds}", `1.5`},
		{chatPayload, "${t.error}", `null`},
		{pythonPayload, "${t.usage}", `null`},
		{chatPayload, "${t.error.message}", ``},
		{`{"status":200}`, "${t.status}", `200`},
		{chatPayload, "${t.nothing ?? {\"a\": [1, \"}\"]}}", `{"a":[1,"}"]}`},
		{chatPayload, "${ t.nothing   ??   -1.50 }", `-1.50`},
		{chatPayload, "${t.response ?? 1}", `"a \"poem\""`},
		{chatPayload, "x${t.response}y", `"xa \"poem\"y"`},
		{pythonPayload, "n=${t.result.numbers} ${t.success}${t.result.nothing ?? null}", `"n=[1,2,3] truenull"`},
		{`{"a": {"b" : "c\n"} }`, "${t.a}!", `"{\"b\":\"c\\n\"}!"`},
		{chatPayload, "$${t.response}", `"${t.response}"`},
		{chatPayload, "$${t} ${t.role} $$${t.role} $${", `"${t} assistant $${t.role} ${"`},
		{`{"x":"${t.y} $${z}","y":1}`, "${t.x}", `"${t.y} $${z}"`},
		{`{"x":"${t.y} $${z}","y":1}`, "<${t.x}>", `"<${t.y} $${z}>"`},
	}
	for _, test := range tests {
		w := compileText(t, "tasks:\n- {name: t, method: echo/echo}\n- {name: u, method: echo/echo, params: {v: "+yamlQuote(test.ref)+"}}")
		v := completed(test.payload)
		v.Attempts, v.Duration = 2, 1500*time.Millisecond
		got, err := Substitute(w, 1, &Scope{Workflow: w, Tasks: map[int]TaskValue{0: v}}, registry)
		switch {
		case test.want == "" && err == nil:
			t.Errorf("%s in %s: got %s, want a failure", test.ref, test.payload, got.Parameters)
		case test.want == "":
			if err.Code != TaskParameterError || !strings.Contains(err.Message, "task u: ${") || len(err.Data) == 0 {
				t.Errorf("%s: error %v %s %s", test.ref, err.Code, err.Message, err.Data)
			}
		case err != nil:
			t.Errorf("%s in %s: %v", test.ref, test.payload, err)
		default:
			if want := `{"v":` + test.want + `}`; string(got.Parameters) != want {
				t.Errorf("%s in %s: got %s, want %s", test.ref, test.payload, got.Parameters, want)
			}
		}
	}
}

func yamlQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func TestUnsuccessfulTasks(t *testing.T) {
	failed := TaskValue{Status: "failed", Attempts: 3, Error: Errorf(TaskTimeout, "too slow").With(map[string]int{"after": 9})}
	skipped := TaskValue{Status: "skipped", Result: raw("null")}
	tests := []struct {
		value     TaskValue
		ref, want string
	}{
		{failed, "${t}", "null"},
		{failed, "${t.result}", "null"},
		{failed, "${t.result.x}", ""},
		{failed, "${t.response}", ""},
		{failed, `${t.response ?? "none"}`, `"none"`},
		{failed, `${t ?? "none"}`, `"none"`},
		{failed, "${t.status}", `"failed"`},
		{failed, "${t.error.message}", `"too slow"`},
		{failed, "${t.error.code}", `-29003`},
		{failed, "${t.error.name}", `"TASK_TIMEOUT"`},
		{failed, "${t.error.data.after}", `9`},
		{failed, "${t.attempts}", `3`},
		{skipped, "${t.result}", "null"},
		{skipped, "${t.result[0]}", ""},
		{skipped, "${t.status}", `"skipped"`},
		{skipped, "${t.error}", `null`},
	}
	for _, test := range tests {
		w := compileText(t, "tasks:\n- {name: t, method: echo/echo}\n- {name: u, method: echo/echo, params: {v: "+yamlQuote(test.ref)+"}}")
		got, err := Substitute(w, 1, &Scope{Workflow: w, Tasks: map[int]TaskValue{0: test.value}}, registry)
		if test.want == "" {
			if err == nil || !strings.Contains(err.Message, "the task is "+test.value.Status) {
				t.Errorf("%s: got %v, want it to say that the task is %s", test.ref, err, test.value.Status)
			}
			continue
		}
		if err != nil || string(got.Parameters) != `{"v":`+test.want+`}` {
			t.Errorf("%s: got %v, %v, want %s", test.ref, got, err, test.want)
		}
	}
}

func TestOtherRoots(t *testing.T) {
	w := compileText(t, `
name: The flow
id: flow
description: about it
metadata: {team: {name: x}}
tags: [a, b]
inputs: {s: {type: string}, o: {type: object}, absent: {}}
env: {FLOW: flow, BOTH: flow}
tasks:
  - name: t
    method: echo/echo
    env: {TASK: task, BOTH: task}
    params:
      inputs: ["${inputs.s}", "${inputs.o.a[0]}", "${inputs.absent ?? 1}", "${inputs}"]
      env: ["${env.FLOW}", "${env.TASK}", "${env.BOTH}", "${env.CALLER}", "${env.NONE ?? \"\"}"]
      run: ["${run.id}", "${run.name}", "${run.attempt}", "${run}"]
      workflow: ["${workflow.id}", "${workflow.name}", "${workflow.metadata.team.name}", "${workflow.tags[1]}"]
outputs:
  e: "${env.BOTH} ${env.CALLER}"
  t: ${t.inputs}
`)
	if diff := cmp.Diff([]string{"CALLER", "NONE"}, w.EnvRefs); diff != "" {
		t.Error(diff)
	}
	s := &Scope{Workflow: w, Inputs: map[string]json.RawMessage{"s": raw(`"<s>"`), "o": raw(`{"a":[1.0]}`)},
		Env: map[string]string{"CALLER": "c\"", "FLOW": "not this"}, Run: RunValue{ID: "flow-7", Name: "The flow", Attempt: 2}}
	got, err := Substitute(w, 0, s, registry)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"inputs":["<s>",1.0,1,{"o":{"a":[1.0]},"s":"<s>"}],"env":["flow","task","task","c\"",""],` +
		`"run":["flow-7","The flow",2,{"id":"flow-7","name":"The flow","attempt":2}],"workflow":["flow","The flow","x","b"]}`
	if string(got.Parameters) != want {
		t.Errorf("got  %s\nwant %s", got.Parameters, want)
	}
	s.Tasks = map[int]TaskValue{0: completed(want)}
	out, err := SubstituteOutputs(w, s)
	if want := `{"e":"flow c\"","t":["<s>",1.0,1,{"o":{"a":[1.0]},"s":"<s>"}]}`; err != nil || string(out) != want {
		t.Errorf("outputs %s %v, want %s", out, err, want)
	}
	s.Env = nil
	if _, err = SubstituteOutputs(w, s); err == nil || err.Message != "outputs: ${env.CALLER}: the environment has no variable CALLER" {
		t.Errorf("got %v", err)
	}
}

func TestErrorsNameTheKeys(t *testing.T) {
	w := compileText(t, "tasks:\n- {name: t, method: echo/echo}\n- {name: u, method: echo/echo, params: {v: '${t.result.numbrs}', w: '${t.a}'}}")
	_, err := Substitute(w, 1, &Scope{Workflow: w, Tasks: map[int]TaskValue{0: completed(pythonPayload)}}, registry)
	if want := "task u: ${t.result.numbrs}: no key numbrs after .result; there are numbers, odd key and big"; err == nil || err.Message != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if want := `{"task":"u","reference":"t.result.numbrs","keys":["numbers","odd key","big"]}`; err == nil || string(err.Data) != want {
		t.Errorf("data %s", err.Data)
	}
	_, err = Substitute(w, 1, &Scope{Workflow: w}, registry)
	if err == nil || !strings.Contains(err.Message, "the task t has not ended") {
		t.Errorf("got %v", err)
	}
}

func TestLiteralParametersAreNotParsed(t *testing.T) {
	w := compileText(t, "tasks: [{name: t, method: echo/echo, params: {v: '$${x}'}}]")
	got, err := Substitute(w, 0, nil, nil)
	if err != nil || string(got.Parameters) != `{"v":"${x}"}` || !w.Tasks[0].Literal {
		t.Errorf("%v %v", got, err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = Substitute(w, 0, nil, nil) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func TestSourceCode(t *testing.T) {
	tests := []struct {
		code, payload string
		want          string // of code; "" means: fails
		bindings      map[string]json.RawMessage
	}{
		{"${t}", `{"response":"result = 1"}`, "result = 1", nil},
		{"  ${t.response}\n", `{"response":"result = 1"}`, "result = 1", nil},
		{"${t}", `{"response":"Here it is:\n\n` + "```python\\nresult = 1\\nprint(result)\\n```\\nEnjoy." + `"}`, "result = 1\nprint(result)\n", nil},
		{"${t}", `{"response":"` + "```\\nx\\n```" + `"}`, "x\n", nil},
		{"${t}", `{"response":"` + "```bash\\npip install x\\n```\\n~~~py\\ny\\n~~~" + `"}`, "y\n", nil},
		{"${t}", `{"response":"` + "````\\n```\\nx\\n```\\n````" + `"}`, "```\nx\n```\n", nil},
		{"${t}", `{"response":"` + "```py\\nnever closed" + `"}`, "never closed", nil},
		{"${t}", `{"response":"d = \"\"\"\n` + "```\\nno code\\n```\\n" + `\"\"\""}`, "", nil},
		{"${t}", `{"response":"a ` + "``` b" + `"}`, "a ``` b", nil},
		{"${t}", `{"result":3}`, "", nil},
		{"x = ${t.result}", `{"result":{"a":[1]}}`, "x = __gz_ref_0__", map[string]json.RawMessage{"__gz_ref_0__": raw(`{"a":[1]}`)}},
		{"x = '${t.a}' + \"${t.b ?? 1}\" # $${t}", `{"a":"';import os"}`, "x = '__gz_ref_0__' + \"__gz_ref_1__\" # ${t}",
			map[string]json.RawMessage{"__gz_ref_0__": raw(`"';import os"`), "__gz_ref_1__": raw(`1`)}},
		{"__gz_ref_0__ = ${t.result}", `{"result":1}`, "__gz_ref_0__ = __gz_ref1_0__", map[string]json.RawMessage{"__gz_ref1_0__": raw(`1`)}},
		{"${t.a}${t.a}", `{"a":"x"}`, "__gz_ref_0____gz_ref_1__", map[string]json.RawMessage{"__gz_ref_0__": raw(`"x"`), "__gz_ref_1__": raw(`"x"`)}},
	}
	for _, test := range tests {
		text, err := json.Marshal(test.code)
		if err != nil {
			t.Fatal(err)
		}
		w := compileText(t, fmt.Sprintf("tasks:\n- {name: t, method: echo/echo}\n- {name: u, method: python/execute, params: {code: %s, context: {c: '${t ?? 1}'}}}", text))
		payload := strings.ReplaceAll(test.payload, "\n", `\n`)
		got, failed := Substitute(w, 1, &Scope{Workflow: w, Tasks: map[int]TaskValue{0: completed(payload)}}, registry)
		if failed != nil {
			if test.want != "" {
				t.Errorf("%s in %s: %v", test.code, payload, failed)
			}
			continue
		}
		code, _ := rawMember(got.Parameters, "code")
		if test.want == "" && strings.HasPrefix(rawText(code), "d = ") {
			continue // left as it is
		}
		if rawText(code) != test.want {
			t.Errorf("%s in %s: got %q, want %q", test.code, payload, rawText(code), test.want)
		}
		if diff := cmp.Diff(test.bindings, got.Bindings); diff != "" {
			t.Errorf("%s: bindings %s", test.code, diff)
		}
	}
}

func TestOutputReferences(t *testing.T) {
	w := compileText(t, "tasks:\n- {name: a, method: echo/echo}\n- {name: b, method: echo/echo}\n- {name: c, method: echo/echo}\n"+
		"outputs: {x: '${c.x} ${a.x}', y: ['${c}'], z: '$${b}'}")
	if diff := cmp.Diff([]int{0, 2}, w.OutputReferences()); diff != "" {
		t.Error(diff)
	}
}

// TestTemplatesAreShared fills in one document from many goroutines at once.
func TestTemplatesAreShared(t *testing.T) {
	w := compileText(t, "tasks:\n- {name: t, method: echo/echo}\n- {name: u, method: echo/echo, params: {v: 'x${t.n}'}}\noutputs: {o: '${u.v}'}")
	var wait sync.WaitGroup
	for i := range 50 {
		wait.Go(func() {
			s := &Scope{Workflow: w, Tasks: map[int]TaskValue{0: completed(fmt.Sprintf(`{"n":%d}`, i)), 1: completed(`{"v":1}`)}}
			got, err := Substitute(w, 1, s, registry)
			if err != nil || string(got.Parameters) != fmt.Sprintf(`{"v":"x%d"}`, i) {
				t.Errorf("%d: %v %v", i, got, err)
			}
			if out, err := SubstituteOutputs(w, s); err != nil || string(out) != `{"o":1}` {
				t.Errorf("%d: %s %v", i, out, err)
			}
		})
	}
	wait.Wait()
}

func TestSubstituteIsBounded(t *testing.T) {
	refs := strings.Repeat(`"${t.x}",`, 300)
	w := compileText(t, "tasks:\n- {name: t, method: echo/echo}\n- {name: u, method: echo/echo, params: {v: ["+refs+"]}}")
	big := `{"x":"` + strings.Repeat("a", 1<<20) + `"}`
	_, err := Substitute(w, 1, &Scope{Workflow: w, Tasks: map[int]TaskValue{0: completed(big)}}, registry)
	if err == nil || !strings.Contains(err.Message, "larger than 256 MiB") {
		t.Errorf("got %v", err)
	}
}
