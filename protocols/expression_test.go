package protocols

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

const expressionFlow = `
inputs:
  n: {type: integer, required: true}
  x: {type: number, default: 1.5}
  s: {type: string, required: true}
  b: {type: boolean, default: false}
  l: {type: array, default: [3, 1, 2]}
  o: {type: object, default: {a: 1, "odd key": {b: [10, 20]}}}
  names: {type: array, default: [ann, bob]}
  any: {}
env: {HERE: home}
tasks:
  - {name: t, method: echo/echo}
  - {id: load-data, name: Load Data, method: echo/echo}
  - {name: skipped, method: echo/echo}
  - {name: a, method: echo/echo}
  - {name: a.b, method: echo/echo}
  - {name: filter, method: echo/echo}
  - {name: u, method: echo/echo, params: {v: VALUE}}
`

func expressionScope(w *Workflow) *Scope {
	return &Scope{Workflow: w,
		Inputs: map[string]json.RawMessage{"n": raw("7"), "x": raw("1.5"), "s": raw(`"hello"`), "b": raw("false"), "l": raw("[3,1,2]"),
			"o": raw(`{"a":1,"odd key":{"b":[10,20]}}`), "names": raw(`["ann","bob"]`), "any": raw("null")},
		Run: RunValue{ID: "run-1", Name: "flow", Attempt: 2},
		Tasks: map[int]TaskValue{
			0: completed(pythonPayload),
			1: completed(`{"result":{"ok":true,"rows":[{"id":1,"v":"x"},{"id":2,"v":null},{"id":3}],"n-1":"hyphen","big":12345678901234567890}}`),
			2: {Status: "skipped", Result: raw("null")},
			3: completed(chatPayload),
			4: completed(`5`),
			5: completed(`{"result":[1,2]}`),
		}}
}

// evaluated returns what becomes of text as a whole parameter: JSON, or an
// error that begins with "!".
func evaluated(t testing.TB, text string) string {
	t.Helper()
	quoted := yamlQuote(text)
	d, _ := Parse("test.yaml", []byte(strings.Replace(expressionFlow, "VALUE", quoted, 1)))
	w, ps := registry.Compile(d)
	if w == nil {
		text := ps.Error()
		return "!! " + text[strings.Index(text, ": ")+2:]
	}
	got, err := Substitute(w, 6, expressionScope(w), registry)
	if err != nil {
		return "! " + strings.TrimPrefix(err.Message, "task u: ")
	}
	if !json.Valid(got.Parameters) {
		t.Errorf("%s became %s", text, got.Parameters)
	}
	v, _ := rawMember(got.Parameters, "v")
	return string(v)
}

