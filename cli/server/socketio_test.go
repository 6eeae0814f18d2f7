package server_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
)

// npm's socket.io-client does all that users do, over each transport.
func TestSocketIO(t *testing.T) {
	modules := npmModules(t)
	tokens := server.NewTokens(t.TempDir())
	secret, err := tokens.Create(server.Token{Name: "npm", Role: server.Operate})
	if err != nil {
		t.Fatal(err)
	}
	w := listenHTTP(t, &servertest.Fake{}, func(o *server.HTTPOptions) { o.Tokens, o.TokenRequired = tokens, true })
	w.srv.TeachForTest()
	for mode, transport := range map[string]string{"polling": "polling", "websocket": "websocket", "upgrade": "websocket"} {
		t.Run(mode, func(t *testing.T) {
			cmd := exec.CommandContext(soon(t), "node", "testdata/socketio.cjs", w.url, secret, mode)
			cmd.Env = append(os.Environ(), "NODE_PATH="+modules, "FLOW="+flow)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var got map[string]any
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			events := []any{"workflow.submitted", "task.started", "task.waiting", "task.completed", "workflow.completed"}
			want := map[string]any{
				"token":     []any{"a token is needed: auth: {token}", -25005.0},
				"wrong":     []any{"the token is not one of this server's, or was revoked or has expired", -25005.0},
				"namespace": []any{"Invalid namespace", -32602.0},
				"run":       []any{`no run "nobody-7" (see: gleitzeit workflow list)`, -28002.0},
				"connected": "Connected to gleitzeit",
				"transport": transport,
				"many":      124250.0,
				"spread":    19.0,
				"named":     19.0,
				"unknown":   map[string]any{"code": -32601.0, "message": "Method not found", "data": map[string]any{"hint": "did you mean workflow/get?"}},
				"error":     -28002.0,
				"follow":    events,
				"key":       true,
				"binary":    true,
				"room":      events,
				"original": map[string]any{
					"told": []any{"workflow_submitted", "workflow_started", "task_result a completed", "workflow_completed",
						"task_submitted", "workflow_started", "task_result t completed", "workflow_completed",
						"workflow_submitted", "workflow_started", "task_result a completed", "workflow_cancelled"},
					"count": 1.0, "completed": "completed", "status": "cancelled", "results": "completed", "listed": 1.0, "error": "submit_workflow",
				},
				"reconnect": []any{true, true},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// enterSocketIO enters "/" with a token by polling, and returns what says things
// and what hears them.
func (w *web) enterSocketIO(secret string) (say func(string), hear func() string) {
	w.t.Helper()
	const path = "/socket.io/?EIO=4&transport=polling"
	_, opened := w.do("GET", path, "")
	var open struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(opened, "0")), &open); err != nil {
		w.t.Fatalf("%v: %s", err, opened)
	}
	say = func(text string) {
		w.t.Helper()
		if status, answer := w.do("POST", path+"&sid="+open.SID, text); status != 200 {
			w.t.Errorf("%s: %d %s", text, status, answer)
		}
	}
	hear = func() string {
		_, answer := w.do("GET", path+"&sid="+open.SID, "")
		return answer
	}
	say(`40{"token":"` + secret + `"}`)
	if got := hear(); !strings.HasPrefix(got, "40") {
		w.t.Fatal(got)
	}
	return say, hear
}

// Roles, tokens, origins and names hold as they do elsewhere, and so do limits.
func TestSocketIOGuard(t *testing.T) {
	tokens := server.NewTokens(t.TempDir())
	secret, err := tokens.Create(server.Token{Name: "ann", Role: server.Read})
	if err != nil {
		t.Fatal(err)
	}
	w := listenHTTP(t, &servertest.Fake{}, func(o *server.HTTPOptions) {
		o.Tokens, o.TokenRequired, o.MaxStreams = tokens, true, 2
	})
	const path = "/socket.io/?EIO=4&transport=polling"
	for _, header := range []string{"Origin: https://evil.example", "Host: evil.example", "Sec-Fetch-Site: cross-site"} {
		if status, _ := w.do("GET", path, "", header); status != 403 {
			t.Errorf("%s: %d", header, status)
		}
	}
	if status, _ := w.do("GET", path, "", "Authorization: Bearer gz_wrong"); status != 401 {
		t.Errorf("a wrong token: %d", status)
	}
	say, hear := w.enterSocketIO(secret)
	heard := func(want string) {
		t.Helper()
		for got := ""; !strings.Contains(got, want); {
			if got = hear(); strings.HasPrefix(got, "{") || got == "" {
				t.Fatalf("%s instead of %s", got, want)
			}
		}
	}
	for _, event := range []string{server.WorkflowSubmit, "submit_workflow"} {
		say(`421["` + event + `",{"workflow":"x"}]`)
		heard("needs the role submit")
	}
	say(`422["system/backup",{"path":"/tmp/x"}]`)
	heard("is for commands of the server's own user")
	say(`423["workflow/list"]`)
	heard(`433[{"result":`)
	if err := tokens.Revoke("ann"); err != nil {
		t.Fatal(err)
	}
	say(`424["workflow/list"]`)
	heard("revoked")
	for _, want := range []int{200, 429} {
		if status, _ := w.do("GET", path, ""); status != want {
			t.Errorf("one more session: %d", status)
		}
	}
}

// A server that leaves doesn't wait for those that speak Socket.IO.
func TestSocketIOEnds(t *testing.T) {
	w := listenHTTP(t, &servertest.Fake{}, nil)
	say, hear := w.enterSocketIO("")
	say(`421["workflow/submit",{"workflow":` + quoted(strings.Replace(flow, `"duration": 0`, `"duration": 3600`, 1)) + `}]`)
	for !strings.Contains(hear(), `"id":"flow-1"`) {
	}
	say(`422["log/follow",{"id":"flow-1"}]` + "\x1e" + `423["workflow/wait",{"id":"flow-1","timeout":3600}]`)
	for !strings.Contains(hear(), "log/event") {
	}
	w.stop()
	if _, err := http.Get(w.url); err == nil {
		t.Error("it still listens")
	}
}

func quoted(text string) string {
	raw, _ := json.Marshal(text)
	return string(raw)
}
