package protocols

import (
	"encoding/json"
	"testing"
)

var registry = NewRegistry()

// compileText compiles a workflow that must be right.
func compileText(t testing.TB, text string) *Workflow {
	t.Helper()
	d, _ := Parse("test.yaml", []byte(text))
	w, ps := registry.Compile(d)
	if w == nil {
		t.Fatalf("compile:\n%v\n%s", ps, text)
	}
	return w
}

// problemsOf compiles a workflow and returns its problems, one a line.
func problemsOf(text string) string {
	d, _ := Parse("test.yaml", []byte(text))
	_, ps := registry.Compile(d)
	return ps.Error()
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

func completed(result string) TaskValue {
	return TaskValue{Status: "completed", Result: raw(result), Attempts: 1}
}