// TestExpressions shows what expressions mean: JSON, "!" for what fails in the
// run, "!!" for what fails before.
func TestExpressions(t *testing.T) {
	tests := []struct{ text, want string }{
		{"${1}", "1"}, {"${-1.5}", "-1.5"}, {"${'x'}", `"x"`}, {`${"a\"b}"}`, `"a\"b}"`}, {"${true}", "true"}, {"${null}", "null"}, {"${nil}", "null"},
		{"${[1, 'a', null]}", `[1,"a",null]`}, {"${{b: 1, 'a': {c: 2}}}", `{"a":{"c":2},"b":1}`},
		{"${inputs.n + 1}", "8"}, {"${inputs.n+1}", "8"}, {"${ inputs.n * 2 - 1 }", "13"}, {"${inputs.n / 2}", "3.5"}, {"${inputs.n % 4}", "3"}, {"${2 ** 3}", "8"},
		{"${inputs.x + 1}", "2.5"}, {"${inputs.x * 2}", "3"}, {"${inputs.n > 5 && inputs.n < 10}", "true"}, {"${not (inputs.n > 5)}", "false"},
		{"${inputs.s + ' ' + inputs.s}", `"hello hello"`}, {"${inputs.n == 7 ? 'seven' : 'other'}", `"seven"`},
		{"n is ${inputs.n + 1}, ${inputs.names}, ${ {a: 1} }.", `"n is 8, [\"ann\",\"bob\"], {\"a\":1}."`},
		{"${len(inputs.names)}", "2"}, {"${upper(inputs.names[0])}", `"ANN"`}, {"${inputs.names | map(upper(#)) | join('-')}", `"ANN-BOB"`},
		{"${filter(inputs.l, # > 1)}", "[3,2]"}, {"${sort(inputs.l)}", "[1,2,3]"}, {"${sum(inputs.l)}", "6"}, {"${max(inputs.l)}", "3"},
		{"${inputs.l[0] + inputs.l[-1]}", "5"}, {"${inputs.l[1:]}", "[1,2]"}, {"${'héllo'[1:3]}", `"él"`}, {"${1..3}", "[1,2,3]"},
		{"${inputs.s in ['hello', 'x']}", "true"}, {"${inputs.s not in ['hello']}", "false"}, {"${inputs.s contains 'ell'}", "true"}, {"${inputs.s matches '^h.*o$'}", "true"},
		{`${inputs.o["odd key"].b[1] + 1}`, "21"}, {"${inputs.o[inputs.s] ?? 'none'}", `"none"`}, {"${inputs.o['a'] + 1}", "2"},
		{"${keys(inputs.o)}", `["a","odd key"]`}, {"${values({b: 1, a: 2})}", "[2,1]"}, {"${toJSON({b: [1, null]})}", `"{\"b\":[1,null]}"`},
		{"${fromJSON('[1, 9007199254740993]')[1]}", "9007199254740993"}, {"${string(inputs.o.a) + '!'}", `"1!"`}, {"${string({a: 'x'})}", `"{\"a\":\"x\"}"`},
		{"${replace('a-b-c', '-', '+')}", `"a+b+c"`}, {"${repeat('ab', 3)}", `"ababab"`}, {"${split('a,b', ',')}", `["a","b"]`},
		{"${groupBy(inputs.l, # > 1)}", `{"false":[1],"true":[3,2]}`}, {"${groupBy(inputs.l, # > 1)[true]}", "[3,2]"}, {"${reduce(inputs.l, #acc + #, 0)}", "6"},
		{"${sortBy(inputs.names, len(#))}", `["ann","bob"]`}, {"${uniq([1, 1, 2])}", "[1,2]"}, {"${int('12') + float('0.5')}", "12.5"},
		// Tasks: the longest name, the rules of references.
		{"${t.result.numbers[0] + 1}", "2"}, {"${t.result.result.numbers[1] + 1}", "3"}, {"${len(t.result)}", "3"}, {"${Load Data.result.ok && true}", "true"},
		{"${load-data.result.ok ? 1 : 2}", "1"}, {"${tasks['Load Data'].result.ok}", "true"}, {"${tasks.t.output + tasks['load-data'].status}", `"hi\ncompleted"`},
		{"${a.b + 1}", "6"}, {"${a.result + '!'}", `"a \"poem\"!"`}, {"${a + '!'}", `"a \"poem\"!"`}, {"${a.result.usage.total_tokens * 2}", "14"},
		{"${a.usage['total' + '_tokens']}", "7"}, {"${a['rol' + 'e']}", `"assistant"`}, {"${(a['no' + 'pe'] ?? 1) + 1}", "2"}, {"${t.n ?? 1 + 1}", "!! ${t.n ?? 1 + 1}: Operator (+) and coalesce expressions (??) cannot be mixed. Wrap either by parentheses."}, {"${t['numb' + 'ers']}", "! ${t['numb' + 'ers']}: t.numbers: no key numbers; there are result, output, success and execution_time"},
		{"${t.result['numb' + 'ers'][0]}", "1"}, {"${Load Data.result.rows[t.result.numbers[0]].v ?? 'null'}", `"null"`},
		{"${len(filter(Load Data.result.rows, .id > 1))}", "2"}, {"${map(Load Data.result.rows, #.v ?? 'none')}", `["x","none","none"]`},
		{"${map(Load Data.result.rows, .v)}", "! ${map(Load Data.result.rows, .v)}: no key v; there is only id"},
		{"${load-data.result.n-1}", `"hyphen"`}, {"${(load-data.result.n-1) + '!'}", `"hyphen!"`}, {"${load-data.result.rows | len()}", "3"},
		{"${filter.result[0] + len(filter(filter.result, # > 1))}", "2"}, {"${t.status == 'completed' && t.attempts == 1}", "true"},
		{"${load-data.result.big + 0}", "12345678901234567000"},
		// What isn't there.
		{"${t.result.nope + 1}", "! ${t.result.nope}: no key nope after .result; there are numbers, odd key and big"},
		{"${t.result.nope ?? 1}", "1"}, {"${t.result.nope ?? t.result.no ?? inputs.n}", "7"}, {"${(t.result.nope ?? 1) + 1}", "2"}, {"${t?.result?.nope?.deeper}", "null"},
		{"${skipped.result ?? 'none'}", `"none"`}, {"${skipped.result.x ?? len(inputs.l)}", "3"}, {"${skipped.status == 'skipped' || skipped.x > 1}", "true"},
		{"${skipped.x > 1}", "! ${skipped.x}: the task is skipped and has no result"}, {"${inputs.any ?? 'unset'}", `"unset"`}, {"${inputs.any == null}", "true"},
		{"${inputs.o.zz}", "! ${inputs.o.zz}: no key zz; there are a and odd key"},
		{"${inputs.l[7] + 1}", "! ${inputs.l[7]}: no item 7: the list has 3 items"}, {"${inputs.l[inputs.n]}", "! ${inputs.l[inputs.n]}: inputs.l.7: no item 7: the list has 3 items"},
		// null is false, and nothing else but true and false is a condition.
		{"${null && true}", "false"}, {"${!inputs.any}", "true"}, {"${inputs.any ? 1 : 2}", "2"}, {"${filter(Load Data.result.rows, #?.v)}", "! ${filter(Load Data.result.rows, #?.v)}: a condition must be true or false, not the text \"x\""},
		{"${t.result ? 1 : 2}", "! ${t.result ? 1 : 2}: a condition must be true or false, not a map"},
		// Other roots.
		{"${run.attempt + 1}", "3"}, {"${run.id + workflow.name}", `"run-1test"`}, {"${env.HERE + '!'}", `"home!"`}, {"${map([1, 1.5, '', true, null, [], {}], type(#))}", `["number","number","string","boolean","null","array","object"]`},
		// Wrong before the run.
		{"${inputs.n + 'x'}", "!! ${inputs.n + 'x'}: invalid operation: + (mismatched types integer and string) (make a text of a value with string(…))"},
		{"${inputs.s > 1}", "!! ${inputs.s > 1}: invalid operation: > (mismatched types string and integer)"},
		{"${inputs.n ? 1 : 2}", "!! ${inputs.n ? 1 : 2}: a condition must be true or false, not a number"},
		{"${len(inputs.n)}", "!! ${len(inputs.n)}: invalid argument for len (type integer)"},
		{"${inputs.nn + 1}", "!! ${inputs.nn}: no input is called nn (did you mean n?)"},
		{"${inputs.s[0] + 1}", "!! ${inputs.s[0]}: the input s is a string and has nothing inside"},
		{"${x + 1}", `!! ${x + 1}: no task or root is called x (quote it for text: "x")`},
		{"${Load Dat.x + 1}", "!! ${Load Dat.x + 1} names nothing: no task or root is called \"Load Dat\" (did you mean Load Data?)"},
		{"${tasks['nope'].x}", "!! ${tasks['nope'].x}: no task is called nope"},
		{"${tasks[inputs.s]}", "!! ${tasks[inputs.s]}: tasks needs a name (write tasks[\"Load Data\"])"},
		{"${lenn(inputs.l)}", "!! ${lenn(inputs.l)}: there is no function lenn (did you mean len?)"},
		{"${now()}", "!! ${now()}: there is no function now (an expression knows no clock)"}, {"${date('2020-01-01')}", "!! ${date('2020-01-01')}: there is no function date (an expression knows no clock)"},
		{"${duration('1h')}", "!! ${duration('1h')}: there is no function duration (an expression knows no clock)"}, {"${timezone('UTC')}", "!! ${timezone('UTC')}: there is no function timezone (an expression knows no clock)"},
		{"${inputs.s.upper()}", "!! ${inputs.s.upper()}: inputs.s.upper is not a function"}, {"${'a'.upper()}", "!! ${'a'.upper()}: a value has no functions"},
		{"${t(1)}", "!! ${t(1)}: t is not a function"}, {"${1 + }", "!! ${1 + }: it ends too early"}, {"${1 1}", "!! ${1 1}: unexpected 1"},
		{"${let x = 1; x}", "!! ${let x = 1; x}: let is not part of an expression (choose with a ? b : c)"}, {"${1; 2}", "!! ${1; 2}: there is more than one expression (join conditions with && or ||)"},
		{"${1 /* x */}", "!! ${1 /* x */}: an expression holds no comments"}, {"${`x`}", "!! ${`x`}: an expression holds no ` (quote texts with \" or ')"},
		{"${$env}", "!! ${$env} names nothing: no task or root is called $env (did you mean env?)"},
		{"${__run + 1}", `!! ${__run + 1}: no task or root is called __run (did you mean run?)`},
		{"${success()}", "!! ${success()}: the status functions belong to if"}, {"${item + 1}", "!! ${item}: there is an item only in a task with foreach"},
		{"${replace('a', 'b')}", "!! ${replace('a', 'b')}: replace takes 3 values, not 2"}, {"${keys([1])}", "!! ${keys([1])}: keys takes a map, not a list"},
		{"${'x' matches '['}", "!! ${'x' matches '['}: error parsing regexp: missing closing ]: `[`"},
		{"${1/0}", "! ${1/0}: the result is not a finite number"}, {"${1 % 0}", "! ${1 % 0}: runtime error: integer divide by zero"},
		{"${b'x'}", `!! ${b'x'}: no task or root is called b (quote it for text: "b")`},
	}
	for _, test := range tests {
		if got := evaluated(t, test.text); got != test.want {
			t.Errorf("%s\n got  %s\n want %s", test.text, got, test.want)
		}
	}
}

