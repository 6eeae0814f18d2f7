package server_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/protocols"
)

// allocated is how many bytes are allocated while f runs, by whomever.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestLeanRefusals sends short texts that describe a lot: they are refused before
// what they describe is made.
func TestLeanRefusals(t *testing.T) {
	w := listenHTTP(t, nil, nil)
	many := func(n int, item string) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }
	const n = 200_000
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf(`"%x":{}`, i)
	}
	call := func(method, params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + params + `}`
	}
	for name, body := range map[string]string{
		"providers":              call(server.WorkflowSubmit, `{"setup":{"providers":[`+many(n, "{}")+`]}}`),
		"providers, in capitals": call(server.WorkflowSubmit, `{"SETUP":{"providers":[`+many(n, "{}")+`]}}`),
		"a schedule's":           call(server.ScheduleAdd, `{"run":{"setup":{"providers":[`+many(n, "{}")+`]}}}`),
		"in their order":         call(server.WorkflowRun, `[null,null,{"providers":[`+many(n, "{}")+`]}]`),
		"children":               call(server.WorkflowSubmit, `{"children":{`+strings.Join(keys, ",")+`}}`),
		"a batch":                "[" + many(n, "{}") + "]",
		"a call of many members": "{" + strings.Join(keys, ",") + "}",
		"many params":            call(server.WorkflowSubmit, "["+many(n, "0")+"]"),
	} {
		t.Run(name, func(t *testing.T) {
			var answer string
			most := uint64(12*len(body) + 8<<20) // the body itself is read and copied a few times
			if took := allocated(func() { _, answer = w.do("POST", "/rpc", body) }); took > most {
				t.Errorf("%d bytes made the server allocate %d", len(body), took)
			}
			if !strings.Contains(answer, "-32602") && !strings.Contains(answer, "-32600") {
				t.Errorf("it is answered with %.200s", answer)
			}
		})
	}
}

// TestBatchAnswers asks for far more in one batch than its answers may have
// together: what comes after is not carried out, and says so.
func TestBatchAnswers(t *testing.T) {
	w := listenHTTP(t, &servertest.Fake{}, nil)
	id := w.finish(servertest.Chain("big", servertest.Work{Value: strings.Repeat("x", 3<<20)}))
	var calls []map[string]any
	for i := range 20 {
		calls = append(calls, map[string]any{"jsonrpc": "2.0", "id": i, "method": server.TaskGet, "params": []string{id, "t1"}})
	}
	body, _ := json.Marshal(calls)
	_, text := w.do("POST", "/rpc", string(body))
	var answers []struct {
		ID     int
		Result json.RawMessage
		Error  *protocols.Error
	}
	if err := json.Unmarshal([]byte(text), &answers); err != nil || len(answers) != 20 {
		t.Fatalf("%d answers, %v", len(answers), err)
	}
	const whole = 32/3 + 1 // the one that goes beyond it is the last
	for _, a := range answers {
		if (a.ID < whole) != (a.Result != nil) || a.Error != nil && a.Error.Code != protocols.ResourceExhausted {
			t.Errorf("call %d: %d bytes, %v", a.ID, len(a.Result), a.Error)
		}
	}
	if len(text) > 36<<20 {
		t.Errorf("the answer has %d bytes", len(text))
	}
}
