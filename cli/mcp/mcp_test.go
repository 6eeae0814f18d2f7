package mcp

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/protocols"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// inMemory is a Store that ends with the test.
type inMemory struct{ *client.Client }

func (m inMemory) Submit(ctx context.Context, p *server.SubmitParams) (r server.SubmitResult, err error) {
	return r, m.Call(ctx, server.WorkflowSubmit, *p, &r)
}

func (m inMemory) Follow(ctx context.Context, id string, entry func(replay.Entry), sign func(task, text string)) error {
	return m.Client.Follow(ctx, id, client.Follower{Entry: entry, Progress: func(p scheduler.Progress) { sign(p.Task, p.Message) }})
}

func (inMemory) Decides() bool { return true }

func (inMemory) Submits() error { return nil }

// asks is a workflow of a task that waits for two approvals, one after the other.
func asks() *Workflow {
	approval := func(id string, after ...int) *protocols.Task {
		return &protocols.Task{ID: id, Name: id, Protocol: replay.WaitProtocol, Method: "wait/approval", Dependencies: after,
			Parameters: json.RawMessage(`{"message":"` + id + `?"}`)}
	}
	w := &protocols.Workflow{Version: protocols.DocumentVersion, Name: "Asks", Tasks: []*protocols.Task{approval("first"), approval("second", 0)}}
	return &Workflow{Name: "asks", Title: "Asks", Version: "1", Submission: func(map[string]json.RawMessage) (*server.SubmitParams, error) {
		return &server.SubmitParams{Document: w.Encode(), Setup: servertest.Setup()}, nil
	}}
}

// connect serves a client over a pipe until the test's end.
func connect(t *testing.T, d *Desk, o *sdk.ClientOptions) *sdk.ClientSession {
	t.Helper()
	store, err := client.Open(t.Context(), client.Options{Memory: true, Scheduler: servertest.Options(&servertest.Fake{})})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := [2]io.Closer{}, make(chan error, 1)
	in, toServer := io.Pipe()
	fromServer, out := io.Pipe()
	ours[0], ours[1] = toServer, fromServer
	go func() { theirs <- d.ServeStdio(context.Background(), inMemory{store}, in, out) }()
	c, err := sdk.NewClient(&sdk.Implementation{Name: "tester", Version: "1"}, o).Connect(t.Context(), &sdk.IOTransport{Reader: fromServer, Writer: toServer}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		for _, end := range ours {
			end.Close()
		}
		select {
		case <-theirs:
		case <-time.After(time.Minute):
			t.Error("the server doesn't end with its client")
		}
		store.Close(context.Background())
	})
	return c
}