// TestExpressionsAreBounded: no expression takes long, whatever it is given.
func TestExpressionsAreBounded(t *testing.T) {
	w := compileText(t, strings.Replace(expressionFlow, "VALUE", "1", 1))
	list := "[" + strings.Repeat(`"0123456789abcdef",`, 50_000) + "1]"
	texts := []string{
		"any(t.l, any(t.l, any(t.l, false)))",
		"len(filter(t.l, # in t.l))",
		"len(map(1..999999, map(1..999999, #)))",
		"reduce(1..100, #acc + #acc, 'xxxxxxxxxxxxxxxx')",
		"reduce(1..100, concat(#acc, #acc), [1])",
		"len(repeat(repeat(repeat('x', 100000), 100000), 100000))",
		"repeat('x', 9223372036854775807)",
		"len(join(map(1..99999, repeat('x', 1000)), repeat('x', 100000)))",
		"len(join(1..99999, repeat('x', 100000)))",
		"len(replace(repeat('x', 100000), 'x', repeat('x', 100000)))",
		"len(uniq(concat(t.l, t.l, t.l, map(t.l, #index))))",
		"len(map(t.l, t['l' + '']))",
		"map(t.l, sort(map(t.l, # == 'x' ? 1 : 2)))",
		"map(t.l, t['m' + ''] ?? 1)",
		"map(t.l, t.m ?? 1)",
		"map(t.l, toJSON(t.l))",
		"map(t.l, t.l == t.l)",
		"map(t.l, groupBy(t.l, #))",
		"map(t.l, flatten([t.l]))",
		"map(t.l, keys(fromJSON(toJSON({a: t.l}))))",
		"flatten(map(t.l, map(1..100, #)))",
		"map(1..1000, map(1..1000, 1..1000))",
	}
	for _, text := range texts {
		start := time.Now()
		s := &Scope{Workflow: w, Tasks: map[int]TaskValue{0: completed(`{"l":` + list + `}`)}}
		ok, err := w.Evaluate(&Expression{Text: text}, 6, s)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s took %v", text, took)
		} else {
			t.Logf("%s took %v: %v, %v", text, took, ok, err)
		}
		if err == nil {
			t.Errorf("%s: %v", text, ok)
		}
	}
	for _, text := range []string{
		strings.Repeat("(", 4000), strings.Repeat("[", 4000), strings.Repeat("!", 4000) + "1", strings.Repeat("-", 4000) + "1", strings.Repeat("{a:", 1300),
		strings.Repeat("1 ? ", 1000), strings.Repeat("1 ?? ", 800) + "1", strings.Repeat("1+", 2000) + "1", "(" + strings.Repeat("t.l[", 1000),
		strings.Repeat("any(t.l, ", 400), strings.Repeat("x", 5000), strings.Repeat("t", 4000), strings.Repeat("t ", 2000), strings.Repeat("a.b ?? ", 500) + "1",
	} {
		start := time.Now()
		_, _ = w.Evaluate(&Expression{Text: text}, 6, &Scope{Workflow: w})
		problemsOf(strings.Replace(expressionFlow, "VALUE", yamlQuote("${"+text+"}"), 1))
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%.20s… took %v", text, took)
		}
	}
}

