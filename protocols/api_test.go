package protocols

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRetryDelay(t *testing.T) {
	s := func(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
	r := func(b Backoff, jitter bool) *Retry {
		return &Retry{MaxAttempts: 9, Backoff: b, BaseDelay: Duration(2 * time.Second), MaxDelay: Duration(20 * time.Second), Jitter: jitter}
	}
	tests := []struct {
		r       *Retry
		attempt int
		jitter  float64
		want    time.Duration
	}{
		{r(Fixed, false), 1, 0.9, s(2)}, {r(Fixed, false), 5, 0.9, s(2)},
		{r(Linear, false), 1, 0, s(2)}, {r(Linear, false), 3, 0, s(6)}, {r(Linear, false), 99, 0, s(20)},
		{r(Exponential, false), 1, 0, s(2)}, {r(Exponential, false), 2, 0, s(4)}, {r(Exponential, false), 4, 0, s(16)},
		{r(Exponential, false), 5, 0, s(20)}, {r(Exponential, false), 5000, 0, s(20)}, {r(Exponential, false), 0, 0, s(2)},
		{r(Exponential, true), 1, 0, s(2.2)}, {r(Exponential, true), 1, 0.5, s(2.4)}, {r(Exponential, true), 4, 0.5, s(19.2)},
		{r(Exponential, true), 5, 0.5, s(20)}, {r(Fixed, true), 1, 0.999999999, s(2.6)},
		{&Retry{BaseDelay: 0, MaxDelay: Duration(time.Second), Jitter: true}, 5000, 0.5, 0},
		{&Retry{BaseDelay: Duration(time.Hour)}, 5000, 0.5, math.MaxInt64 / 2},
		{&Retry{BaseDelay: Duration(time.Second)}, 3, 0, s(4)},
	}
	for _, test := range tests {
		got := test.r.Delay(test.attempt, test.jitter)
		if diff := got - test.want; diff < -time.Microsecond || diff > time.Microsecond {
			t.Errorf("%+v after %d attempts with %v: %v, want %v", *test.r, test.attempt, test.jitter, got, test.want)
		}
	}
}

func TestRetries(t *testing.T) {
	var none *Retry
	for _, c := range classes {
		if none.Retries(c) {
			t.Errorf("no retry retries %s", c)
		}
		if got := DefaultRetry().Retries(c); got == c.Hopeless() {
			t.Errorf("the default retries %s: %v", c, got)
		}
		if got := (&Retry{On: []Class{ClassAuth}}).Retries(c); got != (c == ClassAuth) {
			t.Errorf("on: [auth] retries %s: %v", c, got)
		}
	}
}

func TestScalarsAsJSON(t *testing.T) {
	type both struct {
		D Duration
		P Priority
	}
	for in, want := range map[string]string{
		`{"D":"90s","P":"urgent"}`: `{"D":"1m30s","P":"urgent"}`,
		`{"D":1.5,"P":1}`:          `{"D":"1.5s","P":"high"}`,
		`{"D":"7","P":"LOW"}`:      `{"D":"7s","P":"low"}`,
		`{}`:                       `{"D":"0s","P":"normal"}`,
		`{"D":"x"}`:                ``,
		`{"D":1e300}`:              ``,
		`{"P":"best"}`:             ``,
		`{"P":7}`:                  ``,
	} {
		var v both
		err := json.Unmarshal([]byte(in), &v)
		if want == "" {
			if err == nil {
				t.Errorf("%s: got %v", in, v)
			}
			continue
		}
		if got, _ := json.Marshal(v); err != nil || string(got) != want {
			t.Errorf("%s: got %s %v, want %s", in, got, err, want)
		}
	}
}

func TestCodes(t *testing.T) {
	seen := map[string]Code{}
	for code, name := range codeNames {
		if code.String() != name || seen[name] != 0 {
			t.Errorf("%d is %s, and so is %d", code, code, seen[name])
		}
		seen[name] = code
	}
	if len(codeNames) != 51 {
		t.Errorf("%d codes", len(codeNames))
	}
	for code, want := range map[Code]Severity{TaskTimeout: SeverityError, QueueFull: SeverityWarning, SystemShutdown: SeverityCritical} {
		if got := code.Severity(); got != want {
			t.Errorf("%s is %s", code, got)
		}
	}
	if got := Code(-1).String(); got != "ERROR -1" {
		t.Error(got)
	}
}

const inputsFlow = `
inputs:
  s: {type: string, enum: [a, b]}
  i: {type: integer, default: 9007199254740993}
  n: {type: number}
  b: {type: boolean, required: true}
  l: {type: array}
  o: {type: object}
  any:
  nothing: {type: string, default: null}
tasks: [{name: t, method: echo/echo}]
`

func TestCheckInputs(t *testing.T) {
	w := compileText(t, inputsFlow)
	got, err := w.CheckInputs(map[string]json.RawMessage{"b": raw("true"), "l": raw("[ 1 ]"), "any": raw("null"), "i": raw("3.0")})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]json.RawMessage{"i": raw("3.0"), "b": raw("true"), "l": raw("[1]"), "any": raw("null"), "nothing": raw("null")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, _ := w.CheckInputs(map[string]json.RawMessage{"b": raw("true")}); string(got["i"]) != "9007199254740993" {
		t.Errorf("default %s", got["i"])
	}
	_, err = w.CheckInputs(map[string]json.RawMessage{"s": raw(`"c"`), "i": raw("1.5"), "n": raw(`"1"`), "o": raw("[]"), "l": raw("{"), "anny": raw("1"), "zzz": raw("1")})
	if want := `inputs: s must be one of a, b, not the text "c"; i must be a whole number, not 1.5; n must be a number, not the text "1"; ` +
		`b is required and was not given; l is not JSON; o must be a map, not a list; there is no input anny (did you mean any?); ` +
		`there is no input zzz (there are s, i, n, b, l, o, any and nothing)`; err == nil || err.Message != want || err.Code != InvalidParams {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestParseInput(t *testing.T) {
	w := compileText(t, inputsFlow)
	tests := []struct{ name, text, want string }{
		{"s", "a", `"a"`}, {"s", "c", ""},
		{"i", "12345678901234567890", "12345678901234567890"}, {"i", "1.5", ""}, {"i", "x", ""}, {"i", "", ""},
		{"n", "1e3", "1e3"}, {"n", `"1"`, ""},
		{"b", "true", "true"}, {"b", "0", "false"}, {"b", "yes", ""},
		{"l", "[1, 2]", "[1,2]"}, {"l", "1,2", ""}, {"o", `{"a" : 1}`, `{"a":1}`},
		{"any", "12", "12"}, {"any", "hello", `"hello"`}, {"any", "", `""`},
		{"nope", "1", ""},
	}
	for _, test := range tests {
		got, err := w.ParseInput(test.name, test.text)
		if test.want == "" && err == nil || test.want != "" && (err != nil || string(got) != test.want) {
			t.Errorf("%s=%s: got %s %v, want %s", test.name, test.text, got, err, test.want)
		}
	}
}

func TestExpand(t *testing.T) {
	w := compileText(t, `
name: Batch
batch: {directory: docs}
template: {method: python/execute, file: run.py, context: {a: 1}, timeout: 5}
outputs: {first: "${process-a-txt-0.result}"}
`)
	before := string(w.Encode())
	x, ps := w.Expand(registry, []string{"docs/a.txt", "docs/b.c.txt", `docs\sub\${a}.txt`, "docs/sub/a.txt"})
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	var got []string
	for _, task := range x.Tasks {
		got = append(got, task.ID+" | "+task.Name+" | "+string(task.Parameters))
	}
	want := []string{
		`process-a-txt-0 | Process a.txt | {"file":"run.py","context":{"a":1,"file_path":"docs/a.txt"}}`,
		`process-b-c-txt-1 | Process b.c.txt | {"file":"run.py","context":{"a":1,"file_path":"docs/b.c.txt"}}`,
		`process-${a}-txt-2 | Process ${a}.txt | {"file":"run.py","context":{"a":1,"file_path":"docs\\sub\\${a}.txt"}}`,
		`process-a-txt-3 | Process a.txt | {"file":"run.py","context":{"a":1,"file_path":"docs/sub/a.txt"}}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"run.py", "docs/a.txt", "docs/b.c.txt", `docs\sub\${a}.txt`, "docs/sub/a.txt"}, x.Files); diff != "" {
		t.Error(diff)
	}
	if string(x.Metadata) != `{"batch":{"directory":"docs","pattern":"*","files":4}}` || x.Batch != nil || x.Tasks[0].Timeout != Duration(5*time.Second) {
		t.Errorf("%s", x.Encode())
	}
	if string(w.Encode()) != before {
		t.Error("the batch has changed")
	}
	if again, err := Decode(x.Encode()); err != nil || !again.Equal(x) {
		t.Error(err)
	}
	if _, ps := w.Expand(registry, nil); ps.Error() != "no file matches * in docs" {
		t.Error(ps)
	}
	if _, ps := w.Expand(registry, []string{"docs/other.txt"}); !strings.HasPrefix(ps.Error(), "outputs.first: ${process-a-txt-0.result} names nothing") {
		t.Error(ps)
	}
	if same, ps := x.Expand(registry, nil); same != x || ps != nil {
		t.Error("what is no batch is returned as it is")
	}
}

func TestExpandPutsTheFileWhereItBelongs(t *testing.T) {
	for _, test := range []struct{ template, file, want string }{
		{`{prompt: "for ${inputs.x}"}`, "a.txt", `{"prompt":"for ${inputs.x}","file_path":"a.txt"}`},
		{`{prompt: "for ${inputs.x}"}`, "${a}.txt", `{"prompt":"for ${inputs.x}","file_path":"$${a}.txt"}`},
		{`{method: llm/vision, prompt: see}`, "a.PNG", `{"prompt":"see","image_path":"a.PNG"}`},
		{`{method: llm/vision, prompt: see}`, "a.txt", `{"prompt":"see","file_path":"a.txt"}`},
		{`{method: llm/chat, prompt: see}`, "a.png", `{"prompt":"see","file_path":"a.png"}`},
		{`{method: echo/echo}`, "a", `{"file_path":"a"}`},
		{`{method: mcp/tool.x, a: 1}`, "a", `{"a":1,"file_path":"a"}`},
		{`{method: mcp/tool.x, arguments: {b: 1}}`, "a", `{"arguments":{"b":1,"file_path":"a"}}`},
		{`{method: python/execute, code: x}`, "a", `{"code":"x","context":{"file_path":"a"}}`},
	} {
		w := compileText(t, "inputs: {x: {}}\nbatch: {directory: d}\ntemplate: "+test.template)
		x, ps := w.Expand(registry, []string{test.file})
		if ps != nil || string(x.Tasks[0].Parameters) != test.want {
			t.Errorf("%s: got %s %v, want %s", test.template, x.Tasks[0].Parameters, ps, test.want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{`:             "unexpected end",
		`{"version":2}`: "version 2 is not supported",
		`{}`:            "version 0 is not supported",
		`{"version":1,"tasks":[{"id":"a","parameters":{},"dependencies":[1]}]}`: "task 0: it depends on a task that isn't there",
		`{"version":1,"tasks":[{"id":"a","parameters":[]}]}`:                    "task 0: parameters are not an object",
		`{"version":1,"tasks":[{"id":"a"}]}`:                                    "task 0: parameters are not an object",
		`{"version":1,"tasks":[null]}`:                                          "task 0: there is none",
		`{"version":1,"nonsense":1}`:                                            "unknown field",
	} {
		if _, err := Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestGraph(t *testing.T) {
	w := compileText(t, `
name: Graph "of" <tasks>
tasks:
  - {name: a, method: echo/echo}
  - {id: b, name: 'say "b" \ #1', method: echo/echo, params: {x: "${a.x}"}}
  - {name: c, method: echo/echo, needs: a}
  - {name: d, method: mcp/tool.x, needs: b, params: {x: "${c}"}}
`)
	g := w.Graph()
	want := `Graph "of" <tasks>
   1  a  echo/echo
   2  b  echo/echo  ← a
      c  echo/echo  ← a
   3  d  mcp/tool.x  ← b, c
`
	if got := g.Text(); got != want {
		t.Errorf("got\n%s", got)
	}
	want = `flowchart TD
    t0["a<br/>echo/echo"]
    t1["say #quot;b#quot; \ #35;1<br/>echo/echo"]
    t2["c<br/>echo/echo"]
    t3["d<br/>mcp/tool.x"]
    t0 --> t1
    t0 -.-> t2
    t1 -.-> t3
    t2 --> t3
`
	if got := g.Mermaid(); got != want {
		t.Errorf("got\n%s", got)
	}
	want = `digraph "Graph \"of\" <tasks>" {
    node [shape=box];
    t0 [label="a\necho/echo"];
    t1 [label="say \"b\" \\ #1\necho/echo"];
    t2 [label="c\necho/echo"];
    t3 [label="d\nmcp/tool.x"];
    t0 -> t1;
    t0 -> t2 [style=dashed];
    t1 -> t3 [style=dashed];
    t2 -> t3;
}
`
	if got := g.Dot(); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestSuggest(t *testing.T) {
	words := []string{"parameters", "params", "with", "name", "id"}
	for word, want := range map[string]string{
		"parameter": "parameters", "paramters": "parameters", "param": "params", "wiht": "with", "nmae": "name", "Name": "name",
		"x": "", "ID": "id", "timeout": "", "": "", strings.Repeat("parameters", 100): "",
	} {
		if want != "" {
			want = fmt.Sprintf("did you mean %s?", want)
		}
		if got := Suggest(word, words); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}