// TestNewestAsks answers two questions of a run by calls that are repeated.
func TestNewestAsks(t *testing.T) {
	var asked []string
	d := New(Options{Workflows: func() []*Workflow { return []*Workflow{asks()} }, By: "anna"})
	c := connect(t, d, &sdk.ClientOptions{ElicitationHandler: func(_ context.Context, req *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
		asked = append(asked, req.Params.Message)
		return &sdk.ElicitResult{Action: "accept", Content: map[string]any{"approved": len(asked) == 1}}, nil
	}})
	r, err := c.CallTool(t.Context(), &sdk.CallToolParams{Name: "asks"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Task first of run asks-1 waits for an approval (first?)", "Task second of run asks-1 waits for an approval (second?)"}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	text := r.Content[0].(*sdk.TextContent).Text
	if !r.IsError || !strings.Contains(text, "rejected by anna with mcp tester") || r.Meta[metaRun] != "asks-1" {
		t.Errorf("got %q, %v", text, r.Meta)
	}
}

// TestToolsChange looks at the workflows whenever tools are listed.
func TestToolsChange(t *testing.T) {
	var gone atomic.Bool
	d := New(Options{Workflows: func() []*Workflow {
		if gone.Load() {
			return nil
		}
		return []*Workflow{asks()}
	}})
	c := connect(t, d, nil)
	has := func() bool {
		list, err := c.ListTools(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(list.Tools, func(tool *sdk.Tool) bool { return tool.Name == "asks" })
	}
	if !has() {
		t.Error("the workflow is no tool")
	}
	gone.Store(true)
	if has() {
		t.Error("the workflow is still a tool")
	}
}

// TestImpatient tells a timeout from a wish.
func TestImpatient(t *testing.T) {
	for reason, want := range map[string]bool{
		"McpError: MCP error -32001: Request timed out": true, "request timeout": true, "context deadline exceeded": true,
		"": false, "User requested cancellation": false, "AbortError: This operation was aborted": false, "context canceled": false,
	} {
		raw, _ := json.Marshal(map[string]any{"requestId": 1, "reason": reason})
		if got := impatient(raw); got != want {
			t.Errorf("%q: %v, want %v", reason, got, want)
		}
	}
}

// TestContent tells results that have content of the protocol from those that
// only look so.
func TestContent(t *testing.T) {
	for text, want := range map[string]int{
		`{"content":[{"type":"text","text":"a"},{"type":"image","mimeType":"image/png","data":"aGk="}],"result":"a"}`: 2,
		`{"content":"a text"}`:                        0,
		`{"content":[]}`:                              0,
		`{"content":[{"type":"chapter","text":"a"}]}`: 0,
		`{"content":[{"type":"text","text":1}]}`:      0,
		`[1]`:                                         0,
		``:                                            0,
	} {
		if got := contentIn(json.RawMessage(text)); len(got) != want {
			t.Errorf("%s: %d blocks, want %d", text, len(got), want)
		}
	}
}

// TestAddresses reads the addresses of resources.
func TestAddresses(t *testing.T) {
	for uri, want := range map[string]address{
		"gleitzeit://runs/a-1":                  {run: "a-1"},
		"gleitzeit://runs/a-1/history":          {run: "a-1", part: "history"},
		"gleitzeit://runs/a-1/tasks/b%5B3%5D":   {run: "a-1", part: "task", task: "b[3]"},
		"gleitzeit://runs/a%2Fb/tasks/c%20d%2F": {run: "a/b", part: "task", task: "c d/"},
		"gleitzeit://runs/":                     {},
		"gleitzeit://runs/a-1/":                 {},
		"gleitzeit://runs/a-1/tasks":            {},
		"gleitzeit://runs/a-1/tasks/b/c":        {},
		"gleitzeit://runs/%zz":                  {},
		"file:///etc/passwd":                    {},
	} {
		got, ok := parseAddress(uri)
		if got != want || ok != (want != address{}) {
			t.Errorf("%s: %+v, %v; want %+v", uri, got, ok, want)
		}
	}
}

// TestSessions gives a session to nobody but whoever began it.
func TestSessions(t *testing.T) {
	h := New(Options{}).http
	id := h.newID("token ann")
	if !h.isOf(id, "token ann") {
		t.Error("its own session isn't ann's")
	}
	for _, wrong := range []bool{h.isOf(id, "token bob"), h.isOf(id+"x", "token ann"), h.isOf("x"+id, "token ann"), h.isOf("", "token ann")} {
		if wrong {
			t.Error("somebody has the session of another")
		}
	}
}

// reader is a Store whose client may only look.
type reader struct{ inMemory }

func (reader) Submits() error {
	return protocols.Errorf(protocols.AuthorizationFailed, "workflow/submit needs the role submit")
}

// TestReaderOpensNothing: for a client that may not submit no workflow is read
// and no secret opened.
func TestReaderOpensNothing(t *testing.T) {
	w := asks()
	w.Submission = func(map[string]json.RawMessage) (*server.SubmitParams, error) {
		t.Error("it was made ready")
		return nil, io.EOF
	}
	d := New(Options{Workflows: func() []*Workflow { return []*Workflow{w} }})
	s := d.newSession(reader{}, sessionOptions{})
	s.offer([]*Workflow{w})
	r, err := s.tool("asks")(t.Context(), &sdk.CallToolRequest{Params: &sdk.CallToolParamsRaw{}})
	if err != nil || !r.IsError || !strings.Contains(r.Content[0].(*sdk.TextContent).Text, "needs the role submit") {
		t.Errorf("%+v, %v", r, err)
	}
}