func TestConditions(t *testing.T) {
	w := compileText(t, strings.Replace(expressionFlow, "VALUE", "1", 1))
	tests := []struct {
		text string
		s    StatusValue
		want string
	}{
		{"true", StatusValue{}, "true"}, {"inputs.n > 5", StatusValue{}, "true"}, {"inputs.any", StatusValue{}, "false"}, {"skipped.result", StatusValue{}, "false"},
		{"t.success", StatusValue{}, "true"}, {"Load Data.result.ok", StatusValue{}, "true"}, {"inputs.n", StatusValue{}, "task u: if: ${inputs.n}: a condition must be true or false, not 7"},
		{"t.nope", StatusValue{}, "task u: if: ${t.nope}: no key nope; there are result, output, success and execution_time"},
		{"success()", StatusValue{Success: true}, "true"}, {"success()", StatusValue{}, "false"}, {"failure()", StatusValue{Failure: true}, "true"},
		{"cancelled()", StatusValue{Cancelled: true}, "true"}, {"always()", StatusValue{}, "true"}, {"!cancelled() && inputs.b", StatusValue{}, "false"},
		{"failure() && t.status == 'completed'", StatusValue{Failure: true}, "true"},
		{"nope.x", StatusValue{}, `task u: if: ${nope.x}: no task or root is called nope`},
		{"1 +", StatusValue{}, `task u: if: ${1 +}: it ends too early`},
	}
	for _, test := range tests {
		s := expressionScope(w)
		s.Status = test.s
		for range 2 { // the second time from the cache
			got, err := w.Evaluate(&Expression{Text: test.text}, 6, s)
			text := "false"
			if got {
				text = "true"
			}
			if err != nil {
				text = err.Message
				if err.Code != TaskParameterError {
					t.Errorf("%s: %v", test.text, err.Code)
				}
			}
			if text != test.want {
				t.Errorf("%s: got %s, want %s", test.text, text, test.want)
			}
		}
	}
}

// TestConditionsAreShared asks one document's condition from many goroutines.
func TestConditionsAreShared(t *testing.T) {
	w := compileText(t, strings.Replace(expressionFlow, "VALUE", "'${len(t.result.numbers) + inputs.n}'", 1))
	e := &Expression{Text: "len(filter(t.result.numbers, # >= inputs.n)) == 3 && 'x' matches '^[a-z]$'"}
	var wait sync.WaitGroup
	for i := range 40 {
		wait.Go(func() {
			s := expressionScope(w)
			s.Inputs["n"] = json.RawMessage(fmt.Sprint(i % 2))
			if ok, err := w.Evaluate(e, 6, s); err != nil || !ok {
				t.Errorf("%v %v", ok, err)
			}
			if got, err := Substitute(w, 6, s, registry); err != nil || string(got.Parameters) != fmt.Sprintf(`{"v":%d}`, 3+i%2) {
				t.Errorf("%v %v", got, err)
			}
		})
	}
	wait.Wait()
}
