package server_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
)

// TestSigned asks of every method that changes something, but for those of workers,
// whose tasks name them, that it is told who
// wishes that: then the transport writes there who it was.
func TestSigned(t *testing.T) {
	looks := strings.Fields("secret/references provider/check system/config system/verify system/audit")
	for _, m := range server.Methods() {
		_, signed := reflect.TypeOf(m.Params).FieldByName("By")
		if changes := m.Role != "" && m.Role != server.Read && m.Role != server.Worker && !slices.Contains(looks, m.Name); changes != signed {
			t.Errorf("%s: it changes something: %v, and says who did: %v", m.Name, changes, signed)
		}
	}
}

// TestActors does to runs and to the store what can be done to them over the
// network: the log says who it was.
func TestActors(t *testing.T) {
	tokens := server.NewTokens(t.TempDir())
	secret, err := tokens.Create(server.Token{Name: "ops", Role: server.Admin})
	if err != nil {
		t.Fatal(err)
	}
	w := listenHTTP(t, &servertest.Fake{}, func(o *server.HTTPOptions) { o.Tokens = tokens })
	do := func(method string, params any) {
		t.Helper()
		if a := w.rpc(method, params, "Authorization: Bearer "+secret); a.Error != nil {
			t.Fatalf("%s: %v", method, a.Error)
		}
	}
	do(server.WorkflowSubmit, map[string]any{"workflow": waiting, "id": "held", "by": "ann"})
	do(server.WorkflowPause, map[string]any{"id": "held"})
	do(server.WorkflowUnpause, map[string]any{"id": "held"})
	do(server.WorkflowInterrupt, map[string]any{"id": "held", "force": true})
	do(server.WorkflowResumeAll, nil)
	do(server.WorkflowInterrupt, map[string]any{"id": "held", "by": "tom", "force": true})
	do(server.WorkflowResume, map[string]any{"id": "held"})
	do(server.SignalSend, map[string]any{"id": "held", "name": "go"})
	do(server.WorkflowCancel, map[string]any{"id": "held", "by": "tom"})
	do(server.SystemGC, map[string]any{"keep": 10})
	do(server.SystemCompact, nil)
	var got []string
	var h server.HistoryResult
	w.must(server.WorkflowHistory, server.RunParams{ID: "held"}, &h)
	for _, e := range h.Entries {
		if strings.Contains(e.Text, " by ") {
			got = append(got, e.Text)
		}
	}
	want := []string{"submitted by ann via token ops", "paused by token ops", "unpaused by token ops",
		"interrupted by token ops: nothing new starts until it is resumed", "resumed by token ops",
		"interrupted by tom via token ops: nothing new starts until it is resumed", "resumed by token ops",
		`signal "go" received by token ops`, "cancel requested by tom via token ops"}
	if !slices.Equal(got, want) {
		t.Errorf("the history says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var audit server.AuditResult
	w.must(server.SystemAudit, nil, &audit)
	got = nil
	for _, e := range audit.Entries {
		got = append(got, strings.Join(strings.Fields(e.Text)[:4], " "))
	}
	if want := []string{"system/gc by token ops:", "system/compact by token ops:"}; !slices.Equal(got, want) {
		t.Errorf("the audit says %q, want %q", got, want)
	}
}

// waiting is a run that never ends by itself.
const waiting = `{"name": "Waiting", "tasks": [{"name": "a", "method": "wait/signal", "parameters": {"name": "never"}}]}`
