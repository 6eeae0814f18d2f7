//go:build unix

package providers

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"gleitzeit/protocols"
)

func jq(t testing.TB, filter, input string) Call {
	return Call{Method: "data/jq", Parameters: parameters(t, "filter", filter, "input", json.RawMessage(input))}
}

func TestData(t *testing.T) {
	s := openSet(t, Config{})
	for _, test := range []struct {
		call Call
		want string
	}{
		{Call{Method: "data/set", Parameters: json.RawMessage(`{"value":{"a":[1.50,null]}}`)}, `{"result":{"a":[1.50,null]}}`},
		{Call{Method: "data/set", Parameters: json.RawMessage(`{"value":null}`)}, `{"result":null}`},
		{jq(t, "map(. * 2)", "[1,2]"), `{"result":[2,4]}`},
		{jq(t, "empty", "1"), `{"result":null}`},
		{jq(t, `"<\(.)&>"`, `"é"`), `{"result":"<é&>"}`},
		{Call{Method: "data/jq", Parameters: json.RawMessage(`{"filter":"$a + $b","vars":{"a":1,"b":2}}`)}, `{"result":3}`},
	} {
		got, err := s.Call(patience(t, 30*time.Second), "data", test.call, nil)
		if err != nil || string(got) != test.want {
			t.Errorf("%s %s: %s, %v", test.call.Method, test.call.Parameters, got, err)
		}
	}
	for filter, want := range map[string]protocols.Code{
		".[":                                 protocols.TaskParameterError,
		"$ENV.HOME":                          protocols.TaskParameterError,
		"$x":                                 protocols.TaskParameterError,
		".a":                                 protocols.TaskExecutionFailed,
		"1, 2":                               protocols.TaskExecutionFailed,
		`error("own")`:                       protocols.TaskExecutionFailed,
		"reduce range(20000) as $i (0; [.])": protocols.TaskExecutionFailed,
	} {
		_, err := s.Call(patience(t, 30*time.Second), "data", jq(t, filter, "[]"), nil)
		wantError(t, err, want)
	}
}

// TestFilterMemory: a step that asks for everything at once, and steps that
// take more and more, end their process and not ours; the next call gets
// another.
func TestFilterMemory(t *testing.T) {
	s := openSet(t, Config{})
	p, err := s.provider("data")
	if err != nil {
		t.Fatal(err)
	}
	p.(*data).workers.memory = 128 << 20
	filters := map[string]string{"grows": "[range(infinite)]", "doubles": `reduce range(50) as $i ("x"; . + .) | length`}
	if linux() {
		filters["at once"] = ".[536870910] = 1"
		filters["long"] = `"x" * 2000000000 | length`
	}
	for name, filter := range filters {
		_, err := s.Call(patience(t, time.Minute), "data", jq(t, filter, "null"), nil)
		if wantError(t, err, protocols.TaskExecutionFailed); err != nil && !strings.Contains(err.Error(), "more memory than it may have") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := s.Call(patience(t, 30*time.Second), "data", jq(t, ".", "7"), nil); string(got) != `{"result":7}` {
		t.Errorf("afterwards: %s, %v", got, err)
	}
}

// TestFilterTimeout: a single step that would take years.
func TestFilterTimeout(t *testing.T) {
	s := openSet(t, Config{Providers: map[string]ProviderConfig{"data": {Kind: "data", Timeout: "200ms"}}})
	_, err := s.Call(patience(t, 30*time.Second), "data", jq(t, "(reduce range(60) as $i (0; [., .])) as $x | $x == $x", "0"), nil)
	wantError(t, err, protocols.ProviderTimeout)
}

// TestFilterWorkers: calls one after another share a process, calls at once
// have one each, and an idle one ends.
func TestFilterWorkers(t *testing.T) {
	ws := newFilterWorkers(filterRole(), &children{})
	defer ws.children.close()
	defer ws.close()
	for range 3 {
		if _, err := ws.do(t.Context(), filterRequest{Filter: "."}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(ws.free); n != 1 {
		t.Errorf("%d processes for calls one after another", n)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := ws.do(context.Background(), filterRequest{Filter: "[range(100000)] | length"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	w := ws.pop()
	ws.idle = time.Millisecond
	ws.leave(w)
	wantGone(t, w.kid.cmd.Process.Pid)
}

func BenchmarkFilter(b *testing.B) {
	s := openSet(b, Config{})
	call := jq(b, "map(select(.n > 1)) | length", `[{"n":1},{"n":2}]`)
	for b.Loop() {
		if _, err := s.Call(context.Background(), "data", call, nil); err != nil {
			b.Fatal(err)
		}
	}
}
